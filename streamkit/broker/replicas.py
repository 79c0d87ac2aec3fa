"""The replicas of this node: which partitions live here, kept as the metadata image says.

`apply` follows an image: it makes the logs of new topics, deletes those of removed ones, hands
on leader epochs and topic configs. `find` is how a request gets to a partition.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from streamkit.broker.kraft.image import (
    BROKER_RESOURCE,
    TOPIC_RESOURCE,
    MetadataDelta,
    MetadataImage,
    TopicImage,
)
from streamkit.broker.log.directory import LogDirectory
from streamkit.broker.log.settings import LogSettings
from streamkit.broker.partitions import (
    InThread,
    Leadership,
    OnDiskError,
    Partition,
    StartTask,
)
from streamkit.common.errors import StorageError
from streamkit.common.seams import Clock
from streamkit.protocol.errors import ApiError, ErrorCode

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """What of a topic's configuration its partitions depend on."""

    log: LogSettings
    min_insync_replicas: int


TopicSettingsOf = Callable[[MetadataImage, str], TopicSettings]
"""The settings of a topic under an image."""


class LeaderListener(Protocol):
    """Told when this node begins or ceases to lead a partition."""

    def on_leading(self, partition: Partition) -> None: ...

    def on_resigned(self, partition: Partition) -> None: ...


class Replicas:
    """All partitions with a replica on this node."""

    def __init__(
        self,
        node_id: int,
        directory: LogDirectory,
        settings_of: TopicSettingsOf,
        clock: Clock,
        in_thread: InThread,
        start_task: StartTask,
        on_disk_error: OnDiskError,
    ) -> None:
        self._node_id = node_id
        self._directory = directory
        self._settings_of = settings_of
        self._clock = clock
        self._in_thread = in_thread
        self._start_task = start_task
        self._on_disk_error = on_disk_error
        self._by_key: dict[tuple[UUID | str | None, int], Partition] = {}
        self._image = MetadataImage()
        self._listeners: list[LeaderListener] = []

    def add_listener(self, listener: LeaderListener) -> None:
        """Tell `listener` about each partition that this node leads from now on."""
        self._listeners.append(listener)

    def __iter__(self) -> Iterator[Partition]:
        return (each for (key, _), each in self._by_key.items() if isinstance(key, str))

    def find(self, topic: UUID | str | None, index: int) -> Partition:
        """The partition by topic name or id. Raises ApiError when there is none here."""
        partition = self._by_key.get((topic, index))
        if partition is None:
            raise self._missing(topic, index)
        return partition

    def _missing(self, topic: UUID | str | None, index: int) -> ApiError:
        if isinstance(topic, str):
            known = self._image.topics.get(topic)
        else:
            known = None if topic is None else self._image.topics_by_id.get(topic)
            if known is None:
                return ApiError(ErrorCode.unknown_topic_id, f"no topic has the id {topic}")
        if known is None or index not in known.partitions:
            return ApiError(
                ErrorCode.unknown_topic_or_partition, f"there is no partition {topic}-{index}"
            )
        return ApiError(ErrorCode.not_leader_or_follower, f"{topic}-{index} lives elsewhere")

    def apply(self, image: MetadataImage, delta: MetadataDelta) -> None:
        """Follow the metadata to `image`."""
        self._image = image
        for topic_id, name in delta.topics_deleted.items():
            self._delete_topic(topic_id, name)
        if any(resource.type == BROKER_RESOURCE for resource in delta.configs):
            # A topic's settings fall back to the broker's.
            self._reconfigure({partition.topic for partition in self})
        else:
            self._reconfigure({each.name for each in delta.configs if each.type == TOPIC_RESOURCE})
        for topic_id, index in delta.partitions:
            topic = image.topics_by_id.get(topic_id)
            if topic is not None:
                self._follow(topic, index)

    def set_strays_aside(self) -> None:
        """Put away the logs that belong to no topic, as Kafka does at a start."""
        for tp, log in sorted(self._directory.logs.items()):
            if (tp.topic, tp.partition) not in self._by_key:
                self._directory.set_stray_aside(log)

    def _follow(self, topic: TopicImage, index: int) -> None:
        state = topic.partitions[index]
        partition = self._by_key.get((topic.id, index))
        if self._node_id not in state.replicas:
            if partition is not None:
                self._forget(partition)
            return
        if partition is None:
            partition = self._create(topic, index)
            if partition is None:
                return
        partition.insync_count = len(state.isr)
        partition.replica_count = len(state.replicas)
        leadership = Leadership(state.leader, state.leader_epoch)
        if leadership == partition.leadership:
            return
        was_leader = partition.is_leader
        partition.lead(leadership, is_leader=state.leader == self._node_id)
        for listener in self._listeners:
            if partition.is_leader:
                listener.on_leading(partition)
            elif was_leader:
                listener.on_resigned(partition)

    def _create(self, topic: TopicImage, index: int) -> Partition | None:
        settings = self._settings_of(self._image, topic.name)
        try:
            log = self._directory.get_or_create(topic.name, index, topic.id, settings.log)
        except StorageError as error:
            logger.error("the log of %s-%s cannot be made: %s", topic.name, index, error)
            self._on_disk_error(error)
            return None
        partition = Partition(
            log,
            topic.name,
            index,
            topic.id,
            self._clock,
            self._in_thread,
            self._start_task,
            self._on_disk_error,
        )
        partition.min_insync_replicas = settings.min_insync_replicas
        self._by_key[topic.name, index] = partition
        self._by_key[topic.id, index] = partition
        return partition

    def _reconfigure(self, topics: set[str]) -> None:
        if not topics:
            return
        for partition in self:
            if partition.topic in topics:
                settings = self._settings_of(self._image, partition.topic)
                partition.log.settings = settings.log
                partition.min_insync_replicas = settings.min_insync_replicas

    def _delete_topic(self, topic_id: UUID, name: str) -> None:
        for partition in [each for each in self if each.topic_id == topic_id]:
            self._forget(partition)
            logger.debug("%s of deleted topic %s is gone", partition, name)

    def _forget(self, partition: Partition) -> None:
        """Drop the partition and its log; those who wait on it are sent away."""
        for key in (partition.topic, partition.topic_id):
            if self._by_key.get((key, partition.index)) is partition:
                del self._by_key[key, partition.index]
        partition.is_deleted = True
        was_leader = partition.is_leader
        partition.lead(Leadership(-1, partition.leadership.epoch), is_leader=False)
        if was_leader:
            for listener in self._listeners:
                listener.on_resigned(partition)
        partition.guard(lambda: self._delete(partition))

    def _delete(self, partition: Partition) -> None:
        remove = self._directory.delete(partition.log)

        async def remove_off_the_loop() -> None:
            try:
                await self._in_thread(remove)
            except StorageError as error:
                logger.error("the files of deleted %s: %s", partition, error)
                self._on_disk_error(error)

        self._start_task(remove_off_the_loop())

"""The coordinators' surroundings: their logs, their timers, their view of topics.

Each is told which partitions of its internal topic this node leads, in the order in which the
metadata says so, and gets a log for each.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol
from uuid import UUID

from streamkit.broker.coordinators.group.coordinator import GroupCoordinator
from streamkit.broker.coordinators.seams import PartitionLog, StartTask
from streamkit.broker.kraft.controller.topics import NewTopic
from streamkit.broker.kraft.image import MetadataDelta, MetadataImage
from streamkit.broker.log.log import Isolation, Origin, ReadResult
from streamkit.broker.log.producer_state import UNVERIFIED, InTransaction
from streamkit.broker.metadata import ClusterMetadata
from streamkit.broker.partitions import Partition
from streamkit.broker.purgatory import WatchList, park
from streamkit.common.seams import Bytes
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.rebalance.rules import InternalTopic
from streamkit.records import scan

ACKS_ALL = -1
LOAD_BYTES = 1 << 20
"""How much of a log is read at once while its groups are loaded."""


class LoopTimers:
    """Timers of the running event loop, which may outlive the node."""

    def __init__(self) -> None:
        self._handles: set[asyncio.TimerHandle] = set()
        self._has_ended = False

    def call_later(self, delay_ms: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Set a timer; what it returns cancels it."""
        if self._has_ended:
            return lambda: None

        def ring() -> None:
            self._handles.discard(handle)
            callback()

        def cancel() -> None:
            handle.cancel()
            self._handles.discard(handle)

        handle = asyncio.get_running_loop().call_later(delay_ms / 1000, ring)
        self._handles.add(handle)
        return cancel

    def end(self) -> None:
        """Cancel them all, and set no more."""
        self._has_ended = True
        for handle in self._handles:
            handle.cancel()
        self._handles.clear()


class CoordinatedLog:
    """A partition as a coordinator's log."""

    def __init__(self, partition: Partition, commit_timeout_ms: float) -> None:
        self._partition = partition
        self._commit_timeout_ms = commit_timeout_ms

    async def append(self, batch: bytes, transaction: InTransaction = UNVERIFIED) -> int:
        """Append one batch and wait until it is committed; its base offset. Raises ApiError."""
        info = self._partition.append(
            batch, acks=ACKS_ALL, origin=Origin.COORDINATOR, transaction=transaction
        )
        await self._partition.wait_committed(info.last_offset + 1, self._commit_timeout_ms)
        return info.base_offset

    async def read_all(self) -> AsyncIterator[Bytes]:
        """The log from its start to its end, in pieces of whole batches."""
        log = self._partition.log
        offset = log.log_start_offset
        while offset < log.log_end_offset:
            found = await self._partition.look(partial(self._read, offset))
            batches = scan(found.data)
            if not batches:
                return
            yield found.data
            offset = batches[-1].last_offset + 1
            # Other connections get their turn between two pieces.
            await asyncio.sleep(0)

    def _read(self, offset: int, cached_only: bool) -> ReadResult:
        return self._partition.read(
            offset, LOAD_BYTES, Isolation.LOG_END, min_one=True, cached_only=cached_only
        )


class ImageTopics:
    """The topics of one image, as the coordinator looks at them."""

    def __init__(self, image: MetadataImage) -> None:
        self._image = image

    @property
    def version(self) -> int:
        return self._image.offset

    def topic_name(self, topic_id: UUID) -> str | None:
        found = self._image.topics_by_id.get(topic_id)
        return None if found is None else found.name

    def topic_names(self) -> Iterable[str]:
        return self._image.topics

    def partition_count(self, topic: str) -> int | None:
        found = self._image.topics.get(topic)
        return None if found is None else len(found.partitions)

    def topic_id(self, topic: str) -> UUID | None:
        found = self._image.topics.get(topic)
        return None if found is None else found.id

    def partition_racks(self, topic: str) -> Sequence[Sequence[str]]:
        found = self._image.topics.get(topic)
        if found is None:
            return ()
        brokers = self._image.brokers
        return [
            sorted(
                broker.rack
                for each in partition.replicas
                if (broker := brokers.get(each)) is not None and broker.rack is not None
            )
            for partition in found.partitions.values()
        ]


class Coordinator(Protocol):
    """What lives on the partitions of one internal topic."""

    async def on_elected(self, partition: int, leader_epoch: int, log: PartitionLog) -> None: ...

    def on_resigned(self, partition: int, leader_epoch: int | None = None) -> None: ...


class Elections:
    """Tells a coordinator which of its topic's partitions this node leads."""

    def __init__(
        self,
        topic: str,
        coordinator: Coordinator,
        start_task: StartTask,
        commit_timeout_ms: float,
    ) -> None:
        self._topic = topic
        self._coordinator = coordinator
        self._start_task = start_task
        self._commit_timeout_ms = commit_timeout_ms
        self._loading: dict[int, WatchList] = {}

    def on_leading(self, partition: Partition) -> None:
        if partition.topic == self._topic:
            self._loading.setdefault(partition.index, WatchList())
            self._start_task(self._load(partition, partition.leadership.epoch))

    async def wait_loaded(self, index: int, timeout_s: float) -> None:
        """Wait, not for ever, until a partition led here is loaded."""
        loading = self._loading.get(index)
        if loading is not None:
            await park((loading,), timeout_s)

    async def _load(self, partition: Partition, epoch: int) -> None:
        log = CoordinatedLog(partition, self._commit_timeout_ms)
        try:
            await self._coordinator.on_elected(partition.index, epoch, log)
        finally:
            loaded = self._loading.pop(partition.index, None)
            if loaded is not None:
                loaded.wake()

    def on_resigned(self, partition: Partition) -> None:
        if partition.topic == self._topic:
            self._coordinator.on_resigned(partition.index)


class TopicNews:
    """Tells the group coordinator about topics."""

    def __init__(self, groups: GroupCoordinator) -> None:
        self._groups = groups

    def on_image(self, image: MetadataImage, delta: MetadataDelta) -> None:
        """Tell the coordinator about topics that were made, deleted or resized."""
        changed = dict.fromkeys(delta.topics_created.values())
        changed.update(dict.fromkeys(delta.topics_deleted.values()))
        for topic_id, _ in delta.partitions:
            topic = image.topics_by_id.get(topic_id)
            if topic is not None:
                changed[topic.name] = None
        if changed:
            self._groups.on_metadata(ImageTopics(image), list(changed))


class InternalTopicCreation:
    """Makes the repartition and changelog topics that a group's topology asks for."""

    def __init__(self, metadata: ClusterMetadata) -> None:
        self._metadata = metadata

    async def __call__(self, topics: Sequence[InternalTopic]) -> Mapping[str, str]:
        """Make them; why, by the name of each topic that could not be made."""
        wanted = [
            NewTopic(
                topic.name,
                topic.partitions,
                topic.replication_factor or -1,
                configs=topic.configs,
            )
            for topic in topics
        ]
        try:
            created = await self._metadata.create_topics(wanted)
        except ApiError as error:
            return {topic.name: str(error) for topic in topics}
        return {
            each.name: each.result.message or each.result.code.name.upper()
            for each in created
            if each.result.code not in (ErrorCode.none, ErrorCode.topic_already_exists)
        }

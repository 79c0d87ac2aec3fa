"""The cluster's metadata as the broker sees it: the image to read, the controller to change it.

A change runs the controller's pure operation on the newest image and waits until its records
are committed and replayed here. One change at a time: each sees what the one before it did.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from streamkit.broker.config_view import BrokerLayers
from streamkit.broker.kraft.broker_config import static_layer
from streamkit.broker.kraft.controller.producer_ids import ProducerIdBlock, allocate_producer_ids
from streamkit.broker.kraft.controller.results import Outcome
from streamkit.broker.kraft.controller.topics import (
    CreatedTopic,
    NewTopic,
    TopicDefaults,
    create_topics,
)
from streamkit.broker.kraft.features import supported_features
from streamkit.broker.kraft.group_config import GROUP_CONFIGS
from streamkit.broker.kraft.image import ConfigResource, MetadataImage
from streamkit.broker.kraft.quorum import Quorum
from streamkit.broker.kraft.voters import Voter
from streamkit.broker.settings import BrokerSettings
from streamkit.common.errors import ConfigError
from streamkit.common.seams import Random
from streamkit.protocol.errors import ApiError, ErrorCode

logger = logging.getLogger(__name__)

R = TypeVar("R")

NO_LEADER = -1
OFFSETS_TOPIC = "__consumer_offsets"
TRANSACTIONS_TOPIC = "__transaction_state"


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """A broker as clients are told about it."""

    id: int
    host: str
    port: int
    rack: str | None
    is_fenced: bool


@dataclass(frozen=True, slots=True)
class Features:
    """What this broker supports, and what the cluster has agreed on."""

    supported: Mapping[str, tuple[int, int]]
    finalized: Mapping[str, int]
    epoch: int


@dataclass(frozen=True, slots=True)
class QuorumState:
    """The metadata quorum as its leader sees it."""

    leader_id: int
    leader_epoch: int
    high_watermark: int
    log_end_offset: int
    voters: tuple[Voter, ...]


class ClusterMetadata:
    """The image, and changes to it."""

    def __init__(
        self,
        quorum: Quorum,
        settings: BrokerSettings,
        random: Random,
        listener: str,
    ) -> None:
        self._quorum = quorum
        self._settings = settings
        self._random = random
        self._listener = listener
        self._static = static_layer(settings)
        self._live = settings
        self._live_of: Mapping[ConfigResource, Mapping[str, str]] = {}
        self._ids = ProducerIdBlock(0, 0)

    @property
    def image(self) -> MetadataImage:
        """The newest committed image."""
        return self._quorum.image

    def features(self) -> Features:
        """The features for ApiVersions."""
        image = self.image
        return Features(supported_features(), image.features, image.offset)

    def quorum_state(self) -> QuorumState:
        """Who votes on the metadata and who leads."""
        quorum = self._quorum
        raft = quorum.raft
        leader_id = NO_LEADER if raft.leader_id is None else raft.leader_id
        high_watermark = quorum.image.offset + 1
        voters = tuple(quorum.voters.voters.values())
        return QuorumState(leader_id, raft.epoch, high_watermark, quorum.next_offset, voters)

    def broker_layers(self) -> BrokerLayers:
        """This broker's configurations: dynamic, dynamic for all, and from its start."""
        image = self.image
        node_id = self._settings.node_id
        return BrokerLayers(image.broker_configs(node_id), image.broker_configs(None), self._static)

    def live_settings(self) -> BrokerSettings:
        """The broker's settings as they are now: what was changed while it runs comes first."""
        configs = self.image.configs
        if configs is not self._live_of:
            layers = self.broker_layers()
            changed = {**layers.dynamic_default, **layers.dynamic}
            self._live_of = configs
            try:
                self._live = BrokerSettings.from_mapping({**self._settings.to_mapping(), **changed})
            except ConfigError as error:
                # Each fits, but not together with what this broker was started with.
                logger.error("the changed configuration is not followed: %s", error)
        return self._live

    def live_number(self, key: str) -> int:
        """One of the live settings."""
        value = getattr(self.live_settings(), key.replace(".", "_"))
        assert isinstance(value, int), f"{key} is {value!r}"
        return value

    def group_configs(self, group: str) -> Mapping[str, str]:
        """What was set on a group, and for all of them while the broker runs."""
        layers = self.broker_layers()
        changed = {**layers.dynamic_default, **layers.dynamic}
        for_all = {
            key.name: changed[name]
            for key in GROUP_CONFIGS.values()
            for name, _ in key.synonyms
            if name in changed
        }
        return {**for_all, **self.image.group_configs(group)}

    def brokers(self, *, include_fenced: bool = False) -> list[BrokerAddress]:
        """The brokers that clients may turn to, by id."""
        found = []
        for _, broker in sorted(self.image.brokers.items()):
            endpoint = next(
                (each for each in broker.endpoints if each.name == self._listener), None
            )
            if endpoint is not None and (include_fenced or not broker.fenced):
                found.append(
                    BrokerAddress(
                        broker.id, endpoint.host, endpoint.port, broker.rack, broker.fenced
                    )
                )
        return found

    def broker(self, broker_id: int) -> BrokerAddress | None:
        """One broker, unless it is fenced or unknown."""
        return next((each for each in self.brokers() if each.id == broker_id), None)

    async def change(self, operation: Callable[[MetadataImage], Outcome[R]]) -> R:
        """Run a controller operation; its response, once what it wrote is committed.

        Raises ApiError as the operation does.
        """
        return await self._quorum.write(operation)

    async def create_topics(
        self, topics: list[NewTopic], *, validate_only: bool = False
    ) -> tuple[CreatedTopic, ...]:
        """Make topics; the broker's defaults stand in for what they leave open."""
        defaults = TopicDefaults(
            self._settings.num_partitions, self._settings.default_replication_factor
        )
        return await self.change(
            lambda image: create_topics(
                image,
                topics,
                defaults=defaults,
                topic_ids=[self._new_topic_id() for _ in topics],
                placement_start=self._random.randrange(1 << 16),
                validate_only=validate_only,
            )
        )

    async def create_missing_topic(self, name: str) -> None:
        """Make a topic that somebody asked for by name, unless it is there by now.

        Raises ApiError when the name or the defaults do not allow it.
        """
        (created,) = await self.create_topics([self._auto_topic(name)])
        code = created.result.code
        if code not in (ErrorCode.none, ErrorCode.topic_already_exists):
            raise ApiError(code, created.result.message or "")

    async def next_producer_id(self) -> int:
        """A producer id that nobody had before."""
        if self._ids.count == 0:
            node_id = self._settings.node_id
            self._ids = await self.change(
                lambda image: allocate_producer_ids(image, node_id, image.brokers[node_id].epoch)
            )
        producer_id = self._ids.first
        self._ids = ProducerIdBlock(producer_id + 1, self._ids.count - 1)
        return producer_id

    def _auto_topic(self, name: str) -> NewTopic:
        settings = self._settings
        if name == TRANSACTIONS_TOPIC:
            return NewTopic(
                name,
                settings.transaction_state_log_num_partitions,
                settings.transaction_state_log_replication_factor,
                configs=(
                    ("cleanup.policy", "compact"),
                    ("compression.type", "uncompressed"),
                    ("min.insync.replicas", str(settings.transaction_state_log_min_isr)),
                    ("segment.bytes", str(settings.transaction_state_log_segment_bytes)),
                    ("unclean.leader.election.enable", "false"),
                ),
            )
        if name != OFFSETS_TOPIC:
            return NewTopic(name)
        return NewTopic(
            name,
            settings.offsets_topic_num_partitions,
            settings.offsets_topic_replication_factor,
            configs=(
                ("cleanup.policy", "compact"),
                ("compression.type", "producer"),
                ("segment.bytes", str(settings.offsets_topic_segment_bytes)),
            ),
        )

    def _new_topic_id(self) -> UUID:
        while True:
            topic_id = self._random.uuid4()
            # Ids that begin with `-` are a nuisance on command lines; Kafka avoids them too.
            if topic_id.bytes[0] >> 2 != 0b111110:
                return topic_id

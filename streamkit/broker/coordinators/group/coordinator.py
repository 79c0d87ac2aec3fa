"""The group coordinator as the rest of the node sees it.

Each group lives on one partition of `__consumer_offsets`; the partition's leader coordinates it.
Request errors that concern the whole request are raised as ApiError; NOT_COORDINATOR and
COORDINATOR_LOAD_IN_PROGRESS are among them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streamkit.broker.coordinators.group.requests import (
    CommitRequest,
    FetchAnswer,
    FetchRequest,
)
from streamkit.broker.coordinators.seams import (
    CreateInternalTopics,
    GroupConfigs,
    PartitionLog,
    StartTask,
    Timers,
    TopicsView,
)
from streamkit.broker.settings import BrokerSettings
from streamkit.common.model import TopicPartition
from streamkit.common.seams import Clock
from streamkit.protocol.errors import ApiError, ErrorCode

OFFSETS_TOPIC = "__consumer_offsets"


def partition_for_group(group_id: str, partitions: int) -> int:
    """The partition of `__consumer_offsets` that a group lives on: Java's hash of its id."""
    value = 0
    encoded = group_id.encode("utf-16-be", "surrogatepass")
    for index in range(0, len(encoded), 2):
        value = (31 * value + (encoded[index] << 8) + encoded[index + 1]) & 0xFFFFFFFF
    signed = value - (1 << 32) if value & 0x80000000 else value
    # Java's abs of the smallest int is negative; Kafka takes 0 for it.
    return 0 if signed == -(1 << 31) else abs(signed) % partitions


class GroupCoordinator:
    """All groups whose partition this node leads."""

    def __init__(
        self,
        settings: BrokerSettings,
        clock: Clock,
        timers: Timers,
        start_task: StartTask,
        *,
        topics: TopicsView,
        create_internal_topics: CreateInternalTopics,
        group_configs: GroupConfigs,
    ) -> None:
        self._settings = settings

    def partition_for(self, group_id: str) -> int:
        """The partition of `__consumer_offsets` that a group lives on."""
        return partition_for_group(group_id, self._settings.offsets_topic_num_partitions)

    async def on_elected(self, partition: int, leader_epoch: int, log: PartitionLog) -> None:
        """This node leads a partition from `leader_epoch` on: load its groups by replay."""
        raise NotImplementedError

    def on_resigned(self, partition: int, leader_epoch: int | None = None) -> None:
        """This node leads a partition no more: forget its groups."""
        raise NotImplementedError

    def on_metadata(self, topics: TopicsView, changed: Sequence[str] | None = None) -> None:
        """The image moved on; `changed` names the topics made, deleted or resized, None: any."""
        raise NotImplementedError

    async def commit_offsets(self, request: CommitRequest) -> Mapping[TopicPartition, ErrorCode]:
        """Commit offsets; an error for each partition. Raises ApiError for the whole request."""
        raise ApiError(ErrorCode.coordinator_not_available)

    async def fetch_offsets(self, request: FetchRequest) -> FetchAnswer:
        """Committed offsets of one group. Never raises: group errors are in the answer."""
        raise ApiError(ErrorCode.coordinator_not_available)

    async def streams_heartbeat(self, request: Any, client_id: str, client_host: str) -> Any:
        """Answer a StreamsGroupHeartbeatRequest (v0) with its response, errors included."""
        raise ApiError(ErrorCode.coordinator_not_available)

    async def streams_describe(self, group_ids: Sequence[str]) -> tuple[Any, ...]:
        """A `DescribedGroup` (StreamsGroupDescribe v0) for each group id, errors included."""
        raise ApiError(ErrorCode.coordinator_not_available)

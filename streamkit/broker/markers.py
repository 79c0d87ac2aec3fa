"""The ends of transactions in the partitions of this node.

A marker is one control batch. That of `__consumer_offsets` goes through the group coordinator,
whose pending offsets it settles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streamkit.broker.coordinators.group.coordinator import GroupCoordinator
from streamkit.broker.coordinators.runtime import TransactionEnd
from streamkit.broker.log.log import Origin
from streamkit.broker.log.producer_state import InTransaction
from streamkit.broker.metadata import OFFSETS_TOPIC, ClusterMetadata
from streamkit.broker.partitions import Partition
from streamkit.broker.replicas import Replicas
from streamkit.common.model import TopicPartition
from streamkit.common.seams import Clock
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.records import end_txn_marker

ACKS_ALL = -1
_NOT_HERE = (
    ErrorCode.not_coordinator,
    ErrorCode.coordinator_load_in_progress,
    ErrorCode.coordinator_not_available,
)

Errors = Mapping[TopicPartition, ErrorCode]


class MarkerWriter:
    """Writes markers to the partitions that this node leads."""

    def __init__(
        self,
        metadata: ClusterMetadata,
        replicas: Replicas,
        groups: GroupCoordinator,
        clock: Clock,
        timeout_ms: float,
    ) -> None:
        self._metadata = metadata
        self._replicas = replicas
        self._groups = groups
        self._clock = clock
        self._timeout_ms = timeout_ms

    async def finish(self, end: TransactionEnd, partitions: Sequence[TopicPartition]) -> Errors:
        """As `write`, for the coordinator: a deleted partition needs no marker."""
        topics = self._metadata.image.topics
        there = [
            each
            for each in partitions
            if each.topic in topics and each.partition in topics[each.topic].partitions
        ]
        return {**dict.fromkeys(partitions, ErrorCode.none), **await self.write(end, there)}

    async def write(self, end: TransactionEnd, partitions: Sequence[TopicPartition]) -> Errors:
        """Write a marker to each partition, and wait until it is committed."""
        errors = dict.fromkeys(partitions, ErrorCode.none)
        appended: list[tuple[TopicPartition, Partition, int]] = []
        for each in partitions:
            try:
                partition = self._replicas.find(*each)
                if each.topic == OFFSETS_TOPIC:
                    await self._groups.end_transaction(each.partition, end)
                else:
                    appended.append((each, partition, self._append(partition, end)))
            except ApiError as error:
                errors[each] = _translated(error.code)
        for each, partition, offset_end in appended:
            try:
                await partition.wait_committed(offset_end, self._timeout_ms)
            except ApiError as error:
                errors[each] = error.code
        return errors

    def _append(self, partition: Partition, end: TransactionEnd) -> int:
        batch = end_txn_marker(
            is_commit=end.is_commit,
            producer_id=end.producer_id,
            producer_epoch=end.producer_epoch,
            coordinator_epoch=end.coordinator_epoch,
            timestamp=self._clock.now_ms(),
        )
        version = InTransaction(version=end.transaction_version)
        info = partition.append(
            batch, acks=ACKS_ALL, origin=Origin.COORDINATOR, transaction=version
        )
        return info.last_offset + 1


def _translated(code: ErrorCode) -> ErrorCode:
    """A coordinator that is elsewhere is a partition that is led elsewhere."""
    return ErrorCode.not_leader_or_follower if code in _NOT_HERE else code

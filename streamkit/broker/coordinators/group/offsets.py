"""Committed offsets: one more map that only `replay` changes.

Offsets inside a transaction are pending until its marker; a plain commit that comes later in the
log than a pending one wins. Expired and deleted offsets are tombstones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from uuid import UUID

from streamkit.broker.coordinators.group.records import (
    OffsetCommitKey,
    OffsetCommitValue,
    Record,
)
from streamkit.broker.coordinators.group.requests import (
    NO_EPOCH,
    CommitRequest,
    CommittedOffset,
    OffsetToCommit,
)
from streamkit.broker.coordinators.runtime import NO_PRODUCER
from streamkit.common.model import TopicPartition
from streamkit.protocol.errors import ErrorCode

_UNSTABLE = CommittedOffset(error=ErrorCode.unstable_offset_commit)


class Committed(NamedTuple):
    """One committed offset and where in the log it stands."""

    value: OffsetCommitValue
    log_offset: int


@dataclass(slots=True)
class Offsets:
    """All committed offsets of one partition of `__consumer_offsets`."""

    by_group: dict[str, dict[TopicPartition, Committed]] = field(default_factory=dict)
    pending: dict[int, dict[tuple[str, TopicPartition], Committed]] = field(default_factory=dict)
    """Offsets of open transactions by producer id."""

    def replay(
        self, key: OffsetCommitKey, value: OffsetCommitValue | None, offset: int, producer_id: int
    ) -> None:
        """Apply an offset record."""
        partition = TopicPartition(key.topic, key.partition)
        if value is None:
            self._remove(key.group, partition)
        elif producer_id != NO_PRODUCER:
            open_offsets = self.pending.setdefault(producer_id, {})
            open_offsets[key.group, partition] = Committed(value, offset)
        else:
            self.by_group.setdefault(key.group, {})[partition] = Committed(value, offset)

    def end_transaction(self, producer_id: int, *, is_commit: bool) -> None:
        """Pending offsets become committed, unless a plain commit came later, or go away."""
        ended = self.pending.pop(producer_id, {})
        if not is_commit:
            return
        for (group_id, partition), committed in ended.items():
            offsets = self.by_group.setdefault(group_id, {})
            known = offsets.get(partition)
            if known is None or known.log_offset < committed.log_offset:
                offsets[partition] = committed

    def has_group(self, group_id: str) -> bool:
        """Whether the group has an offset, committed or in an open transaction."""
        return group_id in self.by_group or bool(self._unstable(group_id))

    def fetch(
        self,
        group_id: str,
        partitions: Iterable[TopicPartition] | None,
        *,
        require_stable: bool,
    ) -> dict[TopicPartition, CommittedOffset]:
        """Answers by partition; None asks for every partition that has an offset."""
        offsets = self.by_group.get(group_id, {})
        unstable = self._unstable(group_id) if require_stable else frozenset()
        wanted = sorted(offsets.keys() | unstable) if partitions is None else partitions
        return {
            partition: _UNSTABLE if partition in unstable else _answer(offsets.get(partition))
            for partition in wanted
        }

    def _unstable(self, group_id: str) -> frozenset[TopicPartition]:
        return frozenset(
            partition
            for open_offsets in self.pending.values()
            for group, partition in open_offsets
            if group == group_id
        )

    def groups(self) -> set[str]:
        """The groups that have an offset, committed or in an open transaction."""
        pending = (group for offsets in self.pending.values() for group, _ in offsets)
        return {*self.by_group, *pending}

    def partitions(self, group_id: str) -> set[TopicPartition]:
        """Where a group has an offset, committed or in an open transaction."""
        return {*self.by_group.get(group_id, ()), *self._unstable(group_id)}

    def _remove(self, group_id: str, partition: TopicPartition) -> None:
        """What is removed is not brought back by a transaction that ends later."""
        for open_offsets in self.pending.values():
            open_offsets.pop((group_id, partition), None)
        offsets = self.by_group.get(group_id)
        if offsets is not None:
            offsets.pop(partition, None)
            if not offsets:
                del self.by_group[group_id]

    def expired(
        self,
        group_id: str,
        now_ms: int,
        retention_ms: int,
        kept_topics: frozenset[str],
        since_ms: int | None = None,
    ) -> list[TopicPartition]:
        """Partitions whose offsets are older than the retention and not in use.

        They age from their commit, or all of them from `since_ms`.
        """
        unstable = self._unstable(group_id)
        return sorted(
            partition
            for partition, committed in self.by_group.get(group_id, {}).items()
            if partition.topic not in kept_topics
            and partition not in unstable
            and now_ms >= _expiry_ms(committed.value, retention_ms, since_ms)
        )


def _expiry_ms(value: OffsetCommitValue, retention_ms: int, since_ms: int | None) -> int:
    if value.expire_timestamp >= 0:
        return value.expire_timestamp
    return (value.commit_timestamp if since_ms is None else since_ms) + retention_ms


def _answer(committed: Committed | None) -> CommittedOffset:
    if committed is None:
        return CommittedOffset()
    value = committed.value
    return CommittedOffset(value.offset, value.leader_epoch, value.metadata)


def commit_records(
    request: CommitRequest, now_ms: int, metadata_bytes_max: int
) -> tuple[list[Record], dict[TopicPartition, ErrorCode]]:
    """The records of a commit whose member was found right, and an error for each partition."""
    records = []
    errors = {}
    for partition, wanted in request.offsets.items():
        if len(wanted.metadata or "") > metadata_bytes_max:
            errors[partition] = ErrorCode.offset_metadata_too_large
            continue
        errors[partition] = ErrorCode.none
        topic_id = request.topic_ids.get(partition.topic)
        records.append(_commit_record(request.group_id, partition, wanted, topic_id, now_ms))
    return records, errors


def _commit_record(
    group_id: str,
    partition: TopicPartition,
    wanted: OffsetToCommit,
    topic_id: UUID | None,
    now_ms: int,
) -> Record:
    value = OffsetCommitValue(
        offset=wanted.offset,
        leader_epoch=wanted.leader_epoch,
        metadata=wanted.metadata or "",
        commit_timestamp=now_ms,
        topic_id=topic_id,
    )
    return Record(_key(group_id, partition), value)


def tombstones(group_id: str, partitions: Iterable[TopicPartition]) -> list[Record]:
    """The records that remove offsets."""
    return [Record(_key(group_id, partition), None) for partition in partitions]


def _key(group_id: str, partition: TopicPartition) -> OffsetCommitKey:
    return OffsetCommitKey(group=group_id, topic=partition.topic, partition=partition.partition)


def with_topic_ids(request: CommitRequest, topic_ids: Mapping[str, UUID | None]) -> CommitRequest:
    """The request with the ids of topics that it lacks."""
    known = {topic: topic_id for topic, topic_id in topic_ids.items() if topic_id is not None}
    return replace(request, topic_ids={**known, **request.topic_ids})


def is_without_membership(request: CommitRequest) -> bool:
    """Whether the commit claims no generation or member epoch."""
    return request.member_epoch <= NO_EPOCH

"""A consumer group's records made from its values."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from streamkit.broker.coordinators.group import records as rec
from streamkit.broker.coordinators.group.consumer.model import (
    ConsumerGroup,
    Held,
    Member,
    Partition,
    Partitions,
    ResolvedRegex,
)


def by_topic(partitions: Iterable[Partition]) -> dict[UUID, tuple[int, ...]]:
    """Partition numbers by topic id, both sorted."""
    found: dict[UUID, list[int]] = {}
    for topic_id, index in sorted(partitions):
        found.setdefault(topic_id, []).append(index)
    return {topic_id: tuple(indexes) for topic_id, indexes in found.items()}


def group_record(group_id: str, epoch: int, metadata_hash: int) -> rec.Record:
    """The record of a group's epoch."""
    value = rec.ConsumerGroupMetadataValue(epoch=epoch, metadata_hash=metadata_hash)
    return rec.Record(rec.ConsumerGroupMetadataKey(group_id=group_id), value)


def member_record(group_id: str, member: Member) -> rec.Record:
    """The record of what a member says of itself."""
    key = rec.ConsumerGroupMemberMetadataKey(group_id=group_id, member_id=member.member_id)
    return rec.Record(key, member.metadata)


def target_record(group_id: str, member_id: str, partitions: Partitions) -> rec.Record:
    """The record of a member's target."""
    key = rec.ConsumerGroupTargetAssignmentMemberKey(group_id=group_id, member_id=member_id)
    topics = tuple(
        rec.TargetPartitions(topic_id=topic_id, partitions=indexes)
        for topic_id, indexes in by_topic(partitions).items()
    )
    return rec.Record(key, rec.ConsumerGroupTargetAssignmentMemberValue(topic_partitions=topics))


def target_metadata_record(group_id: str, epoch: int, timestamp: int) -> rec.Record:
    """The record of the epoch that the target was computed for."""
    key = rec.ConsumerGroupTargetAssignmentMetadataKey(group_id=group_id)
    value = rec.ConsumerGroupTargetAssignmentMetadataValue(
        assignment_epoch=epoch, assignment_timestamp=timestamp
    )
    return rec.Record(key, value)


def current_record(group_id: str, member: Member) -> rec.Record:
    """The record of a member's assignment."""
    key = rec.ConsumerGroupCurrentMemberAssignmentKey(group_id=group_id, member_id=member.member_id)
    value = rec.ConsumerGroupCurrentMemberAssignmentValue(
        member_epoch=member.epoch,
        previous_member_epoch=member.previous_epoch,
        state=int(member.state),
        assigned_partitions=_held_list(member.assigned),
        partitions_pending_revocation=_held_list(member.revoking),
    )
    return rec.Record(key, value)


def _held_list(held: Held) -> tuple[rec.CurrentPartitions, ...]:
    return tuple(
        rec.CurrentPartitions(
            topic_id=topic_id,
            partitions=indexes,
            assignment_epochs=tuple(held[topic_id, index] for index in indexes),
        )
        for topic_id, indexes in by_topic(held).items()
    )


def regex_record(group_id: str, regex: str, resolved: ResolvedRegex) -> rec.Record:
    """The record of what a regular expression matched."""
    value = rec.ConsumerGroupRegularExpressionValue(
        topics=tuple(sorted(resolved.topics)),
        version=resolved.version,
        timestamp=resolved.timestamp,
    )
    return rec.Record(_regex_key(group_id, regex), value)


def regex_tombstone(group_id: str, regex: str) -> rec.Record:
    """The record that forgets a regular expression."""
    return rec.Record(_regex_key(group_id, regex), None)


def _regex_key(group_id: str, regex: str) -> rec.ConsumerGroupRegularExpressionKey:
    return rec.ConsumerGroupRegularExpressionKey(group_id=group_id, regular_expression=regex)


def partition_metadata_tombstone(group_id: str) -> rec.Record:
    """The record that removes what Kafka before 4.1 kept of the topics."""
    return rec.Record(rec.ConsumerGroupPartitionMetadataKey(group_id=group_id), None)


def member_tombstones(group_id: str, member_id: str) -> list[rec.Record]:
    """The records that remove a member."""
    keys = (
        rec.ConsumerGroupCurrentMemberAssignmentKey(group_id=group_id, member_id=member_id),
        rec.ConsumerGroupTargetAssignmentMemberKey(group_id=group_id, member_id=member_id),
        rec.ConsumerGroupMemberMetadataKey(group_id=group_id, member_id=member_id),
    )
    return [rec.Record(key, None) for key in keys]


def group_tombstones(group: ConsumerGroup, member_ids: Iterable[str] = ()) -> list[rec.Record]:
    """The records that remove a group and its members, and `member_ids` with them."""
    group_id = group.group_id
    found: list[rec.Record] = []
    for member_id in sorted({*group.members, *group.targets, *member_ids}):
        found += member_tombstones(group_id, member_id)
    target_key = rec.ConsumerGroupTargetAssignmentMetadataKey(group_id=group_id)
    found.append(rec.Record(target_key, None))
    found += [regex_tombstone(group_id, regex) for regex in sorted(group.regexes)]
    found.append(partition_metadata_tombstone(group_id))
    found.append(rec.Record(rec.ConsumerGroupMetadataKey(group_id=group_id), None))
    return found

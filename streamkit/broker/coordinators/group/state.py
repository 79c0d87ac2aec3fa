"""One partition of `__consumer_offsets` as a state machine: its groups and their offsets.

`replay` is the only way in. A record type finds its place through `_REPLAY`; the other kinds of
groups add theirs there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streamkit.broker.coordinators.group import records as rec
from streamkit.broker.coordinators.group.classic.model import ClassicGroup
from streamkit.broker.coordinators.group.consumer import translate as consumer_records
from streamkit.broker.coordinators.group.consumer.model import ConsumerGroup
from streamkit.broker.coordinators.group.offsets import Offsets
from streamkit.broker.coordinators.group.streams import translate
from streamkit.broker.coordinators.group.streams.model import SoftState, StreamsGroup


class GroupShard:
    """All groups of one partition."""

    def __init__(self) -> None:
        self.offsets = Offsets()
        self.streams: dict[str, StreamsGroup] = {}
        self.classic: dict[str, ClassicGroup] = {}
        self.consumer: dict[str, ConsumerGroup] = {}
        self._soft: dict[str, SoftState] = {}

    def replay(self, record: rec.Record, offset: int, producer_id: int) -> None:
        """Apply a committed record."""
        if isinstance(record.key, rec.OffsetCommitKey):
            self.offsets.replay(record.key, record.value, offset, producer_id)
        else:
            _REPLAY[type(record.key)](self, record.key, record.value)

    def end_transaction(self, producer_id: int, *, is_commit: bool) -> None:
        """Apply a transaction's marker."""
        self.offsets.end_transaction(producer_id, is_commit=is_commit)

    def soft_of(self, group_id: str) -> SoftState:
        """What is known of a group beyond its records, made when there is none."""
        return self._soft.setdefault(group_id, SoftState())

    def has_group(self, group_id: str) -> bool:
        """Whether there is a group; offsets alone make one, a simple group."""
        return self.is_typed(group_id) or self.offsets.has_group(group_id)

    def is_typed(self, group_id: str) -> bool:
        """Whether there is a group of one of the types, which has more than offsets."""
        return group_id in self.streams or group_id in self.classic or group_id in self.consumer

    def has_members(self, group_id: str) -> bool:
        """Whether somebody is in the group, of whatever type."""
        classic = self.classic.get(group_id)
        if classic is not None:
            return not classic.is_empty
        group = self.consumer.get(group_id) or self.streams.get(group_id)
        return group is not None and bool(group.members)

    def empty_tombstones(self, group_id: str) -> list[rec.Record]:
        """What removes an empty group, so that another type can take its place."""
        assert not self.has_members(group_id), f"{group_id} has members"
        if group_id in self.streams:
            return translate.group_tombstones(group_id)
        if group_id in self.consumer:
            return consumer_records.group_tombstones(self.consumer[group_id])
        if group_id in self.classic:
            return [rec.Record(rec.GroupMetadataKey(group=group_id), None)]
        return []

    def replay_classic(self, key: rec.GroupMetadataKey, value: Any) -> None:
        if value is None:
            self.classic.pop(key.group, None)
            return
        group = self.classic.setdefault(key.group, ClassicGroup(key.group))
        group.replay(value)

    def change_streams(
        self, group_id: str, change: Callable[[StreamsGroup], None], *, is_tombstone: bool
    ) -> None:
        """Apply a record to a streams group; it comes with its first record, goes with its last."""
        group = self.streams.get(group_id)
        if group is None:
            if is_tombstone:
                return
            group = self.streams[group_id] = StreamsGroup(group_id, self.soft_of(group_id))
        change(group)
        if group.is_gone:
            del self.streams[group_id]
            self._soft.pop(group_id, None)

    def change_consumer(
        self, group_id: str, change: Callable[[ConsumerGroup], None], *, is_tombstone: bool
    ) -> None:
        """Apply a record to a consumer group; it comes and goes as a streams group does."""
        group = self.consumer.get(group_id)
        if group is None:
            if is_tombstone:
                return
            group = self.consumer[group_id] = ConsumerGroup(group_id)
        change(group)
        if group.is_gone:
            del self.consumer[group_id]


def _consumer_record(name: str, part: str | None = None) -> Callable[[GroupShard, Any, Any], None]:
    """A record of a consumer group, or of a part of it that its key names."""

    def replay(shard: GroupShard, key: Any, value: Any) -> None:
        arguments = (value,) if part is None else (getattr(key, part), value)
        shard.change_consumer(
            key.group_id,
            lambda group: getattr(group, name)(*arguments),
            is_tombstone=value is None,
        )

    return replay


def _group_record(
    name: str,
) -> Callable[[GroupShard, Any, Any], None]:
    def replay(shard: GroupShard, key: Any, value: Any) -> None:
        shard.change_streams(
            key.group_id, lambda group: getattr(group, name)(value), is_tombstone=value is None
        )

    return replay


def _member_record(
    name: str,
) -> Callable[[GroupShard, Any, Any], None]:
    def replay(shard: GroupShard, key: Any, value: Any) -> None:
        shard.change_streams(
            key.group_id,
            lambda group: getattr(group, name)(key.member_id, value),
            is_tombstone=value is None,
        )

    return replay


_REPLAY: dict[type[Any], Callable[[GroupShard, Any, Any], None]] = {
    rec.GroupMetadataKey: GroupShard.replay_classic,
    rec.ConsumerGroupMetadataKey: _consumer_record("replay_metadata"),
    rec.ConsumerGroupPartitionMetadataKey: _consumer_record("replay_partition_metadata"),
    rec.ConsumerGroupMemberMetadataKey: _consumer_record("replay_member", "member_id"),
    rec.ConsumerGroupTargetAssignmentMetadataKey: _consumer_record("replay_target_metadata"),
    rec.ConsumerGroupTargetAssignmentMemberKey: _consumer_record("replay_target", "member_id"),
    rec.ConsumerGroupCurrentMemberAssignmentKey: _consumer_record("replay_current", "member_id"),
    rec.ConsumerGroupRegularExpressionKey: _consumer_record("replay_regex", "regular_expression"),
    rec.StreamsGroupMetadataKey: _group_record("replay_metadata"),
    rec.StreamsGroupMemberMetadataKey: _member_record("replay_member"),
    rec.StreamsGroupTargetAssignmentMetadataKey: _group_record("replay_target_metadata"),
    rec.StreamsGroupTargetAssignmentMemberKey: _member_record("replay_target"),
    rec.StreamsGroupCurrentMemberAssignmentKey: _member_record("replay_current"),
    rec.StreamsGroupTopologyKey: _group_record("replay_topology"),
}

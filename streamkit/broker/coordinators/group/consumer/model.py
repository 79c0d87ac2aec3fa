"""A consumer group: what its records say, and who holds which partition.

`ConsumerGroup` changes only through `replay_*`. Beside that it has marks that may be lost with the
leadership: that its topics may have changed, that its regular expressions are being resolved, who
was told to join again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum
from uuid import UUID

from streamkit.broker.coordinators.group import records as rec

NEW_GROUP_EPOCH = 1
"""A new group starts here; the epoch 1 stands for an empty assignment."""
JOIN_EPOCH = 0
LEAVE_EPOCH = -1
LEAVE_STATIC_EPOCH = -2
"""A static member that is away has this epoch until it is back."""

Partition = tuple[UUID, int]
"""A topic's id and a partition of it."""
Partitions = frozenset[Partition]
Held = Mapping[Partition, int]
"""Partitions with the epochs at which they were given (KIP-1251)."""

NO_PARTITIONS: Partitions = frozenset()
NOTHING_SAID = rec.ConsumerGroupMemberMetadataValue()


class MemberState(IntEnum):
    """Where a member stands on its way to the target, as record 8 writes it."""

    STABLE = 0
    UNREVOKED_PARTITIONS = 1
    UNRELEASED_PARTITIONS = 2
    UNKNOWN = 127


class GroupState(Enum):
    """A group's state by Kafka's names."""

    EMPTY = "Empty"
    ASSIGNING = "Assigning"
    RECONCILING = "Reconciling"
    STABLE = "Stable"


@dataclass(frozen=True, slots=True)
class ResolvedRegex:
    """The topics that a regular expression matched in an image, and when that was."""

    topics: frozenset[str] = frozenset()
    version: int = 0
    timestamp: int = 0


@dataclass(frozen=True, slots=True)
class Member:
    """One member, of either protocol."""

    member_id: str
    metadata: rec.ConsumerGroupMemberMetadataValue = NOTHING_SAID
    epoch: int = 0
    previous_epoch: int = -1
    state: MemberState = MemberState.STABLE
    assigned: Held = field(default_factory=dict)
    revoking: Held = field(default_factory=dict)

    @property
    def instance_id(self) -> str | None:
        return self.metadata.instance_id

    @property
    def rebalance_timeout_ms(self) -> int:
        return self.metadata.rebalance_timeout_ms

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics subscribed to by name, sorted."""
        return self.metadata.subscribed_topic_names

    @property
    def regex(self) -> str:
        """The regular expression subscribed to; empty for none."""
        return self.metadata.subscribed_topic_regex or ""

    @property
    def classic(self) -> rec.ClassicMemberMetadata | None:
        """What is known of a member that speaks the classic protocol."""
        return self.metadata.classic_member_metadata

    @property
    def is_classic(self) -> bool:
        return self.classic is not None

    def is_reconciled_to(self, assignment_epoch: int) -> bool:
        return self.state is MemberState.STABLE and self.epoch == assignment_epoch

    def given_at(self, partition: Partition) -> int | None:
        """The epoch at which a partition was given to the member; None when it has it not."""
        return self.assigned.get(partition, self.revoking.get(partition))


class Holders:
    """Which members hold which partitions, to read or to be given back."""

    def __init__(self) -> None:
        self._members: dict[Partition, list[str]] = {}

    def add(self, member: Member) -> None:
        for partition in (*member.assigned, *member.revoking):
            self._members.setdefault(partition, []).append(member.member_id)

    def remove(self, member: Member) -> None:
        for partition in (*member.assigned, *member.revoking):
            members = self._members[partition]
            members.remove(member.member_id)
            if not members:
                del self._members[partition]

    def __contains__(self, partition: Partition) -> bool:
        return partition in self._members


class ConsumerGroup:
    """One consumer group as its records tell it."""

    def __init__(self, group_id: str) -> None:
        self.group_id = group_id
        self.epoch = NEW_GROUP_EPOCH
        self.metadata_hash = 0
        self.members: dict[str, Member] = {}
        self.instances: dict[str, str] = {}
        """Member ids by instance id."""
        self.targets: dict[str, Partitions] = {}
        self.assignment_epoch = NEW_GROUP_EPOCH
        self.assignment_timestamp = 0
        self.regexes: dict[str, ResolvedRegex] = {}
        self.subscribers: Counter[str] = Counter()
        """How many members subscribe to each regular expression."""
        self.holders = Holders()
        self.has_metadata = False
        self.has_partition_metadata = False
        """Kafka before 4.1 wrote it; it is to be removed."""
        self.is_metadata_stale = True
        """A topic of the group may have changed since the hash was computed."""
        self.is_resolving = False
        self.awaited: set[str] = set()
        """Classic members that were told to join again."""

    @property
    def state(self) -> GroupState:
        if not self.members:
            return GroupState.EMPTY
        if self.epoch > self.assignment_epoch:
            return GroupState.ASSIGNING
        settled = all(
            each.is_reconciled_to(self.assignment_epoch) for each in self.members.values()
        )
        return GroupState.STABLE if settled else GroupState.RECONCILING

    @property
    def member_list(self) -> Iterator[Member]:
        """Members by id."""
        return (self.members[member_id] for member_id in sorted(self.members))

    @property
    def is_gone(self) -> bool:
        """Whether all its records have been removed."""
        return not (self.has_metadata or self.members or self.targets or self.regexes)

    @property
    def classic_members(self) -> list[Member]:
        return [each for each in self.members.values() if each.is_classic]

    def static_member(self, instance_id: str | None) -> Member | None:
        if instance_id is None or instance_id not in self.instances:
            return None
        return self.members[self.instances[instance_id]]

    def target_of(self, member_id: str) -> Partitions:
        return self.targets.get(member_id, NO_PARTITIONS)

    @property
    def subscribed_topics(self) -> frozenset[str]:
        """The topics of all members, by name and by regular expression."""
        return self.topics_of(self.members.values())

    def topics_of(self, members: Iterable[Member]) -> frozenset[str]:
        """The topics of some members."""
        found: set[str] = set()
        for member in members:
            found.update(member.topics)
            if member.regex:
                found |= self.resolved(member.regex)
        return frozenset(found)

    def resolved(self, regex: str) -> frozenset[str]:
        """The topics that match; none as long as that is not known."""
        known = self.regexes.get(regex)
        return frozenset() if known is None else known.topics

    def replay_metadata(self, value: rec.ConsumerGroupMetadataValue | None) -> None:
        self.has_metadata = value is not None
        if value is not None:
            self.epoch = value.epoch
            self.metadata_hash = value.metadata_hash

    def replay_partition_metadata(
        self, value: rec.ConsumerGroupPartitionMetadataValue | None
    ) -> None:
        self.has_partition_metadata = value is not None

    def replay_member(
        self, member_id: str, value: rec.ConsumerGroupMemberMetadataValue | None
    ) -> None:
        known = self.members.get(member_id)
        if value is not None:
            self._put(member_id, replace(known or Member(member_id), metadata=value))
        elif known is not None:
            self._put(member_id, None)

    def replay_current(
        self, member_id: str, value: rec.ConsumerGroupCurrentMemberAssignmentValue | None
    ) -> None:
        known = self.members.get(member_id)
        if value is not None:
            self._put(member_id, _with_current(known or Member(member_id), value))
        elif known is not None:
            gone = replace(
                known, epoch=LEAVE_EPOCH, previous_epoch=LEAVE_EPOCH, assigned={}, revoking={}
            )
            self._put(member_id, gone)

    def replay_target_metadata(
        self, value: rec.ConsumerGroupTargetAssignmentMetadataValue | None
    ) -> None:
        if value is not None:
            self.assignment_epoch = value.assignment_epoch
            self.assignment_timestamp = value.assignment_timestamp

    def replay_target(
        self, member_id: str, value: rec.ConsumerGroupTargetAssignmentMemberValue | None
    ) -> None:
        if value is None:
            self.targets.pop(member_id, None)
        else:
            self.targets[member_id] = frozenset(
                (_id(each.topic_id), index)
                for each in value.topic_partitions
                for index in each.partitions
            )

    def replay_regex(
        self, regex: str, value: rec.ConsumerGroupRegularExpressionValue | None
    ) -> None:
        if value is None:
            self.regexes.pop(regex, None)
        else:
            topics = frozenset(value.topics)
            self.regexes[regex] = ResolvedRegex(topics, value.version, value.timestamp)

    def _put(self, member_id: str, member: Member | None) -> None:
        before = self.members.pop(member_id, None)
        if before is not None:
            self.holders.remove(before)
            self._forget_instance(before)
            self._count_regex(before.regex, -1)
        if member is not None:
            self.members[member_id] = member
            self.holders.add(member)
            self._count_regex(member.regex, 1)
            if member.instance_id is not None:
                self.instances[member.instance_id] = member_id

    def _count_regex(self, regex: str, change: int) -> None:
        if regex:
            self.subscribers[regex] += change
            if not self.subscribers[regex]:
                del self.subscribers[regex]

    def _forget_instance(self, member: Member) -> None:
        instance_id = member.instance_id
        if instance_id is not None and self.instances.get(instance_id) == member.member_id:
            del self.instances[instance_id]


def _with_current(member: Member, value: rec.ConsumerGroupCurrentMemberAssignmentValue) -> Member:
    return replace(
        member,
        epoch=value.member_epoch,
        previous_epoch=value.previous_member_epoch,
        state=_member_state(value.state),
        assigned=_held(value.assigned_partitions, value.member_epoch),
        revoking=_held(value.partitions_pending_revocation, value.member_epoch),
    )


def _member_state(value: int) -> MemberState:
    known = value in MemberState._value2member_map_
    return MemberState(value) if known else MemberState.UNKNOWN


def _held(entries: Iterable[rec.CurrentPartitions], member_epoch: int) -> Held:
    """Epochs by partition; a record of before KIP-1251 has none, the member's stands in."""
    held: dict[Partition, int] = {}
    for each in entries:
        topic_id = _id(each.topic_id)
        epochs = each.assignment_epochs or ()
        if len(epochs) != len(each.partitions):
            epochs = (max(member_epoch, 0),) * len(each.partitions)
        for index, epoch in zip(each.partitions, epochs, strict=True):
            held[topic_id, index] = epoch
    return held


def _id(topic_id: UUID | None) -> UUID:
    return topic_id or UUID(int=0)

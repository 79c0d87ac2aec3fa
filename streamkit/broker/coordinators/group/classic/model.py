"""A classic group: generation, members, and the requests that wait for its barrier.

What the record says (generation, protocol, leader, members with their assignments) changes by
`replay`. A rebalance in progress is soft state, as it is in Kafka: operations change it at once,
it is lost with the leadership, and the members start over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from streamkit.broker.coordinators.group import records as rec
from streamkit.broker.coordinators.group.classic.messages import JoinedMember, Protocols
from streamkit.broker.coordinators.group.classic.subscription import (
    CONSUMER,
    MalformedSubscriptionError,
    read_subscription,
)
from streamkit.broker.coordinators.group.effects import Ticket
from streamkit.protocol.errors import ApiError, ErrorCode


class ClassicState(Enum):
    """A group's state by Kafka's names."""

    EMPTY = "Empty"
    PREPARING = "PreparingRebalance"
    COMPLETING = "CompletingRebalance"
    STABLE = "Stable"


_MAY_FOLLOW: Mapping[ClassicState, frozenset[ClassicState]] = {
    ClassicState.EMPTY: frozenset({ClassicState.PREPARING}),
    ClassicState.PREPARING: frozenset(
        {ClassicState.EMPTY, ClassicState.COMPLETING, ClassicState.STABLE}
    ),
    ClassicState.COMPLETING: frozenset({ClassicState.PREPARING}),
    ClassicState.STABLE: frozenset({ClassicState.COMPLETING}),
}
"""From which states each state is entered."""


@dataclass(slots=True)
class ClassicMember:
    """One member; it is waiting while it has a ticket."""

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    rebalance_timeout_ms: int
    session_timeout_ms: int
    protocols: Protocols
    assignment: bytes = b""
    join_ticket: Ticket | None = None
    sync_ticket: Ticket | None = None
    is_new: bool = False
    """Its first join still waits, so it cannot send heartbeats."""

    @property
    def is_excused(self) -> bool:
        """Whether silence is no sign of death: it waits for us."""
        return not self.is_new and (self.join_ticket is not None or self.sync_ticket is not None)

    def metadata(self, protocol: str | None) -> bytes:
        return dict(self.protocols).get(protocol or "", b"")

    def vote(self, candidates: frozenset[str]) -> str:
        """The first of its protocols that everybody has."""
        return next(name for name, _ in self.protocols if name in candidates)


@dataclass(slots=True)
class ClassicGroup:
    """One classic group."""

    group_id: str
    state: ClassicState = ClassicState.EMPTY
    previous_state: ClassicState = ClassicState.EMPTY
    state_timestamp_ms: int = -1
    generation: int = 0
    protocol_type: str | None = None
    protocol: str | None = None
    leader: str | None = None
    members: dict[str, ClassicMember] = field(default_factory=dict)
    pending: dict[str, None] = field(default_factory=dict)
    """Ids given out (MEMBER_ID_REQUIRED) that did not come back yet, in order."""
    pending_sync: dict[str, None] = field(default_factory=dict)
    is_delay_extended: bool = False
    """A member came during the initial delay."""
    subscribed_topics: frozenset[str] | None = None
    """None when the group is not of consumers, or they cannot be understood."""

    @property
    def is_empty(self) -> bool:
        return self.state is ClassicState.EMPTY

    @property
    def is_consumers(self) -> bool:
        return self.protocol_type == CONSUMER

    @property
    def rebalance_timeout_ms(self) -> int:
        return max((each.rebalance_timeout_ms for each in self.members.values()), default=0)

    @property
    def awaiting_join(self) -> int:
        """How many members wait in JoinGroup."""
        return sum(each.join_ticket is not None for each in self.members.values())

    @property
    def has_all_joined(self) -> bool:
        return self.awaiting_join == len(self.members) and not self.pending

    @property
    def can_rebalance(self) -> bool:
        return self.state in _MAY_FOLLOW[ClassicState.PREPARING]

    def static_member(self, instance_id: str | None) -> ClassicMember | None:
        if instance_id is None:
            return None
        found = (each for each in self.members.values() if each.instance_id == instance_id)
        return next(found, None)

    def member_or_raise(self, member_id: str, instance_id: str | None) -> ClassicMember:
        """The member, known by both of its ids."""
        if instance_id is not None:
            known = self.static_member(instance_id)
            if known is None:
                raise ApiError(ErrorCode.unknown_member_id, f"no instance {instance_id}")
            if known.member_id != member_id:
                raise ApiError(
                    ErrorCode.fenced_instance_id, f"{instance_id} is member {known.member_id}"
                )
        member = self.members.get(member_id)
        if member is None:
            raise ApiError(ErrorCode.unknown_member_id, f"no member {member_id}")
        return member

    def supports(self, protocol_type: str, protocols: Iterable[str]) -> bool:
        """Whether a member with these protocols fits in."""
        names = list(protocols)
        if self.is_empty:
            return bool(protocol_type) and bool(names)
        if self.protocol_type != protocol_type:
            return False
        return (not self.members and bool(names)) or not self.candidates.isdisjoint(names)

    @property
    def candidates(self) -> frozenset[str]:
        """The protocols that every member has."""
        counts = Counter(
            name for each in self.members.values() for name in {name for name, _ in each.protocols}
        )
        return frozenset(name for name, count in counts.items() if count == len(self.members))

    def select_protocol(self) -> str:
        """The candidate with most votes."""
        candidates = self.candidates
        votes = Counter(each.vote(candidates) for each in self.members.values())
        return votes.most_common(1)[0][0]

    def add(self, member: ClassicMember, protocol_type: str) -> None:
        """Take a member in; the first one leads."""
        if not self.members:
            self.protocol_type = protocol_type
        if self.leader is None:
            self.leader = member.member_id
        self.members[member.member_id] = member
        self.pending.pop(member.member_id, None)

    def remove(self, member_id: str) -> None:
        """Forget a member, whatever it was; another one leads."""
        self.members.pop(member_id, None)
        self.pending.pop(member_id, None)
        self.pending_sync.pop(member_id, None)
        if self.leader == member_id:
            self.leader = next(iter(self.members), None)

    def replace_static(self, old: ClassicMember, member_id: str) -> ClassicMember:
        """The same instance under a new member id, in the same place."""
        was_leader = self.leader == old.member_id
        kept = {each.member_id: each for each in self.members.values() if each is not old}
        new = ClassicMember(
            member_id,
            old.instance_id,
            old.client_id,
            old.client_host,
            old.rebalance_timeout_ms,
            old.session_timeout_ms,
            old.protocols,
            old.assignment,
        )
        self.members = {**kept, member_id: new}
        if was_leader:
            self.leader = member_id
        if self.pending_sync.pop(old.member_id, 0) is None:
            self.pending_sync[member_id] = None
        return new

    def maybe_elect_leader(self) -> bool:
        """A leader that has joined; False when nobody has."""
        leader = self.members.get(self.leader or "")
        if leader is not None and leader.join_ticket is not None:
            return True
        for member in self.members.values():
            if member.join_ticket is not None:
                self.leader = member.member_id
                return True
        return False

    def transition(self, to: ClassicState, now_ms: int) -> None:
        """Change the state, in an order that is allowed."""
        assert self.state in _MAY_FOLLOW[to], f"{self.group_id}: {self.state} before {to}"
        self.previous_state, self.state = self.state, to
        self.state_timestamp_ms = now_ms

    def start_generation(self, now_ms: int) -> None:
        """All who are here have joined: the next generation begins."""
        self.generation += 1
        self.pending_sync.clear()
        self.protocol = self.select_protocol() if self.members else None
        self.transition(ClassicState.COMPLETING if self.members else ClassicState.EMPTY, now_ms)
        self._note_topics()

    def joined_members(self) -> list[JoinedMember]:
        """What the leader is told."""
        return [
            JoinedMember(each.member_id, each.instance_id, each.metadata(self.protocol))
            for each in self.members.values()
        ]

    def is_subscribed(self, topic: str) -> bool:
        if self.subscribed_topics is None:
            return self.is_consumers
        return topic in self.subscribed_topics

    def replay(self, value: rec.GroupMetadataValue) -> None:
        """Apply the group's record. That of a new group says nothing of those who are joining."""
        if self.members and value.generation == 0:
            return
        self.state = ClassicState.STABLE if value.members else ClassicState.EMPTY
        self.state_timestamp_ms = value.current_state_timestamp
        self.generation = value.generation
        self.protocol_type = value.protocol_type or None
        self.protocol = value.protocol
        self.leader = value.leader
        self.members = {
            each.member_id: self._replayed_member(each, value.protocol) for each in value.members
        }
        self._note_topics()

    def _replayed_member(self, value: rec.ClassicMember, protocol: str | None) -> ClassicMember:
        known = self.members.get(value.member_id)
        if known is not None:
            known.assignment = value.assignment
            return known
        timeout_ms = value.rebalance_timeout
        return ClassicMember(
            value.member_id,
            value.group_instance_id,
            value.client_id,
            value.client_host,
            value.session_timeout if timeout_ms == -1 else timeout_ms,
            value.session_timeout,
            ((protocol or "", value.subscription),),
            value.assignment,
        )

    def _note_topics(self) -> None:
        self.subscribed_topics = None
        if not self.is_consumers:
            return
        try:
            self.subscribed_topics = frozenset(
                topic
                for each in self.members.values()
                for topic in read_subscription(each.metadata(self.protocol)).topics
            )
        except MalformedSubscriptionError:
            # As Kafka does: the coordinator is then not aware of the topics.
            return


def group_record(group: ClassicGroup, assignments: Mapping[str, bytes] | None = None) -> rec.Record:
    """The group with its members; `assignments` by member id stand for those they have."""
    members = tuple(
        rec.ClassicMember(
            member_id=each.member_id,
            group_instance_id=each.instance_id,
            client_id=each.client_id,
            client_host=each.client_host,
            rebalance_timeout=each.rebalance_timeout_ms,
            session_timeout=each.session_timeout_ms,
            subscription=each.metadata(group.protocol),
            assignment=(
                each.assignment if assignments is None else assignments.get(each.member_id, b"")
            ),
        )
        for each in group.members.values()
    )
    return _record(group, group.generation, group.protocol, group.leader, members)


def empty_group_record(group: ClassicGroup) -> rec.Record:
    """A group that was made just now, so that it is there after a restart."""
    return _record(group, 0, None, None, ())


def _record(
    group: ClassicGroup,
    generation: int,
    protocol: str | None,
    leader: str | None,
    members: tuple[rec.ClassicMember, ...],
) -> rec.Record:
    value = rec.GroupMetadataValue(
        protocol_type=(group.protocol_type or "") if members or generation else "",
        generation=generation,
        protocol=protocol,
        leader=leader,
        current_state_timestamp=group.state_timestamp_ms,
        members=members,
    )
    return rec.Record(rec.GroupMetadataKey(group=group.group_id), value)

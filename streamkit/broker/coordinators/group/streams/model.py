"""A streams group: what its records say, and who holds which task.

`StreamsGroup` changes only through `replay_*`. What is not in records (the configured topology,
endpoint epochs, a running delay) is in `SoftState`: it may be lost with the leadership and is
made anew by the next heartbeats.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum
from typing import Any

from streamkit.broker.coordinators.group import records as rec
from streamkit.broker.coordinators.group.streams.history import RebalanceHistory
from streamkit.broker.coordinators.group.streams.progress import Progress
from streamkit.broker.coordinators.group.streams.translate import topology_of_value
from streamkit.rebalance.assignor import EMPTY_TASKS, Task, Tasks
from streamkit.rebalance.rules import ConfiguredTopology, GroupTopology

NEW_GROUP_EPOCH = 1
"""A new group starts here; the epoch 1 stands for an empty assignment."""


class MemberState(IntEnum):
    """Where a member stands on its way to the target, as record 22 writes it."""

    STABLE = 1
    UNREVOKED_TASKS = 2
    UNRELEASED_TASKS = 3
    UNKNOWN = 127


class GroupState(Enum):
    """A group's state by Kafka's names."""

    EMPTY = "Empty"
    NOT_READY = "NotReady"
    ASSIGNING = "Assigning"
    RECONCILING = "Reconciling"
    STABLE = "Stable"
    DEAD = "Dead"


@dataclass(frozen=True, slots=True)
class HeldTasks:
    """Tasks of a member; each active one with the epoch at which it was given (KIP-1251)."""

    active: Mapping[Task, int] = field(default_factory=dict)
    standby: frozenset[Task] = frozenset()
    warmup: frozenset[Task] = frozenset()

    @property
    def tasks(self) -> Tasks:
        return Tasks(frozenset(self.active), self.standby, self.warmup)

    @property
    def is_empty(self) -> bool:
        return not (self.active or self.standby or self.warmup)

    def contains_any(self, owned: Tasks) -> bool:
        """Whether one of `owned` is here in the same role."""
        return not (
            owned.active.isdisjoint(self.active)
            and owned.standby.isdisjoint(self.standby)
            and owned.warmup.isdisjoint(self.warmup)
        )

    def contains_all(self, owned: Tasks) -> bool:
        """Whether all of `owned` are here in the same roles."""
        return (
            owned.active <= self.active.keys()
            and owned.standby <= self.standby
            and owned.warmup <= self.warmup
        )


EMPTY_HELD = HeldTasks()


@dataclass(frozen=True, slots=True)
class Member:
    """One member; `metadata` is None only while a current assignment was replayed alone."""

    member_id: str
    metadata: rec.StreamsGroupMemberMetadataValue | None = None
    epoch: int = 0
    previous_epoch: int = 0
    state: MemberState = MemberState.STABLE
    assigned: HeldTasks = EMPTY_HELD
    revoking: HeldTasks = EMPTY_HELD

    @property
    def process_id(self) -> str:
        return "" if self.metadata is None else self.metadata.process_id

    @property
    def rebalance_timeout_ms(self) -> int:
        return -1 if self.metadata is None else self.metadata.rebalance_timeout_ms

    @property
    def topology_epoch(self) -> int:
        return -1 if self.metadata is None else self.metadata.topology_epoch

    @property
    def subtopologies(self) -> frozenset[str]:
        """Those of the group's that its program has; empty when it is not known."""
        return frozenset() if self.metadata is None else frozenset(self.metadata.subtopologies)

    def can_run(self, tasks: Tasks) -> bool:
        """Whether its program has the sub-topologies of all these tasks, as far as is known."""
        known = self.subtopologies
        return not known or all(task[0] in known for task in tasks.every)

    @property
    def place(self) -> Mapping[str, str]:
        """Where it is: its client tags, and its rack under the name `rack`."""
        if self.metadata is None:
            return {}
        tags = {tag.key: tag.value for tag in self.metadata.client_tags}
        rack_id = self.metadata.rack_id
        return tags if rack_id is None else {"rack": rack_id, **tags}

    @property
    def endpoint(self) -> rec.Endpoint | None:
        return None if self.metadata is None else self.metadata.user_endpoint

    def is_reconciled_to(self, assignment_epoch: int) -> bool:
        return self.state is MemberState.STABLE and self.epoch == assignment_epoch


class Holders:
    """Which processes hold which task in which role, to give or to be given back."""

    def __init__(self) -> None:
        self._active: dict[Task, list[str]] = {}
        self._copies: dict[Task, list[str]] = {}

    def add(self, member: Member) -> None:
        for held, task in _entries(member):
            self._of(held).setdefault(task, []).append(member.process_id)

    def remove(self, member: Member) -> None:
        for held, task in _entries(member):
            processes = self._of(held)[task]
            processes.remove(member.process_id)
            if not processes:
                del self._of(held)[task]

    def is_active_anywhere(self, task: Task) -> bool:
        """Whether somebody holds the task as active."""
        return task in self._active

    def has_copy(self, task: Task, process_id: str, besides: int = 0) -> bool:
        """Whether the process holds the task as standby or warm-up, more than so often."""
        return self._copies.get(task, []).count(process_id) > besides

    def has_any(self, task: Task, process_id: str) -> bool:
        """Whether the process holds the task in any role."""
        return process_id in self._active.get(task, ()) or self.has_copy(task, process_id)

    def _of(self, is_active: bool) -> dict[Task, list[str]]:
        return self._active if is_active else self._copies


def _entries(member: Member) -> Iterator[tuple[bool, Task]]:
    for held in (member.assigned, member.revoking):
        for task in held.active:
            yield True, task
        for task in held.standby | held.warmup:
            yield False, task


@dataclass(slots=True)
class SoftState:
    """What a leader knows of a group beyond its records."""

    configured: ConfiguredTopology | None = None
    is_metadata_stale: bool = False
    """A topic of the topology may have changed since `configured`."""
    is_delayed: bool = False
    """The initial rebalance delay is running."""
    endpoint_epoch: int = 0
    shutdown_member_id: str | None = None
    creation_errors: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Why internal topics could not be created, and until when (ms) that is news."""
    history: RebalanceHistory = field(default_factory=RebalanceHistory)
    progress: Progress = field(default_factory=Progress)
    heard_ms: dict[str, int] = field(default_factory=dict)
    """When each member's last heartbeat came."""


class StreamsGroup:
    """One streams group as its records tell it."""

    def __init__(self, group_id: str, soft: SoftState | None = None) -> None:
        self.group_id = group_id
        self.epoch = NEW_GROUP_EPOCH
        self.metadata_hash = 0
        self.validated_topology_epoch = -1
        self.assignment_configs: Mapping[str, str] = {}
        self.topology: GroupTopology | None = None
        self.former_topologies: tuple[str, ...] = ()
        """Fingerprints of those before it, the last first."""
        self.members: dict[str, Member] = {}
        self.targets: dict[str, Tasks] = {}
        self.assignment_epoch = NEW_GROUP_EPOCH
        self.assignment_timestamp = 0
        self.has_metadata = False
        self.holders = Holders()
        self.soft = soft or SoftState()

    @property
    def state(self) -> GroupState:
        if not self.members:
            return GroupState.EMPTY
        if self.topology is None or self.topology.epoch != self.validated_topology_epoch:
            return GroupState.NOT_READY
        if self.epoch > self.assignment_epoch:
            return GroupState.ASSIGNING
        settled = all(each.is_reconciled_to(self.assignment_epoch) for each in self.member_list)
        return GroupState.STABLE if settled else GroupState.RECONCILING

    @property
    def member_list(self) -> Iterable[Member]:
        """Members by id."""
        return (self.members[member_id] for member_id in sorted(self.members))

    @property
    def is_gone(self) -> bool:
        """Whether all its records have been removed."""
        return not (self.has_metadata or self.members or self.targets or self.topology)

    def target_of(self, member_id: str) -> Tasks:
        return self.targets.get(member_id, EMPTY_TASKS)

    def replay_metadata(self, value: rec.StreamsGroupMetadataValue | None) -> None:
        self.has_metadata = value is not None
        if value is not None:
            self.epoch = value.epoch
            self.metadata_hash = value.metadata_hash
            self.validated_topology_epoch = value.validated_topology_epoch
            configs = value.last_assignment_configs or ()
            self.assignment_configs = {config.key: config.value for config in configs}

    def replay_member(
        self, member_id: str, value: rec.StreamsGroupMemberMetadataValue | None
    ) -> None:
        if value is None:
            self._put(member_id, None)
            self.soft.progress.forget(member_id)
            self.soft.heard_ms.pop(member_id, None)
        else:
            self._put(member_id, replace(self._known(member_id), metadata=value))
        if not self.members:
            self.soft.shutdown_member_id = None

    def replay_current(
        self, member_id: str, value: rec.StreamsGroupCurrentMemberAssignmentValue | None
    ) -> None:
        if value is None:
            # A member lives as long as its metadata record; without its assignment it starts anew.
            if member_id in self.members:
                metadata = self.members[member_id].metadata
                self._put(member_id, Member(member_id, metadata) if metadata else None)
            return
        self._put(member_id, _with_current(self._known(member_id), value))

    def replay_target_metadata(
        self, value: rec.StreamsGroupTargetAssignmentMetadataValue | None
    ) -> None:
        if value is not None:
            self.assignment_epoch = value.assignment_epoch
            self.assignment_timestamp = value.assignment_timestamp

    def replay_target(
        self, member_id: str, value: rec.StreamsGroupTargetAssignmentMemberValue | None
    ) -> None:
        if value is None:
            self.targets.pop(member_id, None)
        else:
            self.targets[member_id] = Tasks(
                _task_set(value.active_tasks),
                _task_set(value.standby_tasks),
                _task_set(value.warmup_tasks),
            )

    def replay_topology(self, value: rec.StreamsGroupTopologyValue | None) -> None:
        self.topology = None if value is None else topology_of_value(value)
        self.former_topologies = () if value is None else value.former

    def _known(self, member_id: str) -> Member:
        return self.members.get(member_id) or Member(member_id)

    def _put(self, member_id: str, member: Member | None) -> None:
        before = self.members.pop(member_id, None)
        if before is not None:
            self.holders.remove(before)
        if member is not None:
            self.members[member_id] = member
            self.holders.add(member)


def _with_current(member: Member, value: rec.StreamsGroupCurrentMemberAssignmentValue) -> Member:
    return replace(
        member,
        epoch=value.member_epoch,
        previous_epoch=value.previous_member_epoch,
        state=_member_state(value.state),
        assigned=HeldTasks(
            _with_epochs(value.active_tasks, value.member_epoch),
            _task_set(value.standby_tasks),
            _task_set(value.warmup_tasks),
        ),
        revoking=HeldTasks(
            _with_epochs(value.active_tasks_pending_revocation, value.member_epoch),
            _task_set(value.standby_tasks_pending_revocation),
            _task_set(value.warmup_tasks_pending_revocation),
        ),
    )


def _member_state(value: int) -> MemberState:
    known = value in MemberState._value2member_map_
    return MemberState(value) if known else MemberState.UNKNOWN


def _task_set(entries: Iterable[Any]) -> frozenset[Task]:
    return frozenset((each.subtopology_id, p) for each in entries for p in each.partitions)


def _with_epochs(entries: Iterable[rec.CurrentTaskIds], member_epoch: int) -> dict[Task, int]:
    """Epochs by task; a record of before KIP-1251 has none, the member's epoch stands in."""
    held = {}
    for each in entries:
        epochs = each.assignment_epochs or (member_epoch,) * len(each.partitions)
        for partition, epoch in zip(each.partitions, epochs, strict=True):
            held[each.subtopology_id, partition] = epoch
    return held

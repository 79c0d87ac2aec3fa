"""The sticky assignor: which member runs which task, as even as can be, moving as little as can be.

After KIP-1071's StickyTaskAssignor, in the same order of preference. Active tasks are even over
members to within one, always. A standby is never on a process that holds the task in any role.
The result depends on the arguments only, not on the order in which members are given.

Ours, each only when it is asked for. When members say where they are (`place`) and `spread_by`
names what counts, a standby goes where the fewest of these values are those of a process that holds
the task already; that comes before even loads: a copy in the same rack is little use when the rack
is gone. With `spread`, active tasks are placed by that instead of by number (`balance.py`). With
`lag_of`, of several members that hold copies of a task the one that is nearest takes it over.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from streamkit.rebalance.rules import ConfiguredSubtopology

Task = tuple[str, int]
"""A sub-topology id and a partition."""

LagOf = Callable[[Task, str], int]
"""How far a member's copy of a task is behind, as far as that matters."""

Spread = Callable[
    [Sequence[Task], Sequence[str], Mapping[Task, str], Mapping[Task, Sequence[str]]],
    Mapping[Task, str],
]
"""Members of tasks: from tasks, members, who had each, and who holds copies, the nearest first."""


@dataclass(frozen=True, slots=True)
class Tasks:
    """The tasks of one member by role. Warm-ups are never assigned, but may be owned."""

    active: frozenset[Task] = frozenset()
    standby: frozenset[Task] = frozenset()
    warmup: frozenset[Task] = frozenset()

    @property
    def is_empty(self) -> bool:
        return not (self.active or self.standby or self.warmup)

    @property
    def every(self) -> frozenset[Task]:
        """The tasks in whichever role."""
        return self.active | self.standby | self.warmup

    def within(self, subtopologies: Collection[str]) -> Tasks:
        """Those of these sub-topologies."""
        return Tasks(
            frozenset(task for task in self.active if task[0] in subtopologies),
            frozenset(task for task in self.standby if task[0] in subtopologies),
            frozenset(task for task in self.warmup if task[0] in subtopologies),
        )

    def union(self, other: Tasks) -> Tasks:
        """The tasks of both, role by role."""
        return Tasks(
            self.active | other.active,
            self.standby | other.standby,
            self.warmup | other.warmup,
        )


EMPTY_TASKS = Tasks()


@dataclass(frozen=True, slots=True)
class AssignmentMember:
    """A member as the assignor sees it: where it runs and what its target was before."""

    member_id: str
    process_id: str
    previous: Tasks = EMPTY_TASKS
    place: Mapping[str, str] = field(default_factory=dict)
    """Its rack and client tags, by name."""


@dataclass(slots=True)
class _Member:
    id: str
    process: _Process
    active: set[Task] = field(default_factory=set)
    standby: set[Task] = field(default_factory=set)

    @property
    def load(self) -> int:
        return len(self.active) + len(self.standby)


@dataclass(slots=True)
class _Process:
    id: str
    members: list[_Member] = field(default_factory=list)
    tasks: set[Task] = field(default_factory=set)
    place: tuple[str | None, ...] = ()

    @property
    def load(self) -> float:
        """Tasks per member; a process has a task once, in whichever role."""
        return len(self.tasks) / len(self.members)


class _Quota:
    """Every member may have `floor` tasks, and `extra` of them one more."""

    def __init__(self, tasks: int, members: int) -> None:
        self.floor, self.extra = divmod(tasks, members)

    def has_room(self, count: int) -> bool:
        return count < self.floor or (count == self.floor and self.extra > 0)

    def take(self, count: int) -> None:
        """A member that had `count` tasks gets one more."""
        if count == self.floor:
            self.extra -= 1


def assign(
    members: Collection[AssignmentMember],
    subtopologies: Iterable[ConfiguredSubtopology],
    standby_replicas: int = 0,
    spread_by: Sequence[str] = (),
    *,
    spread: Spread | None = None,
    lag_of: LagOf | None = None,
) -> dict[str, Tasks]:
    """The target assignment by member id; every member is in it. No members, no assignment.

    `spread` places active tasks otherwise than by number.
    """
    if not members:
        return {}
    state = _Assignment(members, spread_by, lag_of)
    subtopologies = list(subtopologies)
    tasks = tasks_of(subtopologies)
    if spread is None:
        state.assign_active(tasks)
    else:
        state.place_active(tasks, spread)
    if standby_replicas > 0:
        stateful = {each.id for each in subtopologies if each.is_stateful}
        state.assign_standby([task for task in tasks if task[0] in stateful], standby_replicas)
    return {
        member.id: Tasks(frozenset(member.active), frozenset(member.standby))
        for member in state.members.values()
    }


def tasks_of(subtopologies: Iterable[ConfiguredSubtopology]) -> list[Task]:
    """Every task, sub-topology by sub-topology."""
    return [(each.id, partition) for each in subtopologies for partition in range(each.tasks)]


class _Assignment:
    """One assignment in the making."""

    def __init__(
        self,
        members: Collection[AssignmentMember],
        spread_by: Sequence[str],
        lag_of: LagOf | None,
    ) -> None:
        self.lag_of = lag_of or _no_lag
        self.members: dict[str, _Member] = {}
        self.processes: dict[str, _Process] = {}
        self.active_before: dict[Task, _Member] = {}
        self.standby_before: dict[Task, list[_Member]] = {}
        for each in sorted(members, key=lambda member: member.member_id):
            place = tuple(each.place.get(name) for name in spread_by)
            process = self.processes.setdefault(
                each.process_id, _Process(each.process_id, place=place)
            )
            member = _Member(each.member_id, process)
            process.members.append(member)
            self.members[member.id] = member
            for task in each.previous.active:
                self.active_before.setdefault(task, member)
            for task in each.previous.standby | each.previous.warmup:
                self.standby_before.setdefault(task, []).append(member)
        self.is_spread = len({process.place for process in self.processes.values()}) > 1

    def assign_active(self, tasks: list[Task]) -> None:
        quota = _Quota(len(tasks), len(self.members))
        by_partition = sorted(tasks, key=_by_partition)
        rest = [task for task in by_partition if not self._to_previous_active(task, quota)]
        rest = [task for task in rest if not self._to_previous_standby(task, quota)]
        self._spread_active(sorted(rest), quota)

    def place_active(self, tasks: list[Task], spread: Spread) -> None:
        """As `spread` says."""
        before = {task: member.id for task, member in self.active_before.items()}
        copies = {
            task: [
                member_id for _, member_id in sorted((self.lag_of(task, m.id), m.id) for m in held)
            ]
            for task, held in self.standby_before.items()
        }
        for task, member_id in spread(tasks, list(self.members), before, copies).items():
            self._give_active(self.members[member_id], task)

    def _to_previous_active(self, task: Task, quota: _Quota) -> bool:
        member = self.active_before.get(task)
        return member is not None and self._try_active(member, task, quota)

    def _to_previous_standby(self, task: Task, quota: _Quota) -> bool:
        roomy = [
            member
            for member in self.standby_before.get(task, ())
            if quota.has_room(len(member.active))
        ]
        if not roomy:
            return False
        member = min(
            roomy,
            key=lambda each: (
                self.lag_of(task, each.id),
                each.process.load,
                each.load,
                each.id,
            ),
        )
        return self._try_active(member, task, quota)

    def _try_active(self, member: _Member, task: Task, quota: _Quota) -> bool:
        count = len(member.active)
        if not quota.has_room(count):
            return False
        quota.take(count)
        self._give_active(member, task)
        return True

    @staticmethod
    def _give_active(member: _Member, task: Task) -> None:
        member.active.add(task)
        member.process.tasks.add(task)

    def _spread_active(self, tasks: list[Task], quota: _Quota) -> None:
        """Each task to the least-loaded process that has room, there to the least-loaded member."""
        heap = [(process.load, process.id) for process in self.processes.values()]
        heapq.heapify(heap)
        for task in tasks:
            while True:
                process = self.processes[heap[0][1]]
                member = min(process.members, key=lambda each: (each.load, each.id))
                if self._try_active(member, task, quota):
                    heapq.heapreplace(heap, (process.load, process.id))
                    break
                # Room never comes back: quotas only shrink.
                heapq.heappop(heap)

    def assign_standby(self, tasks: list[Task], replicas: int) -> None:
        total = sum(len(member.active) for member in self.members.values())
        quota = -(-(total + len(tasks) * replicas) // len(self.members))
        left: list[tuple[Task, int]] = []
        places = self._places() if self.is_spread else {}
        for task in sorted(tasks, key=_by_partition):
            missing = replicas
            for member in self._previous_holders(task):
                is_free = task not in member.process.tasks and member.load < quota
                if missing and is_free and self._is_far(member.process, task, places):
                    self._give_standby(member, task)
                    places.get(task, []).append(member.process)
                    missing -= 1
            if missing:
                left.append((task, missing))
        if self.is_spread:
            self._spread_far(sorted(left), places)
        else:
            self._spread_standby(sorted(left))

    def _places(self) -> dict[Task, list[_Process]]:
        """The processes that hold a task, so far the active one."""
        return {task: [process] for process in self.processes.values() for task in process.tasks}

    def _is_far(self, process: _Process, task: Task, places: Mapping[Task, list[_Process]]) -> bool:
        """Whether no other process is farther from those that hold the task."""
        if not self.is_spread:
            return True
        free = [other for other in self.processes.values() if task not in other.tasks]
        least = min(_conflicts(other, places[task]) for other in free)
        return _conflicts(process, places[task]) == least

    def _spread_far(
        self, wanted: list[tuple[Task, int]], places: Mapping[Task, list[_Process]]
    ) -> None:
        for task, replicas in wanted:
            for _ in range(replicas):
                free = [other for other in self.processes.values() if task not in other.tasks]
                if not free:
                    break
                holders = places[task]
                process = min(free, key=lambda p: (_conflicts(p, holders), p.load, p.id))
                member = min(process.members, key=lambda each: (each.load, each.id))
                self._give_standby(member, task)
                holders.append(process)

    def _previous_holders(self, task: Task) -> list[_Member]:
        """Its previous active member, then its previous standbys, the least loaded first."""
        before = self.active_before.get(task)
        standbys = self.standby_before.get(task, [])
        standbys = sorted(standbys, key=lambda each: (each.process.load, each.load, each.id))
        return standbys if before is None else [before, *standbys]

    def _spread_standby(self, wanted: list[tuple[Task, int]]) -> None:
        heap = [(process.load, process.id) for process in self.processes.values()]
        heapq.heapify(heap)
        for task, replicas in wanted:
            skipped = []
            missing = replicas
            while missing and heap:
                entry = heapq.heappop(heap)
                process = self.processes[entry[1]]
                if task in process.tasks:
                    skipped.append(entry)
                    continue
                member = min(process.members, key=lambda each: (each.load, each.id))
                self._give_standby(member, task)
                skipped.append((process.load, process.id))
                missing -= 1
            for entry in skipped:
                heapq.heappush(heap, entry)

    @staticmethod
    def _give_standby(member: _Member, task: Task) -> None:
        member.standby.add(task)
        member.process.tasks.add(task)


def _conflicts(process: _Process, holders: Iterable[_Process]) -> int:
    """How many values of its place are those of a process that holds the task."""
    found = set()
    for other in holders:
        for index, value in enumerate(process.place):
            if value is not None and value == other.place[index]:
                found.add(index)
    return len(found)


def _no_lag(task: Task, member_id: str) -> int:
    return 0


def _by_partition(task: Task) -> tuple[int, str]:
    return task[1], task[0]


def group_tasks(tasks: Iterable[Task]) -> Mapping[str, tuple[int, ...]]:
    """Partitions by sub-topology id, both sorted: the shape of requests and records."""
    grouped: dict[str, list[int]] = {}
    for subtopology_id, partition in sorted(tasks):
        grouped.setdefault(subtopology_id, []).append(partition)
    return {subtopology_id: tuple(partitions) for subtopology_id, partitions in grouped.items()}

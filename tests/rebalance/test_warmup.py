"""Tasks that warm up before they move: what holds meanwhile, and that it always comes to an end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from streamkit.rebalance.assignor import AssignmentMember, Task, Tasks, assign
from streamkit.rebalance.rules import ConfiguredSubtopology, InternalTopic
from streamkit.rebalance.warmup import Move, WarmUps, hold_back, settled

STATEFUL = ConfiguredSubtopology("3", 6, ("t",), (), (), (InternalTopic("c", 6),))
T0, T1, T2 = ("3", 0), ("3", 1), ("3", 2)
LAG_MAX = 70


def member(
    name: str, *active: Task, process: str = "", **roles: tuple[Task, ...]
) -> AssignmentMember:
    previous = Tasks(
        frozenset(active), frozenset(roles.get("standby", ())), frozenset(roles.get("warmup", ()))
    )
    return AssignmentMember(name, process or f"p-{name}", previous)


def tasks(*active: Task, **roles: tuple[Task, ...]) -> Tasks:
    return member("x", *active, **roles).previous


def always(_: Move) -> bool:
    return True


def test_task_stays_with_its_owner_and_warms_up_where_it_goes_to() -> None:
    members = [member("a", T0, T1), member("b")]
    final = {"a": tasks(T0, standby=(T1,)), "b": tasks(T1)}
    held = hold_back(final, members, always, 2)
    assert held.target == {"a": tasks(T0, T1), "b": tasks(warmup=(T1,))}
    assert held.queued == ()


def test_moves_beyond_the_places_wait_and_those_under_way_go_first() -> None:
    members = [member("a", T0, T1, T2), member("b", warmup=(T2,))]
    held = hold_back({"a": tasks(), "b": tasks(T0, T1, T2)}, members, always, 2)
    assert held.target == {"a": tasks(T0, T1, T2), "b": tasks(warmup=(T0, T2))}
    assert held.queued == (Move(T1, "a", "b"),)


def test_without_places_nothing_waits() -> None:
    final = {"a": tasks(T0), "b": tasks(T1)}
    held = hold_back(final, [member("a", T0, T1), member("b")], always, 0)
    assert (held.target, held.queued) == (final, ())


def test_within_a_process_nothing_waits() -> None:
    members = [member("a", T0, process="p"), member("b", process="p")]
    final = {"a": tasks(), "b": tasks(T0)}
    assert hold_back(final, members, always, 2).target == final


def test_task_without_an_owner_does_not_wait() -> None:
    final = {"a": tasks(T0), "b": tasks(T1)}
    assert hold_back(final, [member("a"), member("b")], always, 2).target == final


def test_owners_process_has_no_copy_beside_the_running_task() -> None:
    members = [member("a", T0, process="p"), member("a2", process="p"), member("b")]
    final = {"a": tasks(), "a2": tasks(standby=(T0,)), "b": tasks(T0)}
    held = hold_back(final, members, always, 2)
    assert held.target["a2"] == tasks()
    assert held.target["a"] == tasks(T0)


def test_warmup_counts_as_given_while_its_task_runs_elsewhere() -> None:
    a, b, c = settled([member("a", T0), member("b", warmup=(T0,)), member("c", warmup=(T1,))])
    assert (a.previous, b.previous) == (tasks(standby=(T0,)), tasks(T0))
    assert c.previous == tasks(warmup=(T1,)), "nobody runs it: who is nearest may take it"


def look(warmups: WarmUps, lag: int | None, now_ms: int) -> list[str]:
    return warmups.look([(T1, "b")], lambda task, name: lag, LAG_MAX, 1_000, now_ms)


def test_warmup_is_over_when_it_has_caught_up_and_stays_so() -> None:
    warmups = WarmUps()
    assert look(warmups, 900, 5_000) == []
    assert look(warmups, 70, 5_500) == ["task 3_1 on member b is warm, 70 offsets behind"]
    assert warmups.is_over(T1, "b")
    look(warmups, 400, 5_600)
    assert warmups.is_over(T1, "b")
    warmups.look([], lambda task, name: None, LAG_MAX, 1_000, 5_700)
    assert not warmups.is_over(T1, "b")


def test_warmup_that_comes_no_nearer_is_not_waited_for() -> None:
    warmups = WarmUps()
    look(warmups, 900, 5_000)
    assert look(warmups, 899, 5_999) == []
    assert look(warmups, 950, 6_998) == []
    assert look(warmups, 950, 6_999) == [
        "task 3_1 on member b is 950 offsets behind and came no nearer for 1000 ms: "
        "it moves as it is"
    ]


def test_warmup_that_never_says_anything_is_not_waited_for() -> None:
    warmups = WarmUps()
    assert look(warmups, None, 5_000) == []
    assert "says nothing of its offsets" in look(warmups, None, 6_000)[0]


@dataclass
class Group:
    """A group's targets from one assignment to the next; warm-ups come nearer in between."""

    members: list[AssignmentMember]
    plan: list[ConfiguredSubtopology]
    standbys: int
    warm: set[tuple[Task, str]] = field(default_factory=set)
    places: int = 2

    def assign(self) -> tuple[Move, ...]:
        """One assignment; returns the moves that wait for a place."""
        final = assign(settled(self.members), self.plan, self.standbys)
        held = hold_back(
            final, self.members, lambda move: (move.task, move.heir) not in self.warm, self.places
        )
        self.check(held.target)
        self.members = [replace(m, previous=held.target[m.member_id]) for m in self.members]
        self.warm = {key for key in self.warm if key[0] in held.target[key[1]].every}
        return held.queued

    def check(self, target: dict[str, Tasks]) -> None:
        process_of = {m.member_id: m.process_id for m in self.members}
        holders = Counter(
            (task, process_of[name])
            for name, each in target.items()
            for task in [*each.active, *each.standby, *each.warmup]
        )
        assert not holders or max(holders.values()) == 1, "a process holds a task twice"
        active = Counter(task for each in target.values() for task in each.active)
        assert active == Counter((each.id, p) for each in self.plan for p in range(each.tasks)), (
            "a task is lost or doubled"
        )
        assert self.warmups(target) <= self.places

    @staticmethod
    def warmups(target: dict[str, Tasks]) -> int:
        return sum(len(each.warmup) for each in target.values())

    def finish(self) -> int:
        """Warm up one task after the other; returns how many assignments it took."""
        for rounds in range(1, 1_000):
            self.assign()
            under_way = [
                (task, m.member_id) for m in self.members for task in sorted(m.previous.warmup)
            ]
            if not under_way:
                return rounds
            self.warm.add(under_way[0])
        raise AssertionError("it does not come to an end")


plans = st.lists(st.tuples(st.integers(1, 8), st.booleans()), min_size=1, max_size=3).map(
    lambda items: [
        ConfiguredSubtopology(
            str(n), count, (f"t{n}",), (), (), (InternalTopic(f"c{n}", count),) if s else ()
        )
        for n, (count, s) in enumerate(items)
    ]
)
names = st.integers(0, 5)


@settings(deadline=None)
@given(plans, st.integers(0, 2), st.lists(names, min_size=1, max_size=6, unique=True), names)
def test_group_comes_to_rest_even_whoever_joins_and_leaves(
    plan: list[ConfiguredSubtopology], standbys: int, first: list[int], changed: int
) -> None:
    group = Group([AssignmentMember(f"m{n}", f"p{n % 4}") for n in first], plan, standbys)
    assert group.finish() == 1, "nobody had a task before"
    if changed in first and len(first) > 1:
        group.members = [m for m in group.members if m.member_id != f"m{changed}"]
    elif changed not in first:
        group.members.append(AssignmentMember(f"m{changed}", f"p{changed % 4}"))
    moved = group.finish()
    loads = [len(m.previous.active) for m in group.members]
    assert max(loads) - min(loads) <= 1
    total = sum(each.tasks for each in plan)
    assert moved <= total + 2
    before = {m.member_id: m.previous.active for m in group.members}
    assert group.finish() == 1
    assert {m.member_id: m.previous.active for m in group.members} == before


@settings(deadline=None)
@given(plans, st.integers(0, 1), st.integers(1, 3))
def test_heir_that_dies_costs_nothing_but_its_warmups(
    plan: list[ConfiguredSubtopology], standbys: int, count: int
) -> None:
    group = Group([AssignmentMember(f"m{n}", f"p{n}") for n in range(count)], plan, standbys)
    group.finish()
    before = {m.member_id: m.previous.active for m in group.members}
    group.members.append(AssignmentMember("heir", "p-heir"))
    group.assign()
    assert not next(m for m in group.members if m.member_id == "heir").previous.active
    group.members = [m for m in group.members if m.member_id != "heir"]
    assert group.finish() == 1
    assert {m.member_id: m.previous.active for m in group.members} == before

"""The assignor: even, sticky, whole, standbys apart."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from streamkit.rebalance.assignor import AssignmentMember, Task, Tasks, assign
from streamkit.rebalance.rules import ConfiguredSubtopology, InternalTopic


def subtopology(number: int, tasks: int, *, stateful: bool) -> ConfiguredSubtopology:
    changelogs = (InternalTopic(f"c{number}", tasks),) if stateful else ()
    return ConfiguredSubtopology(str(number), tasks, (f"t{number}",), (), (), changelogs)


subtopologies = st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=1, max_size=4).map(
    lambda items: [subtopology(n, tasks, stateful=s) for n, (tasks, s) in enumerate(items)]
)
fleets = st.lists(st.integers(1, 4), min_size=1, max_size=6).map(
    lambda threads: [
        AssignmentMember(f"m{process}-{thread}", f"p{process}")
        for process, count in enumerate(threads)
        for thread in range(count)
    ]
)


def every_task(plan: list[ConfiguredSubtopology]) -> list[Task]:
    return [(each.id, partition) for each in plan for partition in range(each.tasks)]


def check(
    members: list[AssignmentMember], plan: list[ConfiguredSubtopology], replicas: int
) -> dict[str, Tasks]:
    target = assign(members, plan, replicas)
    assert set(target) == {member.member_id for member in members}
    active = Counter(task for tasks in target.values() for task in tasks.active)
    assert active == Counter(every_task(plan)), "a task is lost or doubled"
    loads = [len(tasks.active) for tasks in target.values()]
    assert max(loads) - min(loads) <= 1
    processes = {member.member_id: member.process_id for member in members}
    holders = Counter(
        (task, processes[member_id])
        for member_id, tasks in target.items()
        for task in [*tasks.active, *tasks.standby]
    )
    assert set(holders.values()) == {1}, "a process holds a task twice"
    copies = Counter(task for tasks in target.values() for task in tasks.standby)
    possible = min(replicas, len(set(processes.values())) - 1)
    stateful = {each.id for each in plan if each.is_stateful}
    for task in every_task(plan):
        assert copies[task] == (possible if task[0] in stateful else 0)
    return target


def remember(members: list[AssignmentMember], target: dict[str, Tasks]) -> list[AssignmentMember]:
    return [replace(member, previous=target.get(member.member_id, Tasks())) for member in members]


@settings(deadline=None)
@given(fleets, subtopologies, st.integers(0, 2))
def test_assignment_is_whole_even_and_apart(
    members: list[AssignmentMember], plan: list[ConfiguredSubtopology], replicas: int
) -> None:
    check(members, plan, replicas)


@settings(deadline=None)
@given(fleets, subtopologies, st.integers(0, 2))
def test_nothing_moves_when_nothing_changed(
    members: list[AssignmentMember], plan: list[ConfiguredSubtopology], replicas: int
) -> None:
    first = check(members, plan, replicas)
    second = check(remember(members, first), plan, replicas)
    assert {m: t.active for m, t in second.items()} == {m: t.active for m, t in first.items()}


@settings(deadline=None)
@given(fleets, subtopologies, st.integers(0, 2), st.data())
def test_remaining_members_keep_their_active_tasks_when_one_leaves(
    members: list[AssignmentMember],
    plan: list[ConfiguredSubtopology],
    replicas: int,
    data: st.DataObject,
) -> None:
    first = check(members, plan, replicas)
    gone = data.draw(st.sampled_from(members))
    rest = [member for member in members if member is not gone]
    if not rest:
        return
    second = check(remember(rest, first), plan, replicas)
    for member in rest:
        assert first[member.member_id].active <= second[member.member_id].active


@settings(deadline=None)
@given(fleets, subtopologies, st.integers(0, 2))
def test_a_new_member_takes_its_share_and_no_more_moves(
    members: list[AssignmentMember], plan: list[ConfiguredSubtopology], replicas: int
) -> None:
    first = check(members, plan, replicas)
    joined = [*remember(members, first), AssignmentMember("m-new", "p-new")]
    second = check(joined, plan, replicas)
    moved = sum(len(first[m.member_id].active - second[m.member_id].active) for m in members)
    assert moved == len(second["m-new"].active)


def test_lost_task_goes_to_its_standby() -> None:
    plan = [subtopology(3, 6, stateful=True)]
    members = [AssignmentMember(f"m{n}", f"p{n}") for n in range(3)]
    first = check(members, plan, 1)
    lost = first["m0"].active
    second = check(remember(members[1:], first), plan, 1)
    for task in lost:
        before = next(m for m in ("m1", "m2") if task in first[m].standby)
        assert task in second[before].active


def test_result_does_not_depend_on_the_order_of_members() -> None:
    plan = [subtopology(3, 7, stateful=True), subtopology(4, 5, stateful=False)]
    members = [AssignmentMember(f"m{n}", f"p{n % 3}") for n in range(5)]
    assert assign(members, plan, 1) == assign(members[::-1], plan, 1)


def test_large_group_is_assigned_evenly() -> None:
    plan = [subtopology(n, 1000, stateful=True) for n in range(5)]
    members = [AssignmentMember(f"m{n}", f"p{n % 25}") for n in range(100)]
    target = check(members, plan, 1)
    check(remember(members[:-7], target), plan, 1)


def placed(count: int, *names: str) -> list[AssignmentMember]:
    """Processes in two racks (zones, ...) by turns, of the next name by turns of two, and so on."""
    return [
        AssignmentMember(
            f"m{number}",
            f"p{number}",
            place={name: f"{name}-{(number >> bit) % 2}" for bit, name in enumerate(names)},
        )
        for number in range(count)
    ]


def copies(
    target: dict[str, Tasks], members: list[AssignmentMember], name: str
) -> dict[Task, list[str]]:
    """The values of `name` where each task is, the active one first."""
    places = {member.member_id: member.place.get(name, "") for member in members}
    found: dict[Task, list[str]] = {}
    for role in ("active", "standby"):
        for member_id, tasks in sorted(target.items()):
            for task in getattr(tasks, role):
                found.setdefault(task, []).append(places[member_id])
    return found


@given(st.integers(2, 9), st.integers(1, 20))
def test_standby_is_in_another_rack(count: int, tasks: int) -> None:
    members = placed(count, "rack")
    target = assign(members, [subtopology(0, tasks, stateful=True)], 1, ["rack"])
    for racks in copies(target, members, "rack").values():
        assert len(set(racks)) == 2


def test_second_standby_minds_the_next_tag() -> None:
    members = placed(8, "zone", "cluster")
    target = assign(members, [subtopology(0, 16, stateful=True)], 2, ["zone", "cluster"])
    for name in ("zone", "cluster"):
        for values in copies(target, members, name).values():
            assert len(set(values)) == 2
    loads = [len(tasks.active) + len(tasks.standby) for tasks in target.values()]
    assert max(loads) - min(loads) <= 2


def test_standbys_move_when_racks_become_known_and_then_stay() -> None:
    plan = [subtopology(0, 12, stateful=True)]
    members = placed(4, "rack")
    blind = assign(members, plan, 1)
    known = [replace(each, previous=blind[each.member_id]) for each in members]
    spread = assign(known, plan, 1, ["rack"])
    assert all(len(set(racks)) == 2 for racks in copies(spread, members, "rack").values())
    again = [replace(each, previous=spread[each.member_id]) for each in members]
    assert assign(again, plan, 1, ["rack"]) == spread


@given(fleets, subtopologies, st.integers(0, 2))
def test_places_that_nobody_names_change_nothing(
    members: list[AssignmentMember], plan: list[ConfiguredSubtopology], replicas: int
) -> None:
    same = [replace(each, place={"rack": "r-1"}) for each in members]
    assert assign(same, plan, replicas, ["rack", "zone"]) == assign(members, plan, replicas)

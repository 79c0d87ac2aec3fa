"""Tasks spread by what they cost: even, sticky, and the same again when nothing changed."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamkit.rebalance.assignor import AssignmentMember, Task, assign
from streamkit.rebalance.balance import SLACK, heaviest, spread
from streamkit.rebalance.costs import parse_weights, task_costs, weights_problem
from streamkit.rebalance.rules import ConfiguredSubtopology, InternalTopic

PLAN = [
    ConfiguredSubtopology("0", 4, ("t",), (), (), ()),
    ConfiguredSubtopology("1", 4, ("u",), (), (), (InternalTopic("c", 4),)),
]
MEMBERS = [AssignmentMember(f"m{n}", f"p{n}") for n in range(2)]

priced = st.lists(st.floats(0.1, 100), min_size=1, max_size=30).map(
    lambda costs: {("0", number): cost for number, cost in enumerate(costs)}
)
fleets = st.lists(st.integers(0, 9), min_size=1, max_size=6, unique=True).map(
    lambda numbers: [f"m{number}" for number in numbers]
)


@settings(deadline=None)
@given(priced, fleets, fleets)
def test_nobody_has_more_than_a_share_and_one_task(
    costs: dict[Task, float], first: list[str], second: list[str]
) -> None:
    before = spread(costs, list(costs), first, {}, {})
    for members, owners in ((first, before), (second, again(costs, second, before))):
        assert owners.keys() == costs.keys()
        assert set(owners.values()) <= set(members)
        average = sum(costs.values()) / len(members)
        assert heaviest(owners, costs) <= average * (1 + SLACK) + max(costs.values()) * (1 + SLACK)


@settings(deadline=None)
@given(priced, fleets, fleets)
def test_nothing_moves_when_nothing_changed(
    costs: dict[Task, float], first: list[str], second: list[str]
) -> None:
    before = again(costs, second, spread(costs, list(costs), first, {}, {}))
    assert again(costs, second, before) == before


def test_light_task_makes_way_for_a_heavy_one_at_once() -> None:
    costs = {("0", number): cost for number, cost in enumerate((1.0, 1.0, 3.0, 3.0, 3.0))}
    before = spread(costs, list(costs), ["m0", "m1", "m2", "m7"], {}, {})
    assert before[("0", 0)] == before[("0", 1)] == "m7"
    after = again(costs, ["m0", "m1", "m7"], before)
    assert heaviest(after, costs) == 4.0
    assert again(costs, ["m0", "m1", "m7"], after) == after


@given(priced, fleets)
def test_costs_that_waver_move_nothing(costs: dict[Task, float], members: list[str]) -> None:
    before = spread(costs, list(costs), members, {}, {})
    wavering = {task: cost * (1.02 if task[1] % 2 else 0.99) for task, cost in costs.items()}
    assert again(wavering, members, before) == before


def again(costs: dict[Task, float], members: list[str], before: dict[Task, str]) -> dict[Task, str]:
    alive = {task: owner for task, owner in before.items() if owner in members}
    return spread(costs, list(costs), members, alive, {})


def test_heavy_task_is_alone_and_light_ones_share() -> None:
    costs = {("1", 0): 9.0, **{("0", n): 1.0 for n in range(8)}}
    owners = spread(costs, list(costs), ["a", "b"], {}, {})
    assert [task for task, owner in owners.items() if owner == owners["1", 0]] == [("1", 0)]


def test_task_whose_owner_is_gone_goes_to_the_nearest_copy() -> None:
    costs = {("1", n): 1.0 for n in range(3)}
    before = {("1", 0): "a", ("1", 1): "b"}
    owners = spread(costs, list(costs), ["a", "b", "c"], before, {("1", 2): ["c", "a"]})
    assert owners["1", 2] == "c"


def test_assignment_follows_weights() -> None:
    costs = task_costs([(s.id, p) for s in PLAN for p in range(4)], "1=3", {}, {}, by_lag=False)
    assert costs is not None
    target = assign(MEMBERS, PLAN, 1, spread=partial(spread, costs))
    loads = [sum(costs[task] for task in each.active) for each in target.values()]
    assert loads == [8.0, 8.0]
    for each in target.values():
        assert not each.active & each.standby


def test_by_default_only_the_number_counts() -> None:
    assert task_costs([("0", 1)], "", {("0", 1): 900}, {("0", 1): 9_000}, by_lag=False) is None


def test_waiting_records_count_when_there_are_many() -> None:
    tasks = [("0", 1), ("0", 2), ("0", 3), ("0", 4)]
    calm = task_costs(tasks, "", {}, {("0", 1): 40}, by_lag=True)
    assert calm is not None
    assert max(calm.values()) < 1.05 * min(calm.values())
    late = task_costs(tasks, "", {}, {("0", 1): 900_000}, by_lag=True)
    assert late is not None
    assert late["0", 1] > 3 * late["0", 2]


def test_measured_time_counts_when_there_is_enough_of_it() -> None:
    tasks = [("0", 1), ("0", 2)]
    idle = task_costs(tasks, "measured", {("0", 1): 3}, {}, by_lag=False)
    assert idle is not None
    assert max(idle.values()) < 1.4 * min(idle.values())
    busy = task_costs(tasks, "measured", {("0", 1): 800, ("0", 2): 100}, {}, by_lag=False)
    assert busy is not None
    assert busy["0", 1] == pytest.approx(0.1 + 0.9 * 800 / 450)


@pytest.mark.parametrize("text", ["1", "1=", "=4", "1=0", "1=-2", "1=x", "1=1;2=2", "Measured"])
def test_bad_weights_are_refused(text: str) -> None:
    assert weights_problem(text) is not None


def test_good_weights_are_read() -> None:
    assert weights_problem("0=1, 2=7.5,") is None
    assert parse_weights("0=1, 2=7.5,") == {"0": 1.0, "2": 7.5}
    assert weights_problem("0:1, 2:7.5,") is None
    assert parse_weights("0:1, 2:7.5,") == {"0": 1.0, "2": 7.5}
    assert weights_problem("") is None
    assert parse_weights("measured") is None

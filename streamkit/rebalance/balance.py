"""Active tasks spread by what they cost, moving as little as can be.

Largest first: each stays where it was while its member has room, else goes where a copy of it is,
else to the member with the least. No member has more than the average and a tenth and one task
above that. What was before stays as it is unless the fullest member would get a tenth less: costs
are measured, and change all the time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from streamkit.rebalance.assignor import Task

SLACK = 0.1
"""By how much of the average a member may have more than that, and what a change has to gain."""


def spread(
    costs: Mapping[Task, float],
    tasks: Collection[Task],
    members: Sequence[str],
    before: Mapping[Task, str],
    copies: Mapping[Task, Sequence[str]],
) -> dict[Task, str]:
    """The member of each task; `before` had it, `copies` hold its state, the nearest first."""
    if all(task in before for task in tasks):
        found = {task: before[task] for task in tasks}
    else:
        found = _spread(costs, tasks, members, before, copies)
    while True:
        # Light tasks that stayed may stand in the way of a heavy one that came.
        lighter = _spread(costs, tasks, members, found, copies)
        if heaviest(found, costs) <= heaviest(lighter, costs) * (1 + SLACK):
            return found
        found = lighter


def heaviest(owners: Mapping[Task, str], costs: Mapping[Task, float]) -> float:
    """The cost of all tasks of the member that has most."""
    loads: dict[str, float] = {}
    for task, owner in owners.items():
        loads[owner] = loads.get(owner, 0.0) + costs[task]
    return max(loads.values(), default=0.0)


def _spread(
    costs: Mapping[Task, float],
    tasks: Collection[Task],
    members: Sequence[str],
    before: Mapping[Task, str],
    copies: Mapping[Task, Sequence[str]],
) -> dict[Task, str]:
    room = sum(costs[task] for task in tasks) / len(members) * (1 + SLACK)
    loads = dict.fromkeys(members, 0.0)
    owners: dict[Task, str] = {}

    def try_give(task: Task, member_id: str | None) -> bool:
        if member_id is None:
            return False
        load = loads[member_id]
        # What is more than a fair share in itself gets a member that has nothing else yet.
        if load > 0 and load + costs[task] > room:
            return False
        loads[member_id] = load + costs[task]
        owners[task] = member_id
        return True

    ordered = sorted(tasks, key=lambda task: (-costs[task], task[1], task[0]))
    rest = [task for task in ordered if not try_give(task, before.get(task))]
    rest = [task for task in rest if not any(try_give(task, each) for each in copies.get(task, ()))]
    for task in rest:
        former = before.get(task)
        owners[task] = min(members, key=lambda each: (loads[each], each != former, each))
        loads[owners[task]] += costs[task]
    return owners

"""What tasks cost, by which they are spread over members when their number is not enough.

Every measure is scaled so that a task costs 1 on average; what is measured too little to tell
tasks apart leaves them alike.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from streamkit.rebalance.assignor import Task

MEASURED = "measured"
"""In place of weights: what members say of the time that each task takes them."""

LAG_MIN = 1_000
"""Records for each task: lags that come to less on average tell nothing."""

BUSY_MIN = 10
"""Thousandths of a core for each task: less on average tells nothing."""

BASE = 0.1
"""What a task costs that does nothing, as a part of the average."""

WEIGHT_MAX = 1_000_000.0


def weights_problem(text: str) -> str | None:
    """What is wrong with a text that is to be the weights; None when it is well."""
    if text == MEASURED or all(_weight(part) for part in _parts(text)):
        return None
    return (
        f"{MEASURED!r}, or SUBTOPOLOGY:WEIGHT with weights above 0 and commas between them, "
        "as in 0:1,2:7.5"
    )


def parse_weights(text: str) -> Mapping[str, float] | None:
    """Weights by sub-topology id of `0:1,2:7.5`; None for `measured`.

    `0=1` says the same as `0:1`, but Kafka's own tool takes no value with an equals sign.
    """
    if text == MEASURED:
        return None
    return dict(filter(None, map(_weight, _parts(text))))


def _parts(text: str) -> list[str]:
    return [part for part in (each.strip() for each in text.split(",")) if part]


def _weight(part: str) -> tuple[str, float] | None:
    subtopology_id, _, value = part.replace("=", ":", 1).partition(":")
    try:
        weight = float(value)
    except ValueError:
        return None
    is_good = subtopology_id.strip() and 0 < weight <= WEIGHT_MAX
    return (subtopology_id.strip(), weight) if is_good else None


def task_costs(
    tasks: Collection[Task],
    weights: str,
    busy: Mapping[Task, int],
    lags: Mapping[Task, int],
    *,
    by_lag: bool,
) -> Mapping[Task, float] | None:
    """The cost of each task; None when only their number counts.

    `weights` is the setting, `busy` thousandths of a core, `lags` records that wait to be read.
    """
    if not (weights or by_lag) or not tasks:
        return None
    declared = parse_weights(weights)
    if declared is None:
        costs = _scaled(tasks, busy, BUSY_MIN)
    else:
        costs = {task: declared.get(task[0], 1.0) for task in tasks}
    if by_lag:
        average = sum(costs.values()) / len(costs)
        waiting = _scaled(tasks, lags, LAG_MIN)
        costs = {task: cost + average * waiting[task] for task, cost in costs.items()}
    return costs


def _scaled(tasks: Collection[Task], measured: Mapping[Task, int], least: int) -> dict[Task, float]:
    """Shares that come to 1 a task on average; what is missing to `least` is spread evenly."""
    values = {task: max(measured.get(task, 0), 0) for task in tasks}
    total = sum(values.values())
    even = max(least - total / len(values), 0.0)
    average = total / len(values) + even
    return {task: BASE + (1 - BASE) * (value + even) / average for task, value in values.items()}

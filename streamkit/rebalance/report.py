"""What a member says of its tasks: how far their state is, how busy they are, how much waits.

KIP-1071 has two lists for it, cumulative changelog offsets and end offsets by task. What else a
member of ours has to say goes into the first of them, under sub-topology ids that nobody has:
`busy/1` is how many thousandths of a core the tasks of sub-topology 1 take, `lag/1` how many
records of their input wait. All of it goes only to a broker that advertises `TASK_OFFSETS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from streamkit.protocol import kio_import as _kio_import  # noqa: F401  # before any of kio

# isort: split
from kio.schema.streams_group_heartbeat.v0 import request as rq
from kio.static.primitive import i32, i64

from streamkit.rebalance.assignor import Task

BUSY = "busy/"
LAG = "lag/"


@dataclass(frozen=True, slots=True)
class TaskReport:
    """The tasks of one member; `offsets` and `ends` are sums over a task's changelogs."""

    offsets: Mapping[Task, int] = field(default_factory=dict)
    ends: Mapping[Task, int] = field(default_factory=dict)
    busy: Mapping[Task, int] = field(default_factory=dict)
    lags: Mapping[Task, int] = field(default_factory=dict)

    def behind(self, task: Task) -> int | None:
        """How far the state is behind, as the member itself sees it."""
        end = self.ends.get(task)
        return None if end is None else max(end - self.offsets.get(task, 0), 0)


EMPTY_REPORT = TaskReport()


def offset_messages(report: TaskReport) -> tuple[rq.TaskOffset, ...]:
    """The first list."""
    return (
        *_messages("", report.offsets),
        *_messages(BUSY, report.busy),
        *_messages(LAG, report.lags),
    )


def end_messages(report: TaskReport) -> tuple[rq.TaskOffset, ...]:
    """The second list."""
    return _messages("", report.ends)


def read_report(offsets: Iterable[Any], ends: Iterable[Any]) -> TaskReport:
    """What two lists say; of what is said twice, the last."""
    measures: dict[str, dict[Task, int]] = {"": {}, BUSY: {}, LAG: {}}
    for each in offsets:
        prefix = next((p for p in (BUSY, LAG) if each.subtopology_id.startswith(p)), "")
        task = each.subtopology_id.removeprefix(prefix), int(each.partition)
        measures[prefix][task] = int(each.offset)
    return TaskReport(
        measures[""],
        {(each.subtopology_id, int(each.partition)): int(each.offset) for each in ends},
        measures[BUSY],
        measures[LAG],
    )


def _messages(prefix: str, values: Mapping[Task, int]) -> tuple[rq.TaskOffset, ...]:
    return tuple(
        rq.TaskOffset(subtopology_id=prefix + name, partition=i32(partition), offset=i64(value))
        for (name, partition), value in sorted(values.items())
    )

"""What a worker's tasks are at, as its member reports it to the coordinator.

The processing thread changes what is read here while it is read: the numbers are each right, and
only of about the same moment.
"""

from __future__ import annotations

from streamkit.common.model import TaskId
from streamkit.rebalance.assignor import Task
from streamkit.rebalance.report import TaskReport
from streamkit.tasks.processor import Processor


def task_report(processor: Processor, now_ms: float) -> TaskReport:
    """Offsets of every task that has changelogs, and what tasks that run have to do."""
    offsets: dict[Task, int] = {}
    ends: dict[Task, int] = {}
    busy: dict[Task, int] = {}
    lags: dict[Task, int] = {}
    for task_id, task in list(processor.tasks.items()):
        name = _named(task_id)
        known = task.changelog_offsets
        if known:
            offsets[name] = sum(known.values())
            ends[name] = offsets[name] + task.remaining
        if task.is_running:
            meter = processor.meter.tasks.get(task_id)
            busy[name] = 0 if meter is None else round(meter.process.work.rate(now_ms))
            lags[name] = sum(max(q.readable_end - q.position, 0) for q in task.queues())
    for task_id, standby in list(processor.standbys.tasks.items()):
        restores = list(standby.restores.values())
        if restores:
            offsets[_named(task_id)] = sum(each.position for each in restores)
            ends[_named(task_id)] = sum(each.position + each.lag for each in restores)
    return TaskReport(offsets, ends, busy, lags)


def _named(task_id: TaskId) -> Task:
    return str(task_id.subtopology), task_id.partition

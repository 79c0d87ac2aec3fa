"""What the members of a group report of their tasks, and what follows from it for the target.

Soft: a new leader hears it anew with the next heartbeats. A member that never reported takes no
part: its tasks move at once, as in Apache Kafka 4.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from streamkit.broker.coordinators.group.streams.config import StreamsConfig
from streamkit.rebalance.assignor import LagOf, Task
from streamkit.rebalance.report import EMPTY_REPORT, TaskReport
from streamkit.rebalance.warmup import Move, WarmUps


@dataclass(frozen=True, slots=True)
class Measures:
    """All reports of a group, put together once for one assignment."""

    ends: Mapping[Task, int]
    busy: Mapping[Task, int]
    lags: Mapping[Task, int]


class Progress:
    """The reports by member, the warm-ups under way, and the moves that wait for a place."""

    def __init__(self) -> None:
        self.queued: tuple[Move, ...] = ()
        self.looked_ms = 0
        """When measured costs were last looked at."""
        self.warmups = WarmUps()
        self._reports: dict[str, TaskReport] = {}

    def note(self, member_id: str, told: TaskReport) -> None:
        """The member reports; what it said before counts no more."""
        self._reports[member_id] = told

    def forget(self, member_id: str) -> None:
        """The member is gone, or joins anew."""
        self._reports.pop(member_id, None)

    def is_reporting(self, member_id: str) -> bool:
        """Whether the member has ever reported to this leader."""
        return member_id in self._reports

    def report_of(self, member_id: str) -> TaskReport:
        """What it said last; empty when it never did."""
        return self._reports.get(member_id, EMPTY_REPORT)

    def end_of(self, task: Task) -> int | None:
        """The end of a task's changelogs, by whoever saw farthest."""
        ends = [each.ends[task] for each in self._reports.values() if task in each.ends]
        return max(ends, default=None)

    def lag(self, task: Task, member_id: str) -> int | None:
        """How far a member's copy is behind; None when it is not known to have one."""
        end = self.end_of(task)
        offset = self.report_of(member_id).offsets.get(task)
        return None if end is None or offset is None else max(end - offset, 0)

    def waits(self, move: Move, config: StreamsConfig, *, is_warming: bool) -> bool:
        """Whether the task stays where it is until its new owner has caught up.

        Only an owner that is itself caught up is worth waiting on.
        """
        if not config.takes_task_offsets or self.warmups.is_over(move.task, move.heir):
            return False
        if is_warming and self.lag(move.task, move.heir) is None:
            return True
        end = self.end_of(move.task)
        behind = self.lag(move.task, move.owner)
        if end is None or behind is None or behind > config.recovery_lag_max:
            return False
        if not self.is_reporting(move.heir):
            return False
        lag = end - self.report_of(move.heir).offsets.get(move.task, 0)
        return lag > config.recovery_lag_max

    def look(
        self, warmups: Iterable[tuple[Task, str]], config: StreamsConfig, now_ms: int
    ) -> list[str]:
        """Which of the warm-ups are over, a sentence for each."""
        timeout_ms = config.warmup_timeout_ms if config.warmup_replicas else 0
        return self.warmups.look(warmups, self.lag, config.recovery_lag_max, timeout_ms, now_ms)

    def measures(self) -> Measures:
        """All reports put together; of what two say of one task, the greater."""
        ends: dict[Task, int] = {}
        busy: dict[Task, int] = {}
        lags: dict[Task, int] = {}
        for report in self._reports.values():
            for known, told in ((ends, report.ends), (busy, report.busy), (lags, report.lags)):
                for task, value in told.items():
                    known[task] = max(known.get(task, value), value)
        return Measures(ends, busy, lags)

    def lag_of_copies(self, ends: Mapping[Task, int], lag_max: int) -> LagOf:
        """How far copies are behind, 0 for those that may run at once and for the unknown."""

        def lag_of(task: Task, member_id: str) -> int:
            report = self._reports.get(member_id)
            if report is None or task not in ends:
                return 0
            lag = ends[task] - report.offsets.get(task, 0)
            return lag if lag > lag_max else 0

        return lag_of

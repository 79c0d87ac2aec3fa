"""The rebalances of one worker: counted by their reasons and timed, as its metrics show them.

Pure. A rebalance begins when the member is told other tasks than it has, and ends when processing
has those; one whose tasks are lost has failed, and so has the loss of tasks at rest. What is told
meanwhile belongs to the one under way.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from streamkit.common.sampled import Sampled
from streamkit.rebalance.effects import Assign
from streamkit.rebalance.member import StreamsMember


class Reason(Enum):
    """Why tasks came or went; the label `reason` of the metrics."""

    FIRST = "first tasks"
    REVOKED = "tasks revoked"
    ASSIGNED = "tasks assigned"
    STANDBYS = "standbys changed"
    FENCED = "member fenced"
    PRODUCER_FENCED = "producer fenced"
    STUCK = "processing stuck"


LOSSES = (Reason.FENCED, Reason.PRODUCER_FENCED, Reason.STUCK)
"""The reasons for which all tasks are lost; the others are those of rebalances."""


def reason_of(member: StreamsMember, told: Assign) -> Reason:
    """Why the member is told this; before it takes the tasks over."""
    if member.owned.is_empty:
        return Reason.FIRST
    if told.revoke:
        return Reason.REVOKED
    return Reason.ASSIGNED if told.active - member.owned_active else Reason.STANDBYS


@dataclass(frozen=True, slots=True)
class _UnderWay:
    reason: Reason
    began_ms: float


class Rebalances:
    """What happened so far; times are monotonic milliseconds."""

    def __init__(self, now_ms: float) -> None:
        self.latency = Sampled(now_ms)
        self.ended: dict[Reason, int] = {}
        self.failed: dict[Reason, int] = {}
        self.last_ms: float | None = None
        """When the last one ended."""
        self._under_way: _UnderWay | None = None

    @property
    def reason(self) -> Reason | None:
        """That of the rebalance under way."""
        return None if self._under_way is None else self._under_way.reason

    def begin(self, reason: Reason, now_ms: float) -> None:
        """The member was told other tasks."""
        if self._under_way is None:
            self._under_way = _UnderWay(reason, now_ms)

    def end(self, now_ms: float) -> tuple[Reason, float] | None:
        """Processing has its tasks; the reason and how long it took, None when nothing was due."""
        under_way, self._under_way = self._under_way, None
        if under_way is None:
            return None
        took_ms = now_ms - under_way.began_ms
        self.latency.observe(took_ms, now_ms)
        self.ended[under_way.reason] = self.ended.get(under_way.reason, 0) + 1
        self.last_ms = now_ms
        return under_way.reason, took_ms

    def fail(self, reason: Reason) -> None:
        """All tasks are lost."""
        assert reason in LOSSES, f"tasks are not lost because of {reason.value}"
        self._under_way = None
        self.failed[reason] = self.failed.get(reason, 0) + 1

"""Punctuations of one task: callbacks on a grid of times (Kafka's PunctuationQueue).

By stream time the grid begins at the epoch, so the first record fires at once; by wall clock it
begins one interval after scheduling. An anchored one (KIP-1146) begins at its start. Marks that
were missed are made up for by a single call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from streamkit.common.errors import TopologyError
from streamkit.common.time_order import TimeOrder
from streamkit.topology.operators.node import NEVER, Node


@dataclass(slots=True, eq=False)
class Punctuation:
    """One callback; `time_ms` is its next mark."""

    node: Node
    callback: Callable[[int], object]
    interval_ms: int
    time_ms: int
    is_cancelled: bool = False

    def cancel(self) -> None:
        """Call it no more."""
        self.is_cancelled = True

    def move_on(self, now_ms: int) -> None:
        """To the first mark after now."""
        missed = max((now_ms - self.time_ms) // self.interval_ms, 0)
        self.time_ms += (missed + 1) * self.interval_ms


class PunctuationQueue:
    """Those by one of the two clocks."""

    def __init__(self) -> None:
        self._order = TimeOrder[Punctuation](lambda each: each.time_ms)

    def add(self, punctuation: Punctuation) -> None:
        """Take one in."""
        self._order.add(punctuation)

    @property
    def next_ms(self) -> int:
        """The next mark; NEVER when there is none."""
        first = self._order.peek()
        return NEVER if first is None else first.time_ms

    def run(self, now_ms: int, call: Callable[[Punctuation, int], None]) -> bool:
        """Call what is due; whether anything was."""
        has_run = False
        while self.next_ms <= now_ms:
            due = self._order.pop()
            if due is None:
                break
            if due.is_cancelled:
                continue
            has_run = True
            try:
                call(due, now_ms)
            finally:
                # A failed one goes on at its next mark, and one may cancel itself.
                if not due.is_cancelled:
                    due.move_on(now_ms)
                    self._order.add(due)
        return has_run


def first_mark(
    interval_ms: int, now_ms: int, start_ms: int | None, *, by_wall_clock: bool, where: str
) -> int:
    """Where the grid begins. Raises TopologyError for intervals and starts that make none."""
    if interval_ms < 1:
        raise TopologyError(f"{where}: schedule() takes an interval of at least 1 ms")
    if start_ms is not None and start_ms < 0:
        raise TopologyError(f"{where}: schedule() starts at the epoch or later, not {start_ms}")
    if not by_wall_clock:
        return start_ms or 0
    if start_ms is None:
        return now_ms + interval_ms
    if start_ms >= now_ms:
        return start_ms
    return start_ms + ((now_ms - start_ms) // interval_ms + 1) * interval_ms

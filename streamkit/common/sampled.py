"""Rates, averages and maxima over the last minute, as Kafka's clients and Streams show them.

Pure. Observations fall into windows (`metrics.num.samples`, `metrics.sample.window.ms`); what is
shown counts those windows that are not too old. A rate divides by the time since the oldest of
them began, but never by less than all windows but one (SampledStat and Rate in Kafka), so that a
first burst does not look like a steady stream.
"""

from __future__ import annotations

import math
from typing import Final

WINDOWS: Final = 2
WINDOW_MS: Final = 30_000


class _Window:
    """The observations of one window."""

    __slots__ = ("count", "maximum", "minimum", "start_ms", "sum")

    def __init__(self, start_ms: float) -> None:
        self.start_over(start_ms)

    def start_over(self, start_ms: float) -> None:
        self.start_ms = start_ms
        self.count = 0
        self.sum = 0.0
        self.maximum = -math.inf
        self.minimum = math.inf


class Sampled:
    """What was observed lately, and in all; every call says what time it is."""

    __slots__ = ("_current", "_window_ms", "_windows", "total", "total_count")

    def __init__(self, now_ms: float, windows: int = WINDOWS, window_ms: float = WINDOW_MS) -> None:
        assert windows > 0, "there is at least one window"
        self._windows = [_Window(now_ms)]
        self._windows += [_Window(-math.inf) for _ in range(windows - 1)]
        self._window_ms = window_ms
        self._current = 0
        self.total = 0.0
        self.total_count = 0

    def observe(self, value: float, now_ms: float, count: int = 1) -> None:
        """Note `count` observations whose sum is `value`."""
        window = self._windows[self._current]
        if now_ms - window.start_ms >= self._window_ms:
            window = self._advance(now_ms)
        window.count += count
        window.sum += value
        window.maximum = max(window.maximum, value)
        window.minimum = min(window.minimum, value)
        self.total += value
        self.total_count += count

    def rate(self, now_ms: float) -> float:
        """The sum of what was observed for each second."""
        return sum(each.sum for each in self._recent(now_ms)) / self._elapsed_s(now_ms)

    def count_rate(self, now_ms: float) -> float:
        """Observations for each second."""
        return sum(each.count for each in self._recent(now_ms)) / self._elapsed_s(now_ms)

    def average(self, now_ms: float) -> float:
        """The mean; not a number without observations."""
        recent = self._recent(now_ms)
        count = sum(each.count for each in recent)
        return sum(each.sum for each in recent) / count if count else math.nan

    def maximum(self, now_ms: float) -> float:
        """The largest; not a number without observations."""
        largest = max((each.maximum for each in self._recent(now_ms)), default=-math.inf)
        return math.nan if largest == -math.inf else largest

    def minimum(self, now_ms: float) -> float:
        """The smallest; not a number without observations."""
        smallest = min((each.minimum for each in self._recent(now_ms)), default=math.inf)
        return math.nan if smallest == math.inf else smallest

    def _advance(self, now_ms: float) -> _Window:
        self._current = (self._current + 1) % len(self._windows)
        window = self._windows[self._current]
        window.start_over(now_ms)
        return window

    def _recent(self, now_ms: float) -> list[_Window]:
        oldest_ms = now_ms - len(self._windows) * self._window_ms
        return [each for each in self._windows if each.start_ms > oldest_ms]

    def _elapsed_s(self, now_ms: float) -> float:
        begun_ms = min((each.start_ms for each in self._recent(now_ms)), default=now_ms)
        elapsed_ms = now_ms - begun_ms
        missing = len(self._windows) - 1 - int(elapsed_ms // self._window_ms)
        # Of one window only, a rate in its first moment would be without bounds.
        return max(elapsed_ms + max(missing, 0) * self._window_ms, self._window_ms) / 1000

"""Windows: `sk.tumbling("1m", grace="5s")` and its kin.

Durations are `timedelta` or text such as "90s"; grace says how late a record may come.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from streamkit.common.errors import TopologyError
from streamkit.topology.operators.windowed import TimeWindows

Duration = timedelta | str

_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"([0-9]+)\s*(ms|s|m|h|d)")
_LONG_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class SlidingWindows:
    """Windows that end at each record, and such that begin after one; both ends belong to them."""

    difference_ms: int
    grace_ms: int

    @property
    def size_ms(self) -> int:
        """How far the end lies behind the start."""
        return self.difference_ms

    @property
    def retention_ms(self) -> int:
        """How long a store must keep them."""
        return 2 * self.difference_ms + self.grace_ms


@dataclass(frozen=True, slots=True)
class SessionWindows:
    """Records of a key with no gap longer than this between them."""

    gap_ms: int
    grace_ms: int

    @property
    def retention_ms(self) -> int:
        """How long a store must keep them."""
        return self.gap_ms + self.grace_ms


class Windows(Protocol):
    """Windows of one's own, of any sizes: months, shifts, opening hours.

    Times are in milliseconds since the epoch. `size_ms` is the longest size: so long, and for the
    grace, a store keeps a window. An end does not belong to its window.
    """

    @property
    def size_ms(self) -> int: ...

    @property
    def grace_ms(self) -> int: ...

    def starts(self, timestamp: int, /) -> Iterable[int]:
        """The starts of the windows that hold a time."""

    def end(self, start: int, /) -> int:
        """The end of the window that begins then."""


AnyWindows = TimeWindows | SlidingWindows | SessionWindows | Windows


def windows_or_raise(given: object) -> AnyWindows:
    """Check what `windowed_by()` was given. Raises TopologyError."""
    if isinstance(given, TimeWindows | SlidingWindows | SessionWindows):
        return given
    missing = [
        name for name in ("size_ms", "grace_ms", "starts", "end") if not hasattr(given, name)
    ]
    if missing:
        raise TopologyError(
            f"windowed_by({given!r}): give streamkit.tumbling('1m'), hopping, sliding, session or "
            f"unlimited, or windows of your own, which this is not for want of {missing[0]}"
        )
    return given  # type: ignore[return-value]  # has all that the protocol asks for


def tumbling(size: Duration, *, grace: Duration = "0ms") -> TimeWindows:
    """Windows of one size, one after the other, the first at the epoch.

    >>> tumbling("1m", grace="5s").size_ms
    60000
    """
    size_ms = _positive(size, "tumbling(): size")
    return TimeWindows(size_ms, size_ms, duration_ms(grace))


def hopping(size: Duration, advance: Duration, *, grace: Duration = "0ms") -> TimeWindows:
    """Windows of one size, one every `advance`, which is at most the size."""
    size_ms, advance_ms = _positive(size, "hopping(): size"), duration_ms(advance)
    if not 0 < advance_ms <= size_ms:
        raise TopologyError(f"hopping(): advance={advance!r} must lie between 1ms and {size!r}")
    return TimeWindows(size_ms, advance_ms, duration_ms(grace))


def sliding(difference: Duration, *, grace: Duration = "0ms") -> SlidingWindows:
    """Windows that hold all records no further apart than `difference`."""
    return SlidingWindows(duration_ms(difference), duration_ms(grace))


def session(gap: Duration, *, grace: Duration = "0ms") -> SessionWindows:
    """Windows that grow with each record and end after `gap` without one."""
    return SessionWindows(_positive(gap, "session(): gap"), duration_ms(grace))


def unlimited(start_ms: int = 0) -> TimeWindows:
    """One window from `start_ms` (since the epoch) on that never ends."""
    return TimeWindows(_LONG_MAX, 0, 0, start_ms)


def duration_ms(duration: Duration) -> int:
    """A duration in milliseconds. Raises TopologyError for text that is none."""
    if isinstance(duration, timedelta):
        ms = duration // timedelta(milliseconds=1)
    else:
        found = _DURATION.fullmatch(duration.strip()) if isinstance(duration, str) else None
        if found is None:
            raise TopologyError(
                f"{duration!r} is no duration: use a timedelta or text such as '90s', '5m', '250ms'"
            )
        ms = int(found[1]) * _UNITS[found[2]]
    if ms < 0:
        raise TopologyError(f"{duration!r} is negative")
    return ms


def _positive(duration: Duration, what: str) -> int:
    ms = duration_ms(duration)
    if ms == 0:
        raise TopologyError(f"{what} must be longer than nothing")
    return ms


def retention_ms_of(windows: AnyWindows) -> int:
    """How long a store must keep them."""
    if isinstance(windows, TimeWindows | SlidingWindows | SessionWindows):
        return windows.retention_ms
    return windows.size_ms + windows.grace_ms

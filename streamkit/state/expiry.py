"""What has expired in a windowed store: by its own stream time, a segment at a time.

A row is not found any more when it is older than the retention; it is deleted when all of its
segment is, by one deletion of a range. Compiled by Cython; runs the same uncompiled; its types for
mypy stand in `expiry.pyi`.
"""

from __future__ import annotations

import cython

from streamkit.state.overlay import OverlayStore
from streamkit.state.window_keys import SEGMENT_SIZE, segment_prefix


@cython.cclass
class Expiry:
    """The stream time of one store, and the rows below it that are due to go."""

    def __init__(
        self, store: OverlayStore, segment_ms: int, retention_ms: int, *, drops_by_segment: bool
    ) -> None:
        self._store = store
        self._segment_ms = segment_ms
        self._retention_ms = retention_ms
        self._drops_by_segment = drops_by_segment
        self._swept_to = None
        self._first = _segment(store, reverse=False)
        self._last = _segment(store, reverse=True)
        self.stream_time = -1
        self.needed_from = None
        """Rows from this time on are kept even when they have expired."""

    @property
    def first_live(self) -> int:
        """The first time whose rows are found."""
        return self.stream_time - self._retention_ms + 1

    @cython.ccall
    def is_live(self, time: cython.longlong) -> cython.bint:
        """Whether rows of a time are found."""
        return time > self.stream_time - self._retention_ms

    @cython.ccall
    def try_take(self, time: cython.longlong) -> cython.bint:
        """Advance the stream time to that of a row to put; False when the row has expired."""
        if time > self.stream_time:
            self._see(time)
        if self._is_expired(time):
            return False
        number: cython.longlong = time // self._segment_ms
        if number > self._last:
            self._reach(number)
        self._first = min(self._first, number)
        return True

    def _reach(self, number: int) -> None:
        if self._store.journal is not None:
            self._store.journal.append((self._set_last, (self._last,)))
        if self._last < 0:
            self._first = number
        self._last = number

    def _set_last(self, number: int) -> None:
        self._last = number

    def _see(self, time: int) -> None:
        if self._store.journal is not None:
            self._store.journal.append((self._set_stream_time, (self.stream_time,)))
        self.stream_time = time

    def _set_stream_time(self, time: int) -> None:
        self.stream_time = time

    def segments(self, low: int, high: int | None, reverse: bool = False) -> range:
        """The numbers of the segments that may hold rows from `low` to `high`."""
        span = self._segment_ms
        first = max(low // span, self._first, 0)
        last = self._last if high is None else min(high // span, self._last)
        return range(last, first - 1, -1) if reverse else range(first, last + 1)

    def sweep(self) -> None:
        """Have what has expired deleted with the next commit."""
        oldest = self.first_live - 1
        if self.needed_from is not None:
            oldest = min(oldest, self.needed_from)
        end = segment_prefix(max(oldest // self._segment_ms, 0))
        if self._swept_to is not None and self._swept_to >= end:
            return
        self._store.drop_below(end)
        self._swept_to = end

    @cython.cfunc
    def _is_expired(self, time: cython.longlong) -> cython.bint:
        oldest: cython.longlong = self.stream_time - self._retention_ms
        if self._drops_by_segment:
            # As RocksDB's: a segment lives on until all of it has expired.
            return time // self._segment_ms < oldest // self._segment_ms
        return time <= oldest


def _segment(store: OverlayStore, *, reverse: bool) -> int:
    """The number of the oldest segment, or of the newest; -1 in an empty store."""
    entry = next(store.scan(None, None, reverse), None)
    return -1 if entry is None else int.from_bytes(entry[0][:SEGMENT_SIZE], "big", signed=True)

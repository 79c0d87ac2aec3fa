"""Windowed aggregates: time windows, sliding windows, sessions.

Each has its own stream time, the highest timestamp it has seen; a window that ended more than
the grace before it takes nothing any more. With `emits_on_close` nothing goes on before that.
Compiled by Cython; runs the same uncompiled; its types for mypy stand in `windowed.pyi`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cython

from streamkit.common.direct import TimedRows, row_time, row_value, timed_rows_of
from streamkit.common.model import Headers, Windowed
from streamkit.topology.operators.node import ProcessorContext, StoreNode

LONG_MAX = 2**63 - 1
_LONG_MAX = cython.declare(cython.longlong, 2**63 - 1)
Initializer = Callable[[], Any]
Aggregator = Callable[[Any, Any, Any], Any]


def is_compiled() -> bool:
    """Whether this module runs as C."""
    return bool(cython.compiled)


def nothing_yet() -> int:
    """Where a count begins."""
    return 0


def count_one(key: object, value: object, count: int) -> int:
    """The fold of a count."""
    return count + 1


@dataclass(frozen=True, slots=True)
class TimeWindows:
    """Windows [start, start + size), one every `advance_ms`; with 0 there is one only."""

    size_ms: int
    advance_ms: int
    grace_ms: int
    start_ms: int = 0

    @property
    def retention_ms(self) -> int:
        """How long a store must keep them."""
        return min(self.size_ms + self.grace_ms, LONG_MAX)

    def starts(self, timestamp: int) -> range | tuple[int, ...]:
        """The starts of the windows that hold a time, the first first."""
        if self.advance_ms == 0:
            return (self.start_ms,) if timestamp >= self.start_ms else ()
        advance = self.advance_ms
        first = max(0, timestamp - self.size_ms + advance) // advance * advance
        return range(first, timestamp + 1, advance)

    def end(self, start: int) -> int:
        """The end of a window, which does not belong to it."""
        return LONG_MAX if self.advance_ms == 0 else start + self.size_ms


@cython.cclass
class WindowedNode(StoreNode):
    """What windowed aggregates share: the fold, stream time, and results on close."""

    initializer = cython.declare(object, visibility="readonly")
    aggregator = cython.declare(object, visibility="readonly")
    grace_ms = cython.declare(cython.longlong, visibility="readonly")
    emits_on_close = cython.declare(cython.bint, visibility="readonly")
    stream_time = cython.declare(cython.longlong, visibility="readonly")
    emitted_to = cython.declare(object, visibility="readonly")
    next_emit_ms = cython.declare(object, visibility="readonly")
    kept = cython.declare(object, visibility="readonly")
    name_of_store = cython.declare(object, visibility="readonly")
    emitted = cython.declare(cython.longlong, visibility="readonly")

    def __init__(
        self,
        name: str,
        store_name: str,
        folds: tuple[Initializer, Aggregator],
        grace_ms: int,
        emits_on_close: bool,
        sends_old: bool,
    ) -> None:
        StoreNode.__init__(self, name, store_name, sends_old)
        self.initializer, self.aggregator = folds
        self.grace_ms = grace_ms
        self.emits_on_close = emits_on_close
        self.stream_time = -1
        self.emitted_to = None
        self.next_emit_ms = 0
        self.kept = None
        self.name_of_store = store_name
        self.emitted = 0

    def init(self, context: ProcessorContext) -> None:
        """Look up the store."""
        StoreNode.init(self, context)
        self.kept = context.store(self.name_of_store)
        if self.emits_on_close:
            self.kept.expiry.needed_from = 0
            self.emitted_to = context.processor_times.get(self.name_of_store)

    def see(self, timestamp: int) -> None:
        """Its time goes on, unless the record that brought it fails."""
        self.on_failure(self.set_stream_time, self.stream_time)
        self.stream_time = timestamp

    def set_stream_time(self, stream_time: int) -> None:
        """Take a time back."""
        self.stream_time = stream_time

    @property
    def close_time(self) -> int:
        """Windows that ended before it have closed."""
        return self.stream_time - self.grace_ms

    def advance_time(self, time: int) -> None:
        if time > self.stream_time:
            self.see(time)
            self.maybe_emit(self.close_time, ())

    def update(
        self, key: Windowed[Any], new: Any, old: Any, timestamp: int, headers: Headers
    ) -> None:
        """Hand on an update, unless a cache or the close of the window will."""
        if not self.emits_on_close and not self.is_cached:
            self.forward_change(key, new, old if self.sends_old else None, timestamp, headers)

    def closed(self, close_time: int) -> tuple[int, int] | None:
        """The range of times whose windows are to be emitted; None when there are none."""
        raise NotImplementedError

    def maybe_emit(self, close_time: int, headers: Headers) -> None:
        """Emit what has closed; at most once in an interval of the wall clock."""
        if not self.emits_on_close:
            return
        now_ms = self.context.wall_time_ms()
        if now_ms < self.next_emit_ms:
            return
        expiry = self.kept.expiry
        self.on_failure(self.set_emitted, self.emitted_to, self.next_emit_ms, expiry.needed_from)
        self.next_emit_ms = now_ms + self.context.emit_interval_ms
        if self.emitted_to is not None and self.emitted_to >= close_time:
            return
        bounds = self.closed(close_time)
        if bounds is None:
            return
        for key, row in self.kept.fetch_all(*bounds, expired_too=True):
            self.forward_change(key, row[0], None, self.time_of(key, row), headers)
            self.emitted += 1
        self.set_emitted(close_time, self.next_emit_ms, max(bounds[1], 0))

    def set_emitted(self, emitted_to: int | None, next_emit_ms: int, needed_from: int) -> None:
        """Up to where windows were emitted; it is committed beside the offsets."""
        self.emitted_to, self.next_emit_ms = emitted_to, next_emit_ms
        self.kept.expiry.needed_from = needed_from
        times = self.context.processor_times
        if emitted_to is None:
            times.pop(self.name_of_store, None)
        else:
            times[self.name_of_store] = emitted_to

    def time_of(self, key: Windowed[Any], row: Any) -> int:
        """The time of a final result."""
        time: int = row[1]
        return time


@cython.cclass
class TimeWindowNode(WindowedNode):
    """Tumbling, hopping and unlimited windows."""

    windows = cython.declare(object, visibility="readonly")
    _size_ms: cython.longlong
    _advance_ms: cython.longlong
    _counts: cython.bint
    _rows: TimedRows

    def __init__(
        self,
        name: str,
        store_name: str,
        folds: tuple[Initializer, Aggregator],
        windows: TimeWindows,
        emits_on_close: bool,
        sends_old: bool,
    ) -> None:
        WindowedNode.__init__(
            self, name, store_name, folds, windows.grace_ms, emits_on_close, sends_old
        )
        self.windows = windows
        self._size_ms = windows.size_ms
        self._advance_ms = windows.advance_ms
        self._counts = folds[1] is count_one
        self.ignores_values = self._counts
        self._rows = None

    def init(self, context: ProcessorContext) -> None:
        """Look up the store."""
        WindowedNode.init(self, context)
        self._rows = timed_rows_of(self.kept)

    @cython.ccall
    def process(self, key: Any, value: Any, timestamp: cython.longlong, headers: Headers) -> object:
        """Fold the record into each of its windows."""
        if key is None:
            self.context.drop(f"{self.name}: null key")
            return
        if timestamp > self.stream_time:
            if self.context.savepoint is not None:
                self.see(timestamp)
            self.stream_time = timestamp
        close_time: cython.longlong = self.stream_time - self.grace_ms
        start: cython.longlong
        advance: cython.longlong = self._advance_ms
        if advance == 0:
            for start in self.windows.starts(timestamp):
                self.fold(key, value, start, _LONG_MAX, close_time, timestamp, headers)
        else:
            start = max(0, timestamp - self._size_ms + advance) // advance * advance
            while start <= timestamp:
                end: cython.longlong = start + self._size_ms
                self.fold(key, value, start, end, close_time, timestamp, headers)
                start += advance
        if self.emits_on_close:
            self.maybe_emit(close_time, headers)

    @cython.cfunc
    def fold(
        self,
        key: Any,
        value: Any,
        start: cython.longlong,
        end: cython.longlong,
        close_time: cython.longlong,
        timestamp: cython.longlong,
        headers: Headers,
    ) -> object:
        if end <= close_time:
            # Windows come by their starts: when the record's last one has closed, all have.
            is_whole = self._advance_ms == 0 or start + self._advance_ms > timestamp
            reason = f"{self.name}: window [{start}, {end}) has closed"
            self.context.drop(reason, True, is_whole)
            return
        place = self._rows.place(key, start, end)
        if self._counts and self.is_cached:
            self._rows.count_up_at(place, start, timestamp, headers)
            return
        row = self._rows.get_at(place, start)
        if row is None:
            old = self.initializer()
        else:
            old = row_value(row)
            then: cython.longlong = row_time(row)
            timestamp = max(timestamp, then)
        new = old + 1 if self._counts else self.aggregator(key, value, old)
        self._rows.put_at(place, start, new, timestamp, headers)
        if not self.is_cached:
            self.update(Windowed(key, start, end), new, old, timestamp, headers)

    def closed(self, close_time: int) -> tuple[int, int] | None:
        windows = self.windows
        last = close_time - windows.size_ms
        if last < 0:
            return None
        if self.emitted_to is None:
            return 0, last
        first = max(0, self.emitted_to - windows.size_ms) + 1
        if list(windows.starts(last)) == list(windows.starts(first - 1)):
            return None
        return first, last


class SessionNode(WindowedNode):
    """Sessions: a record joins all sessions within the gap, and what they hold is merged."""

    def __init__(
        self,
        name: str,
        store_name: str,
        folds: tuple[Initializer, Aggregator],
        merger: Aggregator,
        times: tuple[int, int],
        emits_on_close: bool,
        sends_old: bool,
    ) -> None:
        gap_ms, grace_ms = times
        super().__init__(name, store_name, folds, grace_ms, emits_on_close, sends_old)
        self.merger = merger
        self.gap_ms = gap_ms

    @property
    def close_time(self) -> int:
        return self.stream_time - self.grace_ms - self.gap_ms

    def process(self, key: Any, value: Any, timestamp: int, headers: Headers) -> None:
        if key is None:
            self.context.drop(f"{self.name}: null key")
            return
        if timestamp > self.stream_time:
            self.see(timestamp)
        close_time = self.close_time
        start = end = timestamp
        aggregate = self.initializer()
        merged = list(self.sessions(key, timestamp))
        for session, row in merged:
            aggregate = self.merger(key, aggregate, row[0])
            start, end = min(start, session.start), max(end, session.end)
        if end < close_time:
            self.context.drop(f"{self.name}: session [{start}, {end}] has closed")
        else:
            self.replace(Windowed(key, start, end), merged, value, aggregate)
        self.maybe_emit(close_time, headers)

    def sessions(self, key: Any, timestamp: int) -> Iterator[tuple[Windowed[Any], Any]]:
        """The sessions that a record at this time touches."""
        latest = timestamp + self.gap_ms
        for session, row in self.kept.fetch(key, timestamp - self.gap_ms, None):
            if session.start <= latest:
                yield session, row

    def replace(
        self, window: Windowed[Any], merged: list[tuple[Windowed[Any], Any]], value: Any, old: Any
    ) -> None:
        """Take the merged sessions out and put the new one in."""
        if window.start != window.end:
            for session, row in merged:
                self.put(session, None, session.end, ())
                self.update(session, None, row[0], session.end, ())
        new = self.aggregator(window.key, value, old)
        self.put(window, new, window.end, ())
        self.update(window, new, None, window.end, ())

    def closed(self, close_time: int) -> tuple[int, int] | None:
        first, last = max(0, self.emitted_to or 0), close_time - 1
        return (first, last) if last >= max(first, 0) else None

    def time_of(self, key: Windowed[Any], row: Any) -> int:
        return key.end

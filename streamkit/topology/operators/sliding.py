"""Sliding windows: one ends at each record, one begins 1 ms after each that has later neighbours.

A window's row carries the time of its latest record. Records younger than the width of a window
share the window that begins at 0 (KIP-450).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from streamkit.common.model import Headers, Windowed
from streamkit.topology.operators.windowed import Aggregator, Initializer, WindowedNode


@dataclass(slots=True)
class _Found:
    """What the windows around a record tell."""

    starts: set[int] = field(default_factory=set)
    right: Any = None
    left: Any = None
    has_left_window: bool = False
    has_right_window: bool = False
    previous: int | None = None
    is_done: bool = False


class SlidingNode(WindowedNode):
    """See the module."""

    def __init__(
        self,
        name: str,
        store_name: str,
        folds: tuple[Initializer, Aggregator],
        times: tuple[int, int],
        emits_on_close: bool,
        sends_old: bool,
    ) -> None:
        width_ms, grace_ms = times
        super().__init__(name, store_name, folds, grace_ms, emits_on_close, sends_old)
        self.width = width_ms

    def process(self, key: Any, value: Any, timestamp: int, headers: Headers) -> None:
        if key is None or value is None:
            self.context.drop(f"{self.name}: null key or value")
            return
        if timestamp > self.stream_time:
            self.see(timestamp)
        close_time = self.close_time
        if timestamp + self.width < close_time:
            self.context.drop(f"{self.name}: the record's windows have closed")
            return
        record = (key, value, timestamp, headers)
        if timestamp < self.width:
            self.process_early(record, close_time)
            return
        self.process_late(record, close_time)
        self.maybe_emit(close_time, headers)

    def process_late(self, record: tuple[Any, Any, int, Headers], close_time: int) -> None:
        """A record at least one width after 0."""
        key, _, timestamp, _ = record
        found = _Found()
        first = max(0, timestamp - 2 * self.width)
        for window, row in list(self.kept.fetch(key, first, timestamp + 1, reverse=True)):
            found.starts.add(window.start)
            if self.look_at(window, row, record, close_time, found):
                break
        if not found.is_done:
            self.create(record, close_time, found)

    def look_at(
        self,
        window: Windowed[Any],
        row: Any,
        record: tuple[Any, Any, int, Headers],
        close_time: int,
        found: _Found,
    ) -> bool:
        """Update one window, the latest first, and learn from it; True when no more are needed."""
        timestamp = record[2]
        end = window.start + self.width
        if window.start == timestamp + 1:
            found.has_right_window = True
        elif end > timestamp:
            found.right = row if found.right is None else found.right
            self.add(window.start, row, record, close_time)
        elif end == timestamp:
            found.has_left_window = True
            self.add(window.start, row, record, close_time)
            if row[1] >= timestamp:
                found.is_done = True
                return True
            found.previous = row[1]
        else:
            found.left = row
            found.previous = row[1]
            return True
        return False

    def create(self, record: tuple[Any, Any, int, Headers], close_time: int, found: _Found) -> None:
        """Make the windows that the record needs and that are not there."""
        timestamp = record[2]
        previous = found.previous
        if previous is not None:
            start = previous + 1
            if start not in found.starts and start + self.width >= timestamp:
                self.add(start, None, record, close_time)
        if not found.has_left_window:
            row = None
            if previous is not None and timestamp - self.width <= previous:
                row = (found.left[0], timestamp)
            self.add(timestamp - self.width, row, record, close_time)
        self.maybe_create_right(record, found)

    def process_early(self, record: tuple[Any, Any, int, Headers], close_time: int) -> None:
        """A record less than one width after 0."""
        key, _, timestamp, _ = record
        found = _Found()
        combined = None
        for window, row in list(self.kept.fetch(key, 0, timestamp + 1)):
            found.starts.add(window.start)
            if window.start == 0:
                combined = row
                if row[1] < timestamp:
                    found.previous = row[1]
            elif window.start <= timestamp:
                found.right = row
                self.add(window.start, row, record, close_time)
            else:
                found.has_right_window = True
        if found.right is None and combined is not None and combined[1] > timestamp:
            found.right = combined
        self.maybe_create_right(record, found)
        if found.previous is not None and found.previous + 1 not in found.starts:
            self.add(found.previous + 1, None, record, close_time)
        self.add(0, combined, record, close_time)

    def maybe_create_right(self, record: tuple[Any, Any, int, Headers], found: _Found) -> None:
        """The window after the record, when it would not be empty."""
        key, _, timestamp, headers = record
        right = found.right
        if found.has_right_window or right is None or right[1] <= timestamp:
            return
        window = Windowed(key, timestamp + 1, timestamp + 1 + self.width)
        self.put(window, right[0], right[1], headers)
        self.update(window, right[0], None, right[1], headers)

    def add(
        self, start: int, row: Any, record: tuple[Any, Any, int, Headers], close_time: int
    ) -> None:
        """Put the record into a window, which may be new."""
        key, value, timestamp, headers = record
        end = start + self.width
        if end < close_time:
            # Not whole: a record that no window takes has been dropped before.
            self.context.drop(f"{self.name}: window [{start}, {end}] has closed", True, False)
            return
        old = self.initializer() if row is None else row[0]
        time = timestamp if row is None or old is None else max(timestamp, row[1])
        new = self.aggregator(key, value, old)
        window = Windowed(key, start, end)
        self.put(window, new, time, headers)
        self.update(window, new, old, time, headers)

    def closed(self, close_time: int) -> tuple[int, int] | None:
        last = close_time - self.width - 1
        if last < 0:
            return None
        first = 0 if self.emitted_to is None else max(0, self.emitted_to - self.width)
        return first, last

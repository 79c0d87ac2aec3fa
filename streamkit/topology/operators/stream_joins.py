"""Stream-stream joins: each side keeps its records in a window and looks for partners in the other.

A left or outer join sends a record without a partner on once its window and the grace are over.
Until then it waits in a store that both sides share, and with it the time that both have seen.
Rules and order of results are those of Kafka Streams' KStreamKStreamJoin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from streamkit.common.model import Headers
from streamkit.topology.operators.node import Node, ProcessorContext

LONG_MAX = 2**63 - 1
Joiner = Callable[[Any, Any, Any], Any]
"""`joiner(key, left, right)`."""


@dataclass(frozen=True, slots=True)
class JoinWindows:
    """A right record belongs to a left one from `before_ms` before it to `after_ms` after it."""

    before_ms: int
    after_ms: int
    grace_ms: int

    @property
    def size_ms(self) -> int:
        """The width."""
        return self.before_ms + self.after_ms

    @property
    def retention_ms(self) -> int:
        """How long records must be kept."""
        return self.size_ms + self.grace_ms


class WindowedInputNode(Node):
    """Hands a record to the join, then keeps it for partners that come later."""

    def __init__(self, name: str, store_name: str) -> None:
        super().__init__(name)
        self._store_name = store_name
        self._store: Any = None

    def init(self, context: ProcessorContext) -> None:
        """Look up the store."""
        super().init(context)
        self._store = context.store(self._store_name)

    def process(self, key: Any, value: Any, timestamp: int, headers: Headers) -> None:
        self.forward(key, value, timestamp, headers)
        if key is not None:
            self._store.put(key, value, timestamp, headers)


class StreamJoinNode(Node):
    """One side of a join.

    `keeps` says that this side's records go on without a partner; `unmatched_name` is the shared
    store of a left or outer join.
    """

    def __init__(
        self,
        name: str,
        is_left: bool,
        joiner: Joiner,
        windows: JoinWindows,
        keeps: bool,
        stores: tuple[str, str | None],
    ) -> None:
        super().__init__(name)
        self._is_left = is_left
        self._joiner = joiner
        self._windows = windows
        self._keeps = keeps
        self._other_name, self._unmatched_name = stores
        self._before_ms = windows.before_ms if is_left else windows.after_ms
        self._after_ms = windows.after_ms if is_left else windows.before_ms
        self._other: Any = None
        self._unmatched: Any = None

    def init(self, context: ProcessorContext) -> None:
        """Look up the stores."""
        super().init(context)
        self._other = context.store(self._other_name)
        if self._unmatched_name is not None:
            self._unmatched = context.store(self._unmatched_name)

    def process(self, key: Any, value: Any, timestamp: int, headers: Headers) -> None:
        unmatched = self._unmatched
        if unmatched is not None:
            unmatched.see(timestamp)
        if key is None and value is not None and self._keeps:
            self.forward(key, self._joined(key, value, None), timestamp, headers)
            return
        if key is None or value is None:
            self.context.drop(f"{self.name}: null key or value")
            return
        if unmatched is not None and timestamp == unmatched.stream_time:
            self._emit_closed(headers)
        time_to = max(0, timestamp + self._after_ms)
        found = list(self._other.fetch(key, max(0, timestamp - self._before_ms), time_to))
        for time, other in found:
            if unmatched is not None:
                unmatched.discard(key, not self._is_left, time)
            joined = self._joined(key, value, other)
            self.forward(key, joined, max(timestamp, time), headers)
        if found or not self._keeps:
            return
        if time_to < unmatched.stream_time:
            self.forward(key, self._joined(key, value, None), timestamp, headers)
        else:
            unmatched.add(key, self._is_left, timestamp, value)

    def advance_time(self, time: int) -> None:
        if self._unmatched is not None and time > self._unmatched.stream_time:
            self._unmatched.see(time)
            self._emit_closed(())

    def _joined(self, key: Any, own: Any, other: Any) -> Any:
        if self._is_left:
            return self._joiner(key, own, other)
        return self._joiner(key, other, own)

    def _emit_closed(self, headers: Headers) -> None:
        """Send on the records whose windows have closed; at most once in an interval."""
        unmatched, grace_ms = self._unmatched, self._windows.grace_ms
        if (
            unmatched.min_time != LONG_MAX
            and unmatched.min_time + self._after_ms + grace_ms >= unmatched.stream_time
        ):
            return
        now_ms = self.context.wall_time_ms()
        if now_ms < unmatched.next_emit_ms:
            return
        unmatched.note()
        unmatched.next_emit_ms = now_ms + self.context.emit_interval_ms
        unmatched.min_time = LONG_MAX
        open_sides: set[bool] = set()
        closed: list[tuple[Any, bool, int]] = []
        for key, is_left, time, value in unmatched.all():
            unmatched.min_time = time
            if len(open_sides) == 2:
                break
            wait_ms = self._windows.after_ms if is_left else self._windows.before_ms
            if time + wait_ms + grace_ms >= unmatched.stream_time:
                open_sides.add(is_left)
                continue
            left, right = (value, None) if is_left else (None, value)
            self.forward(key, self._joiner(key, left, right), time, headers)
            closed.append((key, is_left, time))
        for place in closed:
            unmatched.discard(*place)


class SelfJoinNode(Node):
    """A stream joined with itself, over one store: what both sides of a join would give."""

    def __init__(self, name: str, joiner: Joiner, windows: JoinWindows, store_name: str) -> None:
        super().__init__(name)
        self._joiner = joiner
        self._windows = windows
        self._store_name = store_name
        self._store: Any = None
        self._stream_time = -1

    def init(self, context: ProcessorContext) -> None:
        """Look up the store."""
        super().init(context)
        self._store = context.store(self._store_name)

    def process(self, key: Any, value: Any, timestamp: int, headers: Headers) -> None:
        if key is None or value is None:
            self.context.drop(f"{self.name}: null key or value")
            return
        joiner, windows = self._joiner, self._windows
        itself = joiner(key, value, value)
        if timestamp > self._stream_time:
            self.on_failure(self._set_stream_time, self._stream_time)
            self._stream_time = timestamp
        is_due = timestamp > self._stream_time - windows.retention_ms + 1
        for time, other in self._fetch(key, timestamp, windows.before_ms, windows.after_ms):
            self.forward(key, joiner(key, value, other), max(timestamp, time), headers)
        for time, other in self._fetch(key, timestamp, windows.after_ms, windows.before_ms):
            if is_due and timestamp < time:
                is_due = False
                self.forward(key, itself, timestamp, headers)
            self.forward(key, joiner(key, other, value), max(timestamp, time), headers)
        if is_due:
            self.forward(key, itself, timestamp, headers)

    def _set_stream_time(self, time: int) -> None:
        self._stream_time = time

    def _fetch(self, key: Any, timestamp: int, before_ms: int, after_ms: int) -> Any:
        return self._store.fetch(key, max(0, timestamp - before_ms), max(0, timestamp + after_ms))

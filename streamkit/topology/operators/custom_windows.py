"""The aggregate over windows of the user's own (Kafka's `Windows` as a base class)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from streamkit.common.model import Headers, Windowed
from streamkit.topology.operators.windowed import Aggregator, Initializer, WindowedNode


class Bounds(Protocol):
    """What it asks of windows."""

    @property
    def grace_ms(self) -> int: ...

    def starts(self, timestamp: int, /) -> Iterable[int]: ...

    def end(self, start: int, /) -> int: ...


class CustomWindowNode(WindowedNode):
    """Folds a record into each window that holds its time."""

    def __init__(
        self,
        name: str,
        store_name: str,
        folds: tuple[Initializer, Aggregator],
        windows: Bounds,
        sends_old: bool,
    ) -> None:
        super().__init__(name, store_name, folds, windows.grace_ms, False, sends_old)
        self._windows = windows

    def process(self, key: Any, value: Any, timestamp: int, headers: Headers) -> None:
        if key is None:
            self.context.drop(f"{self.name}: null key")
            return
        if timestamp > self.stream_time:
            self.see(timestamp)
        starts = self._windows.starts(timestamp)
        windows = [Windowed(key, start, self._windows.end(start)) for start in starts]
        is_late = all(window.end <= self.close_time for window in windows)
        for window in windows:
            if window.end <= self.close_time:
                reason = f"{self.name}: window [{window.start}, {window.end}) has closed"
                self.context.drop(reason, True, is_late)
            else:
                self._fold(window, value, timestamp, headers)

    def _fold(self, window: Windowed[Any], value: Any, timestamp: int, headers: Headers) -> None:
        row = self.kept.get(window)
        old = self.initializer() if row is None else row[0]
        time = timestamp if row is None else max(timestamp, row[1])
        new = self.aggregator(window.key, value, old)
        self.kept.put(window, new, time, headers)
        self.update(window, new, old, time, headers)

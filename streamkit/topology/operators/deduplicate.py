"""Drops records that were seen before: one of each id in a span of time goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streamkit.common.model import Headers, Windowed
from streamkit.topology.operators.node import Node, ProcessorContext


class DeduplicateNode(Node):
    """The first record of each id goes on; others less than `within_ms` away from one do not.

    Ids that were seen are kept in a window store by their record's time, and expire there.
    """

    def __init__(
        self, name: str, store: str, identify: Callable[[Any, Any], Any], within_ms: int
    ) -> None:
        super().__init__(name)
        self._store_name = store
        self._identify = identify
        self._within_ms = within_ms
        self._store: Any = None

    def init(self, context: ProcessorContext) -> None:
        super().init(context)
        self._store = context.store(self._store_name)

    def close(self) -> None:
        self._store = None

    def process(self, key: Any, value: Any, timestamp: int, headers: Headers) -> None:
        found = self._identify(key, value)
        if found is None:
            self.context.drop(f"{self.name}: no id to tell it from others")
            return
        reach = self._within_ms - 1
        earliest = max(timestamp - reach, 0)
        if next(self._store.fetch(found, earliest, timestamp + reach), None) is not None:
            return
        self._store.put(Windowed(found, timestamp, timestamp), timestamp, timestamp, headers)
        self.forward(key, value, timestamp, headers)

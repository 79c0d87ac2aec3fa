"""Tables with versioned stores: a change may be an old one, which comes too late to be the latest.

Whether a change is the latest goes down the operators beside it, in the context; operators that
look only at latest rows skip the others (KIP-914). `put` of a versioned store says what it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streamkit.common.model import Headers
from streamkit.topology.operators.node import Node, StoreNode

IS_LATEST = -1
NOT_PUT = -(2**63)


def forward_put(
    node: Node, code: int | None, key: Any, new: Any, old: Any, timestamp: int, headers: Headers
) -> None:
    """Hand on a change after `put` gave this code; None is that of stores without versions."""
    if code is None:
        node.forward_change(key, new, old, timestamp, headers)
        return
    if code == NOT_PUT:
        return
    context = node.context
    before, context.is_latest = context.is_latest, code == IS_LATEST
    try:
        node.forward_change(key, new, old, timestamp, headers)
    finally:
        context.is_latest = before


class VersionedSourceNode(StoreNode):
    """A stream read as a table whose rows are kept by time."""

    def process(self, key: Any, value: Any, timestamp: int, headers: Headers) -> None:
        if key is None:
            self.context.drop(f"{self.name}: null key")
            return
        row = self.get(key) if self.sends_old else None
        code = self.put(key, value, timestamp, headers)
        old = None if row is None else row[0]
        forward_put(self, code, key, value, old, timestamp, headers)


class VersionedFoldNode(StoreNode):
    """An aggregate of a stream whose rows are kept by time.

    Without an `initializer` the first value of a key is its first aggregate.
    """

    def __init__(
        self,
        name: str,
        store_name: str,
        initializer: Callable[[], Any] | None,
        aggregator: Callable[[Any, Any, Any], Any],
        sends_old: bool,
    ) -> None:
        super().__init__(name, store_name, sends_old)
        self._initializer = initializer
        self._aggregator = aggregator

    def process(self, key: Any, value: Any, timestamp: int, headers: Headers) -> None:
        if key is None or value is None:
            self.context.drop(f"{self.name}: null key or value")
            return
        row = self.get(key)
        old, new = None, value
        if row is not None:
            old, timestamp = row[0], max(timestamp, row[1])
        elif self._initializer is not None:
            old = self._initializer()
        if row is not None or self._initializer is not None:
            new = self._aggregator(key, value, old)
        code = self.put(key, new, timestamp, headers)
        old = old if self.sends_old else None
        forward_put(self, code, key, new, old, timestamp, headers)

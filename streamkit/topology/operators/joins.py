"""Joins with tables: a stream that looks rows up, and two tables that follow each other."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

from streamkit.common.model import Headers
from streamkit.topology.operators.node import Node, ProcessorContext, StoreNode

Open = Callable[[ProcessorContext], Callable[[Any], Any]]
"""Gives the look-up of the other side's rows: (value, timestamp) or None."""


class StreamTableJoinNode(Node):
    """Joins each record of a stream with the row of its key as it is now.

    `joiner(key, value, row)`; without a row a left join gives it None, an inner join drops out.
    For a global table `selector(key, value)` gives the row's key.
    """

    def __init__(
        self,
        name: str,
        open_rows: Open,
        joiner: Callable[[Any, Any, Any], Any],
        keeps_left: bool,
        selector: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        super().__init__(name)
        self._open = open_rows
        self._joiner = joiner
        self._keeps_left = keeps_left
        self._selector = selector
        self._find: Callable[[Any], Any] = _nothing

    def init(self, context: ProcessorContext) -> None:
        """Open the table's rows."""
        super().init(context)
        self._find = self._open(context)

    def process(self, key: Any, value: Any, timestamp: int, headers: Headers) -> None:
        row_key = key if self._selector is None else self._selector(key, value)
        if value is None or (row_key is None and not self._keeps_left):
            self.context.drop(f"{self.name}: null key or value")
            return
        row = None if row_key is None else self._find(row_key)
        if row is not None or self._keeps_left:
            joined = self._joiner(key, value, None if row is None else row[0])
            self.forward(key, joined, timestamp, headers)


class Side(Enum):
    """What one side of a table-table join does without a row on either side."""

    INNER = "inner"
    LEFT = "left"
    RIGHT = "right"
    OUTER = "outer"


class TableJoinNode(Node):
    """One side of a table-table join; `joiner(own, other)`.

    LEFT is the left side of a left join, RIGHT its right side; OUTER both sides of an outer join.
    """

    def __init__(
        self,
        name: str,
        side: Side,
        open_rows: Open,
        joiner: Callable[[Any, Any], Any],
        sends_old: bool,
    ) -> None:
        super().__init__(name)
        self._open = open_rows
        self._joiner = joiner
        self._sends_old = sends_old
        self._needs_other = side in {Side.INNER, Side.RIGHT}
        self._needs_own = side in {Side.INNER, Side.LEFT}
        self._find: Callable[[Any], Any] = _nothing

    def init(self, context: ProcessorContext) -> None:
        """Open the other table's rows."""
        super().init(context)
        self._find = self._open(context)

    def process_change(
        self, key: Any, new: Any, old: Any, timestamp: int, headers: Headers
    ) -> None:
        if key is None:
            self.context.drop(f"{self.name}: null key")
            return
        row = self._find(key)
        other = None
        if row is not None:
            other, timestamp = row[0], max(timestamp, row[1])
        elif self._needs_other or (new is None and old is None):
            return
        old_joined = self._joined(old, other) if self._sends_old else None
        self.forward_change(key, self._joined(new, other), old_joined, timestamp, headers)

    def _joined(self, own: Any, other: Any) -> Any:
        if own is None and (self._needs_own or other is None):
            return None
        return self._joiner(own, other)


class MergeTableNode(StoreNode):
    """Brings both sides of a table-table join together, into a store when there is one."""

    def process_change(
        self, key: Any, new: Any, old: Any, timestamp: int, headers: Headers
    ) -> None:
        if self.put is not None:
            self.put(key, new, timestamp, headers)
        if not self.is_cached:
            self.forward_change(key, new, old if self.sends_old else None, timestamp, headers)


def _nothing(key: Any) -> None:
    return None

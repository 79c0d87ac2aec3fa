"""Joins with tables: a stream that looks rows up, and two tables that follow each other.

Compiled by Cython; runs the same uncompiled; its types for mypy stand in `joins.pyi`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

import cython

from streamkit.common.direct import Rows, receiver, row_value
from streamkit.common.model import Headers
from streamkit.topology.operators.node import Node, ProcessorContext, StoreNode
from streamkit.topology.operators.versioned import forward_put

Open = Callable[[ProcessorContext], Callable[..., Any]]
"""Gives the look-up of the other side's rows: (value, timestamp) or None.

That of a versioned table takes a time after the key.
"""


def is_compiled() -> bool:
    """Whether this module runs as C."""
    return bool(cython.compiled)


@cython.cclass
class StreamTableJoinNode(Node):
    """Joins each record of a stream with the row of its key as it is now.

    `joiner(value, row)`, or with the key before them; without a row a left join gives it None, an
    inner join drops out. For a global table `selector(key, value)` gives the row's key. With a
    versioned table the row is that of the record's time; in a `buffer_name` records may wait for
    what comes late to it.
    """

    _open: object
    _joiner: object
    _keeps_left: cython.bint
    _with_key: cython.bint
    _selector: object
    _is_versioned: cython.bint
    _buffer_name: object
    _buffer: object
    _find: object
    _rows: Rows

    def __init__(
        self,
        name: str,
        open_rows: Open,
        joiner: Callable[..., Any],
        keeps_left: bool,
        selector: Callable[[Any, Any], Any] | None = None,
        is_versioned: bool = False,
        buffer_name: str | None = None,
        *,
        with_key: bool = True,
    ) -> None:
        Node.__init__(self, name)
        self._with_key = with_key
        self._open = open_rows
        self._joiner = joiner
        self._keeps_left = keeps_left
        self._selector = selector
        self._is_versioned = is_versioned
        self._buffer_name = buffer_name
        self._buffer = None
        self._find = _nothing
        self._rows = None

    def init(self, context: ProcessorContext) -> None:
        """Open the table's rows."""
        Node.init(self, context)
        self._find = self._open(context)
        self._rows = receiver(self._find, Rows, "get")
        if self._buffer_name is not None:
            self._buffer = context.store(self._buffer_name)

    @cython.ccall
    def process(self, key: Any, value: Any, timestamp: cython.longlong, headers: Headers) -> object:
        """Look the row up and hand on what both give."""
        row_key = key if self._selector is None else self._selector(key, value)
        if value is None or (row_key is None and not self._keeps_left):
            self.context.drop(f"{self.name}: null key or value")
            return
        # Kafka Streams fails at a null key here; there is no row that could still come for it.
        if self._buffer is None or row_key is None:
            self._join(key, value, row_key, timestamp, headers)
        elif self._buffer.try_put(key, value, timestamp, headers):
            self._join_due()
        else:
            self._join(key, value, row_key, timestamp, headers)

    def advance_time(self, time: int) -> None:
        if self._buffer is not None:
            self._buffer.see(time)
            self._join_due()

    @cython.cfunc
    def _join(
        self, key: Any, value: Any, row_key: Any, timestamp: cython.longlong, headers: Headers
    ) -> object:
        row = None
        if row_key is not None:
            if self._rows is not None:
                row = self._rows.get(row_key)
            else:
                row = self._find(row_key, timestamp) if self._is_versioned else self._find(row_key)
        if row is not None or self._keeps_left:
            other = None if row is None else row_value(row)
            if self._with_key:
                joined = self._joiner(key, value, other)
            else:
                joined = self._joiner(value, other)
            self.forward(key, joined, timestamp, headers)

    def _join_due(self) -> None:
        """Join the records whose grace is over, each as if it came now."""
        context = self.context
        here = context.topic, context.partition, context.offset, context.headers
        for waiting in list(self._buffer.due()):
            origin = waiting.origin
            context.topic, context.partition = origin.topic, origin.partition
            context.offset, context.headers = origin.offset, origin.headers
            self._join(waiting.key, waiting.value, waiting.key, origin.timestamp, origin.headers)
            self._buffer.remove(waiting.place)
        context.topic, context.partition, context.offset, context.headers = here


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
        has_versions: bool = False,
    ) -> None:
        super().__init__(name)
        self._open = open_rows
        self._joiner = joiner
        self._sends_old = sends_old
        self._has_versions = has_versions
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
        if self._has_versions and not self.context.is_latest:
            self.context.drop(f"{self.name}: a row that is not the latest")
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
        code = None if self.put is None else self.put(key, new, timestamp, headers)
        if not self.is_cached:
            old = old if self.sends_old else None
            forward_put(self, code, key, new, old, timestamp, headers)


def _nothing(key: Any) -> None:
    return None

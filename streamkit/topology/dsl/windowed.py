"""Windowed streams: count, reduce and aggregate per key and window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from streamkit.common.errors import TopologyError
from streamkit.common.model import Windowed
from streamkit.serdes.builtin import long
from streamkit.serdes.serde import Serde
from streamkit.serdes.windowed import (
    SessionWindowedSerde,
    TimeWindowedSerde,
    VaryingWindowedSerde,
)
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.topology.dsl import sides
from streamkit.topology.dsl.annotations import call_site, initializer_of
from streamkit.topology.dsl.options import Materialized, materialized
from streamkit.topology.dsl.rows import StoredRows
from streamkit.topology.dsl.sides import Side, windowed_keys
from streamkit.topology.dsl.table import Table
from streamkit.topology.dsl.taken import function_or_raise
from streamkit.topology.dsl.windows import (
    AnyWindows,
    SessionWindows,
    SlidingWindows,
    duration_ms,
    retention_ms_of,
    windows_or_raise,
)
from streamkit.topology.operators.custom_windows import CustomWindowNode
from streamkit.topology.operators.node import Node
from streamkit.topology.operators.sliding import SlidingNode
from streamkit.topology.operators.windowed import (
    Aggregator,
    Initializer,
    SessionNode,
    TimeWindowNode,
    TimeWindows,
    count_one,
    nothing_yet,
)

if TYPE_CHECKING:
    from streamkit.topology.dsl.grouped import GroupedStream

K = TypeVar("K")
V = TypeVar("V")
A = TypeVar("A")

Emit = Literal["on_update", "on_close"]
_AGGREGATE = "KSTREAM-AGGREGATE-"
_REDUCE = "KSTREAM-REDUCE-"


class WindowedStream(Generic[K, V]):
    """A grouped stream in windows. Null keys and late records are dropped and counted."""

    def __init__(
        self, group: GroupedStream[K, V], windows: AnyWindows, emits: Emit = "on_update"
    ) -> None:
        self._group = group
        self._windows = windows_or_raise(windows)
        self._emits = emits

    def emit(self, when: Emit) -> WindowedStream[K, V]:
        """`on_update`: every update goes on; `on_close`: one result, when the window has closed."""
        if when not in {"on_update", "on_close"}:
            raise TopologyError(f"emit({when!r}): use on_update or on_close")
        if when == "on_close" and getattr(self._windows, "advance_ms", 1) == 0:
            raise TopologyError("emit('on_close'): unlimited windows never close")
        if when == "on_close" and is_custom(self._windows):
            raise TopologyError(
                "emit('on_close') is not for windows of one's own: suppress('window_closes') the "
                "table instead"
            )
        return WindowedStream(self._group, self._windows, when)

    def count(
        self,
        *,
        name: str | None = None,
        store: Materialized | None = None,
        node: str | None = None,
    ) -> Table[Windowed[K], int]:
        """How many records each key has had in each window."""
        choice = materialized(name, store)
        is_sliding = isinstance(self._windows, SlidingWindows)
        if choice is not None and choice.name is None and not is_sliding:
            self._group.scope.graph.new_store_name(_AGGREGATE)  # as Kafka does
        folds = (nothing_yet, count_one)
        merger = _sum if isinstance(self._windows, SessionWindows) else None
        names = ("count()", _AGGREGATE, node)
        return self._table(names, folds, merger, Side(long, int), choice)

    def reduce(
        self,
        reducer: Callable[[V, V], V],
        *,
        value: type[V] | Serde[V] | None = None,
        name: str | None = None,
        store: Materialized | None = None,
        node: str | None = None,
    ) -> Table[Windowed[K], V]:
        """`reducer(aggregate, value)`; the first value in a window is its first aggregate."""

        side = sides.unless_said(value, self._group.value_side)
        function_or_raise(reducer, "reduce()", side, self._group.value_side)

        def fold(key: K, new: V, aggregate: V | None) -> V:
            return new if aggregate is None else reducer(aggregate, new)

        def merge(key: K, one: V | None, two: V) -> V:
            return two if one is None else reducer(one, two)

        names = ("reduce()", _REDUCE, node)
        folds = (lambda: None, fold)
        return self._table(names, folds, merge, side, materialized(name, store))

    def aggregate(
        self,
        initial: A | Callable[[], A],
        aggregator: Callable[[K, V, A], A],
        merger: Callable[[K, A, A], A] | None = None,
        *,
        value: type[A] | Serde[A] | None = None,
        name: str | None = None,
        store: Materialized | None = None,
        node: str | None = None,
    ) -> Table[Windowed[K], A]:
        """`aggregator(key, value, aggregate)`, from `initial` on.

        `merger(key, one, two)` brings two sessions together, and is for sessions only.
        """
        WindowShape(self._windows, self._emits, merger).check()
        side, key = sides.chosen(value, aggregator, sides.whole), self._group.key_side
        function_or_raise(aggregator, "aggregate()", key, self._group.value_side, side)
        if merger is not None:
            function_or_raise(merger, "aggregate()", key, side, side)
        initializer = initializer_of(initial, "aggregate()")
        names = ("aggregate()", _AGGREGATE, node)
        return self._table(
            names, (initializer, aggregator), merger, side, materialized(name, store)
        )

    def _table(
        self,
        names: tuple[str, str, str | None],
        folds: tuple[Initializer, Aggregator],
        merger: Aggregator | None,
        value: Side,
        choice: Materialized | None,
    ) -> Table[Windowed[K], Any]:
        shape = WindowShape(self._windows, self._emits, merger)
        shape.retention_ms(choice)

        def build(builder: StoreBuilder) -> StoreBuilder:
            return shape.builder(builder, choice)

        def make(name: str, rows: StoredRows) -> Node:
            return shape.node(name, rows, folds)

        table = self._group.windowed_table(names, make, build, shape.key_side, value, choice)
        table.node.closes_after_ms = shape.closes_after_ms
        return table


@dataclass(frozen=True, slots=True)
class WindowShape:
    """What follows from the windows of an aggregate: its store, its keys, its node."""

    windows: AnyWindows
    emits: Emit
    merger: Aggregator | None

    def check(self) -> None:
        """Raise TopologyError when a merger is missing, or too much."""
        if (self.merger is None) is isinstance(self.windows, SessionWindows):
            raise TopologyError("aggregate(): sessions need a merger, other windows have none")

    def builder(self, builder: StoreBuilder, choice: Materialized | None) -> StoreBuilder:
        """The windowed store, from that of a table."""
        is_session = isinstance(self.windows, SessionWindows)
        return replace(
            builder,
            kind=StoreKind.SESSION if is_session else StoreKind.WINDOW,
            caching_enabled=builder.caching_enabled and self.emits == "on_update",
            retention_ms=self.retention_ms(choice),
            window_ms=getattr(self.windows, "size_ms", 0),
            window_end=getattr(self.windows, "end", None) if is_custom(self.windows) else None,
        )

    def node(self, name: str, rows: StoredRows, folds: tuple[Initializer, Aggregator]) -> Node:
        """The operator."""
        windows, closes = self.windows, self.emits == "on_close"
        if isinstance(windows, SessionWindows):
            assert self.merger is not None, "checked when the aggregate was declared"
            times = (windows.gap_ms, windows.grace_ms)
            return SessionNode(name, rows.store, folds, self.merger, times, closes, rows.sends_old)
        if isinstance(windows, SlidingWindows):
            times = (windows.difference_ms, windows.grace_ms)
            return SlidingNode(name, rows.store, folds, times, closes, rows.sends_old)
        if isinstance(windows, TimeWindows):
            return TimeWindowNode(name, rows.store, folds, windows, closes, rows.sends_old)
        return CustomWindowNode(name, rows.store, folds, windows, rows.sends_old)

    @property
    def closes_after_ms(self) -> int:
        """How long after its end a window takes no more records."""
        gap_ms = self.windows.gap_ms if isinstance(self.windows, SessionWindows) else 0
        return self.windows.grace_ms + gap_ms

    def key_side(self, key: Side) -> Side:
        """The serde of the windowed keys, from that of the keys."""
        assert key.serde is not None, "only asked for when the keys' serde is known"
        if isinstance(self.windows, SessionWindows):
            return windowed_keys(SessionWindowedSerde(key.serde), key)
        if isinstance(self.windows, TimeWindows | SlidingWindows):
            return windowed_keys(TimeWindowedSerde(key.serde, self.windows.size_ms), key)
        return windowed_keys(VaryingWindowedSerde(key.serde, self.windows.end), key)

    def retention_ms(self, choice: Materialized | None) -> int:
        """How long the store keeps a window. Raises TopologyError when that is too short."""
        least = retention_ms_of(self.windows)
        if choice is None or choice.retention is None:
            return least
        given = duration_ms(choice.retention)
        if given < least:
            raise TopologyError(
                f"{call_site()}: retention={choice.retention!r} is too short: windows and "
                f"grace need {least}ms"
            )
        return given


def is_custom(windows: AnyWindows) -> bool:
    """Whether they are the user's own."""
    return not isinstance(windows, TimeWindows | SlidingWindows | SessionWindows)


def _sum(key: Any, one: int, two: int) -> int:
    return one + two

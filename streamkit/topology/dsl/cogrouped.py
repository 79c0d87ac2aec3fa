"""Cogrouped streams: several grouped streams, each with its own aggregator, into one table."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from streamkit.common.model import Windowed
from streamkit.serdes.serde import Serde
from streamkit.state.builders import StoreBuilder
from streamkit.topology.dsl import sides
from streamkit.topology.dsl.annotations import call_site, initializer_of
from streamkit.topology.dsl.options import Materialized, materialized
from streamkit.topology.dsl.rows import StoredRows
from streamkit.topology.dsl.scope import Place, Scope
from streamkit.topology.dsl.sides import UNKNOWN, Side
from streamkit.topology.dsl.storing import StorePlan
from streamkit.topology.dsl.table import Table
from streamkit.topology.dsl.taken import function_or_raise
from streamkit.topology.dsl.windowed import WindowShape
from streamkit.topology.dsl.windows import AnyWindows
from streamkit.topology.dsl.writing import processor, write_processor
from streamkit.topology.graph.logical import GraphNode
from streamkit.topology.graph.physical import PhysicalBuilder
from streamkit.topology.operators.node import AggregateNode, Node
from streamkit.topology.operators.tables import PassTableNode
from streamkit.topology.operators.versioned import VersionedFoldNode

if TYPE_CHECKING:
    from streamkit.topology.dsl.grouped import GroupedStream

K = TypeVar("K")
V = TypeVar("V")
A = TypeVar("A")

Fold = Callable[[Any, Any, Any], Any]
MakeNode = Callable[[str, StoredRows, Fold], Node]
_AGGREGATE = "COGROUPKSTREAM-AGGREGATE-"
_MERGE = "COGROUPKSTREAM-MERGE-"


class CogroupedStream(Generic[K, A]):
    """Grouped streams with equal keys, and how each goes into the aggregate."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._inputs: dict[GroupedStream[Any, Any], Fold] = {}
        self._parents: dict[GroupedStream[Any, Any], GraphNode] = {}

    def cogroup(
        self, group: GroupedStream[K, V], aggregator: Callable[[K, V, A], A]
    ) -> CogroupedStream[K, A]:
        """Add a grouped stream: `aggregator(key, value, aggregate)`."""
        function_or_raise(aggregator, "cogroup()", group.key_side, group.value_side)
        self._inputs[group] = aggregator
        return self

    def windowed_by(self, windows: AnyWindows) -> WindowedCogroup[K, A]:
        """The same in windows."""
        return WindowedCogroup(self, windows)

    def aggregate(
        self,
        initial: A | Callable[[], A],
        *,
        value: type[A] | Serde[A] | None = None,
        name: str | None = None,
        store: Materialized | None = None,
        node: str | None = None,
    ) -> Table[K, A]:
        """One table of all; `name` names the store, `node` the operators."""
        initializer = initializer_of(initial, "aggregate()")

        def make(name: str, rows: StoredRows, fold: Fold) -> Node:
            kind = VersionedFoldNode if rows.is_versioned else AggregateNode
            return kind(name, rows.store, initializer, fold, rows.sends_old)

        choice = materialized(name, store)
        return self.table(make, lambda builder: builder, lambda key: key, value, choice, node)

    def table(
        self,
        make: MakeNode,
        build: Callable[[StoreBuilder], StoreBuilder],
        key_side: Callable[[Side], Side],
        value: object,
        choice: Materialized | None,
        given: str | None,
        *,
        is_windowed: bool = False,
    ) -> Table[Any, Any]:
        """The operators of all inputs over one store, and what brings them together."""
        scope, line = self._scope, call_site()
        store = StorePlan(scope, choice, _AGGREGATE, is_windowed=is_windowed)
        rows = StoredRows(store.name, store.is_versioned)
        for group in self._inputs:
            parent = group.cogroup_parent(store.name, line, self._parents)
            self._parents[group] = parent
        first = next(iter(self._inputs))
        key, aggregate = first.key_side, sides.chosen(value, self._inputs[first], sides.whole)
        place = Place("aggregate()", store.name, f"store {store.name}", line)

        def built() -> StoreBuilder:
            of_value = scope.value_serde(aggregate, place)
            return build(store.builder(scope.key_serde(key, place), of_value))

        nodes = [
            self._input(
                _suffixed(scope, given, f"agg-{index}", _AGGREGATE), group, rows, make, built
            )
            for index, group in enumerate(self._inputs)
        ]
        merge = _suffixed(scope, given, "merge", _MERGE)
        made = scope.graph.add(processor(merge, lambda _: PassTableNode(merge)), *nodes)
        known = key if key.serde is not None else scope.default_key
        result = UNKNOWN if known.serde is None else key_side(known)
        return Table(scope, made, result, aggregate, rows, store.name if store.is_named else None)

    def _input(
        self,
        name: str,
        group: GroupedStream[Any, Any],
        rows: StoredRows,
        make: MakeNode,
        built: Callable[[], StoreBuilder],
    ) -> GraphNode:
        fold, parents = self._inputs[group], tuple(self._parents.values())
        is_first = group is next(iter(self._inputs))

        def write(builder: PhysicalBuilder, above: tuple[str, ...]) -> None:
            stores = [built()] if is_first else []
            write_processor(builder, name, above, lambda _: make(name, rows, fold), stores)
            if not is_first:
                builder.connect_store(rows.store, name)
            builder.copartition(*(parent.name for parent in parents))

        made = GraphNode(name, write, is_versioned=rows.is_versioned)
        return self._scope.graph.add(made, self._parents[group])


class WindowedCogroup(Generic[K, A]):
    """Cogrouped streams in windows."""

    def __init__(self, cogroup: CogroupedStream[K, A], windows: AnyWindows) -> None:
        self._cogroup = cogroup
        self._windows = windows

    def aggregate(
        self,
        initial: A | Callable[[], A],
        merger: Callable[[K, A, A], A] | None = None,
        *,
        value: type[A] | Serde[A] | None = None,
        name: str | None = None,
        store: Materialized | None = None,
        node: str | None = None,
    ) -> Table[Windowed[K], A]:
        """One table of all per window; `merger` brings two sessions together."""
        initializer = initializer_of(initial, "aggregate()")
        choice = materialized(name, store)
        shape = WindowShape(self._windows, "on_update", merger)
        shape.check()

        def make(name: str, rows: StoredRows, fold: Fold) -> Node:
            return shape.node(name, rows, (initializer, fold))

        def build(builder: StoreBuilder) -> StoreBuilder:
            return shape.builder(builder, choice)

        shape.retention_ms(choice)
        table = self._cogroup.table(
            make, build, shape.key_side, value, choice, node, is_windowed=True
        )
        table.node.closes_after_ms = shape.closes_after_ms
        return table


def _suffixed(scope: Scope, given: str | None, end: str, prefix: str) -> str:
    """The name of one of the operators; a generated one is used up either way."""
    generated = scope.graph.new_name(prefix)
    return generated if given is None else f"{given}-cogroup-{end}"

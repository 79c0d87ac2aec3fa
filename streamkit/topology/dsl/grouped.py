"""Grouped streams: count, reduce and aggregate to a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

from streamkit.serdes.builtin import long
from streamkit.serdes.serde import Serde
from streamkit.state.builders import StoreBuilder
from streamkit.topology.dsl import sides
from streamkit.topology.dsl.annotations import call_site, initializer_of
from streamkit.topology.dsl.cogrouped import CogroupedStream
from streamkit.topology.dsl.options import Materialized, materialized
from streamkit.topology.dsl.repartition import Through, repartition_node
from streamkit.topology.dsl.rows import StoredRows
from streamkit.topology.dsl.scope import Place, Scope
from streamkit.topology.dsl.sides import UNKNOWN, Side
from streamkit.topology.dsl.storing import StorePlan
from streamkit.topology.dsl.table import Table
from streamkit.topology.dsl.taken import function_or_raise
from streamkit.topology.dsl.windowed import Emit, WindowedStream
from streamkit.topology.dsl.windows import AnyWindows
from streamkit.topology.dsl.writing import write_processor
from streamkit.topology.graph.logical import GraphNode
from streamkit.topology.graph.names import check_name
from streamkit.topology.graph.physical import PhysicalBuilder
from streamkit.topology.operators.node import AggregateNode, CountNode, Node, ReduceNode
from streamkit.topology.operators.versioned import VersionedFoldNode

K = TypeVar("K")
V = TypeVar("V")
A = TypeVar("A")

_AGGREGATE = "KSTREAM-AGGREGATE-"
_REDUCE = "KSTREAM-REDUCE-"


@dataclass(frozen=True, slots=True)
class _Names:
    """The operator for messages, its node, its store."""

    operator: str
    node: str
    store: StorePlan


class GroupedStream(Generic[K, V]):
    """A stream grouped by its key. Records with a null key or value are dropped and counted."""

    def __init__(
        self,
        scope: Scope,
        parent: GraphNode,
        key: Side,
        value: Side,
        *,
        needs_repartition: bool,
        name: str | None,
    ) -> None:
        self._scope = scope
        self._parent = parent
        self._key = key
        self._value = value
        self._needs_repartition = needs_repartition
        self._name = name
        self._repartition: GraphNode | None = None

    @property
    def scope(self) -> Scope:
        """The program it is declared in."""
        return self._scope

    @property
    def value_side(self) -> Side:
        """What is known of its values."""
        return self._value

    @property
    def key_side(self) -> Side:
        """What is known of its keys."""
        return self._key

    def cogroup(self, aggregator: Callable[[K, V, A], A]) -> CogroupedStream[K, A]:
        """Begin to bring several grouped streams into one table, this one by `aggregator`."""
        return CogroupedStream[K, A](self._scope).cogroup(self, aggregator)

    def cogroup_parent(
        self, store: str, line: str, known: Mapping[GroupedStream[Any, Any], GraphNode]
    ) -> GraphNode:
        """Where a cogroup reads it: through a repartition topic when its keys may have changed."""
        if not self._needs_repartition:
            return self._parent
        prefix = store if self._name is None else check_name(self._name)
        through = Through("cogroup()", self._key, self._value, line)
        node = repartition_node(self._scope, prefix, through)
        return known[self] if self in known else self._scope.graph.add(node, self._parent)

    def windowed_by(self, windows: AnyWindows, *, emit: Emit = "on_update") -> WindowedStream[K, V]:
        """The same in windows: `sk.tumbling("1m")`, `sk.hopping`, `sk.sliding`, `sk.session`."""
        return WindowedStream(self, windows).emit(emit)

    def count(
        self,
        *,
        name: str | None = None,
        store: Materialized | None = None,
        node: str | None = None,
    ) -> Table[K, int]:
        """How many records each key has had; `name` names the store, `node` the operator."""
        choice = materialized(name, store)
        if choice is not None and choice.name is None:
            self._scope.graph.new_store_name(_AGGREGATE)  # Kafka uses up a number here, so we do
        names = self._names("count()", _AGGREGATE, choice, node)

        def make(rows: StoredRows) -> Node:
            if rows.is_versioned:
                folds = (lambda: 0, lambda key, value, count: count + 1)
                return VersionedFoldNode(names.node, rows.store, *folds, rows.sends_old)
            return CountNode(names.node, rows.store, rows.sends_old)

        return self._table(names, make, self._key, Side(long, int))

    def reduce(
        self,
        reducer: Callable[[V, V], V],
        *,
        value: type[V] | Serde[V] | None = None,
        name: str | None = None,
        store: Materialized | None = None,
        node: str | None = None,
    ) -> Table[K, V]:
        """`reducer(aggregate, value)`; the first value of a key is its first aggregate."""
        side = sides.unless_said(value, self._value)
        function_or_raise(reducer, "reduce()", side, self._value)
        names = self._names("reduce()", _REDUCE, materialized(name, store), node)

        def make(rows: StoredRows) -> Node:
            if rows.is_versioned:
                folds = (None, lambda key, value, aggregate: reducer(aggregate, value))
                return VersionedFoldNode(names.node, rows.store, *folds, rows.sends_old)
            return ReduceNode(names.node, rows.store, reducer, rows.sends_old)

        return self._table(names, make, self._key, side)

    @overload
    def aggregate(
        self,
        initial: Callable[[], A],
        aggregator: Callable[[K, V, A], A],
        *,
        value: type[A] | Serde[A] | None = None,
        name: str | None = None,
        store: Materialized | None = None,
        node: str | None = None,
    ) -> Table[K, A]: ...

    @overload
    def aggregate(
        self,
        initial: A,
        aggregator: Callable[[K, V, A], A],
        *,
        value: type[A] | Serde[A] | None = None,
        name: str | None = None,
        store: Materialized | None = None,
        node: str | None = None,
    ) -> Table[K, A]: ...

    def aggregate(
        self,
        initial: Any,
        aggregator: Callable[[K, V, Any], Any],
        *,
        value: Any = None,
        name: str | None = None,
        store: Materialized | None = None,
        node: str | None = None,
    ) -> Table[K, Any]:
        """`aggregator(key, value, aggregate)`, from `initial` on; None deletes the row.

        `initial` is an immutable value, or a function that makes a new one.
        """
        side = sides.chosen(value, aggregator, sides.whole)
        function_or_raise(aggregator, "aggregate()", self._key, self._value, side)
        initializer = initializer_of(initial, "aggregate()")
        names = self._names("aggregate()", _AGGREGATE, materialized(name, store), node)

        def make(rows: StoredRows) -> Node:
            kind = VersionedFoldNode if rows.is_versioned else AggregateNode
            return kind(names.node, rows.store, initializer, aggregator, rows.sends_old)

        return self._table(names, make, self._key, side)

    def windowed_table(
        self,
        names: tuple[str, str, str | None],
        make: Callable[[str, StoredRows], Node],
        build: Callable[[StoreBuilder], StoreBuilder],
        key_side: Callable[[Side], Side],
        value: Side,
        choice: Materialized | None,
    ) -> Table[Any, Any]:
        """The table of a windowed aggregate; `build` makes its store of a table's."""
        operator, prefix, node = names
        full = self._names(operator, prefix, choice, node, is_windowed=True)

        def make_node(rows: StoredRows) -> Node:
            return make(full.node, rows)

        made = self._table(full, make_node, self._key, value, build)
        known = self._key if self._key.serde is not None else self._scope.default_key
        key = UNKNOWN if known.serde is None else key_side(known)
        return Table(self._scope, made._node, key, value, made._rows, made.store_name)

    def _names(
        self,
        operator: str,
        prefix: str,
        choice: Materialized | None,
        node: str | None,
        *,
        is_windowed: bool = False,
    ) -> _Names:
        store = StorePlan(self._scope, choice, prefix, is_windowed=is_windowed)
        return _Names(operator, self._scope.graph.name_or_new(node, prefix), store)

    def _table(
        self,
        names: _Names,
        make: Callable[[StoredRows], Node],
        key: Side,
        value: Side,
        build: Callable[[StoreBuilder], StoreBuilder] = lambda builder: builder,
    ) -> Table[K, Any]:
        line = call_site()
        scope, store = self._scope, names.store
        parent = self._through(names, line) if self._needs_repartition else self._parent
        rows = StoredRows(store.name, store.is_versioned)

        def write(builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
            place = Place(names.operator, names.node, f"store {store.name}", line)
            built = store.builder(scope.key_serde(key, place), scope.value_serde(value, place))
            write_processor(builder, names.node, parents, lambda _: make(rows), [build(built)])

        made = GraphNode(names.node, write, is_versioned=store.is_versioned)
        node = scope.graph.add(made, parent)
        return Table(scope, node, key, value, rows, store.name if store.is_named else None)

    def _through(self, names: _Names, line: str) -> GraphNode:
        """The repartition topic; a named one is shared by all aggregations of this group."""
        prefix = names.store.name if self._name is None else check_name(self._name)
        through = Through(names.operator, self._key, self._value, line)
        node = repartition_node(self._scope, prefix, through)
        if self._repartition is None or self._name is None:
            self._repartition = node
        return self._scope.graph.add(self._repartition, self._parent)

"""Grouped tables: count, reduce and aggregate, where a changed row leaves its group first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from streamkit.serdes.builtin import long
from streamkit.serdes.changes import ChangeSerde
from streamkit.serdes.serde import Serde
from streamkit.topology.dsl import sides
from streamkit.topology.dsl.annotations import call_site, initializer_of
from streamkit.topology.dsl.options import Materialized, materialized
from streamkit.topology.dsl.repartition import SUFFIX
from streamkit.topology.dsl.rows import StoredRows
from streamkit.topology.dsl.scope import Place, Scope
from streamkit.topology.dsl.sides import Side
from streamkit.topology.dsl.storing import StorePlan
from streamkit.topology.dsl.table import Table
from streamkit.topology.dsl.taken import function_or_raise
from streamkit.topology.dsl.writing import write_processor
from streamkit.topology.graph.logical import GraphNode
from streamkit.topology.graph.physical import InternalTopic, PhysicalBuilder
from streamkit.topology.operators.node import Node, SinkNode, SourceNode
from streamkit.topology.operators.tables import AggregateTableNode
from streamkit.topology.plan import NodeKind, NodeSpec

K = TypeVar("K")
V = TypeVar("V")
A = TypeVar("A")

_AGGREGATE = "KTABLE-AGGREGATE-"
_REDUCE = "KTABLE-REDUCE-"

Fold = Callable[[Any, Any, Any], Any]


class GroupedTable(Generic[K, V]):
    """The rows of a table by group."""

    def __init__(
        self, scope: Scope, parent: GraphNode, key: Side, value: Side, *, name: str | None
    ) -> None:
        self._scope = scope
        self._parent = parent
        self._key = key
        self._value = value
        self._name = name
        self._repartition: GraphNode | None = None

    def count(
        self,
        *,
        name: str | None = None,
        store: Materialized | None = None,
        node: str | None = None,
    ) -> Table[K, int]:
        """How many rows each group has; `name` names the store, `node` the operator."""
        return self._table(
            ("count()", _AGGREGATE, node),
            (lambda: 0, lambda k, row, count: count + 1, lambda k, row, count: count - 1),
            Side(long, int),
            materialized(name, store),
        )

    def reduce(
        self,
        adder: Callable[[V, V], V],
        subtractor: Callable[[V, V], V],
        *,
        value: type[V] | Serde[V] | None = None,
        name: str | None = None,
        store: Materialized | None = None,
        node: str | None = None,
    ) -> Table[K, V]:
        """`adder(aggregate, new)` and `subtractor(aggregate, old)`, which comes first."""
        side = sides.unless_said(value, self._value)
        for function in (adder, subtractor):
            function_or_raise(function, "reduce()", side, self._value)
        return self._table(
            ("reduce()", _REDUCE, node),
            (
                None,
                lambda k, new, aggregate: adder(aggregate, new),
                lambda k, old, aggregate: subtractor(aggregate, old),
            ),
            side,
            materialized(name, store),
        )

    def aggregate(
        self,
        initial: A | Callable[[], A],
        adder: Callable[[K, V, A], A],
        subtractor: Callable[[K, V, A], A],
        *,
        value: type[A] | Serde[A] | None = None,
        name: str | None = None,
        store: Materialized | None = None,
        node: str | None = None,
    ) -> Table[K, A]:
        """`adder(key, new, aggregate)` and `subtractor(key, old, aggregate)`, which comes first.

        `initial` is an immutable value, or a function that makes a new one.
        """
        side = sides.chosen(value, adder, sides.whole)
        for function in (adder, subtractor):
            function_or_raise(function, "aggregate()", self._key, self._value, side)
        initializer = initializer_of(initial, "aggregate()")
        return self._table(
            ("aggregate()", _AGGREGATE, node),
            (initializer, adder, subtractor),
            side,
            materialized(name, store),
        )

    def _table(
        self,
        names: tuple[str, str, str | None],
        folds: tuple[Callable[[], Any] | None, Fold, Fold],
        value: Side,
        choice: Materialized | None,
    ) -> Table[K, Any]:
        operator, prefix, given = names
        scope, line, key = self._scope, call_site(), self._key
        store = StorePlan(scope, choice, _AGGREGATE)
        sink, source = (_suffixed(scope, given, end) for end in ("sink", "source"))
        name = scope.graph.name_or_new(given, prefix)
        rows = StoredRows(store.name, store.is_versioned)
        place = Place(operator, name, f"store {store.name}", line)
        if self._repartition is None or self._name is None:
            topic = (store.name if self._name is None else self._name) + SUFFIX
            self._repartition = self._through(topic, sink, source, place)

        def make(_: str) -> Node:
            return AggregateTableNode(name, rows.store, *folds, rows.sends_old)

        def write(builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
            built = store.builder(scope.key_serde(key, place), scope.value_serde(value, place))
            write_processor(builder, name, parents, make, [built])

        scope.graph.add(self._repartition, self._parent)
        node = GraphNode(name, write, is_versioned=store.is_versioned)
        made = scope.graph.add(node, self._repartition)
        return Table(scope, made, key, value, rows, store.name if store.is_named else None)

    def _through(self, topic: str, sink: str, source: str, asked: Place) -> GraphNode:
        """The repartition topic, whose values are changes."""
        place = Place(asked.operator, sink, f"repartition topic {topic}", asked.line)

        def write(builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
            key = self._scope.key_serde(self._key, place)
            value = ChangeSerde(self._scope.value_serde(self._value, place))
            full = builder.add_internal_topic(InternalTopic(topic))

            def make_sink(_: str) -> SinkNode:
                return SinkNode(sink, full, key, value)

            def make_source(name: str) -> SourceNode:
                return SourceNode(source, name, key, value)

            builder.add_node(NodeSpec(sink, NodeKind.SINK, parents, make_sink, topics=(topic,)))
            spec = NodeSpec(source, NodeKind.SOURCE, (), make_source, topics=(topic,))
            builder.add_source(spec, None)

        return GraphNode(source, write)


def _suffixed(scope: Scope, given: str | None, end: str) -> str:
    """The name of a helper node; a generated one is used up either way."""
    generated = scope.graph.new_name(f"KSTREAM-{end.upper()}-")
    return generated if given is None else f"{given}-{end}"

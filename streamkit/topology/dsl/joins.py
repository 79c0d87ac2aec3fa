"""Joins with tables, as the DSL declares them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from streamkit.common.errors import TopologyError
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.topology.dsl.annotations import call_site
from streamkit.topology.dsl.global_tables import GlobalTable
from streamkit.topology.dsl.options import Materialized
from streamkit.topology.dsl.rows import Found, Rows, View, view_of_store
from streamkit.topology.dsl.scope import Place, Scope
from streamkit.topology.dsl.sides import Side
from streamkit.topology.dsl.storing import StorePlan
from streamkit.topology.dsl.windows import Duration, duration_ms
from streamkit.topology.graph.logical import GraphNode
from streamkit.topology.graph.physical import PhysicalBuilder
from streamkit.topology.operators.joins import (
    MergeTableNode,
    StreamTableJoinNode,
    TableJoinNode,
)
from streamkit.topology.operators.joins import Side as JoinSide
from streamkit.topology.operators.node import Node, ProcessorContext
from streamkit.topology.plan import NodeKind, NodeSpec

if TYPE_CHECKING:
    from streamkit.topology.dsl.table import Table


@dataclass(frozen=True, slots=True)
class Join:
    """How a stream is joined, and which sides stay without a partner."""

    joiner: Callable[..., Any]
    with_key: bool
    keeps_left: bool
    keeps_right: bool
    name: str | None
    on: Callable[[Any, Any], Any] | None = None

    @property
    def of_key(self) -> Callable[[Any, Any, Any], Any]:
        """`joiner(key, one, two)`."""
        joiner = self.joiner
        return joiner if self.with_key else lambda _, one, two: joiner(one, two)


def stream_table_node(
    scope: Scope,
    stream: GraphNode,
    here: tuple[Side, Side],
    table: Table[Any, Any],
    how: Join,
    grace: Duration | None,
) -> GraphNode:
    """The logical node of `stream.join(table)`; with grace records wait for the table's history."""
    keeps_left = how.keeps_left
    prefix = "KSTREAM-LEFTJOIN-" if keeps_left else "KSTREAM-JOIN-"
    node_name = scope.graph.name_or_new(how.name, prefix)
    view = table.rows.view()
    of_table = table.node.name
    place = Place("join()", node_name, f"store {node_name}-Buffer", call_site())
    buffer = None if grace is None else f"{node_name}-Buffer"
    if grace is not None and (table.node.is_versioned is False or not view.is_versioned):
        raise TopologyError(
            f"join() ({node_name}): grace is for versioned tables: give the table "
            "store=Materialized(kind='versioned', history=...)"
        )

    def make(_: str) -> Node:
        versions = view.is_versioned
        return StreamTableJoinNode(
            node_name, view.open, how.joiner, keeps_left, None, versions, buffer,
            with_key=how.with_key,
        )  # fmt: skip

    def write(builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
        builder.add_node(NodeSpec(node_name, NodeKind.PROCESSOR, parents, make))
        if grace is not None:
            built = StoreBuilder(
                name=f"{node_name}-Buffer",
                kind=StoreKind.TIME_BUFFER,
                key_serde=scope.key_serde(here[0], place),
                value_serde=scope.value_serde(here[1], place),
                retention_ms=duration_ms(grace),
            )
            builder.add_store(built, node_name)
        for store in view.stores:
            builder.connect_store(store, node_name)
            if grace is not None:
                _check_history(builder.store_named(store), grace, node_name)
        builder.copartition(*parents, of_table)

    node = GraphNode(node_name, write, keeps_null_keys=keeps_left)
    return scope.graph.add(node, stream)


def _check_history(store: StoreBuilder, grace: Duration, node: str) -> None:
    """Rows must be kept at least as long as records wait for them."""
    if store.kind is not StoreKind.VERSIONED or store.retention_ms < duration_ms(grace):
        raise TopologyError(
            f"join() ({node}): the history of store {store.name} must be at least the grace, "
            f"{grace}"
        )


def stream_global_node(
    scope: Scope,
    stream: GraphNode,
    table: GlobalTable[Any, Any],
    how: Join,
    selector: Callable[[Any, Any], Any],
) -> GraphNode:
    """The logical node of `stream.join(global_table)`."""
    name = scope.graph.name_or_new(how.name, "KSTREAM-LEFTJOIN-")
    view, keeps_left = table.reading, how.keeps_left

    def make(_: str) -> Node:
        return StreamTableJoinNode(
            name, view.open, how.joiner, keeps_left, selector, with_key=how.with_key
        )

    def write(builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
        builder.add_node(NodeSpec(name, NodeKind.PROCESSOR, parents, make))

    return scope.graph.add(GraphNode(name, write, keeps_null_keys=keeps_left), stream)


@dataclass(frozen=True, slots=True)
class TableJoin:
    """A table-table join: which sides stay without a partner, and `joiner(left, right)`."""

    joiner: Callable[[Any, Any], Any]
    keeps_left: bool
    keeps_right: bool

    @property
    def sides(self) -> tuple[JoinSide, JoinSide]:
        """What the left and the right side do."""
        if self.keeps_right:
            return JoinSide.OUTER, JoinSide.OUTER
        if self.keeps_left:
            return JoinSide.LEFT, JoinSide.RIGHT
        return JoinSide.INNER, JoinSide.INNER


class JoinedRows:
    """The rows of a table-table join: from its store, or joined anew at each look-up."""

    def __init__(
        self, left: Rows, right: Rows, join: TableJoin, store: str | None, is_versioned: bool
    ) -> None:
        self.left = left
        self.right = right
        self.join = join
        self.store = store
        self.is_versioned = is_versioned
        self.sends_old = False

    def want_old(self, *, force: bool) -> bool:
        self.left.want_old(force=True)
        self.right.want_old(force=True)
        self.sends_old = True
        return True

    def view(self) -> View:
        if self.store is not None:
            return view_of_store(self.store, self.is_versioned)
        left, right, join = self.left.view(), self.right.view(), self.join

        def open_view(context: ProcessorContext) -> Callable[[Any], Found]:
            find_left, find_right = left.open(context), right.open(context)
            return lambda key: _joined(join, find_left(key), find_right(key))

        return View(tuple(dict.fromkeys(left.stores + right.stores)), open_view)


def table_table(
    scope: Scope,
    left: Table[Any, Any],
    right: Table[Any, Any],
    join: TableJoin,
    result: tuple[Side, Side],
    choice: Materialized | None,
    name: str | None,
) -> tuple[GraphNode, JoinedRows, str | None]:
    """The logical node of a table-table join, its rows, and its store's name."""
    plan = None if choice is None else StorePlan(scope, choice, "KTABLE-MERGE-")
    merge = scope.graph.name_or_new(name, "KTABLE-MERGE-")
    if join.keeps_left:
        left.rows.want_old(force=True)
    if join.keeps_right:
        right.rows.want_old(force=True)
    names = (_suffixed(scope, name, "this"), _suffixed(scope, name, "other"), merge)
    is_versioned = plan is not None and plan.is_versioned
    store_name = None if plan is None else plan.name
    rows = JoinedRows(left.rows, right.rows, join, store_name, is_versioned)
    views = left.rows.view(), right.rows.view()
    place = Place("join()", merge, "the join's store", call_site())

    def write(builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
        versions = parents[0] in builder.versioned, parents[-1] in builder.versioned
        specs = _specs(names, (parents[0], parents[-1]), views, rows, versions)
        for spec in specs:
            builder.add_node(spec)
        for spec, view in zip(specs, reversed(views), strict=False):
            for store in view.stores:
                builder.connect_store(store, spec.name)
        if plan is not None:
            key = scope.key_serde(result[0], place)
            builder.add_store(plan.builder(key, scope.value_serde(result[1], place)), merge)
        builder.copartition(*parents)

    made = scope.graph.add(
        GraphNode(merge, write, is_versioned=is_versioned), left.node, right.node
    )
    return made, rows, rows.store


def _specs(
    names: tuple[str, str, str],
    parents: tuple[str, str],
    views: tuple[View, View],
    rows: JoinedRows,
    versions: tuple[bool, bool],
) -> list[NodeSpec]:
    """This side, the other side, and what merges them."""
    this, other, merge = names
    join = rows.join

    def make_this(_: str) -> Node:
        side, view = join.sides[0], views[1]
        return TableJoinNode(this, side, view.open, join.joiner, rows.sends_old, versions[0])

    def make_other(_: str) -> Node:
        turned = _turned(join.joiner)
        side, view = join.sides[1], views[0]
        return TableJoinNode(other, side, view.open, turned, rows.sends_old, versions[1])

    def make_merge(_: str) -> Node:
        return MergeTableNode(merge, rows.store, rows.sends_old)

    return [
        NodeSpec(this, NodeKind.PROCESSOR, (parents[0],), make_this),
        NodeSpec(other, NodeKind.PROCESSOR, (parents[1],), make_other),
        NodeSpec(merge, NodeKind.PROCESSOR, (this, other), make_merge),
    ]


def _turned(joiner: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda right, left: joiner(left, right)


def _joined(join: TableJoin, left: Found, right: Found) -> Found:
    if (left is None and not join.keeps_right) or (right is None and not join.keeps_left):
        return None
    if left is None and right is None:
        return None
    times = [row[1] for row in (left, right) if row is not None]
    one, two = (None if row is None else row[0] for row in (left, right))
    value = join.joiner(one, two)
    return None if value is None else (value, max(times))


def _suffixed(scope: Scope, name: str | None, side: str) -> str:
    """The name of one side's node; a generated one is used up either way."""
    generated = scope.graph.new_name(f"KTABLE-JOIN{side.upper()}-")
    return generated if name is None else f"{name}-join-{side}"

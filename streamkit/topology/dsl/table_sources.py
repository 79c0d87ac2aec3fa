"""How topics and streams become tables."""

from __future__ import annotations

from dataclasses import replace

from streamkit.topology.dsl.annotations import call_site
from streamkit.topology.dsl.options import Materialized
from streamkit.topology.dsl.repartition import Through, repartition_node
from streamkit.topology.dsl.rows import SourceRows
from streamkit.topology.dsl.scope import Place, Scope
from streamkit.topology.dsl.sides import Side
from streamkit.topology.dsl.sources import Consumed, source_spec
from streamkit.topology.dsl.storing import StorePlan
from streamkit.topology.dsl.writing import write_processor
from streamkit.topology.failures import ErrorPolicy
from streamkit.topology.graph.logical import GraphNode
from streamkit.topology.graph.physical import PhysicalBuilder
from streamkit.topology.operators.node import Node, TableSourceNode
from streamkit.topology.operators.versioned import VersionedSourceNode


def table_of_topic(
    scope: Scope,
    topic: str,
    how: Consumed,
    choice: Materialized | None,
    node_name: str | None,
    on_error: ErrorPolicy | None = None,
) -> tuple[GraphNode, SourceRows]:
    """The logical node of `app.table(topic)`, and its rows."""
    store = StorePlan(scope, choice, f"{topic}-")
    graph = scope.graph
    source = graph.name_or_new(
        None if node_name is None else f"{node_name}-source", "KSTREAM-SOURCE-"
    )
    node = graph.name_or_new(node_name, "KTABLE-SOURCE-")
    rows = SourceRows(store.name, store.is_named, store.is_versioned)

    def write(builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
        builder.add_source(source_spec(scope, source, (topic,), None, how), how.offset_reset)
        if on_error is not None:
            builder.policies[source] = on_error
        place = Place("table()", node, f"topic {topic}", how.line)
        sides_here = (how.key, how.value)
        changelog = topic if builder.reuses_sources else None
        write_table_source(
            scope, builder, (node, source), (store, rows), sides_here, place, changelog
        )

    return graph.add(GraphNode(node, write, is_versioned=store.is_versioned)), rows


def table_of_stream(
    scope: Scope,
    parent: GraphNode,
    here: tuple[Side, Side],
    *,
    is_rekeyed: bool,
    choice: Materialized | None,
    node_name: str | None,
) -> tuple[GraphNode, SourceRows]:
    """The logical node of `to_table()`, and its rows."""
    node = scope.graph.name_or_new(node_name, "KSTREAM-TOTABLE-")
    store = StorePlan(scope, choice, "KSTREAM-TOTABLE-")
    rows = SourceRows(store.name, store.is_named, store.is_versioned)
    line = call_site()
    if is_rekeyed:
        through = Through("to_table()", *here, line)
        parent = scope.graph.add(repartition_node(scope, node, through), parent)

    def write(builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
        place = Place("to_table()", node, f"store {store.name}", line)
        write_table_source(scope, builder, (node, *parents), (store, rows), here, place)

    made = GraphNode(node, write, is_versioned=store.is_versioned)
    return scope.graph.add(made, parent), rows


def write_table_source(
    scope: Scope,
    builder: PhysicalBuilder,
    names: tuple[str, ...],
    kept: tuple[StorePlan, SourceRows],
    here: tuple[Side, Side],
    place: Place,
    changelog: str | None = None,
) -> None:
    """Write a table's source; `names` are its own and its parents'.

    `changelog` is the topic that serves as the store's changelog.
    """
    node, *parents = names
    store, rows = kept
    stores = []
    if rows.is_kept:
        key = scope.key_serde(here[0], place)
        built = store.builder(key, scope.value_serde(here[1], place))
        if changelog is not None:
            built = replace(built, changelog_topic=changelog, logging_enabled=True)
        stores = [built]

    def make(_: str) -> Node:
        kind = VersionedSourceNode if store.is_versioned else TableSourceNode
        return kind(node, rows.kept_in, rows.sends_old)

    write_processor(builder, node, tuple(parents), make, stores)

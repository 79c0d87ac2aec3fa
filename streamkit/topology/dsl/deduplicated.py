"""`stream.deduplicate(within=...)`: an operator that Kafka Streams lacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streamkit.common.errors import TopologyError
from streamkit.serdes.builtin import long
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.topology.dsl.annotations import call_site
from streamkit.topology.dsl.scope import Place, Scope
from streamkit.topology.dsl.sides import Side
from streamkit.topology.dsl.windows import Duration, duration_ms
from streamkit.topology.dsl.writing import write_processor
from streamkit.topology.graph.logical import GraphNode
from streamkit.topology.graph.names import check_name
from streamkit.topology.graph.physical import PhysicalBuilder
from streamkit.topology.operators.deduplicate import DeduplicateNode


def deduplicate_node(
    scope: Scope,
    of_id: Side,
    identify: Callable[[Any, Any], Any],
    within: Duration,
    name: str | None,
) -> GraphNode:
    """The logical node. Raises TopologyError."""
    within_ms = duration_ms(within)
    if within_ms < 1:
        raise TopologyError("deduplicate(): within= must be longer than nothing")
    node = scope.graph.new_name("KSTREAM-DEDUPLICATE-") if name is None else check_name(name)
    place = Place("deduplicate()", node, f"store {node}-seen", call_site())

    def write(builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
        store = StoreBuilder(
            name=f"{node}-seen",
            kind=StoreKind.WINDOW,
            key_serde=scope.key_serde(of_id, place),
            value_serde=long,
            persistent=scope.keeps_on_disk,
            # A late record looks back as far as it is late.
            retention_ms=2 * within_ms,
        )
        write_processor(
            builder,
            node,
            parents,
            lambda _: DeduplicateNode(node, store.name, identify, within_ms),
            [store],
        )

    return GraphNode(node, write)

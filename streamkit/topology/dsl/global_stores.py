"""Global stores filled by a processor of the user's (Kafka's `addGlobalStore`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from streamkit.common.errors import TopologyError
from streamkit.state.builders import StoreBuilder
from streamkit.topology.dsl.processor import supplier_of
from streamkit.topology.dsl.scope import Scope
from streamkit.topology.dsl.sources import Consumed, source_spec
from streamkit.topology.graph.logical import GraphNode
from streamkit.topology.graph.physical import PhysicalBuilder
from streamkit.topology.plan import NodeKind, NodeSpec


def global_store(
    scope: Scope, store: StoreBuilder, topic: str, processor: Callable[[], Any], how: Consumed
) -> None:
    """Declare a global store. Raises TopologyError."""
    if not isinstance(store, StoreBuilder):
        raise TopologyError(f"add_global_store({store!r}): give streamkit.store(...)")
    source = scope.graph.new_name("KSTREAM-SOURCE-")
    name = scope.graph.new_name("KTABLE-SOURCE-")
    made = supplier_of(processor, (), name)
    # The topic is all there is to it: no changelog, and nothing downstream for a cache.
    kept = replace(store, logging_enabled=False, caching_enabled=False)

    def write(builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
        builder.add_global(
            source_spec(scope, source, (topic,), None, how),
            NodeSpec(name, NodeKind.PROCESSOR, (source,), lambda _: made.make(name)),
            kept,
        )

    scope.graph.add(GraphNode(name, write))

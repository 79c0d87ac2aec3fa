"""Logical nodes that write one processor, with or without stores."""

from __future__ import annotations

from collections.abc import Sequence

from streamkit.state.builders import StoreBuilder
from streamkit.topology.graph.logical import GraphNode
from streamkit.topology.graph.physical import PhysicalBuilder
from streamkit.topology.plan import NodeFactory, NodeKind, NodeSpec


def processor(name: str, make: NodeFactory) -> GraphNode:
    """A processor without stores."""

    def write(builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
        write_processor(builder, name, parents, make)

    return GraphNode(name, write)


def write_processor(
    builder: PhysicalBuilder,
    name: str,
    parents: tuple[str, ...],
    make: NodeFactory,
    stores: Sequence[StoreBuilder] = (),
) -> None:
    """Write a processor and give it its stores."""
    builder.add_node(NodeSpec(name, NodeKind.PROCESSOR, parents, make))
    for store in stores:
        builder.add_store(store, name)

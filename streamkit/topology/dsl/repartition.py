"""Repartition topics: a filter, a sink and a source that cut the topology in two."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from streamkit.common.errors import TopologyError
from streamkit.topology.dsl.annotations import is_count
from streamkit.topology.dsl.scope import Place, Scope
from streamkit.topology.dsl.sides import Side
from streamkit.topology.graph.logical import GraphNode, Repartition
from streamkit.topology.graph.physical import InternalTopic, PhysicalBuilder
from streamkit.topology.operators.node import KeyedOnlyNode, PassNode, SinkNode, SourceNode
from streamkit.topology.plan import NodeKind, NodeSpec

_GENERATED = re.compile(r"KSTREAM.*-[0-9]{10}")
SUFFIX = "-repartition"
"""What the name of a repartition topic ends in."""

Partitioner = Callable[[str, object, object, int], int | Sequence[int] | None]


@dataclass(frozen=True, slots=True)
class Through:
    """What goes through the topic, how, and which line asked for it."""

    operator: str
    key: Side
    value: Side
    line: str
    partitions: int | None = None
    partitioner: Partitioner | None = None

    def __post_init__(self) -> None:
        if self.partitions is not None and not is_count(self.partitions):
            raise TopologyError(
                f"{self.operator} at {self.line}: partitions={self.partitions!r}: give a number, "
                "1 or more, or leave it out"
            )


def repartition_node(
    scope: Scope, prefix: str, through: Through, *, may_merge: bool = True
) -> GraphNode:
    """The logical node of a repartition topic; uses up three numbers, named or not.

    `prefix` is the name that the user gave, or a generated one, which keeps generated names for
    the three physical nodes too. `may_merge` lets an optimization make one topic of several.
    """
    topic = prefix if prefix.endswith(SUFFIX) else prefix + SUFFIX
    sink = scope.graph.new_name("KSTREAM-SINK-")
    keyed = scope.graph.new_name("KSTREAM-FILTER-")
    source = scope.graph.new_name("KSTREAM-SOURCE-")
    names = (sink, keyed, source) if _GENERATED.fullmatch(prefix) else _named(topic)
    node = _node(scope, topic, names, through)
    if may_merge:
        node.repartition = Repartition(through, lambda all_: _merged(scope, topic, all_))
    return node


def _merged(scope: Scope, topic: str, merged: Sequence[Repartition]) -> GraphNode:
    """One topic for all of them, with the first serdes that are known."""
    throughs = [each.through for each in merged if isinstance(each.through, Through)]
    key = next((each.key for each in throughs if each.key.serde is not None), throughs[0].key)
    value = next(
        (each.value for each in throughs if each.value.serde is not None), throughs[0].value
    )
    return _node(scope, topic, _named(topic), replace(throughs[0], key=key, value=value))


def _named(topic: str) -> tuple[str, str, str]:
    return f"{topic}-sink", f"{topic}-filter", f"{topic}-source"


def _node(scope: Scope, topic: str, names: tuple[str, str, str], through: Through) -> GraphNode:
    sink, keyed, source = names

    def write(builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
        place = Place(through.operator, sink, f"repartition topic {topic}", through.line)
        key = scope.key_serde(through.key, place)
        value = scope.value_serde(through.value, place)
        full = builder.add_internal_topic(InternalTopic(topic, through.partitions))
        kind = PassNode if source in builder.null_keys_pass else KeyedOnlyNode
        builder.add_node(NodeSpec(keyed, NodeKind.PROCESSOR, parents, lambda _: kind(keyed)))
        partitioner = through.partitioner

        def make_sink(_: str) -> SinkNode:
            return SinkNode(sink, full, key, value, partitioner)

        builder.add_node(NodeSpec(sink, NodeKind.SINK, (keyed,), make_sink, topics=(topic,)))

        def make_source(name: str) -> SourceNode:
            return SourceNode(source, name, key, value)

        builder.add_source(
            NodeSpec(source, NodeKind.SOURCE, (), make_source, topics=(topic,)), None
        )

    return GraphNode(source, write)

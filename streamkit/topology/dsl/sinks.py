"""`to()`: a stream into a topic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streamkit.common.errors import TopologyError
from streamkit.common.model import Record
from streamkit.topology.dsl.annotations import call_site, callable_or_raise
from streamkit.topology.dsl.repartition import Partitioner
from streamkit.topology.dsl.scope import Place, Scope
from streamkit.topology.dsl.sides import Side, refuse_mismatch
from streamkit.topology.dsl.topic import Topic
from streamkit.topology.graph.logical import GraphNode
from streamkit.topology.graph.names import check_name
from streamkit.topology.graph.physical import PhysicalBuilder
from streamkit.topology.operators.node import SinkNode
from streamkit.topology.plan import NodeKind, NodeSpec

TopicChoice = Topic[Any, Any] | str | Callable[[Record[Any, Any]], str]


def sink_node(
    scope: Scope,
    topic: TopicChoice,
    here: tuple[Side, Side],
    partitioner: Partitioner | None,
    name: str | None,
) -> GraphNode:
    """The logical node of a sink; `here` is what is known of the stream's keys and values."""
    target_or_raise(topic, "to()")
    if isinstance(topic, str):
        check_name(topic)
    node = scope.graph.name_or_new(name, "KSTREAM-SINK-")
    line = call_site()
    key_side, value_side = here
    if isinstance(topic, Topic):
        where = f"to() ({node}) at {line}: topic {topic.name} has"
        key_side = _meet(key_side, topic.key_side, f"{where} keys of type")
        value_side = _meet(value_side, topic.value_side, f"{where} values of type")
    topic_of = topic if not isinstance(topic, str | Topic) else None
    fixed = None if topic_of is not None else str(topic)

    def write(builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
        target = "the topics that the function names" if fixed is None else f"topic {fixed}"
        place = Place("to()", node, target, line)
        key = scope.key_serde(key_side, place)
        value = scope.value_serde(value_side, place)

        def make(_: str) -> SinkNode:
            return SinkNode(node, fixed or "", key, value, partitioner, topic_of, Record)

        builder.add_node(
            NodeSpec(
                node,
                NodeKind.SINK,
                parents,
                make,
                topics=() if fixed is None else (fixed,),
                extractor=getattr(topic_of, "__name__", "topic_of"),
            )
        )

    return GraphNode(node, write)


def target_or_raise(topic: object, operator: str) -> None:
    """Raises TopologyError for what names no topic."""
    if not isinstance(topic, str | Topic):
        if not callable(topic):
            raise TopologyError(
                f"{operator} at {call_site()}: {topic!r} is no topic: give app.topic(...), a name, "
                "or a function of the record that names one"
            )
        callable_or_raise(topic, operator)


def _meet(here: Side, of_topic: Side, what: str) -> Side:
    """The topic's own serde, when it has one: what is in a topic is said by the topic."""
    refuse_mismatch(here, of_topic, what)
    return here if of_topic.serde is None else of_topic

"""A plan for the eyes: Kafka Streams' text, JSON, Mermaid and Graphviz.

The text is, character for character, what `Topology.describe()` of Kafka Streams prints,
including the order that its hash and tree sets give.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import orjson

from streamkit.topology.graph.java_order import TreeSet, hash_order
from streamkit.topology.plan import InternalTopicSpec, NodeKind, NodeSpec, Subtopology, Topology


def to_text(topology: Topology) -> str:
    """What Kafka Streams prints."""
    names = _ShortNames(topology)
    parts = [
        _describe_global(part, names) if part in topology.globals else _describe_part(part, names)
        for part in topology.parts
    ]
    return "Topologies:\n " + "".join(f"  {part}" for part in parts)


def to_json(topology: Topology) -> str:
    """The plan as JSON: sub-topologies with their nodes, topics, stores and changelogs."""
    document = {
        "application_id": topology.application_id,
        "subtopologies": [_part_document(part) for part in topology.subtopologies],
        "globals": [_part_document(part) for part in topology.globals],
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()


def to_mermaid(topology: Topology) -> str:
    """The plan as a Mermaid flowchart: topics, sub-topologies, stores."""
    lines = ["flowchart TD"]
    names = _ShortNames(topology)
    ids = _Ids()
    for topic in _all_topics(topology, names):
        lines.append(f'  {ids.of("topic " + topic)}{{{{"{topic}"}}}}')
    for part in topology.parts:
        lines.append(f'  subgraph sub{part.id}["Sub-topology {part.id}"]')
        lines += [f'    {ids.of(node.name)}["{node.name}"]' for node in part.nodes]
        lines += [f'    {ids.of("store " + store.name)}[("{store.name}")]' for store in part.stores]
        lines += [f"    {ids.of(one)} --> {ids.of(two)}" for one, two in _edges(part)]
        lines += [f"    {ids.of(one)} --- {ids.of('store ' + two)}" for one, two in _uses(part)]
        lines.append("  end")
        lines += [f"  {ids.of(one)} --> {ids.of(two)}" for one, two in _topic_edges(part, names)]
    return "\n".join(lines) + "\n"


def to_dot(topology: Topology) -> str:
    """The plan as a Graphviz digraph: topics, sub-topologies, stores."""
    lines = ["digraph topology {", "  node [shape=box];"]
    names = _ShortNames(topology)
    for topic in _all_topics(topology, names):
        lines.append(f'  "topic {topic}" [shape=hexagon, label="{topic}"];')
    for part in topology.parts:
        lines.append(f"  subgraph cluster_{part.id} {{")
        lines.append(f'    label="Sub-topology {part.id}";')
        lines += [f'    "{node.name}";' for node in part.nodes]
        for store in part.stores:
            lines.append(f'    "store {store.name}" [shape=cylinder, label="{store.name}"];')
        lines += [f'    "{one}" -> "{two}";' for one, two in _edges(part)]
        lines += [f'    "{one}" -> "store {two}" [dir=none];' for one, two in _uses(part)]
        lines.append("  }")
        lines += [f'  "{one}" -> "{two}";' for one, two in _topic_edges(part, names)]
    return "\n".join([*lines, "}"]) + "\n"


class _ShortNames:
    """Internal topics without the application id."""

    def __init__(self, topology: Topology) -> None:
        start = len(topology.application_id) + 1
        self._short = {
            topic.name: topic.name[start:]
            for part in topology.subtopologies
            for topic in part.repartition_sources
        }

    def __call__(self, topic: str) -> str:
        return self._short.get(topic, topic)


@dataclass(slots=True, eq=False)
class _Node:
    """A node while its neighbours are found; `size` counts the nodes of the tree below it."""

    spec: NodeSpec
    size: int = 1
    predecessors: TreeSet[_Node] = field(default_factory=lambda: TreeSet(_compare))
    successors: TreeSet[_Node] = field(default_factory=lambda: TreeSet(_compare))


def _compare(one: _Node, two: _Node) -> int:
    if one is two:
        return 0
    if one.size != two.size:
        return two.size - one.size
    return -1 if one.spec.name < two.spec.name else 1


def _describe_part(part: Subtopology, names: _ShortNames) -> str:
    nodes = {spec.name: _Node(spec) for spec in part.nodes}
    for name in hash_order(nodes):
        node = nodes[name]
        for parent_name in node.spec.parents:
            parent = nodes[parent_name]
            node.predecessors.add(parent)
            parent.successors.add(node)
            _grow(parent, node.size)
    ordered = sorted(nodes.values(), key=lambda node: (-node.size, node.spec.name))
    body = "".join(f"    {_describe_node(node, names)}\n" for node in ordered)
    return f"Sub-topology: {part.id}\n{body}\n"


def _describe_global(part: Subtopology, names: _ShortNames) -> str:
    source, processor = (_Node(spec) for spec in part.nodes)
    source.successors.add(processor)
    processor.predecessors.add(source)
    body = "".join(f"    {_describe_node(node, names)}\n" for node in (source, processor))
    return f"Sub-topology: {part.id} for global store (will not generate tasks)\n{body}"


def _grow(node: _Node, by: int) -> None:
    node.size += by
    for parent in node.predecessors:
        _grow(parent, by)


def _describe_node(node: _Node, names: _ShortNames) -> str:
    spec = node.spec
    head = f"{spec.kind.value}: {spec.name}"
    after = f"\n      --> {_listed(node.successors)}"
    before = f"\n      <-- {_listed(node.predecessors)}"
    if spec.kind is NodeKind.SOURCE:
        topics = spec.pattern
        if topics is None:
            topics = _bracketed(names(topic) for topic in spec.topics)
        return f"{head} (topics: {topics}){after}"
    if spec.kind is NodeKind.PROCESSOR:
        return f"{head} (stores: {_bracketed(spec.stores)}){after}{before}"
    if spec.topics:
        return f"{head} (topic: {names(spec.topics[0])}){before}"
    return f"{head} (extractor class: {spec.extractor}){before}"


def _listed(nodes: TreeSet[_Node]) -> str:
    return ", ".join(node.spec.name for node in nodes) or "none"


def _bracketed(texts: Iterable[str]) -> str:
    return "[" + ", ".join(hash_order(texts, copied=True)) + "]"


def _part_document(part: Subtopology) -> dict[str, object]:
    return {
        "id": part.id,
        "source_topics": part.source_topics,
        "source_patterns": part.source_patterns,
        "repartition_sources": [_topic_document(topic) for topic in part.repartition_sources],
        "repartition_sinks": part.repartition_sinks,
        "changelogs": [_topic_document(topic) for topic in part.changelogs],
        "copartition_groups": part.copartition_groups,
        "stores": [
            {"name": store.name, "kind": store.kind.value, "persistent": store.persistent}
            for store in part.stores
        ],
        "nodes": [_node_document(spec, part) for spec in part.nodes],
    }


def _topic_document(topic: InternalTopicSpec) -> dict[str, object]:
    return {"name": topic.name, "partitions": topic.partitions, "configs": dict(topic.configs)}


def _node_document(spec: NodeSpec, part: Subtopology) -> dict[str, object]:
    document: dict[str, object] = {
        "name": spec.name,
        "kind": spec.kind.value.lower(),
        "predecessors": spec.parents,
        "successors": [other.name for other in part.nodes if spec.name in other.parents],
    }
    if spec.kind is NodeKind.PROCESSOR:
        document["stores"] = spec.stores
    elif spec.pattern is not None:
        document["pattern"] = spec.pattern
    else:
        document["topics"] = spec.topics
    return document


class _Ids:
    """Short identifiers, since Mermaid takes no dots or dashes in one."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}

    def of(self, name: str) -> str:
        return self._ids.setdefault(name, f"n{len(self._ids)}")


def _all_topics(topology: Topology, names: _ShortNames) -> list[str]:
    topics = {
        names(topic): None
        for part in topology.parts
        for spec in part.nodes
        for topic in _topics_of(spec)
    }
    return list(topics)


def _topics_of(spec: NodeSpec) -> tuple[str, ...]:
    return spec.topics if spec.pattern is None else (spec.pattern,)


def _edges(part: Subtopology) -> Iterator[tuple[str, str]]:
    for spec in part.nodes:
        for parent in spec.parents:
            yield parent, spec.name


def _uses(part: Subtopology) -> Iterator[tuple[str, str]]:
    for spec in part.nodes:
        for store in spec.stores:
            yield spec.name, store


def _topic_edges(part: Subtopology, names: _ShortNames) -> Iterator[tuple[str, str]]:
    for spec in part.nodes:
        for topic in _topics_of(spec):
            short = f"topic {names(topic)}"
            yield (short, spec.name) if spec.kind is NodeKind.SOURCE else (spec.name, short)

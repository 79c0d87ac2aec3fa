"""The physical plan: what a topology is once it is compiled, and what a task links.

Plain immutable values. A topic name here is the full one, application id included; only
`describe()` leaves the id out, as Kafka Streams does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from streamkit.state.builders import StoreBuilder
from streamkit.topology.failures import Policies
from streamkit.topology.operators.asynchronous import HoldNode
from streamkit.topology.operators.node import Node, ProcessorContext, SourceNode

NodeFactory = Callable[[str], Node]
"""Makes a node for one task, from the topic's full name (sources) or "" (the others)."""


class NodeKind(Enum):
    """What `describe()` calls the node."""

    SOURCE = "Source"
    PROCESSOR = "Processor"
    SINK = "Sink"


Guarded = Callable[["NodeSpec", Node], Node]
Wrap = Callable[[Node, ProcessorContext], Node]


@dataclass(frozen=True, slots=True)
class InternalTopicSpec:
    """A repartition or changelog topic; `partitions` None lets the group derive the count.

    `configs` are complete. `store_configs`, those of its store alone, win over `topic.` settings
    that come later.
    """

    name: str
    partitions: int | None = None
    configs: Mapping[str, str] = field(default_factory=dict)
    store_configs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One node of a sub-topology.

    `topics` are a source's topics, or a sink's one topic; a sink with a topic function has
    none and says in `extractor` how to print it. A source with a pattern has `pattern`.
    """

    name: str
    kind: NodeKind
    parents: tuple[str, ...]
    make: NodeFactory
    stores: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    pattern: str | None = None
    extractor: str | None = None
    is_async: bool = False
    wrap: Wrap | None = None
    """Gives what stands around its node; see `topology.wrapping`."""


@dataclass(frozen=True, slots=True)
class Subtopology:
    """One connected part of the topology; one task runs it for each partition number."""

    id: int
    nodes: tuple[NodeSpec, ...]
    source_topics: tuple[str, ...] = ()
    source_patterns: tuple[str, ...] = ()
    repartition_sources: tuple[InternalTopicSpec, ...] = ()
    repartition_sinks: tuple[str, ...] = ()
    changelogs: tuple[InternalTopicSpec, ...] = ()
    source_changelogs: tuple[InternalTopicSpec, ...] = ()
    """Topics of others that serve as changelogs, with the configs that such would have."""
    copartition_groups: tuple[tuple[str, ...], ...] = ()
    stores: tuple[StoreBuilder, ...] = ()
    offset_resets: Mapping[str, str] = field(default_factory=dict)

    @property
    def topics(self) -> tuple[str, ...]:
        """All topics that its tasks read, repartition topics included."""
        return self.source_topics + tuple(topic.name for topic in self.repartition_sources)

    def link(self, context: ProcessorContext, guarded: Guarded | None = None) -> LinkedTopology:
        """Make the operators for one task and link them; `init` on the result starts them.

        `guarded` gives what stands in an operator's place for those that forward to it.
        """
        made: dict[str, list[Node]] = {}
        sources: dict[str, SourceNode] = {}
        early = before_async(self.nodes)
        for spec in self.nodes:
            if spec.kind is NodeKind.SOURCE:
                readers = {topic: spec.make(topic) for topic in spec.topics}
                made[spec.name] = list(readers.values())
                for topic, reader in readers.items():
                    assert isinstance(reader, SourceNode), f"{spec.name} makes no source"
                    sources[topic] = reader
                continue
            node = spec.make("")
            made[spec.name] = [node]
            front = self._front(spec, node, context, guarded)
            waits = spec.name not in early and not spec.is_async
            for parent in spec.parents:
                child = HoldNode(front, context) if waits and parent in early else front
                for above in made[parent]:
                    above.add_child(child)
        nodes = tuple(node for group in made.values() for node in group)
        return LinkedTopology(context, sources, nodes)

    def _front(
        self, spec: NodeSpec, node: Node, context: ProcessorContext, guarded: Guarded | None
    ) -> Node:
        """What stands in a node's place for those that forward to it."""
        inner = node if spec.wrap is None else spec.wrap(node, context)
        if inner is not node:
            inner.init(context)
        front = inner if guarded is None else guarded(spec, inner)
        if front is not inner:
            front.init(context)
        return front


def before_async(nodes: Sequence[NodeSpec]) -> frozenset[str]:
    """The names of the nodes that a record passes on its way to an async one."""
    by_name = {spec.name: spec for spec in nodes}
    found: dict[str, None] = {}
    waiting = [parent for spec in nodes if spec.is_async for parent in spec.parents]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = None
            waiting.extend(by_name[name].parents)
    return frozenset(found)


class LinkedTopology:
    """The operators of one task: `sources` by topic, `nodes` from the sources outward."""

    __slots__ = ("context", "nodes", "sources")

    def __init__(
        self, context: ProcessorContext, sources: dict[str, SourceNode], nodes: tuple[Node, ...]
    ) -> None:
        self.context = context
        self.sources = sources
        self.nodes = nodes

    def init(self) -> None:
        """Give every node its context, in the order of punctuations that are due at one time."""
        for node in self.nodes:
            node.init(self.context)

    def close(self) -> None:
        """Close every node, sources first."""
        for node in self.nodes:
            node.close()


@dataclass(frozen=True, slots=True)
class Topology:
    """A compiled program: immutable, and linked by any number of tasks."""

    application_id: str
    subtopologies: tuple[Subtopology, ...]
    policies: Policies = field(default_factory=Policies)
    globals: tuple[Subtopology, ...] = ()
    """Source and store of each global table; they make no tasks."""

    @property
    def parts(self) -> tuple[Subtopology, ...]:
        """Sub-topologies and global tables by their numbers."""
        return tuple(sorted(self.subtopologies + self.globals, key=lambda part: part.id))

    def subtopology(self, number: int) -> Subtopology:
        """The sub-topology of a task id's first number."""
        return next(part for part in self.subtopologies if part.id == number)

    def describe(self) -> str:
        """The text that Kafka Streams prints for the same topology."""
        from streamkit.topology.describe import to_text

        return to_text(self)

    def to_json(self) -> str:
        """The plan as JSON text."""
        from streamkit.topology.describe import to_json

        return to_json(self)

    def to_mermaid(self) -> str:
        """The plan as a Mermaid flowchart."""
        from streamkit.topology.describe import to_mermaid

        return to_mermaid(self)

    def to_dot(self) -> str:
        """The plan as a Graphviz digraph."""
        from streamkit.topology.describe import to_dot

        return to_dot(self)

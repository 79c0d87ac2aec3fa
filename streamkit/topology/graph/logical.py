"""The graph as the DSL declares it: Kafka's `InternalStreamsBuilder`.

One counter gives every generated processor and store its number. A node remembers when it was
added; that order decides in which order nodes are written, and so how sub-topologies are
numbered. Building never changes the graph, so a program may go on declaring afterwards.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from streamkit.common.errors import TopologyError
from streamkit.topology.failures import ErrorPolicy
from streamkit.topology.graph.names import check_name
from streamkit.topology.graph.optimize import (
    MERGE_REPARTITIONS,
    REUSE_SOURCES,
    SELF_JOINS,
    KeyChangers,
    merge_repartitions,
    rewrite_self_joins,
)
from streamkit.topology.graph.physical import (
    WINDOW_CHANGELOG_EXTRA_MS,
    PhysicalBuilder,
    Write,
)
from streamkit.topology.plan import Topology


@dataclass(frozen=True, slots=True)
class StreamSource:
    """What makes two `stream()` calls one source: same topics, or same pattern.

    `how` else each of them reads these, and the options by which two ways differ; `line` is where
    it was declared.
    """

    topics: tuple[str, ...]
    pattern: str | None = None
    offset_reset: str | None = None
    how: object = None
    differences: Callable[[Any, Any], Sequence[str]] = lambda one, other: ()
    line: str = "?"

    @property
    def shown(self) -> str:
        """How a message names what is read."""
        if self.pattern is not None:
            return f"pattern {self.pattern}"
        return f"topic{'s' if len(self.topics) > 1 else ''} {', '.join(self.topics)}"


Writer = Callable[[PhysicalBuilder], None]
"""Writes nodes behind those of the graph."""


@dataclass(frozen=True, slots=True)
class Repartition:
    """A repartition topic: `merged` makes one node of several, of which it is the first."""

    through: object
    merged: Callable[[Sequence[Repartition]], GraphNode]


@dataclass(slots=True, eq=False)
class GraphNode:
    """One declared operator. `name` is the last physical node's, which children hang on.

    `on_error` is what is done when it fails.
    With `keeps_null_keys` records without a key must pass the repartition topics above it.
    `closes_after_ms`: how long after its end a window of it has closed. `is_versioned`: whether
    its rows have a history; None when that is as above it. `changes_key`, `changes_value` and
    `is_merge`, a `repartition` topic that may be merged with others, and the inputs of a
    stream-stream join are for the optimizations.
    """

    name: str
    write: Write
    source: StreamSource | None = None
    keeps_null_keys: bool = False
    on_error: ErrorPolicy | None = None
    closes_after_ms: int | None = None
    is_versioned: bool | None = None
    changes_key: bool = False
    changes_value: bool = False
    is_merge: bool = False
    repartition: Repartition | None = None
    join_inputs: tuple[str, str] | None = None
    priority: int = -1
    parents: dict[GraphNode, None] = field(default_factory=dict)
    children: dict[GraphNode, None] = field(default_factory=dict)


class Graph:
    """All that a program has declared so far."""

    def __init__(self) -> None:
        self._root = GraphNode("root", lambda builder, parents: None)
        self._number = 0
        self._priority = 0
        self._key_changers = KeyChangers()

    @property
    def version(self) -> int:
        """Changes with each declared operator."""
        return self._priority

    def new_name(self, prefix: str) -> str:
        """`KSTREAM-FILTER-` → `KSTREAM-FILTER-0000000003`."""
        number = self._number
        self._number += 1
        return f"{prefix}{number:010d}"

    def new_store_name(self, prefix: str) -> str:
        """`KSTREAM-AGGREGATE-` → `KSTREAM-AGGREGATE-STATE-STORE-0000000003`."""
        return self.new_name(f"{prefix}STATE-STORE-")

    def name_or_new(self, name: str | None, prefix: str) -> str:
        """The given name, else a generated one; the number is used up either way."""
        generated = self.new_name(prefix)
        return generated if name is None else check_name(name)

    def add(self, node: GraphNode, *parents: GraphNode) -> GraphNode:
        """Hang a node on its parents, or on the root."""
        for parent in parents or (self._root,):
            parent.children[node] = None
            node.parents[parent] = None
            node.priority = self._priority
            self._priority += 1
            self._key_changers.note(node)
        return node

    def build(
        self,
        application_id: str,
        topic_configs: Mapping[str, str],
        more: Sequence[Writer] = (),
        optimizations: frozenset[str] = frozenset(),
        window_extra_ms: int = WINDOW_CHANGELOG_EXTRA_MS,
    ) -> Topology:
        """Compile what was declared. Raises TopologyError."""
        builder = PhysicalBuilder(application_id, topic_configs, window_extra_ms)
        root = self._optimized(builder, optimizations)
        builder.null_keys_pass = keeps_null_keys_below(root)
        builder.versioned = versioned_below(root)
        queue: list[tuple[int, int, GraphNode]] = [(root.priority, 0, root)]
        pushed = 1
        written: set[GraphNode] = set()
        while queue:
            node = heapq.heappop(queue)[2]
            if node in written or not written.issuperset(node.parents):
                continue
            node.write(builder, tuple(parent.name for parent in node.parents))
            written.add(node)
            if node.on_error is not None:
                builder.policies[node.name] = node.on_error
            for child in node.children:
                heapq.heappush(queue, (child.priority, pushed, child))
                pushed += 1
        for write in more:
            write(builder)
        return builder.build()

    def _optimized(self, builder: PhysicalBuilder, optimizations: frozenset[str]) -> GraphNode:
        """A copy to be written, with each source once, and what the optimizations make of it."""
        copies = _copy(self._root)
        root = merge_sources(copies[self._root])
        builder.reuses_sources = REUSE_SOURCES in optimizations
        if MERGE_REPARTITIONS in optimizations:
            builder.renamed = merge_repartitions(self._key_changers.copied(copies))
        if SELF_JOINS in optimizations:
            builder.self_joins = rewrite_self_joins(root)
        return root


def keeps_null_keys_below(root: GraphNode) -> set[str]:
    """The names of the nodes above an operator that takes records without a key."""
    keepers: dict[GraphNode, bool] = {}

    def look(node: GraphNode) -> bool:
        if node not in keepers:
            below = [look(child) or child.keeps_null_keys for child in node.children]
            keepers[node] = any(below)
        return keepers[node]

    look(root)
    return {node.name for node, keeps in keepers.items() if keeps}


def versioned_below(root: GraphNode) -> set[str]:
    """The names of the nodes that say of each row whether it is the latest."""
    known: dict[GraphNode, bool] = {root: False}

    def look(node: GraphNode) -> bool:
        if node not in known:
            inherited = all(look(parent) for parent in node.parents)
            known[node] = inherited if node.is_versioned is None else node.is_versioned
        return known[node]

    def visit(node: GraphNode) -> None:
        for child in node.children:
            if child not in known:
                look(child)
                visit(child)

    visit(root)
    return {node.name for node, is_versioned in known.items() if is_versioned}


def merge_sources(root: GraphNode) -> GraphNode:
    """Make one source of those with the same topics or the same pattern."""
    first: dict[str, GraphNode] = {}
    for node in list(root.children):
        if node.source is None:
            continue
        pattern = node.source.pattern
        keys: Sequence[str] = node.source.topics if pattern is None else [f"pattern {pattern}"]
        for key in keys:
            main = first.setdefault(key, node)
            if main is not node:
                _merge(main, node)
                root.children.pop(node, None)
    return root


def _merge(main: GraphNode, other: GraphNode) -> None:
    assert main.source is not None, "only sources are merged"
    assert other.source is not None, "only sources are merged"
    if set(main.source.topics) != set(other.source.topics):
        raise TopologyError(
            "Two source nodes are subscribed to overlapping but not equal input topics: "
            f"{main.name} to {list(main.source.topics)}, {other.name} to "
            f"{list(other.source.topics)}; give both the same topics"
        )
    if main.source.offset_reset != other.source.offset_reset:
        raise TopologyError(
            "Can't configure different offset reset policies on the same input topic(s) "
            f"{list(main.source.topics)}: give {main.name} and {other.name} the same"
        )
    _refuse_other_options(main, other)
    main.on_error = main.on_error or other.on_error
    for child in list(other.children):
        del other.children[child]
        del child.parents[other]
        main.children[child] = None
        child.parents[main] = None


def _refuse_other_options(main: GraphNode, other: GraphNode) -> None:
    """One source reads in one way: what the other's declaration says would be lost."""
    one, two = main.source, other.source
    assert one is not None, "only sources are merged"
    assert two is not None, "only sources are merged"
    differing = list(one.differences(one.how, two.how))
    if main.on_error is not None and other.on_error not in {None, main.on_error}:
        differing.append("on_error")
    if differing:
        raise TopologyError(
            f"{one.shown} is read at {one.line} ({main.name}) and at {two.line} ({other.name}) "
            f"with another {'= and '.join(differing)}=: give both the same, or read it once and "
            "use that stream twice"
        )


def _copy(root: GraphNode) -> dict[GraphNode, GraphNode]:
    copies: dict[GraphNode, GraphNode] = {}
    stack = [root]
    while stack:
        node = stack.pop()
        if node not in copies:
            copies[node] = replace(node, parents={}, children={})
            stack.extend(node.children)
    for node, copy in copies.items():
        copy.children = {copies[child]: None for child in node.children}
        copy.parents = {copies[parent]: None for parent in node.parents}
    return copies

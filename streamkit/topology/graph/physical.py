"""From written nodes to sub-topologies: Kafka's `InternalTopologyBuilder`, without its life.

Nodes keep the order in which they were written. Nodes joined by an edge or by a store share a
sub-topology; sub-topologies are numbered by their first node.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from streamkit.common.errors import TopologyError
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.topology.failures import ErrorPolicy, Policies
from streamkit.topology.graph.copartition import copartition_groups
from streamkit.topology.graph.names import LENGTH_MAX
from streamkit.topology.offset_resets import EARLIEST
from streamkit.topology.plan import (
    InternalTopicSpec,
    NodeKind,
    NodeSpec,
    Subtopology,
    Topology,
    before_async,
)

REPARTITION_CONFIGS = {
    "cleanup.policy": "delete",
    "message.timestamp.type": "CreateTime",
    "retention.ms": "-1",
    "segment.bytes": "52428800",
}
WINDOW_CHANGELOG_EXTRA_MS = 86_400_000
"""How much longer than its store a windowed changelog keeps a record."""

LONG_MAX = 2**63 - 1
CHANGELOG_CONFIGS = {"cleanup.policy": "compact", "message.timestamp.type": "CreateTime"}


@dataclass(frozen=True, slots=True)
class InternalTopic:
    """A repartition topic as written: its name without the application id."""

    name: str
    partitions: int | None = None


Write = Callable[["PhysicalBuilder", tuple[str, ...]], None]
"""Writes a logical node's physical nodes; gets the names of its parents."""


class PhysicalBuilder:
    """Collects nodes, stores and internal topics, then cuts them."""

    def __init__(
        self,
        application_id: str,
        topic_configs: Mapping[str, str],
        window_extra_ms: int = WINDOW_CHANGELOG_EXTRA_MS,
    ) -> None:
        self._application_id = application_id
        self._window_extra_ms = window_extra_ms
        self._topic_configs = dict(topic_configs)
        self._nodes: dict[str, NodeSpec] = {}
        self._groups = Groups()
        self._stores: dict[str, StoreBuilder] = {}
        self._first_user: dict[str, str] = {}
        self._internal: dict[str, InternalTopic] = {}
        self._source_topics: dict[str, str] = {}
        self._patterns: dict[str, str] = {}
        self._resets: dict[str, str] = {}
        self._global_sources: set[str] = set()
        self._copartitioned: list[tuple[str, ...]] = []
        self.policies: dict[str, ErrorPolicy] = {}
        self.null_keys_pass: set[str] = set()
        """Nodes above which records without a key must go on."""
        self.renamed: dict[str, str] = {}
        """Repartition nodes that were merged into others, and these."""
        self.self_joins: set[str] = set()
        """Joins of streams with themselves that need one store only."""
        self.reuses_sources = False
        """Whether tables take their source topics for changelogs."""
        self.versioned: set[str] = set()
        """Nodes that say of each row whether it is the latest."""

    def add_internal_topic(self, topic: InternalTopic) -> str:
        """Declare a repartition topic before the nodes that use it; gives its full name."""
        self._internal[topic.name] = topic
        return self._full(topic.name)

    def full_name(self, topic: str) -> str:
        """A topic's full name: internal ones have the application id in front."""
        return self._full(topic)

    def add_source(self, spec: NodeSpec, offset_reset: str | None) -> None:
        """Add a source; topics by their short names."""
        for topic in spec.topics:
            self._refuse_known_topic(topic)
            self._source_topics[topic] = spec.name
        if spec.pattern is not None:
            self._patterns[spec.name] = spec.pattern
        if offset_reset is not None:
            for topic in spec.topics:
                self._resets[topic] = offset_reset
        full = tuple(self._full(topic) for topic in spec.topics)
        self._add(replace(spec, topics=full))

    def add_node(self, spec: NodeSpec) -> None:
        """Add a processor or a sink after all of its parents."""
        full = tuple(self._full(topic) for topic in spec.topics)
        self._add(replace(spec, topics=full))

    def add_global(self, source: NodeSpec, processor: NodeSpec, store: StoreBuilder) -> None:
        """Add a global table: its source, and the processor that fills its store."""
        self.add_source(source, None)
        self._global_sources.add(source.name)
        self.add_node(processor)
        self.add_store(store, processor.name)

    def add_store(self, store: StoreBuilder, node: str) -> None:
        """Give a node a store; the same store may be given to several."""
        known = self._stores.get(store.name)
        # Equal is not enough: two counts that name one store would count each other's records.
        if known is not None and known is not store:
            raise TopologyError(
                f"A different StateStore has already been added with the name {store.name}: "
                "give one of them another name"
            )
        self._stores[store.name] = store
        self._groups.unite(self._first_user.setdefault(store.name, node), node)
        spec = self._nodes[node]
        if store.name not in spec.stores:
            self._nodes[node] = replace(spec, stores=(*spec.stores, store.name))

    def store_named(self, name: str) -> StoreBuilder:
        """A store that was added before."""
        return self._stores[name]

    def connect_store(self, store: str, node: str) -> None:
        """Give a node a store that another node has already. Raises TopologyError."""
        if store not in self._stores:
            raise TopologyError(
                f"processor {node}: there is no store {store!r}: declare it before, or give "
                "streamkit.store(...) in its place"
            )
        self.add_store(self._stores[store], node)

    def kind_of(self, node: str) -> NodeKind | None:
        """What a node is; None when it is not there."""
        spec = self._nodes.get(node)
        return None if spec is None else spec.kind

    def parents_of(self, node: str) -> tuple[str, ...]:
        """The nodes that a node hangs on."""
        return self._nodes[node].parents

    def copartition(self, *nodes: str) -> None:
        """The topics that these nodes read, through whatever, must have equal partitions."""
        self._copartitioned.append(tuple(self.renamed.get(node, node) for node in nodes))

    def build(self) -> Topology:
        """Cut the nodes into sub-topologies."""
        members: dict[str, list[NodeSpec]] = {}
        for spec in self._nodes.values():
            members.setdefault(self._groups.root(spec.name), []).append(spec)
        groups = self._copartition_groups()
        parts = [
            self._subtopology(number, nodes, groups)
            for number, nodes in enumerate(members.values())
        ]
        globals_ = [
            part for part in parts if any(spec.name in self._global_sources for spec in part.nodes)
        ]
        tasks = tuple(part for part in parts if part not in globals_)
        policies = Policies(by_operator=dict(self.policies))
        for part in tasks:
            refuse_early_stores(part.nodes)
        return Topology(self._application_id, tasks, policies, globals=tuple(globals_))

    def _subtopology(
        self, number: int, nodes: list[NodeSpec], groups: list[tuple[str, ...]]
    ) -> Subtopology:
        internal = {self._full(topic.name): topic for topic in self._internal.values()}
        read = [topic for spec in nodes if spec.kind is NodeKind.SOURCE for topic in spec.topics]
        written = [topic for spec in nodes if spec.kind is NodeKind.SINK for topic in spec.topics]
        names = dict.fromkeys(name for spec in nodes for name in spec.stores)
        # Buffers are flushed last: what caches let go of may end there.
        stores = sorted(
            (self._stores[name] for name in names),
            key=lambda store: store.kind is StoreKind.SUPPRESS_BUFFER,
        )
        return Subtopology(
            id=number,
            nodes=tuple(nodes),
            source_topics=tuple(topic for topic in read if topic not in internal),
            source_patterns=tuple(spec.pattern for spec in nodes if spec.pattern is not None),
            repartition_sources=tuple(
                self._repartition(topic, internal[topic]) for topic in read if topic in internal
            ),
            copartition_groups=tuple(group for group in groups if set(read).issuperset(group)),
            repartition_sinks=tuple(dict.fromkeys(topic for topic in written if topic in internal)),
            changelogs=tuple(
                self._changelog(store)
                for store in stores
                if store.logging_enabled and store.changelog_topic is None
            ),
            source_changelogs=tuple(
                self._changelog(store) for store in stores if store.changelog_topic is not None
            ),
            stores=tuple(stores),
            offset_resets=self._offset_resets(read, internal),
        )

    def _offset_resets(self, read: Sequence[str], internal: Mapping[str, object]) -> dict[str, str]:
        """What was said of sources. Of repartition topics nothing is ever left out."""
        said = {topic: self._resets[topic] for topic in read if topic in self._resets}
        return said | {topic: EARLIEST for topic in read if topic in internal}

    def _copartition_groups(self) -> list[tuple[str, ...]]:
        return copartition_groups(
            [topic for node in nodes for topic in self._topics_above(node)]
            for nodes in self._copartitioned
        )

    def _topics_above(self, node: str) -> list[str]:
        """The topics that a node reads. Kafka Streams forgets those of suppressed tables."""
        spec = self._nodes[node]
        if spec.kind is NodeKind.SOURCE:
            return list(spec.topics)
        if any(self._stores[name].kind is StoreKind.SUPPRESS_BUFFER for name in spec.stores):
            return []
        return [topic for parent in spec.parents for topic in self._topics_above(parent)]

    def _repartition(self, name: str, topic: InternalTopic) -> InternalTopicSpec:
        refuse_long(name)
        return InternalTopicSpec(
            name, topic.partitions, {**REPARTITION_CONFIGS, **self._topic_configs}
        )

    def _changelog(self, store: StoreBuilder) -> InternalTopicSpec:
        name = store.changelog_topic or f"{self._application_id}-{store.name}-changelog"
        refuse_long(name)
        own = changelog_configs(store, self._window_extra_ms)
        configs = {**own, **self._topic_configs, **store.changelog_configs}
        return InternalTopicSpec(name, None, configs, store.changelog_configs)

    def _add(self, spec: NodeSpec) -> None:
        if spec.name in self._nodes:
            raise TopologyError(
                f"Processor {spec.name} is already added: give one of them another name"
            )
        for parent in spec.parents:
            assert parent in self._nodes, f"{spec.name} is written before its parent {parent}"
        self._nodes[spec.name] = spec
        self._groups.add(spec.name)
        for parent in spec.parents:
            self._groups.unite(spec.name, parent)

    def _full(self, topic: str) -> str:
        return f"{self._application_id}-{topic}" if topic in self._internal else topic

    def _refuse_known_topic(self, topic: str) -> None:
        if topic in self._source_topics:
            raise TopologyError(
                f"Topic {topic} has already been registered by another source, "
                f"{self._source_topics[topic]}: read it once, as a stream or as a table"
            )
        for name, pattern in self._patterns.items():
            if re.fullmatch(pattern, topic):
                raise TopologyError(
                    f"Topic {topic} matches the pattern {pattern} of the source {name}"
                )


def refuse_long(topic: str) -> None:
    """Raise TopologyError for an internal topic that Kafka would not make."""
    if len(topic) > LENGTH_MAX:
        raise TopologyError(
            f"topic {topic} is {len(topic)} characters long, and Kafka takes {LENGTH_MAX}: give "
            "the app, or the store or operator, a shorter name"
        )


def refuse_early_stores(nodes: Sequence[NodeSpec]) -> None:
    """What a record does before it comes to an async processor would count before its time."""
    early = before_async(nodes)
    for spec in nodes:
        if spec.name in early and (spec.stores or spec.is_async):
            what = "is async" if spec.is_async else f"keeps {', '.join(spec.stores)}"
            raise TopologyError(
                f"an async processor comes behind {spec.name}, which {what}: put .repartition() "
                "in between, so that each has a sub-topology of its own"
            )


def changelog_configs(
    store: StoreBuilder, window_extra_ms: int = WINDOW_CHANGELOG_EXTRA_MS
) -> dict[str, str]:
    """The configs of a changelog by the kind of its store."""
    if store.kind is StoreKind.VERSIONED:
        lag_ms = min(store.retention_ms + window_extra_ms, LONG_MAX)
        return {**CHANGELOG_CONFIGS, "min.compaction.lag.ms": str(lag_ms)}
    if not store.kind.is_windowed:
        return CHANGELOG_CONFIGS
    retention_ms = min(store.retention_ms + window_extra_ms, LONG_MAX)
    return {
        **CHANGELOG_CONFIGS,
        # Where equal keys are all kept, compaction would lose some.
        "cleanup.policy": "delete" if store.kind is StoreKind.JOIN_WINDOW else "compact,delete",
        "retention.ms": str(retention_ms),
    }


class Groups:
    """Union-find over node names."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def add(self, name: str) -> None:
        """Make a group of one."""
        self._parent[name] = name

    def root(self, name: str) -> str:
        """The name that stands for the group."""
        while self._parent[name] != name:
            self._parent[name] = self._parent[self._parent[name]]
            name = self._parent[name]
        return name

    def unite(self, one: str, two: str) -> None:
        """Make one group of two."""
        self._parent[self.root(one)] = self.root(two)

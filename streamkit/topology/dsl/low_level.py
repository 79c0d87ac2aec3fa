"""The Processor API's topology: nodes added by name (Kafka's `Topology`).

    topology = sk.Topology()
    topology.add_source("orders", "orders", key=str, value=Order)
    topology.add_processor("check", Check, "orders")
    topology.add_state_store(sk.store("seen", key=str, value=int), "check")
    topology.add_sink("out", "checked", "check", key=str, value=Order)
    app = sk.App("shop", topology=topology)

Nothing is made before the app compiles it. Parents come before their children.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from streamkit.common.errors import TopologyError
from streamkit.common.model import Record
from streamkit.state.builders import StoreBuilder
from streamkit.topology.dsl.annotations import call_site
from streamkit.topology.dsl.function import Contract, contract_of
from streamkit.topology.dsl.processor import Supplier, is_supplier, supplier_of
from streamkit.topology.dsl.repartition import Partitioner
from streamkit.topology.dsl.scope import Place, Scope
from streamkit.topology.dsl.sides import said
from streamkit.topology.dsl.sinks import TopicChoice, target_or_raise
from streamkit.topology.dsl.sources import TimestampChoice, consumed, source_spec
from streamkit.topology.dsl.topic import Topic
from streamkit.topology.failures import PolicyChoice, policy_of
from streamkit.topology.graph.logical import Graph, Writer
from streamkit.topology.graph.names import check_name
from streamkit.topology.graph.physical import PhysicalBuilder
from streamkit.topology.operators.node import SinkNode
from streamkit.topology.plan import NodeKind, NodeSpec

Step = Callable[[PhysicalBuilder, Scope], None]
TopicOrName = Topic[Any, Any] | str


class Topology:
    """See the module. Its methods give it back, so that calls can be chained."""

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._stores: dict[str, StoreBuilder] = {}

    def __len__(self) -> int:
        """How often something was added."""
        return len(self._steps)

    def add_source(
        self,
        name: str,
        topic: TopicOrName | re.Pattern[str],
        *more: TopicOrName,
        key: object = None,
        value: object = None,
        timestamp: TimestampChoice = None,
        offset_reset: str | None = None,
        on_error: PolicyChoice = None,
    ) -> Topology:
        """Read topics, or those that match a pattern."""
        pattern = topic if isinstance(topic, re.Pattern) else None
        topics = list(more) if isinstance(topic, re.Pattern) else [topic, *more]
        how = consumed(topics, key, value, timestamp, offset_reset)
        names = tuple(dict.fromkeys(check_name(str(each)) for each in topics))
        text = None if pattern is None else pattern.pattern

        def write(builder: PhysicalBuilder, scope: Scope) -> None:
            builder.add_source(source_spec(scope, name, names, text, how), how.offset_reset)

        return self._add(name, write, on_error)

    def add_processor(
        self,
        name: str,
        processor: Callable[..., Any],
        *parents: str,
        stores: Sequence[StoreBuilder | str] = (),
        on_error: PolicyChoice = None,
    ) -> Topology:
        """Add a class of processors, or a function as `@app.processor` takes it."""
        made: Contract | Supplier
        if is_supplier(processor):
            made = supplier_of(processor, (), name)
        else:
            made = contract_of(processor, f"{name} at {call_site()}", {})
            stores = (*stores, *made.stores.values())
        for store in stores:
            if not isinstance(store, str):
                self._know(store)

        def write(builder: PhysicalBuilder, scope: Scope) -> None:
            _require(builder, name, parents)
            is_async = isinstance(made, Contract) and made.is_async
            spec = NodeSpec(
                name, NodeKind.PROCESSOR, parents, lambda _: made.make(name), is_async=is_async
            )
            builder.add_node(spec)
            for store in stores:
                builder.add_store(self._store(store, name), name)

        return self._add(name, write, on_error)

    def add_sink(
        self,
        name: str,
        topic: TopicChoice,
        *parents: str,
        key: object = None,
        value: object = None,
        partitioner: Partitioner | None = None,
        on_error: PolicyChoice = None,
    ) -> Topology:
        """Write to a topic, or to the topic that a function of the record names."""
        target_or_raise(topic, "add_sink()")
        place = Place("add_sink()", name, f"topic {topic}", call_site())
        key_side, value_side = said(key), said(value)
        if isinstance(topic, Topic):
            key_side = key_side if key is not None else topic.key_side
            value_side = value_side if value is not None else topic.value_side
        topic_of = None if isinstance(topic, str | Topic) else topic
        fixed = "" if topic_of is not None else check_name(str(topic))

        def write(builder: PhysicalBuilder, scope: Scope) -> None:
            _require(builder, name, parents)
            keys, values = scope.key_serde(key_side, place), scope.value_serde(value_side, place)
            builder.add_node(
                NodeSpec(
                    name,
                    NodeKind.SINK,
                    parents,
                    lambda _: SinkNode(name, fixed, keys, values, partitioner, topic_of, Record),
                    topics=(fixed,) if fixed else (),
                    extractor=getattr(topic_of, "__name__", "topic_of"),
                )
            )

        return self._add(name, write, on_error)

    def add_state_store(self, store: StoreBuilder, *processors: str) -> Topology:
        """Add a store, and connect it to processors that were added before."""
        self._know(store)
        return self._connect(processors, (store.name,))

    def connect_processor_and_state_stores(self, processor: str, *stores: str) -> Topology:
        """Connect a processor to stores; processors that share one are in one sub-topology."""
        return self._connect((processor,), stores)

    def add_global_store(
        self,
        store: StoreBuilder,
        topic: TopicOrName,
        processor: Callable[..., Any],
        *,
        key: object = None,
        value: object = None,
        source_name: str | None = None,
        processor_name: str | None = None,
        timestamp: TimestampChoice = None,
    ) -> Topology:
        """A store that every worker has all of, filled by a processor from a topic.

        Every processor may read it, and none but this one may write.
        """
        text = check_name(str(topic))
        how = consumed([topic], key, value, timestamp, None)
        source = source_name or f"{text}-source"
        name = processor_name or f"{text}-processor"
        kept = replace(store, logging_enabled=False, caching_enabled=False)
        made = supplier_of(processor, (), name)

        def write(builder: PhysicalBuilder, scope: Scope) -> None:
            builder.add_global(
                source_spec(scope, source, (text,), None, how),
                NodeSpec(name, NodeKind.PROCESSOR, (source,), lambda _: made.make(name)),
                kept,
            )

        return self._add(name, write, None)

    def add_read_only_state_store(
        self,
        store: StoreBuilder,
        topic: TopicOrName,
        processor: Callable[..., Any],
        *,
        source_name: str,
        processor_name: str,
        key: object = None,
        value: object = None,
        timestamp: TimestampChoice = None,
    ) -> Topology:
        """A store filled from a topic, which serves as its changelog (KIP-813)."""
        name = check_name(str(topic))
        kept = replace(store, changelog_topic=name)
        self.add_source(source_name, topic, key=key, value=value, timestamp=timestamp)
        return self.add_processor(processor_name, processor, source_name, stores=[kept])

    def writers(self, scope: Scope) -> list[Writer]:
        """What writes its nodes; `scope` has the default serdes."""
        return [_bound(step, scope) for step in self._steps]

    def describe(self) -> str:
        """The text that Kafka Streams prints for it."""
        return Graph().build("app", {}, self.writers(Scope())).describe()

    def _add(self, name: str, write: Step, on_error: PolicyChoice) -> Topology:
        check_name(name)
        policy = policy_of(on_error)

        def step(builder: PhysicalBuilder, scope: Scope) -> None:
            write(builder, scope)
            if policy is not None:
                builder.policies[name] = policy

        self._steps.append(step)
        return self

    def _connect(self, processors: Sequence[str], stores: Sequence[str]) -> Topology:
        def step(builder: PhysicalBuilder, scope: Scope) -> None:
            for processor in processors:
                _require(builder, f"of store {', '.join(stores)}", (processor,))
                for store in stores:
                    builder.add_store(self._store(store, processor), processor)

        self._steps.append(step)
        return self

    def _know(self, store: StoreBuilder) -> None:
        if not isinstance(store, StoreBuilder):
            raise TopologyError(f"{store!r} is no store: give streamkit.store(...)")
        known = self._stores.setdefault(store.name, store)
        if known is not store:
            raise TopologyError(
                f"a different store {store.name} has already been added: give one another name"
            )

    def _store(self, store: StoreBuilder | str, processor: str) -> StoreBuilder:
        name = store if isinstance(store, str) else store.name
        if name not in self._stores:
            raise TopologyError(f"processor {processor}: store {name} is not added yet")
        return self._stores[name]


def _bound(step: Step, scope: Scope) -> Writer:
    return lambda builder: step(builder, scope)


def _require(builder: PhysicalBuilder, name: str, parents: Sequence[str]) -> None:
    """Raises TopologyError for parents that are not there, or that cannot have children."""
    if not parents:
        raise TopologyError(f"node {name} has no parent: name the nodes that it gets records from")
    for parent in parents:
        kind = builder.kind_of(parent)
        if kind is None:
            raise TopologyError(f"node {name}: there is no node {parent!r}: add it before")
        if kind is NodeKind.SINK:
            raise TopologyError(f"node {name}: {parent} is a sink, which hands nothing on")

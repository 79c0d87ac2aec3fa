"""Foreign-key joins of tables, as the DSL declares them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from streamkit.common.errors import TopologyError
from streamkit.serdes.builtin import raw
from streamkit.serdes.serde import Serde
from streamkit.serdes.subscriptions import ResponseSerde, SubscriptionSerde
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.topology.dsl.annotations import call_site
from streamkit.topology.dsl.options import Materialized
from streamkit.topology.dsl.repartition import Partitioner
from streamkit.topology.dsl.rows import SourceRows, View
from streamkit.topology.dsl.scope import Place, Scope
from streamkit.topology.dsl.sides import Side
from streamkit.topology.dsl.storing import StorePlan
from streamkit.topology.dsl.table_sources import write_table_source
from streamkit.topology.dsl.writing import write_processor
from streamkit.topology.graph.logical import GraphNode
from streamkit.topology.graph.names import check_name
from streamkit.topology.graph.physical import InternalTopic, PhysicalBuilder
from streamkit.topology.operators import foreign_keys as operators
from streamkit.topology.operators.node import Node, SinkNode, SourceNode
from streamkit.topology.plan import NodeKind, NodeSpec

if TYPE_CHECKING:
    from streamkit.topology.dsl.table import Table

_PREFIX = "KTABLE-FK-JOIN-"
_PROCESSOR = f"{_PREFIX}SUBSCRIPTION-PROCESSOR-"


@dataclass(frozen=True, slots=True)
class ForeignKeyJoin:
    """`joiner(row, other_row)` for the other row whose key is `extractor(key, row)`.

    `partitioner` is that of the left table's topic, `other_partitioner` that of the right one's,
    where they are not partitioned by their keys' hash.
    """

    joiner: Callable[[Any, Any], Any]
    extractor: Callable[[Any, Any], Any]
    keeps_left: bool
    partitioner: Partitioner | None
    other_partitioner: Partitioner | None


@dataclass(frozen=True, slots=True)
class _Serdes:
    """Those of both tables, with the names that key serdes are given instead of topics."""

    primary: Serde[Any]
    foreign: Serde[Any]
    left: Serde[Any]
    right: Serde[Any]
    topic: str

    @property
    def subscriptions(self) -> SubscriptionSerde:
        return SubscriptionSerde(self.primary, f"{self.topic}-pk")

    @property
    def primary_bytes(self) -> operators.ToBytes:
        return operators.to_bytes(self.primary, f"{self.topic}-pk")

    @property
    def foreign_bytes(self) -> operators.ToBytes:
        return operators.to_bytes(self.foreign, f"{self.topic}-fk")

    @property
    def left_bytes(self) -> operators.ToBytes:
        return operators.to_bytes(self.left, f"{self.topic}-vh")


class _Names:
    """Topics, nodes and the store, in the order in which KTableImpl takes numbers."""

    def __init__(self, scope: Scope, given: str | None) -> None:
        def named(suffix: str, prefix: str) -> str:
            generated = scope.graph.new_name(prefix)
            return generated if given is None else check_name(given) + suffix

        registration = f"{_PREFIX}SUBSCRIPTION-REGISTRATION-"
        self.topic = named("-subscription-registration", registration) + "-topic"
        self.send = named("-subscription-registration-processor", registration)
        self.sink = named("-subscription-registration-sink", "KTABLE-SINK-")
        self.source = named("-subscription-registration-source", "KTABLE-SOURCE-")
        self.store = named("-subscription-store", f"{_PREFIX}SUBSCRIPTION-STATE-STORE-")
        self.receive = named("-subscription-receive", _PROCESSOR)
        self.answer = named("-subscription-join-foreign", _PROCESSOR)
        self.change = named("-foreign-join-subscription", _PROCESSOR)
        response = f"{_PREFIX}SUBSCRIPTION-RESPONSE-"
        self.response_topic = named("-subscription-response", response) + "-topic"
        self.response_sink = named("-subscription-response-sink", "KTABLE-SINK-")
        self.response_source = named("-subscription-response-source", "KTABLE-SOURCE-")
        resolver = f"{_PREFIX}SUBSCRIPTION-RESPONSE-RESOLVER-PROCESSOR-"
        self.resolve = named("-subscription-response-resolver", resolver)
        self.result = named("-result", f"{_PREFIX}OUTPUT-")


class ForeignKeyPlan:
    """Declares all nodes of one join; `rows` are those of its result."""

    def __init__(
        self,
        scope: Scope,
        tables: tuple[Table[Any, Any], Table[Any, Any]],
        join: ForeignKeyJoin,
        result: tuple[Side, Side],
        choice: Materialized | None,
        name: str | None,
    ) -> None:
        self._scope = scope
        self._left, self._right = tables
        self._join = join
        self._result = result
        self._right.rows.want_old(force=True)
        self._left.rows.want_old(force=True)
        self._names = names = _Names(scope, name)
        self._store = StorePlan(scope, choice, f"{_PREFIX}OUTPUT-")
        self._place = Place("join()", names.result, f"topic {names.topic}", call_site())
        self._views: tuple[View, View] = self._left.rows.view(), self._right.rows.view()
        self.rows = SourceRows(self._store.name, self._store.is_named, self._store.is_versioned)

    def add(self) -> GraphNode:
        """Hang everything into the graph, in Kafka Streams' order; gives the last node."""
        add, names = self._scope.graph.add, self._names
        send = add(GraphNode(names.send, self._write_send), self._left.node)
        sink = add(GraphNode(names.sink, self._write_sink), send)
        source = add(GraphNode(names.source, self._write_source), sink)
        receive = add(GraphNode(names.receive, self._write_receive), source)
        answer = add(GraphNode(names.answer, self._write_answer), receive)
        change = add(GraphNode(names.change, self._write_change), self._right.node)
        response_sink = GraphNode(names.response_sink, self._write_response_sink)
        add(response_sink, answer)
        add(response_sink, change)
        response = add(GraphNode(names.response_source, self._write_response), response_sink)
        resolve = add(GraphNode(names.resolve, self._write_resolve), response)
        is_versioned = self._store.is_versioned
        return add(GraphNode(names.result, self._write_result, is_versioned=is_versioned), resolve)

    def _serdes(self, builder: PhysicalBuilder) -> _Serdes:
        scope, place = self._scope, self._place
        return _Serdes(
            scope.key_serde(self._left.key_side, place),
            scope.key_serde(self._right.key_side, place),
            scope.value_serde(self._left.value_side, place),
            scope.value_serde(self._right.value_side, place),
            builder.full_name(self._names.topic),
        )

    def _write_send(self, builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
        name, join = self._names.send, self._join
        builder.add_internal_topic(InternalTopic(self._names.topic))
        serdes = self._serdes(builder)
        functions = serdes.foreign_bytes, serdes.left_bytes

        has_versions = parents[0] in builder.versioned

        def make(_: str) -> Node:
            return operators.SubscribeNode(
                name, join.extractor, join.keeps_left, functions, has_versions
            )

        write_processor(builder, name, parents, make)

    def _write_sink(self, builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
        names, serdes = self._names, self._serdes(builder)
        messages = serdes.subscriptions
        partitioner = _of_key(self._join.other_partitioner)

        def make(_: str) -> SinkNode:
            return SinkNode(names.sink, serdes.topic, serdes.foreign, messages, partitioner)

        topics = (names.topic,)
        builder.add_node(NodeSpec(names.sink, NodeKind.SINK, parents, make, topics=topics))

    def _write_source(self, builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
        names, serdes = self._names, self._serdes(builder)
        messages = serdes.subscriptions

        def make(topic: str) -> SourceNode:
            return SourceNode(names.source, topic, serdes.foreign, messages)

        spec = NodeSpec(names.source, NodeKind.SOURCE, (), make, topics=(names.topic,))
        builder.add_source(spec, None)
        builder.copartition(self._right.node.name, names.source)

    def _write_receive(self, builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
        names, serdes = self._names, self._serdes(builder)
        functions = serdes.foreign_bytes, serdes.primary_bytes

        def make(_: str) -> Node:
            return operators.ReceiveNode(names.receive, names.store, functions)

        store = StoreBuilder(
            name=names.store,
            kind=StoreKind.TIMESTAMPED_KEY_VALUE,
            key_serde=raw,
            value_serde=serdes.subscriptions,
            persistent=self._scope.is_on_disk(self._store.options.kind),
        )
        write_processor(builder, names.receive, parents, make, [store])

    def _write_answer(self, builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
        name, view = self._names.answer, self._views[1]
        make = operators.AnswerSubscriptionNode
        write_processor(builder, name, parents, lambda _: make(name, view.open))
        for store in view.stores:
            builder.connect_store(store, name)

    def _write_change(self, builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
        names, serdes = self._names, self._serdes(builder)

        has_versions = parents[0] in builder.versioned

        def make(_: str) -> Node:
            return operators.AnswerChangeNode(
                names.change, names.store, serdes.foreign_bytes, has_versions
            )

        write_processor(builder, names.change, parents, make)
        builder.connect_store(names.store, names.change)

    def _write_response_sink(self, builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
        names, serdes = self._names, self._serdes(builder)
        full = builder.add_internal_topic(InternalTopic(names.response_topic))
        messages = ResponseSerde(serdes.right)
        partitioner = _of_key(self._join.partitioner) or _to_asker

        def make(_: str) -> SinkNode:
            return SinkNode(names.response_sink, full, serdes.primary, messages, partitioner)

        topics = (names.response_topic,)
        builder.add_node(NodeSpec(names.response_sink, NodeKind.SINK, parents, make, topics=topics))

    def _write_response(self, builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
        names, serdes = self._names, self._serdes(builder)
        messages = ResponseSerde(serdes.right)

        def make(topic: str) -> SourceNode:
            return SourceNode(names.response_source, topic, serdes.primary, messages)

        topics = (names.response_topic,)
        spec = NodeSpec(names.response_source, NodeKind.SOURCE, (), make, topics=topics)
        builder.add_source(spec, None)
        builder.copartition(self._left.node.name, names.response_source)

    def _write_resolve(self, builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
        name, view, join = self._names.resolve, self._views[0], self._join
        left_bytes = self._serdes(builder).left_bytes

        def make(_: str) -> Node:
            return operators.ResolveNode(name, view.open, join.joiner, join.keeps_left, left_bytes)

        write_processor(builder, name, parents, make)
        for store in view.stores:
            builder.connect_store(store, name)

    def _write_result(self, builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
        names = (self._names.result, *parents)
        place = replace(self._place, target=f"store {self._store.name}")
        kept = self._store, self.rows
        write_table_source(self._scope, builder, names, kept, self._result, place)


def _to_asker(topic: str, key: object, value: Any, count: int) -> int | None:
    """Back to the partition of the row that asked."""
    partition: int | None = value.partition
    return partition


def _of_key(partitioner: Partitioner | None) -> Partitioner | None:
    """A user's partitioner, which sees no values, and gives one partition."""
    if partitioner is None:
        return None

    def choose(topic: str, key: object, value: object, count: int) -> int | None:
        chosen = partitioner(topic, key, None, count)
        if chosen is None or isinstance(chosen, int):
            return chosen
        if len(chosen) != 1:
            raise TopologyError(f"topic {topic}: a foreign-key join writes to one partition only")
        return chosen[0]

    return choose

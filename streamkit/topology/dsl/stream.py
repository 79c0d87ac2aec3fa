"""The record stream: Kafka Streams' KStream in snake_case.

Every operator gives a new stream and leaves this one as it is. An operator that may change keys
marks its result; a later grouping of a marked stream goes through a repartition topic.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from typing import Any, Concatenate, Generic, Literal, ParamSpec, TextIO, TypeVar, overload

from streamkit.common.errors import TopologyError
from streamkit.common.model import Record
from streamkit.serdes.serde import Serde
from streamkit.topology.dsl import sides
from streamkit.topology.dsl.annotations import call_site
from streamkit.topology.dsl.branches import Branches
from streamkit.topology.dsl.deduplicated import deduplicate_node
from streamkit.topology.dsl.global_tables import GlobalTable
from streamkit.topology.dsl.grouped import GroupedStream
from streamkit.topology.dsl.joins import Join, stream_global_node, stream_table_node
from streamkit.topology.dsl.options import Materialized, materialized
from streamkit.topology.dsl.partners import (
    partner_or_raise,
    same_keys_or_raise,
    same_program_or_raise,
)
from streamkit.topology.dsl.printing import printer
from streamkit.topology.dsl.processing import process_node
from streamkit.topology.dsl.processor import FixedKeyProcessor, Processor, Stores
from streamkit.topology.dsl.repartition import Partitioner, Through, repartition_node
from streamkit.topology.dsl.scope import Scope
from streamkit.topology.dsl.sides import UNKNOWN, Side
from streamkit.topology.dsl.sinks import sink_node
from streamkit.topology.dsl.stream_joins import StreamJoin, Within, stream_stream
from streamkit.topology.dsl.table import Table
from streamkit.topology.dsl.table_sources import table_of_stream
from streamkit.topology.dsl.taken import function_or_raise, same_key_or_raise
from streamkit.topology.dsl.topic import Topic
from streamkit.topology.dsl.windows import Duration
from streamkit.topology.dsl.writing import processor
from streamkit.topology.failures import PolicyChoice, policy_of
from streamkit.topology.graph.logical import GraphNode
from streamkit.topology.graph.names import check_name
from streamkit.topology.operators import stateless as nodes
from streamkit.topology.operators.asynchronous import CONCURRENCY
from streamkit.topology.operators.node import Node, PassNode

K = TypeVar("K")
V = TypeVar("V")
K2 = TypeVar("K2")
V2 = TypeVar("V2")
R = TypeVar("R")
P = ParamSpec("P")

_CHANGE_KEYS = {"KSTREAM-MAP-", "KSTREAM-FLATMAP-", "KSTREAM-KEY-SELECT-"}
_CHANGE_VALUES = {"KSTREAM-MAPVALUES-", "KSTREAM-FLATMAPVALUES-"}


class Stream(Generic[K, V]):
    """A stream of records with keys of type K and values of type V."""

    __slots__ = ("_is_rekeyed", "_key", "_node", "_repartitioned", "_scope", "_value")

    def __init__(
        self, scope: Scope, node: GraphNode, key: Side, value: Side, *, is_rekeyed: bool = False
    ) -> None:
        self._scope = scope
        self._node = node
        self._key = key
        self._value = value
        self._is_rekeyed = is_rekeyed
        self._repartitioned: GraphNode | None = None

    def filter(
        self, predicate: Callable[[K, V], object], *, name: str | None = None
    ) -> Stream[K, V]:
        """Keep the records for which `predicate(key, value)` holds."""
        function_or_raise(predicate, "filter()", self._key, self._value)
        node = self._add("KSTREAM-FILTER-", name, lambda n: nodes.FilterNode(n, predicate))
        return self._same(node)

    def filter_not(
        self, predicate: Callable[[K, V], object], *, name: str | None = None
    ) -> Stream[K, V]:
        """Keep the records for which `predicate(key, value)` does not hold."""
        function_or_raise(predicate, "filter_not()", self._key, self._value)
        node = self._add("KSTREAM-FILTER-", name, lambda n: nodes.FilterNode(n, predicate, False))
        return self._same(node)

    def map(
        self,
        mapper: Callable[[K, V], tuple[K2, V2]],
        *,
        key: type[K2] | Serde[K2] | None = None,
        value: type[V2] | Serde[V2] | None = None,
        name: str | None = None,
    ) -> Stream[K2, V2]:
        """A new key and value for each record: `mapper(key, value)` gives the pair."""
        function_or_raise(mapper, "map()", self._key, self._value)
        node = self._add("KSTREAM-MAP-", name, lambda n: nodes.MapNode(n, mapper))
        new_key = sides.chosen(key, mapper, sides.first)
        new_value = sides.chosen(value, mapper, sides.second)
        return Stream(self._scope, node, new_key, new_value, is_rekeyed=True)

    @overload
    def map_values(
        self,
        mapper: Callable[[V], V2],
        *,
        value: type[V2] | Serde[V2] | None = None,
        with_key: Literal[False] = False,
        name: str | None = None,
    ) -> Stream[K, V2]: ...

    @overload
    def map_values(
        self,
        mapper: Callable[[K, V], V2],
        *,
        with_key: Literal[True],
        value: type[V2] | Serde[V2] | None = None,
        name: str | None = None,
    ) -> Stream[K, V2]: ...

    def map_values(
        self,
        mapper: Callable[..., V2],
        *,
        value: type[V2] | Serde[V2] | None = None,
        with_key: bool = False,
        name: str | None = None,
    ) -> Stream[K, V2]:
        """A new value for each record: `mapper(value)`, or `mapper(key, value)`."""
        function_or_raise(mapper, "map_values()", *self._taken(with_key))
        node = self._add(
            "KSTREAM-MAPVALUES-", name, lambda n: nodes.MapValuesNode(n, mapper, with_key)
        )
        return self._with_values(node, sides.chosen(value, mapper, sides.whole))

    def flat_map(
        self,
        mapper: Callable[[K, V], Iterable[tuple[K2, V2]]],
        *,
        key: type[K2] | Serde[K2] | None = None,
        value: type[V2] | Serde[V2] | None = None,
        name: str | None = None,
    ) -> Stream[K2, V2]:
        """Any number of records for each: `mapper(key, value)` gives the pairs."""
        function_or_raise(mapper, "flat_map()", self._key, self._value)
        node = self._add("KSTREAM-FLATMAP-", name, lambda n: nodes.FlatMapNode(n, mapper))
        new_key = sides.chosen(key, mapper, lambda hint: sides.first(sides.item(hint)))
        new_value = sides.chosen(value, mapper, lambda hint: sides.second(sides.item(hint)))
        return Stream(self._scope, node, new_key, new_value, is_rekeyed=True)

    @overload
    def flat_map_values(
        self,
        mapper: Callable[[V], Iterable[V2]],
        *,
        value: type[V2] | Serde[V2] | None = None,
        with_key: Literal[False] = False,
        name: str | None = None,
    ) -> Stream[K, V2]: ...

    @overload
    def flat_map_values(
        self,
        mapper: Callable[[K, V], Iterable[V2]],
        *,
        with_key: Literal[True],
        value: type[V2] | Serde[V2] | None = None,
        name: str | None = None,
    ) -> Stream[K, V2]: ...

    def flat_map_values(
        self,
        mapper: Callable[..., Iterable[V2]],
        *,
        value: type[V2] | Serde[V2] | None = None,
        with_key: bool = False,
        name: str | None = None,
    ) -> Stream[K, V2]:
        """Any number of values for each record, under its key."""
        function_or_raise(mapper, "flat_map_values()", *self._taken(with_key))
        node = self._add(
            "KSTREAM-FLATMAPVALUES-", name, lambda n: nodes.FlatMapValuesNode(n, mapper, with_key)
        )
        return self._with_values(node, sides.chosen(value, mapper, sides.item))

    def select_key(
        self,
        selector: Callable[[K, V], K2],
        *,
        key: type[K2] | Serde[K2] | None = None,
        name: str | None = None,
    ) -> Stream[K2, V]:
        """A new key for each record: `selector(key, value)`."""
        function_or_raise(selector, "select_key()", self._key, self._value)
        node = self._add("KSTREAM-KEY-SELECT-", name, lambda n: nodes.SelectKeyNode(n, selector))
        new_key = sides.chosen(key, selector, sides.whole)
        return Stream(self._scope, node, new_key, self._value, is_rekeyed=True)

    def peek(self, action: Callable[[K, V], object], *, name: str | None = None) -> Stream[K, V]:
        """Call `action(key, value)` on the way; it may be called again after a failure."""
        function_or_raise(action, "peek()", self._key, self._value)
        node = self._add("KSTREAM-PEEK-", name, lambda n: nodes.PeekNode(n, action))
        return self._same(node)

    def foreach(self, action: Callable[[K, V], object], *, name: str | None = None) -> None:
        """Call `action(key, value)`, and end the stream."""
        function_or_raise(action, "foreach()", self._key, self._value)
        self._add("KSTREAM-FOREACH-", name, lambda n: nodes.PeekNode(n, action))

    def print(
        self,
        *,
        label: str | None = None,
        mapper: Callable[[K, V], object] = lambda key, value: f"{key}, {value}",
        to: TextIO | None = None,
        name: str | None = None,
    ) -> None:
        """Write each record as a line, `[label]: key, value`, and end the stream.

        `mapper(key, value)` gives what comes behind the label, which is the name of the operator
        before if none is given; `to` is an open text file in place of standard output.
        """
        function_or_raise(mapper, "print()", self._key, self._value)
        write = printer(self._node.name if label is None else label, mapper, to)
        self._add("KSTREAM-PRINTER-", name, lambda n: nodes.PeekNode(n, write))

    @overload
    def process(
        self,
        function: Callable[[], Processor[K, V, K2, R]],
        *,
        key: type[K2] | Serde[K2] | None = None,
        value: type[R] | Serde[R] | None = None,
        name: str | None = None,
        stores: Stores = None,
        on_error: PolicyChoice = None,
    ) -> Stream[K2, R]: ...

    @overload
    def process(
        self,
        function: Callable[[], FixedKeyProcessor[K, V, R]],
        *,
        value: type[R] | Serde[R] | None = None,
        name: str | None = None,
        stores: Stores = None,
        on_error: PolicyChoice = None,
        concurrency: int = CONCURRENCY,
    ) -> Stream[K, R]: ...

    @overload
    def process(
        self,
        function: Callable[
            Concatenate[V, P], Iterator[Record[K2, R]] | AsyncIterator[Record[K2, R]]
        ]
        | Callable[
            Concatenate[Record[K, V], P], Iterator[Record[K2, R]] | AsyncIterator[Record[K2, R]]
        ],
        *,
        key: type[K2] | Serde[K2] | None = None,
        value: type[R] | Serde[R] | None = None,
        name: str | None = None,
        stores: Stores = None,
        on_error: PolicyChoice = None,
        concurrency: int = CONCURRENCY,
    ) -> Stream[K2, R]: ...

    @overload
    def process(
        self,
        function: Callable[
            Concatenate[V, P], Record[K2, R] | Coroutine[Any, Any, Record[K2, R] | None] | None
        ]
        | Callable[
            Concatenate[Record[K, V], P],
            Record[K2, R] | Coroutine[Any, Any, Record[K2, R] | None] | None,
        ],
        *,
        key: type[K2] | Serde[K2] | None = None,
        value: type[R] | Serde[R] | None = None,
        name: str | None = None,
        stores: Stores = None,
        on_error: PolicyChoice = None,
        concurrency: int = CONCURRENCY,
    ) -> Stream[K2, R]: ...

    @overload
    def process(
        self,
        function: Callable[Concatenate[V, P], Iterator[R] | AsyncIterator[R]]
        | Callable[Concatenate[Record[K, V], P], Iterator[R] | AsyncIterator[R]],
        *,
        value: type[R] | Serde[R] | None = None,
        name: str | None = None,
        stores: Stores = None,
        on_error: PolicyChoice = None,
        concurrency: int = CONCURRENCY,
    ) -> Stream[K, R]: ...

    @overload
    def process(
        self,
        function: Callable[Concatenate[V, P], Coroutine[Any, Any, R | None]]
        | Callable[Concatenate[Record[K, V], P], Coroutine[Any, Any, R | None]],
        *,
        value: type[R] | Serde[R] | None = None,
        name: str | None = None,
        stores: Stores = None,
        on_error: PolicyChoice = None,
        concurrency: int = CONCURRENCY,
    ) -> Stream[K, R]: ...

    @overload
    def process(
        self,
        function: Callable[Concatenate[V, P], R | None]
        | Callable[Concatenate[Record[K, V], P], R | None],
        *,
        value: type[R] | Serde[R] | None = None,
        name: str | None = None,
        stores: Stores = None,
        on_error: PolicyChoice = None,
        concurrency: int = CONCURRENCY,
    ) -> Stream[K, R]: ...

    def process(
        self,
        function: Callable[..., Any],
        *,
        key: Any = None,
        value: Any = None,
        name: str | None = None,
        stores: Stores = None,
        on_error: PolicyChoice = None,
        concurrency: int = CONCURRENCY,
    ) -> Stream[Any, Any]:
        """Call a function as `@app.processor` does; its signature is the contract.

        `stores` names the stores of store parameters; without it a parameter's name is its
        store's. Kafka Streams' `process` when the function may change the key, else its
        `processValues`. A class of processors (`streamkit.Processor`, or `FixedKeyProcessor`) is
        made anew for each task; its `stores` are a list of stores and names of such.
        `on_error` is what is done when it fails: "fail", "skip", `streamkit.dead_letter(topic)`.
        `concurrency` is how many calls of an `async def` may be under way in a task.
        """
        here = (self._key, self._value)
        done = process_node(self._scope, function, here, (key, value), name, stores, concurrency)
        done.node.on_error = policy_of(on_error)
        done.node.changes_key, done.node.changes_value = done.may_change_key, True
        self._scope.graph.add(done.node, self._node)
        is_rekeyed = self._is_rekeyed or done.may_change_key
        return Stream(self._scope, done.node, done.key, done.value, is_rekeyed=is_rekeyed)

    def deduplicate(
        self,
        *,
        within: Duration,
        by: Callable[[K, V], K2] | None = None,
        key: type[K2] | Serde[K2] | None = None,
        name: str | None = None,
    ) -> Stream[K, V]:
        """Let through one record of each id: those less than `within` away from it are dropped.

        `by(key, value)` gives the id, of the type `key`; else it is the record's key. Ids are
        compared within a partition: where they are not the key, `select_key` them first. What was
        seen is kept in the store `<name>-seen`, for twice the time.
        """
        if by is None:
            of_id = self._key
        else:
            function_or_raise(by, "deduplicate()", self._key, self._value)
            of_id = sides.chosen(key, by, sides.whole)
        identify: Callable[[K, V], Any] = by or (lambda own, _: own)
        node = deduplicate_node(self._scope, of_id, identify, within, name)
        return self._same(self._scope.graph.add(node, self._node))

    def merge(self, other: Stream[K, V], *, name: str | None = None) -> Stream[K, V]:
        """Both streams as one, in no order between them."""
        partner_or_raise(other, (Stream,), "merge()")
        same_program_or_raise(self._scope, other._scope, "merge()")
        new = self._scope.graph.name_or_new(name, "KSTREAM-MERGE-")
        node = processor(new, lambda _: PassNode(new))
        node.is_merge = True
        self._scope.graph.add(node, self._node, other._node)
        key = self._key if self._key == other._key else UNKNOWN
        value = self._value if self._value == other._value else UNKNOWN
        is_rekeyed = self._is_rekeyed or other._is_rekeyed
        return Stream(self._scope, node, key, value, is_rekeyed=is_rekeyed)

    def split(self, *, name: str | None = None) -> Branches[K, V]:
        """Branches by predicate; the first that holds takes the record."""
        return Branches(self._scope, (self._node, self._key, self._value), self._same, name)

    def repartition(
        self,
        *,
        partitions: int | None = None,
        partitioner: Partitioner | None = None,
        key: type[K] | Serde[K] | None = None,
        value: type[V] | Serde[V] | None = None,
        name: str | None = None,
    ) -> Stream[K, V]:
        """Through a topic of its own, `<application id>-<name>-repartition`."""
        if name is None:
            prefix = self._scope.graph.new_name("KSTREAM-REPARTITION-")
        else:
            prefix = check_name(name)
        new_key = sides.unless_said(key, self._key)
        new_value = sides.unless_said(value, self._value)
        through = Through("repartition()", new_key, new_value, call_site(), partitions, partitioner)
        node = repartition_node(self._scope, prefix, through, may_merge=False)
        self._scope.graph.add(node, self._node)
        return Stream(self._scope, node, new_key, new_value)

    def group_by_key(
        self,
        *,
        key: type[K] | Serde[K] | None = None,
        value: type[V] | Serde[V] | None = None,
        name: str | None = None,
    ) -> GroupedStream[K, V]:
        """Group by the key as it is; `name` names the repartition topic, if there is one."""
        return GroupedStream(
            self._scope,
            self._node,
            sides.unless_said(key, self._key),
            sides.unless_said(value, self._value),
            needs_repartition=self._is_rekeyed,
            name=None if name is None else check_name(name),
        )

    def group_by(
        self,
        selector: Callable[[K, V], K2],
        *,
        key: type[K2] | Serde[K2] | None = None,
        value: type[V] | Serde[V] | None = None,
        name: str | None = None,
    ) -> GroupedStream[K2, V]:
        """Group by `selector(key, value)`, through a repartition topic."""
        function_or_raise(selector, "group_by()", self._key, self._value)
        node = self._add("KSTREAM-KEY-SELECT-", name, lambda n: nodes.SelectKeyNode(n, selector))
        return GroupedStream(
            self._scope,
            node,
            sides.chosen(key, selector, sides.whole),
            sides.unless_said(value, self._value),
            needs_repartition=True,
            name=name,
        )

    @overload
    def join(
        self,
        other: Table[K, V2] | Stream[K, V2],
        joiner: Callable[[V, V2], R],
        *,
        with_key: Literal[False] = False,
        within: Duration | None = None,
        before: Duration | None = None,
        after: Duration | None = None,
        grace: Duration | None = None,
        value: type[R] | Serde[R] | None = None,
        store: Materialized | None = None,
        name: str | None = None,
    ) -> Stream[K, R]: ...

    @overload
    def join(
        self,
        other: Table[K, V2] | Stream[K, V2],
        joiner: Callable[[K, V, V2], R],
        *,
        with_key: Literal[True],
        within: Duration | None = None,
        before: Duration | None = None,
        after: Duration | None = None,
        grace: Duration | None = None,
        value: type[R] | Serde[R] | None = None,
        store: Materialized | None = None,
        name: str | None = None,
    ) -> Stream[K, R]: ...

    @overload
    def join(
        self,
        other: GlobalTable[K2, V2],
        joiner: Callable[[V, V2], R],
        *,
        on: Callable[[K, V], K2 | None],
        with_key: Literal[False] = False,
        value: type[R] | Serde[R] | None = None,
        name: str | None = None,
    ) -> Stream[K, R]: ...

    @overload
    def join(
        self,
        other: GlobalTable[K2, V2],
        joiner: Callable[[K, V, V2], R],
        *,
        on: Callable[[K, V], K2 | None],
        with_key: Literal[True],
        value: type[R] | Serde[R] | None = None,
        name: str | None = None,
    ) -> Stream[K, R]: ...

    def join(
        self,
        other: Table[K, V2] | Stream[K, V2] | GlobalTable[K2, V2],
        joiner: Callable[..., R],
        *,
        on: Callable[[K, V], K2 | None] | None = None,
        with_key: bool = False,
        within: Duration | None = None,
        before: Duration | None = None,
        after: Duration | None = None,
        grace: Duration | None = None,
        value: type[R] | Serde[R] | None = None,
        store: Materialized | None = None,
        name: str | None = None,
    ) -> Stream[K, R]:
        """Each record with its partners: `joiner(value, other)`, or the key before them.

        With a table that is the row of its key; with a stream, all records of its key `within` a
        time of it, or from `before` it to `after` it, which may come as late as `grace`; with a
        global table the row of the key that `on(key, value)` gives. Records without a partner
        drop out. With a versioned table the row is that of the record's time; with `grace` records
        wait so long for what comes late to it. `name` names the operators and their repartition
        topics, `store` says how the streams' records are kept; its name begins their stores'
        names.
        """
        time = Within(within, before, after, grace)
        how = Join(joiner, with_key, False, False, name, on)
        return self._join(other, how, time, store, value)

    @overload
    def left_join(
        self,
        other: Table[K, V2] | Stream[K, V2],
        joiner: Callable[[V, V2 | None], R],
        *,
        with_key: Literal[False] = False,
        within: Duration | None = None,
        before: Duration | None = None,
        after: Duration | None = None,
        grace: Duration | None = None,
        value: type[R] | Serde[R] | None = None,
        store: Materialized | None = None,
        name: str | None = None,
    ) -> Stream[K, R]: ...

    @overload
    def left_join(
        self,
        other: Table[K, V2] | Stream[K, V2],
        joiner: Callable[[K, V, V2 | None], R],
        *,
        with_key: Literal[True],
        within: Duration | None = None,
        before: Duration | None = None,
        after: Duration | None = None,
        grace: Duration | None = None,
        value: type[R] | Serde[R] | None = None,
        store: Materialized | None = None,
        name: str | None = None,
    ) -> Stream[K, R]: ...

    @overload
    def left_join(
        self,
        other: GlobalTable[K2, V2],
        joiner: Callable[[V, V2 | None], R],
        *,
        on: Callable[[K, V], K2 | None],
        with_key: Literal[False] = False,
        value: type[R] | Serde[R] | None = None,
        name: str | None = None,
    ) -> Stream[K, R]: ...

    @overload
    def left_join(
        self,
        other: GlobalTable[K2, V2],
        joiner: Callable[[K, V, V2 | None], R],
        *,
        on: Callable[[K, V], K2 | None],
        with_key: Literal[True],
        value: type[R] | Serde[R] | None = None,
        name: str | None = None,
    ) -> Stream[K, R]: ...

    def left_join(
        self,
        other: Table[K, V2] | Stream[K, V2] | GlobalTable[K2, V2],
        joiner: Callable[..., R],
        *,
        on: Callable[[K, V], K2 | None] | None = None,
        with_key: bool = False,
        within: Duration | None = None,
        before: Duration | None = None,
        after: Duration | None = None,
        grace: Duration | None = None,
        value: type[R] | Serde[R] | None = None,
        store: Materialized | None = None,
        name: str | None = None,
    ) -> Stream[K, R]:
        """Like `join`; without a partner, in its time, `joiner` gets None for it."""
        time = Within(within, before, after, grace)
        how = Join(joiner, with_key, True, False, name, on)
        return self._join(other, how, time, store, value)

    @overload
    def outer_join(
        self,
        other: Stream[K, V2],
        joiner: Callable[[V | None, V2 | None], R],
        *,
        with_key: Literal[False] = False,
        within: Duration | None = None,
        before: Duration | None = None,
        after: Duration | None = None,
        grace: Duration | None = None,
        value: type[R] | Serde[R] | None = None,
        store: Materialized | None = None,
        name: str | None = None,
    ) -> Stream[K, R]: ...

    @overload
    def outer_join(
        self,
        other: Stream[K, V2],
        joiner: Callable[[K, V | None, V2 | None], R],
        *,
        with_key: Literal[True],
        within: Duration | None = None,
        before: Duration | None = None,
        after: Duration | None = None,
        grace: Duration | None = None,
        value: type[R] | Serde[R] | None = None,
        store: Materialized | None = None,
        name: str | None = None,
    ) -> Stream[K, R]: ...

    def outer_join(
        self,
        other: Stream[K, V2],
        joiner: Callable[..., R],
        *,
        with_key: bool = False,
        within: Duration | None = None,
        before: Duration | None = None,
        after: Duration | None = None,
        grace: Duration | None = None,
        value: type[R] | Serde[R] | None = None,
        store: Materialized | None = None,
        name: str | None = None,
    ) -> Stream[K, R]:
        """Like `left_join` of two streams, with the other's records that have no partner, too."""
        partner_or_raise(other, (Stream,), "outer_join()")
        time = Within(within, before, after, grace)
        how = Join(joiner, with_key, True, True, name)
        return self._join(other, how, time, store, value)

    def to_table(
        self,
        *,
        key: type[K] | Serde[K] | None = None,
        value: type[V] | Serde[V] | None = None,
        name: str | None = None,
        store: Materialized | None = None,
        node: str | None = None,
    ) -> Table[K, V]:
        """Read the stream as changes of a table; `name` names its store, and makes one."""
        here = (sides.unless_said(key, self._key), sides.unless_said(value, self._value))
        made, rows = table_of_stream(
            self._scope,
            self._node,
            here,
            is_rekeyed=self._is_rekeyed,
            choice=materialized(name, store),
            node_name=node,
        )
        return Table(self._scope, made, *here, rows, rows.kept_in)

    def to(
        self,
        topic: Topic[K, V] | str | Callable[[Record[K, V]], str],
        *,
        key: type[K] | Serde[K] | None = None,
        value: type[V] | Serde[V] | None = None,
        partitioner: Partitioner | None = None,
        name: str | None = None,
        on_error: PolicyChoice = None,
    ) -> None:
        """Write to a topic, or to the topic that a function of the record names.

        The topic must exist: output topics are not made by streamkit. `on_error` is what is done
        with a record that cannot be written.
        """
        here = (sides.unless_said(key, self._key), sides.unless_said(value, self._value))
        node = sink_node(self._scope, topic, here, partitioner, name)
        node.on_error = policy_of(on_error)
        self._scope.graph.add(node, self._node)

    def _add(self, prefix: str, name: str | None, make: Callable[[str], Node]) -> GraphNode:
        new = self._scope.graph.name_or_new(name, prefix)
        node = processor(new, lambda _: make(new))
        node.changes_key = prefix in _CHANGE_KEYS
        node.changes_value = prefix in _CHANGE_VALUES
        return self._scope.graph.add(node, self._node)

    def _join(
        self,
        other: Table[K, Any] | Stream[K, Any] | GlobalTable[Any, Any],
        how: Join,
        within: Within,
        store: Materialized | None,
        value: type[R] | Serde[R] | None,
    ) -> Stream[K, R]:
        partner_or_raise(other, (Table, Stream, GlobalTable), "join()")
        takes = (*self._taken(how.with_key), other.value_side)
        function_or_raise(how.joiner, "join()", *takes)
        result = sides.chosen(value, how.joiner, sides.whole)
        if not isinstance(other, GlobalTable):
            same_program_or_raise(self._scope, other._scope, "join()")
            same_keys_or_raise(self._key, other._key, "join()")
        if isinstance(other, Stream):
            return self._join_stream(other, how, within, store, result)
        if within.is_given or store is not None:
            raise TopologyError("join(): within= and store= are for joins of two streams")
        if isinstance(other, GlobalTable):
            if how.on is None:
                raise TopologyError("join(): say which row of the global table: on=lambda k, v: …")
            function_or_raise(how.on, "join()", self._key, self._value)
            same_key_or_raise(how.on, "join()", other.key_side)
            node = stream_global_node(self._scope, self._node, other, how, how.on)
            return Stream(self._scope, node, self._key, result, is_rekeyed=self._is_rekeyed)
        if how.on is not None:
            raise TopologyError("join(): on= is for joins with global tables: re-key the stream")
        parent = self._through_for_join(how.name) if self._is_rekeyed else self._node
        here = self._key, self._value
        node = stream_table_node(self._scope, parent, here, other, how, within.grace)
        return Stream(self._scope, node, self._key, result)

    def _join_stream(
        self,
        other: Stream[K, Any],
        how: Join,
        within: Within,
        store: Materialized | None,
        result: Side,
    ) -> Stream[K, Any]:
        windows, name = within.windows(), how.name
        left = right = None
        if self._is_rekeyed:
            left = self._through_for_join(None if name is None else f"{name}-left")
        if other._is_rekeyed:
            right = other._through_for_join(None if name is None else f"{name}-right")
        parents = left or self._node, right or other._node
        join = StreamJoin(
            how.of_key, how.keeps_left, how.keeps_right, windows, store or Materialized(), name
        )
        values = self._value, other._value
        node = stream_stream(self._scope, parents, self._key, values, join)
        return Stream(self._scope, node, self._key, result)

    def _through_for_join(self, name: str | None) -> GraphNode:
        """The repartition topic in front of a join; one that is not named serves several."""
        prefix = self._node.name if name is None else check_name(name)
        through = Through("join()", self._key, self._value, call_site())
        node = repartition_node(self._scope, prefix, through)
        if self._repartitioned is None or name is not None:
            self._repartitioned = self._scope.graph.add(node, self._node)
        return self._repartitioned

    @property
    def value_side(self) -> Side:
        """What is known of its values."""
        return self._value

    def _taken(self, with_key: bool) -> tuple[Side, ...]:
        return (self._key, self._value) if with_key else (self._value,)

    def _same(self, node: GraphNode) -> Stream[K, V]:
        return Stream(self._scope, node, self._key, self._value, is_rekeyed=self._is_rekeyed)

    def _with_values(self, node: GraphNode, value: Side) -> Stream[K, Any]:
        return Stream(self._scope, node, self._key, value, is_rekeyed=self._is_rekeyed)

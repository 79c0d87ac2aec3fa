"""The table: the latest value of each key, and what can be made of its changes.

Kafka Streams' KTable in snake_case. Every operator gives a new table, or a stream of changes, and
leaves this one as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from streamkit.common.errors import TopologyError
from streamkit.serdes.serde import Serde
from streamkit.topology.dsl import sides
from streamkit.topology.dsl.annotations import call_site
from streamkit.topology.dsl.foreign_keys import ForeignKeyJoin, ForeignKeyPlan
from streamkit.topology.dsl.joins import TableJoin, table_table
from streamkit.topology.dsl.options import Materialized, materialized
from streamkit.topology.dsl.partners import (
    partner_or_raise,
    same_keys_or_raise,
    same_program_or_raise,
)
from streamkit.topology.dsl.repartition import Partitioner
from streamkit.topology.dsl.rows import DerivedRows, Found, Rows
from streamkit.topology.dsl.scope import Place, Scope
from streamkit.topology.dsl.sides import Side
from streamkit.topology.dsl.storing import StorePlan
from streamkit.topology.dsl.suppressed import Full, suppress_node
from streamkit.topology.dsl.taken import function_or_raise, same_key_or_raise
from streamkit.topology.dsl.views import TableView, View
from streamkit.topology.dsl.windows import Duration
from streamkit.topology.dsl.writing import processor, write_processor
from streamkit.topology.graph.logical import GraphNode
from streamkit.topology.graph.physical import PhysicalBuilder
from streamkit.topology.operators.node import Node, ToStreamNode
from streamkit.topology.operators.tables import FilterTableNode, MapTableNode, SelectTableNode

if TYPE_CHECKING:
    from streamkit.topology.dsl.grouped_table import GroupedTable
    from streamkit.topology.dsl.stream import Stream

K = TypeVar("K")
V = TypeVar("V")
K2 = TypeVar("K2")
V2 = TypeVar("V2")
R = TypeVar("R")


class Table(Generic[K, V]):
    """A table with keys of type K and rows of type V."""

    __slots__ = ("_key", "_node", "_rows", "_scope", "_store", "_value")

    def __init__(
        self,
        scope: Scope,
        node: GraphNode,
        key: Side,
        value: Side,
        rows: Rows,
        store: str | None = None,
    ) -> None:
        self._scope = scope
        self._node = node
        self._key = key
        self._value = value
        self._rows = rows
        self._store = store

    @property
    def store_name(self) -> str | None:
        """The name of its store; None when it has none, or one whose name was generated."""
        return self._store

    @property
    def rows(self) -> Rows:
        """What is behind it, for operators further down."""
        return self._rows

    def view(self) -> View[K, V]:
        """Its rows for a processor's parameter: `known: sk.View[K, V] = table.view()`."""
        return TableView(self._rows.view(), self._node, (self._key, self._value))

    @property
    def key_side(self) -> Side:
        """What is known of its keys."""
        return self._key

    @property
    def value_side(self) -> Side:
        """What is known of its rows."""
        return self._value

    @property
    def node(self) -> GraphNode:
        """Its node in the program's graph."""
        return self._node

    def filter(
        self,
        predicate: Callable[[K, V], object],
        *,
        name: str | None = None,
        store: Materialized | None = None,
        node: str | None = None,
    ) -> Table[K, V]:
        """The rows for which `predicate(key, value)` holds; `name` names a store, and makes one."""
        return self._filter("filter()", predicate, True, materialized(name, store), node)

    def filter_not(
        self,
        predicate: Callable[[K, V], object],
        *,
        name: str | None = None,
        store: Materialized | None = None,
        node: str | None = None,
    ) -> Table[K, V]:
        """The rows for which `predicate(key, value)` does not hold."""
        return self._filter("filter_not()", predicate, False, materialized(name, store), node)

    @overload
    def map_values(
        self,
        mapper: Callable[[V], V2],
        *,
        with_key: Literal[False] = False,
        value: type[V2] | Serde[V2] | None = None,
        name: str | None = None,
        store: Materialized | None = None,
        node: str | None = None,
    ) -> Table[K, V2]: ...

    @overload
    def map_values(
        self,
        mapper: Callable[[K, V], V2],
        *,
        with_key: Literal[True],
        value: type[V2] | Serde[V2] | None = None,
        name: str | None = None,
        store: Materialized | None = None,
        node: str | None = None,
    ) -> Table[K, V2]: ...

    def map_values(
        self,
        mapper: Callable[..., V2],
        *,
        value: type[V2] | Serde[V2] | None = None,
        with_key: bool = False,
        name: str | None = None,
        store: Materialized | None = None,
        node: str | None = None,
    ) -> Table[K, V2]:
        """A new value for each row, `mapper(value)`, or `mapper(key, value)` with `with_key`.

        It is not called for a delete, which passes.
        """
        takes = (self._key, self._value) if with_key else (self._value,)
        function_or_raise(mapper, "map_values()", *takes)
        of_pair = mapper if with_key else lambda _, row: mapper(row)
        new = sides.chosen(value, mapper, sides.whole)
        choice = materialized(name, store)
        return self._map(("map_values()", "KTABLE-MAPVALUES-"), of_pair, False, new, choice, node)

    def transform_values(
        self,
        mapper: Callable[[K, V | None], V2],
        *,
        value: type[V2] | Serde[V2] | None = None,
        name: str | None = None,
        store: Materialized | None = None,
        node: str | None = None,
    ) -> Table[K, V2]:
        """Like `map_values` with the key, but `mapper` is called for deletes, too."""
        function_or_raise(mapper, "transform_values()", self._key, self._value)
        new = sides.chosen(value, mapper, sides.whole)
        choice = materialized(name, store)
        names = ("transform_values()", "KTABLE-TRANSFORMVALUES-")
        return self._map(names, mapper, True, new, choice, node)

    def group_by(
        self,
        selector: Callable[[K, V], tuple[K2, V2] | None],
        *,
        key: type[K2] | Serde[K2] | None = None,
        value: type[V2] | Serde[V2] | None = None,
        name: str | None = None,
    ) -> GroupedTable[K2, V2]:
        """Group the rows: `selector(key, value)` gives the group and what goes into it.

        Goes through a repartition topic, which `name` names. None, or a None in the pair,
        leaves a row out.
        """
        from streamkit.topology.dsl.grouped_table import GroupedTable

        function_or_raise(selector, "group_by()", self._key, self._value)
        node_name = self._scope.graph.name_or_new(name, "KTABLE-SELECT-")

        def write(builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
            has_versions = parents[0] in builder.versioned
            write_processor(
                builder, node_name, parents,
                lambda _: SelectTableNode(node_name, selector, has_versions),
            )  # fmt: skip

        node = self._scope.graph.add(GraphNode(node_name, write), self._node)
        self._rows.want_old(force=True)
        return GroupedTable(
            self._scope,
            node,
            sides.chosen(key, selector, sides.first),
            sides.chosen(value, selector, sides.second),
            name=name,
        )

    @overload
    def join(
        self,
        other: Table[K, V2],
        joiner: Callable[[V, V2], R],
        *,
        value: type[R] | Serde[R] | None = None,
        name: str | None = None,
        store: Materialized | None = None,
        node: str | None = None,
    ) -> Table[K, R]: ...

    @overload
    def join(
        self,
        other: Table[K2, V2],
        joiner: Callable[[V, V2], R],
        *,
        on: Callable[[K, V], K2 | None],
        partitioner: Partitioner | None = None,
        other_partitioner: Partitioner | None = None,
        value: type[R] | Serde[R] | None = None,
        name: str | None = None,
        store: Materialized | None = None,
        node: str | None = None,
    ) -> Table[K, R]: ...

    def join(
        self,
        other: Table[Any, V2],
        joiner: Callable[[V, V2], R],
        *,
        on: Callable[[K, V], Any] | None = None,
        partitioner: Partitioner | None = None,
        other_partitioner: Partitioner | None = None,
        value: type[R] | Serde[R] | None = None,
        name: str | None = None,
        store: Materialized | None = None,
        node: str | None = None,
    ) -> Table[K, R]:
        """A row `joiner(row, other_row)` for each key that both tables have.

        With `on(key, row)` for each row whose foreign key, which that gives, the other table has;
        `partitioner` and `other_partitioner` tell how the tables' topics are partitioned, where
        that is not by the keys' hash.
        """
        if on is not None:
            how = ForeignKeyJoin(joiner, on, False, partitioner, other_partitioner)
            return self._join_foreign(other, how, value, materialized(name, store), node)
        join = TableJoin(joiner, keeps_left=False, keeps_right=False)
        return self._join(other, join, joiner, value, materialized(name, store), node)

    @overload
    def left_join(
        self,
        other: Table[K, V2],
        joiner: Callable[[V, V2 | None], R],
        *,
        value: type[R] | Serde[R] | None = None,
        name: str | None = None,
        store: Materialized | None = None,
        node: str | None = None,
    ) -> Table[K, R]: ...

    @overload
    def left_join(
        self,
        other: Table[K2, V2],
        joiner: Callable[[V, V2 | None], R],
        *,
        on: Callable[[K, V], K2 | None],
        partitioner: Partitioner | None = None,
        other_partitioner: Partitioner | None = None,
        value: type[R] | Serde[R] | None = None,
        name: str | None = None,
        store: Materialized | None = None,
        node: str | None = None,
    ) -> Table[K, R]: ...

    def left_join(
        self,
        other: Table[Any, V2],
        joiner: Callable[[V, V2 | None], R],
        *,
        on: Callable[[K, V], Any] | None = None,
        partitioner: Partitioner | None = None,
        other_partitioner: Partitioner | None = None,
        value: type[R] | Serde[R] | None = None,
        name: str | None = None,
        store: Materialized | None = None,
        node: str | None = None,
    ) -> Table[K, R]:
        """A row for each of this table's; `joiner` gets None where the other has none."""
        if on is not None:
            how = ForeignKeyJoin(joiner, on, True, partitioner, other_partitioner)
            return self._join_foreign(other, how, value, materialized(name, store), node)
        join = TableJoin(joiner, keeps_left=True, keeps_right=False)
        return self._join(other, join, joiner, value, materialized(name, store), node)

    def outer_join(
        self,
        other: Table[K, V2],
        joiner: Callable[[V | None, V2 | None], R],
        *,
        value: type[R] | Serde[R] | None = None,
        name: str | None = None,
        store: Materialized | None = None,
        node: str | None = None,
    ) -> Table[K, R]:
        """A row for each key that one of the tables has; `joiner` gets None for a missing one."""
        join = TableJoin(joiner, keeps_left=True, keeps_right=True)
        return self._join(other, join, joiner, value, materialized(name, store), node)

    def suppress(
        self,
        until: Literal["window_closes"] | Duration,
        *,
        max_records: int | None = None,
        max_bytes: int | None = None,
        when_full: Literal["emit", "shut_down"] | None = None,
        logging: bool = True,
        changelog: Mapping[str, str] | None = None,
        name: str | None = None,
    ) -> Table[K, V]:
        """Hold changes back: `until` "window_closes", or for a time such as "5m" after the first.

        Only the last change of a key goes on. A buffer with limits sends on early when it is full,
        or ends the worker: `when_full`. Final results of windows never go on early, so there
        "shut_down" is the only choice. Waiting changes are logged, with `changelog` as the
        topic's configs, unless `logging` is off.
        """
        full = Full(max_records, max_bytes, when_full)
        log = (logging, dict(changelog or {}))
        here = self._key, self._value
        node, rows = suppress_node(self._scope, self, here, until, full, log, name)
        return Table(self._scope, node, *here, rows)

    @overload
    def to_stream(self, *, name: str | None = None) -> Stream[K, V]: ...

    @overload
    def to_stream(
        self,
        mapper: Callable[[K, V], K2],
        *,
        key: type[K2] | Serde[K2] | None = None,
        name: str | None = None,
    ) -> Stream[K2, V]: ...

    def to_stream(
        self,
        mapper: Callable[[K, V], Any] | None = None,
        *,
        key: Any = None,
        name: str | None = None,
    ) -> Stream[Any, V]:
        """Its changes as a stream of the new values; a deleted row is a null value.

        With `mapper(key, value)` under the key that it gives, as `select_key` does behind it.
        """
        from streamkit.topology.dsl.stream import Stream

        if mapper is not None:
            function_or_raise(mapper, "to_stream()", self._key, self._value)
        elif key is not None:
            raise TopologyError(
                f"to_stream() at {call_site()}: key= is the type of the mapper's results: give a "
                "mapper, or leave it out"
            )

        node_name = self._scope.graph.name_or_new(name, "KTABLE-TOSTREAM-")
        node = processor(node_name, lambda _: ToStreamNode(node_name))
        self._scope.graph.add(node, self._node)
        stream: Stream[K, V] = Stream(self._scope, node, self._key, self._value)
        return stream if mapper is None else stream.select_key(mapper, key=key)

    def _join(
        self,
        other: Table[K, Any],
        join: TableJoin,
        joiner: Callable[..., R],
        value: type[R] | Serde[R] | None,
        choice: Materialized | None,
        node: str | None,
    ) -> Table[K, R]:
        self._check_partner(other, joiner)
        same_keys_or_raise(self._key, other._key, "join()")
        here = (self._key, sides.chosen(value, joiner, sides.whole))
        made, rows, store = table_table(self._scope, self, other, join, here, choice, node)
        return Table(self._scope, made, *here, rows, store)

    def _join_foreign(
        self,
        other: Table[Any, Any],
        how: ForeignKeyJoin,
        value: type[R] | Serde[R] | None,
        choice: Materialized | None,
        node: str | None,
    ) -> Table[K, R]:
        self._check_partner(other, how.joiner)
        function_or_raise(how.extractor, "join()", self._key, self._value)
        same_key_or_raise(how.extractor, "join()", other._key)
        here = (self._key, sides.chosen(value, how.joiner, sides.whole))
        plan = ForeignKeyPlan(self._scope, (self, other), how, here, choice, node)
        return Table(self._scope, plan.add(), *here, plan.rows, plan.rows.kept_in)

    def _check_partner(self, other: object, joiner: object) -> None:
        partner_or_raise(other, (Table,), "join()")
        assert isinstance(other, Table), "it was looked at"
        same_program_or_raise(self._scope, other._scope, "join()")
        function_or_raise(joiner, "join()", self._value, other._value)

    def _filter(
        self,
        operator: str,
        predicate: Callable[[K, V], object],
        keep: bool,
        choice: Materialized | None,
        node: str | None,
    ) -> Table[K, V]:
        function_or_raise(predicate, operator, self._key, self._value)
        plan = self._plan(choice, "KTABLE-FILTER-")
        name = self._scope.graph.name_or_new(node, "KTABLE-FILTER-")
        store = None if plan is None else plan.name

        def derive(key: Any, row: Any) -> Found:
            return row if row is not None and bool(predicate(key, row[0])) is keep else None

        rows = DerivedRows(self._rows, store, derive, plan is not None and plan.is_versioned)
        rows.sends_old = self._rows.want_old(force=False)

        def make(has_versions: bool) -> Node:
            return FilterTableNode(name, predicate, keep, store, rows.sends_old, has_versions)

        return self._derived((operator, name), make, self._value, (choice, plan), rows)

    def _map(
        self,
        names: tuple[str, str],
        mapper: Callable[[Any, Any], Any],
        sees_deletes: bool,
        value: Side,
        choice: Materialized | None,
        node: str | None,
    ) -> Table[K, Any]:
        operator, prefix = names
        # For a transformer Kafka uses up no number for the store that is not made.
        is_unnamed = choice is not None and choice.name is None
        plan = None if sees_deletes and is_unnamed else self._plan(choice, prefix)
        name = self._scope.graph.name_or_new(node, prefix)
        store = None if plan is None else plan.name

        def derive(key: Any, row: Any) -> Found:
            if row is None and not sees_deletes:
                return None
            new = mapper(key, None if row is None else row[0])
            return None if new is None else (new, 0 if row is None else row[1])

        rows = DerivedRows(self._rows, store, derive, plan is not None and plan.is_versioned)

        def make(has_versions: bool) -> Node:
            return MapTableNode(name, mapper, sees_deletes, store, rows.sends_old)

        return self._derived((operator, name), make, value, (choice, plan), rows)

    def _plan(self, choice: Materialized | None, prefix: str) -> StorePlan | None:
        """The store that was asked for by name; options without a name make none."""
        if choice is None:
            return None
        plan = StorePlan(self._scope, choice, prefix)
        return plan if plan.is_named else None

    def _derived(
        self,
        names: tuple[str, str],
        make: Callable[[bool], Node],
        value: Side,
        kept: tuple[Materialized | None, StorePlan | None],
        rows: DerivedRows,
    ) -> Table[K, Any]:
        """An operator over the rows; `make` is told whether these have versions."""
        operator, name = names
        choice, plan = kept
        scope, key, line = self._scope, self._key, call_site()

        def write(builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
            stores = []
            if plan is not None:
                place = Place(operator, name, f"store {plan.name}", line)
                value_serde = scope.value_serde(value, place)
                stores = [plan.builder(scope.key_serde(key, place), value_serde)]
            has_versions = parents[0] in builder.versioned
            write_processor(builder, name, parents, lambda _: make(has_versions), stores)

        is_versioned = None if choice is None else plan is not None and plan.is_versioned
        node = scope.graph.add(GraphNode(name, write, is_versioned=is_versioned), self._node)
        return Table(scope, node, key, value, rows, None if plan is None else plan.name)

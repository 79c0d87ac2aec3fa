"""The table: the latest value of each key, and how topics and streams become one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from streamkit.serdes.serde import Serde
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.topology.dsl.annotations import call_site
from streamkit.topology.dsl.options import Materialized
from streamkit.topology.dsl.repartition import Through, repartition_node
from streamkit.topology.dsl.scope import Place, Scope
from streamkit.topology.dsl.sides import Side
from streamkit.topology.dsl.sources import Consumed, source_spec
from streamkit.topology.dsl.writing import processor, write_processor
from streamkit.topology.graph.logical import GraphNode
from streamkit.topology.graph.names import check_name
from streamkit.topology.graph.physical import PhysicalBuilder
from streamkit.topology.operators.node import TableSourceNode, ToStreamNode

if TYPE_CHECKING:
    from streamkit.topology.dsl.stream import Stream

K = TypeVar("K")
V = TypeVar("V")


class Table(Generic[K, V]):
    """A table with keys of type K and rows of type V."""

    __slots__ = ("_key", "_node", "_scope", "_store", "_value")

    def __init__(
        self, scope: Scope, node: GraphNode, key: Side, value: Side, store: str | None
    ) -> None:
        self._scope = scope
        self._node = node
        self._key = key
        self._value = value
        self._store = store

    @property
    def store_name(self) -> str | None:
        """The name of its store; None when it has none, or one whose name was generated."""
        return self._store

    def to_stream(self, *, name: str | None = None) -> Stream[K, V]:
        """Its changes as a stream of the new values; a deleted row is a null value."""
        from streamkit.topology.dsl.stream import Stream

        node_name = self._scope.graph.name_or_new(name, "KTABLE-TOSTREAM-")
        node = processor(node_name, lambda _: ToStreamNode(node_name))
        self._scope.graph.add(node, self._node)
        return Stream(self._scope, node, self._key, self._value)


class StorePlan:
    """The store of a table-making operator: named by the user, or by the counter.

    Making the plan uses up the number of a generated name, at the moment when Kafka's
    MaterializedInternal does.
    """

    __slots__ = ("is_named", "name", "options")

    def __init__(self, scope: Scope, choice: Materialized | None, prefix: str) -> None:
        self.options = choice or Materialized()
        self.is_named = self.options.name is not None
        if self.options.name is not None:
            self.name = check_name(self.options.name)
        else:
            self.name = scope.graph.new_store_name(prefix)

    def builder(self, key: Serde[object], value: Serde[object]) -> StoreBuilder:
        """What a task builds the store from."""
        return StoreBuilder(
            name=self.name,
            kind=StoreKind.TIMESTAMPED_KEY_VALUE,
            key_serde=key,
            value_serde=value,
            persistent=self.options.kind == "persistent",
            logging_enabled=self.options.logging,
            caching_enabled=self.options.caching,
            changelog_configs=dict(self.options.changelog),
        )


def table_of_topic(
    scope: Scope,
    topic: str,
    how: Consumed,
    choice: Materialized | None,
    node_name: str | None,
) -> tuple[GraphNode, str | None]:
    """The logical node of `app.table(topic)`, and its store's name when it has a store."""
    store = StorePlan(scope, choice, f"{topic}-")
    graph = scope.graph
    source = graph.name_or_new(
        None if node_name is None else f"{node_name}-source", "KSTREAM-SOURCE-"
    )
    node = graph.name_or_new(node_name, "KTABLE-SOURCE-")

    def write(builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
        builder.add_source(source_spec(scope, source, (topic,), None, how), how.offset_reset)
        place = Place("table()", node, f"topic {topic}", how.line)
        sides_here = (how.key, how.value)
        _write_table_source(scope, builder, (node, source), store, sides_here, place)

    made = graph.add(GraphNode(node, write))
    return made, store.name if store.is_named else None


def table_of_stream(
    scope: Scope,
    parent: GraphNode,
    here: tuple[Side, Side],
    *,
    is_rekeyed: bool,
    choice: Materialized | None,
    node_name: str | None,
) -> tuple[GraphNode, str | None]:
    """The logical node of `to_table()`, and its store's name when it has a store."""
    node = scope.graph.name_or_new(node_name, "KSTREAM-TOTABLE-")
    store = StorePlan(scope, choice, "KSTREAM-TOTABLE-")
    line = call_site()
    if is_rekeyed:
        through = Through("to_table()", *here, line)
        parent = scope.graph.add(repartition_node(scope, node, through), parent)

    def write(builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
        place = Place("to_table()", node, f"store {store.name}", line)
        _write_table_source(scope, builder, (node, *parents), store, here, place)

    made = scope.graph.add(GraphNode(node, write), parent)
    return made, store.name if store.is_named else None


def _write_table_source(
    scope: Scope,
    builder: PhysicalBuilder,
    names: tuple[str, ...],
    store: StorePlan,
    here: tuple[Side, Side],
    place: Place,
) -> None:
    node, *parents = names
    stores = []
    if store.is_named:
        key = scope.key_serde(here[0], place)
        stores = [store.builder(key, scope.value_serde(here[1], place))]
    store_name = store.name if store.is_named else None
    write_processor(
        builder, node, tuple(parents), lambda _: TableSourceNode(node, store_name), stores
    )

"""Global tables: every worker process has all rows, whatever its tasks are."""

from __future__ import annotations

from dataclasses import replace
from typing import Generic, TypeVar

from streamkit.common.errors import TopologyError
from streamkit.topology.dsl import views
from streamkit.topology.dsl.options import Materialized
from streamkit.topology.dsl.rows import View, view_of_store
from streamkit.topology.dsl.scope import Place, Scope
from streamkit.topology.dsl.sides import Side
from streamkit.topology.dsl.sources import Consumed, source_spec
from streamkit.topology.dsl.storing import StorePlan
from streamkit.topology.graph.logical import GraphNode
from streamkit.topology.graph.physical import PhysicalBuilder
from streamkit.topology.operators.node import Node, TableSourceNode
from streamkit.topology.plan import NodeKind, NodeSpec

K = TypeVar("K")
V = TypeVar("V")


class GlobalTable(Generic[K, V]):
    """A table with all of its rows in every worker: streams join it by any key."""

    __slots__ = ("_key", "_store", "_value", "_view")

    def __init__(self, store: str, view: View, here: tuple[Side, Side], *, is_named: bool) -> None:
        self._store = store if is_named else None
        self._view = view
        self._key, self._value = here

    @property
    def store_name(self) -> str | None:
        """The name of its store; None when that was generated."""
        return self._store

    @property
    def reading(self) -> View:
        """How operators read its rows."""
        return self._view

    @property
    def key_side(self) -> Side:
        """What is known of its keys."""
        return self._key

    @property
    def value_side(self) -> Side:
        """What is known of its rows."""
        return self._value

    def view(self) -> views.View[K, V]:
        """Its rows for a processor's parameter: `known: sk.View[K, V] = table.view()`."""
        return views.TableView(self._view, None, (self._key, self._value))


def global_table(
    scope: Scope, topic: str, how: Consumed, choice: Materialized | None, name: str | None
) -> GlobalTable[K, V]:
    """Declare `app.global_table(topic)`."""
    if choice is not None and choice.kind == "versioned":
        raise TopologyError(f"global_table(): {choice.kind} stores cannot be global")
    plan = StorePlan(scope, choice, f"{topic}-")
    graph = scope.graph
    source = graph.name_or_new(None if name is None else f"{name}-source", "KSTREAM-SOURCE-")
    node = graph.name_or_new(name, "KTABLE-SOURCE-")

    def make(_: str) -> Node:
        return TableSourceNode(node, plan.name)

    def write(builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
        place = Place("global_table()", node, f"topic {topic}", how.line)
        key, value = scope.key_serde(how.key, place), scope.value_serde(how.value, place)
        # The topic is all there is to it: no changelog, and nothing downstream for a cache.
        store = replace(plan.builder(key, value), logging_enabled=False, caching_enabled=False)
        builder.add_global(
            source_spec(scope, source, (topic,), None, how),
            NodeSpec(node, NodeKind.PROCESSOR, (source,), make),
            store,
        )

    graph.add(GraphNode(node, write))
    reading = View((), view_of_store(plan.name).open)
    return GlobalTable(plan.name, reading, (how.key, how.value), is_named=plan.is_named)

"""`suppress()`, as the DSL declares it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from streamkit.common.errors import TopologyError
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.topology.dsl.annotations import call_site
from streamkit.topology.dsl.rows import Found, Rows, View
from streamkit.topology.dsl.scope import Place, Scope
from streamkit.topology.dsl.sides import Side
from streamkit.topology.dsl.windows import Duration, duration_ms
from streamkit.topology.dsl.writing import write_processor
from streamkit.topology.graph.logical import GraphNode
from streamkit.topology.graph.names import check_name
from streamkit.topology.graph.physical import PhysicalBuilder
from streamkit.topology.operators.node import ProcessorContext
from streamkit.topology.operators.suppress import Suppression, SuppressNode

if TYPE_CHECKING:
    from streamkit.topology.dsl.table import Table

_PREFIX = "KTABLE-SUPPRESS-"


@dataclass(frozen=True, slots=True)
class Full:
    """How much the buffer holds, and what happens when it is full."""

    max_records: int | None
    max_bytes: int | None
    action: Literal["emit", "shut_down"] | None


class SuppressedRows:
    """The rows of a table as downstream saw them last, whatever waits in the buffer."""

    def __init__(self, parent: Rows, store: str) -> None:
        self.parent = parent
        self.store = store
        self.sends_old = True

    def want_old(self, *, force: bool) -> bool:
        return self.parent.want_old(force=force)

    def view(self) -> View:
        above, store = self.parent.view(), self.store

        def open_view(context: ProcessorContext) -> Callable[[Any], Found]:
            find, buffer = above.open(context), context.store(store)

            def look_up(key: Any) -> Found:
                prior: Found = buffer.prior(key)
                if prior is None:
                    return find(key)  # type: ignore[no-any-return]  # a row, as all look-ups give
                return None if prior[0] is None else prior

            return look_up

        return View((store, *above.stores), open_view)


def suppress_node(
    scope: Scope,
    table: Table[Any, Any],
    here: tuple[Side, Side],
    until: str | Duration,
    full: Full,
    log: tuple[bool, dict[str, str]],
    name: str | None,
) -> tuple[GraphNode, SuppressedRows]:
    """The logical node of `suppress()`, and its rows."""
    how = _suppression(table.node, until, full)
    if name is None:
        node_name = scope.graph.new_name(_PREFIX)
        store = scope.graph.new_store_name(_PREFIX)
    else:
        node_name, store = check_name(name), f"{name}-store"
    place = Place("suppress()", node_name, f"store {store}", call_site())

    def write(builder: PhysicalBuilder, parents: tuple[str, ...]) -> None:
        if parents[0] in builder.versioned:
            raise TopologyError(f"{place}: rows of a versioned table cannot be held back")
        built = StoreBuilder(
            name=store,
            kind=StoreKind.SUPPRESS_BUFFER,
            key_serde=scope.key_serde(here[0], place),
            value_serde=scope.value_serde(here[1], place),
            persistent=False,
            logging_enabled=log[0],
            changelog_configs=log[1],
        )
        write_processor(
            builder, node_name, parents, lambda _: SuppressNode(node_name, store, how), [built]
        )

    table.rows.want_old(force=True)
    made = scope.graph.add(GraphNode(node_name, write, is_versioned=False), table.node)
    return made, SuppressedRows(table.rows, store)


def _suppression(node: GraphNode, until: str | Duration, full: Full) -> Suppression:
    if full.action not in {None, "emit", "shut_down"}:
        raise TopologyError(f"suppress(): when_full={full.action!r}: use emit or shut_down")
    if until != "window_closes":
        shuts_down = full.action == "shut_down"
        wait_ms = duration_ms(until)
        return Suppression(wait_ms, False, full.max_records, full.max_bytes, shuts_down)
    is_limited = full.max_records is not None or full.max_bytes is not None
    if full.action == "emit" or (is_limited and full.action is None):
        raise TopologyError(
            "suppress('window_closes'): a final result never goes on early: say "
            "when_full='shut_down', or leave the limits out"
        )
    return Suppression(_closes_after(node), True, full.max_records, full.max_bytes, True)


def _closes_after(node: GraphNode) -> int:
    """How long after their end the windows above close. Raises TopologyError without windows."""
    if node.closes_after_ms is not None:
        return node.closes_after_ms
    if not node.parents or any(parent.priority < 0 for parent in node.parents):
        raise TopologyError(
            f"suppress('window_closes'): {node.name} has no windows: use it on a windowed table"
        )
    return max(_closes_after(parent) for parent in node.parents)

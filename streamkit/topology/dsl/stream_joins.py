"""Stream-stream joins, as the DSL declares them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from streamkit.common.errors import TopologyError
from streamkit.serdes.serde import Serde
from streamkit.serdes.sided import SidedSerde
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.topology.dsl.annotations import call_site
from streamkit.topology.dsl.options import Materialized, options_or_raise
from streamkit.topology.dsl.scope import Place, Scope
from streamkit.topology.dsl.sides import Side
from streamkit.topology.dsl.windows import Duration, duration_ms
from streamkit.topology.dsl.writing import write_processor
from streamkit.topology.graph.logical import GraphNode
from streamkit.topology.graph.names import check_name
from streamkit.topology.graph.physical import PhysicalBuilder
from streamkit.topology.operators.node import Node, PassNode
from streamkit.topology.operators.stream_joins import (
    JoinWindows,
    SelfJoinNode,
    StreamJoinNode,
    WindowedInputNode,
)


@dataclass(frozen=True, slots=True)
class Within:
    """Which records of the other stream belong to a record: `within=` and its kin."""

    both: Duration | None
    before: Duration | None
    after: Duration | None
    grace: Duration | None

    @property
    def is_given(self) -> bool:
        """Whether anything was said."""
        return any(each is not None for each in (self.both, self.before, self.after))

    def windows(self) -> JoinWindows:
        """In milliseconds. Raises TopologyError when the bounds make no sense."""
        if not self.is_given:
            raise TopologyError("join(): streams are joined within a time: give within='5m'")
        before, after = (
            _bound_ms(self.both if side is None else side) for side in (self.before, self.after)
        )
        if before + after < 0:
            raise TopologyError(f"join(): the window from -{before}ms to {after}ms is empty")
        return JoinWindows(before, after, duration_ms(self.grace or "0ms"))


@dataclass(frozen=True, slots=True)
class StreamJoin:
    """A stream-stream join: `joiner(key, left, right)`, and which sides stay without a partner."""

    joiner: Callable[[Any, Any, Any], Any]
    keeps_left: bool
    keeps_right: bool
    windows: JoinWindows
    store: Materialized
    name: str | None


@dataclass(frozen=True, slots=True)
class _Names:
    """Nodes and stores of one join."""

    inputs: tuple[str, str]
    joins: tuple[str, str]
    merge: str
    stores: tuple[str, str]
    unmatched: str | None


def stream_stream(
    scope: Scope,
    parents: tuple[GraphNode, GraphNode],
    key: Side,
    values: tuple[Side, Side],
    join: StreamJoin,
) -> GraphNode:
    """The logical nodes of `stream.join(stream)`; gives the last."""
    _refuse_options(join.store)
    names = _names(scope, join)
    line = call_site()

    def place(index: int) -> Place:
        return Place("join()", names.joins[index], f"store {names.stores[index]}", line)

    def input_node(index: int) -> GraphNode:
        name, store = names.inputs[index], names.stores[index]

        def write(builder: PhysicalBuilder, above: tuple[str, ...]) -> None:
            key_serde = scope.key_serde(key, place(index))
            value_serde = scope.value_serde(values[index], place(index))
            serdes = key_serde, value_serde
            built = _store(scope, store, StoreKind.JOIN_WINDOW, serdes, join)
            write_processor(builder, name, above, lambda _: WindowedInputNode(name, store), [built])

        return GraphNode(name, write)

    def write_join(builder: PhysicalBuilder, above: tuple[str, ...]) -> None:
        if names.merge in builder.self_joins:
            _write_self_join(builder, names, join)
            return
        _write_sides(builder, names, join)
        if names.unmatched is not None:
            sided = SidedSerde(
                scope.value_serde(values[0], place(0)), scope.value_serde(values[1], place(1))
            )
            key_serde = scope.key_serde(key, place(0))
            serdes = key_serde, sided
            built = _store(scope, names.unmatched, StoreKind.UNMATCHED, serdes, join)
            for node in names.joins:
                builder.add_store(built, node)
        builder.copartition(*above)

    for index, parent in enumerate(parents):
        scope.graph.add(input_node(index), parent)
    keeps_null_keys = join.keeps_left or join.keeps_right
    node = GraphNode(names.merge, write_join, keeps_null_keys=keeps_null_keys)
    node.join_inputs = names.inputs
    return scope.graph.add(node, *parents)


def _refuse_options(store: Materialized) -> None:
    """Raise TopologyError for options that a join's windows would not look at."""
    options_or_raise(store)
    where = f"join() at {call_site()}"
    if store.kind in {"lru", "versioned"}:
        raise TopologyError(
            f"{where}: kind={store.kind!r} is not for windows: use persistent or memory"
        )
    for option in ("retention", "history", "segment", "entries"):
        if getattr(store, option) is not None:
            raise TopologyError(
                f"{where}: its stores keep what its windows and grace need: leave out {option}="
            )


def _write_sides(builder: PhysicalBuilder, names: _Names, join: StreamJoin) -> None:
    """This side, the other side, and what brings their results together."""
    for index, keeps in enumerate((join.keeps_left, join.keeps_right)):
        name, other = names.joins[index], names.stores[1 - index]

        def make(_: str, name: str = name, other: str = other, keeps: bool = keeps) -> Node:
            is_left = name == names.joins[0]
            stores = other, names.unmatched
            return StreamJoinNode(name, is_left, join.joiner, join.windows, keeps, stores)

        write_processor(builder, name, (names.inputs[index],), make)
        builder.connect_store(other, name)
    write_processor(builder, names.merge, names.joins, lambda _: PassNode(names.merge))


def _write_self_join(builder: PhysicalBuilder, names: _Names, join: StreamJoin) -> None:
    """Both sides are the same: one window will do."""
    name, store = names.merge, names.stores[0]

    def make(_: str) -> Node:
        return SelfJoinNode(name, join.joiner, join.windows, store)

    write_processor(builder, name, (names.inputs[0],), make)
    builder.connect_store(store, name)


def _store(
    scope: Scope,
    name: str,
    kind: StoreKind,
    serdes: tuple[Serde[Any], Serde[Any]],
    join: StreamJoin,
) -> StoreBuilder:
    return StoreBuilder(
        name=name,
        kind=kind,
        key_serde=serdes[0],
        value_serde=serdes[1],
        persistent=scope.is_on_disk(join.store.kind),
        logging_enabled=join.store.logging,
        changelog_configs=dict(join.store.changelog),
        retention_ms=join.windows.retention_ms,
        window_ms=join.windows.size_ms,
    )


def _names(scope: Scope, join: StreamJoin) -> _Names:
    """In the order in which KStreamImplJoin takes numbers."""
    new, name = scope.graph.new_name, join.name
    windowed = new("KSTREAM-WINDOWED-"), new("KSTREAM-WINDOWED-")
    this = new("KSTREAM-OUTERTHIS-" if join.keeps_right else "KSTREAM-JOINTHIS-")
    other = new("KSTREAM-OUTEROTHER-" if join.keeps_left else "KSTREAM-JOINOTHER-")
    merge = new("KSTREAM-MERGE-")
    ends = (
        "-outer-this-join" if join.keeps_right else "-this-join",
        "-outer-other-join" if join.keeps_left else "-other-join",
    )
    base = None if join.store.name is None else check_name(join.store.name)
    unmatched = None
    if join.keeps_left:
        shared = "-outer-shared-join" if join.keeps_right else "-left-shared-join"
        unmatched = f"KSTREAM-OUTERSHARED-{this[-10:]}" if base is None else base + shared
        unmatched += "-store"
    stores = (this, other) if base is None else (base + ends[0], base + ends[1])
    full = (f"{stores[0]}-store", f"{stores[1]}-store")
    if name is None:
        return _Names(windowed, (this, other), merge, full, unmatched)
    given = check_name(name)
    return _Names(
        (f"{given}-this-windowed", f"{given}-other-windowed"),
        (given + ends[0], given + ends[1]),
        f"{given}-merge",
        full,
        unmatched,
    )


def _bound_ms(bound: Duration | None) -> int:
    """One bound of a window; a negative timedelta begins, or ends, on the other side."""
    if bound is None:
        return 0
    if isinstance(bound, timedelta):
        return bound // timedelta(milliseconds=1)
    return duration_ms(bound)

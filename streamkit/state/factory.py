"""Stores from their builders: the layers that a builder asks for, over the bytes of a task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from streamkit.common.errors import FatalError
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.state.cache import CacheBudget, CachedStore, ChangelogAppend, TimestampedStore
from streamkit.state.headers_store import HasHeaders, HeadersStore
from streamkit.state.join_stores import JoinWindowStore, UnmatchedStore
from streamkit.state.lifetimes import ExpiringStore, StreamTime
from streamkit.state.lru import LruRows
from streamkit.state.overlay import OverlayStore
from streamkit.state.plain import HasTimestamp, PlainStore
from streamkit.state.suppress_buffer import Current, SuppressBuffer
from streamkit.state.time_buffer import TimeBuffer
from streamkit.state.versioned import VersionedStore
from streamkit.state.windows import WINDOWED_KEYS, Drops, WindowRows, WindowStore

Store = (
    TimestampedStore
    | CachedStore
    | ExpiringStore
    | PlainStore[object, object]
    | WindowStore
    | JoinWindowStore
    | UnmatchedStore
    | HeadersStore
    | SuppressBuffer
    | TimeBuffer
    | VersionedStore
)


_OF_OPERATORS: dict[
    StoreKind,
    type[JoinWindowStore]
    | type[UnmatchedStore]
    | type[HeadersStore]
    | type[SuppressBuffer]
    | type[TimeBuffer]
    | type[VersionedStore],
] = {
    StoreKind.JOIN_WINDOW: JoinWindowStore,
    StoreKind.UNMATCHED: UnmatchedStore,
    StoreKind.SUPPRESS_BUFFER: SuppressBuffer,
    StoreKind.TIME_BUFFER: TimeBuffer,
    StoreKind.VERSIONED: VersionedStore,
    StoreKind.HEADERS: HeadersStore,
}


class StoreContext(HasTimestamp, HasHeaders, StreamTime, Drops, Current, Protocol):
    """What stores need of the processor context."""


@dataclass(frozen=True, slots=True)
class Changelog:
    """Where a store's changes go; `append` None when it is not logged."""

    topic: str
    partition: int = -1
    append: ChangelogAppend | None = None


def build_store(
    builder: StoreBuilder,
    overlay: OverlayStore,
    changelog: Changelog,
    budget: CacheBudget,
    context: StoreContext,
) -> Store:
    """The store as operators see it: cached when the builder and the budget say so."""
    if builder.kind in _OF_OPERATORS:
        make = _OF_OPERATORS[builder.kind]
        log = changelog.append, changelog.partition
        return make(builder, overlay, changelog.topic, *log, context)
    if builder.kind.is_windowed:
        return _windowed(builder, overlay, changelog, budget, context)
    below = _rows(builder, overlay, changelog)
    store: TimestampedStore | CachedStore = below
    if builder.caching_enabled and budget.limit > 0:
        store = CachedStore(below, builder.key_serde, builder.value_serde, budget)
    face: TimestampedStore | CachedStore | ExpiringStore = store
    if builder.ttl_ms:
        face = ExpiringStore(store, below, overlay, builder.ttl_ms, context)
    if builder.kind is StoreKind.KEY_VALUE:
        return PlainStore(face, context)
    return face


def interface_of(builder: StoreBuilder, store: Any) -> Any:
    """The store as processors see it: the user's own interface over it, where there is one.

    Raises FatalError when that cannot be made.
    """
    if builder.interface is None:
        return store
    try:
        return builder.interface(store)
    except Exception as error:  # the user's code: the task cannot start without it
        raise FatalError(
            f"store {builder.name}: its interface failed: {type(error).__name__}: {error}"
        ) from error


def _rows(builder: StoreBuilder, overlay: OverlayStore, changelog: Changelog) -> TimestampedStore:
    log = changelog.append, changelog.partition
    if builder.entries_max:
        return LruRows(builder, overlay, changelog.topic, *log)
    serdes = builder.key_serde, builder.value_serde
    return TimestampedStore(builder.name, overlay, *serdes, changelog.topic, *log)


def _windowed(
    builder: StoreBuilder,
    overlay: OverlayStore,
    changelog: Changelog,
    budget: CacheBudget,
    context: StoreContext,
) -> WindowStore:
    rows = WindowRows(builder, overlay, changelog.topic, changelog.append, changelog.partition)
    table: WindowRows | CachedStore = rows
    if builder.caching_enabled and budget.limit > 0:
        # The cache holds windowed keys as bytes: the serde says nothing of them.
        table = CachedStore(rows, WINDOWED_KEYS, builder.value_serde, budget)
    return WindowStore(builder, rows, table, context)

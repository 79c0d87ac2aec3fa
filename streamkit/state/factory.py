"""Stores from their builders: the layers that a builder asks for, over the bytes of a task."""

from __future__ import annotations

from dataclasses import dataclass

from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.state.cache import CacheBudget, CachedStore, ChangelogAppend, TimestampedStore
from streamkit.state.overlay import OverlayStore
from streamkit.state.plain import HasTimestamp, PlainStore

Store = TimestampedStore | CachedStore | PlainStore[object, object]


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
    context: HasTimestamp,
) -> Store:
    """The store as operators see it: cached when the builder and the budget say so."""
    below = TimestampedStore(
        builder.name,
        overlay,
        builder.key_serde,
        builder.value_serde,
        changelog.topic,
        changelog.append,
        changelog.partition,
    )
    store: TimestampedStore | CachedStore = below
    if builder.caching_enabled and budget.limit > 0:
        store = CachedStore(below, builder.key_serde, builder.value_serde, budget)
    if builder.kind is StoreKind.KEY_VALUE:
        return PlainStore(store, context)
    return store

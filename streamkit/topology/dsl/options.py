"""Options of operators that are more than a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Literal


@dataclass(frozen=True, slots=True)
class Materialized:
    """How a table is kept: `store=` of the operators that make one.

    `kind` is "persistent" (RocksDB), "memory", "lru" (in memory, the `entries` used most recently),
    or "versioned", which keeps the rows of the last `history`, in pieces of `segment`, and needs a
    name; without one it is what `dsl.store.suppliers.class` says. `changelog` are topic configs of
    the changelog; `retention` is how long windows are kept, if longer than size and grace.
    """

    name: str | None = None
    kind: Literal["persistent", "memory", "lru", "versioned"] | None = None
    caching: bool = True
    logging: bool = True
    changelog: Mapping[str, str] = field(default_factory=dict)
    retention: timedelta | str | None = None
    history: timedelta | str | None = None
    segment: timedelta | str | None = None
    entries: int | None = None


def materialized(name: str | None, store: Materialized | None) -> Materialized | None:
    """`name=` and `store=` together; None when neither was given."""
    if store is None:
        return None if name is None else Materialized(name)
    if name is None or name == store.name:
        return store
    return replace(store, name=name)

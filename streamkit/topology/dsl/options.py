"""Options of operators that are more than a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Literal

from streamkit.common.errors import TopologyError
from streamkit.state.builders import StoreBuilder
from streamkit.topology.dsl.annotations import call_site


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

    def __post_init__(self) -> None:
        if self.kind is not None and self.kind not in _KINDS:
            raise TopologyError(
                f"Materialized() at {call_site()}: kind={self.kind!r}: use one of "
                f"{', '.join(_KINDS)}"
            )


_KINDS = ("persistent", "memory", "lru", "versioned")


def materialized(name: str | None, store: Materialized | None) -> Materialized | None:
    """`name=` and `store=` together; None when neither was given. Raises TopologyError."""
    if store is None:
        return None if name is None else Materialized(name)
    options_or_raise(store, ", or name={!r}")
    if name is None or name == store.name:
        return store
    return replace(store, name=name)


def options_or_raise(store: object, also: str = "") -> None:
    """Raises TopologyError for what is no `store=`; `also` says what else may name one."""
    if isinstance(store, Materialized):
        return
    where = f"{call_site()}: store="
    if isinstance(store, StoreBuilder):
        raise TopologyError(
            f"{where}: streamkit.store(...) is for processors: give "
            f"streamkit.Materialized({store.name!r}, ...)"
        )
    if isinstance(store, str):
        hint = f"streamkit.Materialized({store!r})"
        hint = f"streamkit.Materialized(...){also.format(store)}" if also else hint
        raise TopologyError(f"{where}{store!r}: give {hint}")
    raise TopologyError(f"{where}{store!r}: give streamkit.Materialized(...)")

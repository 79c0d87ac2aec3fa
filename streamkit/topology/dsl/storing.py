"""The store that an operator makes: its name, and what a task builds it from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamkit.common.errors import ConfigError, TopologyError
from streamkit.serdes.serde import Serde
from streamkit.state.builders import StoreBuilder, StoreKind, segment_ms_of
from streamkit.topology.dsl.annotations import call_site, is_count
from streamkit.topology.dsl.options import Materialized
from streamkit.topology.dsl.scope import Scope
from streamkit.topology.dsl.windows import duration_ms
from streamkit.topology.graph.names import check_name


class StorePlan:
    """The store of a table-making operator: named by the user, or by the counter.

    Making the plan uses up the number of a generated name, at the moment when Kafka's
    MaterializedInternal does.
    """

    __slots__ = ("entries_max", "is_named", "name", "options", "scope")

    def __init__(
        self,
        scope: Scope,
        choice: Materialized | None,
        prefix: str,
        *,
        is_windowed: bool = False,
    ) -> None:
        self.scope = scope
        self.options = choice or Materialized()
        self.is_named = self.options.name is not None
        if self.options.name is not None:
            self.name = check_name(self.options.name)
        else:
            self.name = scope.graph.new_store_name(prefix)
        where = f"store {self.name} at {call_site()}"
        if is_windowed:
            _refuse_rows_by_key(where, self.options)
        elif self.options.retention is not None:
            raise TopologyError(f"{where}: retention= is for windows: leave it out")
        if self.is_versioned and (self.options.name is None or self.options.history is None):
            raise TopologyError(f"{where}: a versioned store needs a name and a history")
        if not self.is_versioned and self.options.history is not None:
            raise TopologyError(f"{where}: history= is for kind='versioned'")
        if not self.is_versioned and self.options.segment is not None:
            raise TopologyError(f"{where}: segment= is for kind='versioned'")
        self.entries_max = entries_of(where, self.options.kind, self.options.entries)

    @property
    def is_versioned(self) -> bool:
        """Whether it keeps old rows, by time."""
        return self.options.kind == "versioned"

    def builder(self, key: Serde[Any], value: Serde[Any]) -> StoreBuilder:
        """What a task builds the store from."""
        if self.is_versioned:
            return self._versioned(key, value)
        keeps_headers = self.scope.keeps_headers and not self.entries_max
        return StoreBuilder(
            name=self.name,
            kind=StoreKind.HEADERS if keeps_headers else StoreKind.TIMESTAMPED_KEY_VALUE,
            key_serde=key,
            value_serde=value,
            persistent=self.scope.is_on_disk(self.options.kind),
            logging_enabled=self.options.logging,
            caching_enabled=self.options.caching,
            changelog_configs=dict(self.options.changelog),
            entries_max=self.entries_max,
        )

    def _versioned(self, key: Serde[Any], value: Serde[Any]) -> StoreBuilder:
        history_ms = duration_ms(self.options.history or "0ms")
        segment = self.options.segment
        return StoreBuilder(
            name=self.name,
            kind=StoreKind.VERSIONED,
            key_serde=key,
            value_serde=value,
            logging_enabled=self.options.logging,
            changelog_configs=dict(self.options.changelog),
            retention_ms=history_ms,
            segment_ms=segment_ms_of(history_ms) if segment is None else duration_ms(segment),
        )


def _refuse_rows_by_key(where: str, options: Materialized) -> None:
    """Raise TopologyError for a kind of store that keeps no windows."""
    if options.kind == "versioned":
        raise TopologyError(f"{where}: windows cannot be versioned: use persistent or memory")
    if options.kind == "lru":
        raise TopologyError(
            f"{where}: kind='lru' is for rows by key, not for windows: use persistent or memory"
        )


def entries_of(where: str, kind: str | None, entries: int | None) -> int:
    """How many rows a store holds; 0 for any number. Raises TopologyError, with `where` first."""
    if kind != "lru" and entries is None:
        return 0
    if kind != "lru":
        raise TopologyError(f"{where}: entries= is for kind='lru'")
    if not is_count(entries):
        raise TopologyError(f"{where}: kind='lru' needs entries=, the rows it holds, 1 or more")
    assert entries is not None, "it was looked at"
    return entries


def keeps_headers(config: Mapping[str, object]) -> bool:
    """Whether tables keep the headers of their records: `dsl.store.format`. Raises ConfigError."""
    choice = str(config.get("dsl.store.format", "DEFAULT"))
    if choice.upper() not in {"DEFAULT", "HEADERS"}:
        raise ConfigError(f"dsl.store.format={choice}: use DEFAULT or HEADERS")
    return choice.upper() == "HEADERS"


_ON_DISK = {"rocksdb", "persistent", "rocksdbdslstoresuppliers"}
_IN_MEMORY = {"in_memory", "memory", "inmemorydslstoresuppliers"}


def keeps_on_disk(config: Mapping[str, object]) -> bool:
    """Where stores are by default: `dsl.store.suppliers.class`, else `default.dsl.store`.

    Raises ConfigError.
    """
    for key in ("dsl.store.suppliers.class", "default.dsl.store"):
        choice = config.get(key)
        if choice is None:
            continue
        name = str(choice).rsplit(".", 1)[-1].rsplit("$", 1)[-1].lower()
        if name not in _ON_DISK | _IN_MEMORY:
            raise ConfigError(f"{key}={choice}: use rocksDB or in_memory")
        return name in _ON_DISK
    return True

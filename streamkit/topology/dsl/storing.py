"""The store that an operator makes: its name, and what a task builds it from."""

from __future__ import annotations

from typing import Any

from streamkit.common.errors import TopologyError
from streamkit.serdes.serde import Serde
from streamkit.state.builders import StoreBuilder, StoreKind, segment_ms_of
from streamkit.topology.dsl.options import Materialized
from streamkit.topology.dsl.scope import Scope
from streamkit.topology.dsl.windows import duration_ms
from streamkit.topology.graph.names import check_name


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
        if self.is_versioned and (self.options.name is None or self.options.history is None):
            raise TopologyError("a versioned store needs a name and a history")
        if not self.is_versioned and self.options.history is not None:
            raise TopologyError(f"store {self.name}: history= is for kind='versioned'")

    @property
    def is_versioned(self) -> bool:
        """Whether it keeps old rows, by time."""
        return self.options.kind == "versioned"

    def builder(self, key: Serde[Any], value: Serde[Any]) -> StoreBuilder:
        """What a task builds the store from."""
        if self.is_versioned:
            return self._versioned(key, value)
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

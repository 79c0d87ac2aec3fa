"""The store that an operator makes: its name, and what a task builds it from."""

from __future__ import annotations

from typing import Any

from streamkit.serdes.serde import Serde
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.topology.dsl.options import Materialized
from streamkit.topology.dsl.scope import Scope
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

    def builder(self, key: Serde[Any], value: Serde[Any]) -> StoreBuilder:
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

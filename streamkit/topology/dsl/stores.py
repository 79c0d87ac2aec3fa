"""`sk.store(...)`: a store of the Processor API, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from streamkit.serdes.lookup import serde_for
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.topology.graph.names import check_name

_KINDS = {
    "key_value": StoreKind.KEY_VALUE,
    "timestamped": StoreKind.TIMESTAMPED_KEY_VALUE,
}


def store(
    name: str,
    *,
    key: Any,
    value: Any,
    form: Literal["key_value", "timestamped"] = "key_value",
    kind: Literal["persistent", "memory"] = "persistent",
    caching: bool = False,
    logging: bool = True,
    changelog: Mapping[str, str] | None = None,
) -> StoreBuilder:
    """A store for processors, by name; `key` and `value` are types or serdes.

    `form` "key_value" has mapping access; "timestamped" keeps a time with each value. `kind` says
    where it is, `changelog` are topic configs of its changelog.

    >>> store("seen", key=str, value=int).name
    'seen'
    """
    return StoreBuilder(
        name=check_name(name),
        kind=_KINDS[form],
        key_serde=serde_for(key),
        value_serde=serde_for(value),
        persistent=kind == "persistent",
        logging_enabled=logging,
        caching_enabled=caching,
        changelog_configs=dict(changelog or {}),
    )

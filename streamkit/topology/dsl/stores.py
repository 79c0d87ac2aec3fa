"""`sk.store(...)`: a store of the Processor API, as a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from streamkit.common.errors import TopologyError
from streamkit.serdes.lookup import serde_for
from streamkit.state.builders import StoreBuilder, StoreKind, segment_ms_of
from streamkit.topology.dsl.storing import entries_of
from streamkit.topology.dsl.windows import Duration, duration_ms
from streamkit.topology.graph.names import check_name

_KINDS = {
    "key_value": StoreKind.KEY_VALUE,
    "timestamped": StoreKind.TIMESTAMPED_KEY_VALUE,
    "window": StoreKind.WINDOW,
    "session": StoreKind.SESSION,
    "versioned": StoreKind.VERSIONED,
    "headers": StoreKind.HEADERS,
}
_FORGETTING = ("window", "session", "versioned")

Form = Literal["key_value", "timestamped", "window", "session", "versioned", "headers"]


def store(
    name: str,
    *,
    key: Any,
    value: Any,
    form: Form = "key_value",
    kind: Literal["persistent", "memory", "lru"] = "persistent",
    caching: bool = False,
    logging: bool = True,
    changelog: Mapping[str, str] | None = None,
    retention: Duration | None = None,
    window: Duration | None = None,
    segment: Duration | None = None,
    ttl: Duration | None = None,
    entries: int | None = None,
    interface: Callable[[Any], Any] | None = None,
) -> StoreBuilder:
    """A store for processors, by name; `key` and `value` are types or serdes.

    `form` "key_value" has mapping access; "timestamped" keeps a time with each value, "headers"
    the record's headers too; "window" and "session" keep rows by `sk.Windowed` key for the
    `retention`, "versioned" the rows' history for so long. With a `ttl`, rows of "key_value" and
    "timestamped" expire so long after their time, in stream time. `window` is the size of windows.
    `kind` says where it is: "lru" is in memory and holds the `entries` used most recently.
    `changelog` are topic configs of its changelog. Raises TopologyError.

    With an `interface` processors see what that makes of the store, for each task: a class of your
    own whose `__init__` takes the store. All that it keeps there is logged, restored and rolled
    back. What it remembers beside is made anew with it, after a restart and when a transaction was
    rolled back; `rolled_back()`, if it has that, is called when a record was undone by its policy.

    >>> store("seen", key=str, value=int).name
    'seen'
    """
    if form not in _KINDS:
        raise TopologyError(f"store {name}: form={form!r}: use one of {', '.join(_KINDS)}")
    if form in _FORGETTING and retention is None:
        raise TopologyError(f"store {name}: say for how long it keeps rows: retention='1h'")
    if ttl is not None and form in _FORGETTING:
        raise TopologyError(f"store {name}: ttl= is for rows by key; here say retention=")
    if ttl is not None and form == "headers":
        raise TopologyError(f"store {name}: rows with headers have no ttl=")
    if kind == "lru" and form not in {"key_value", "timestamped"}:
        raise TopologyError(f"store {name}: kind='lru' is for rows by key")
    if interface is not None and not callable(interface):
        raise TopologyError(
            f"store {name}: interface={interface!r}: give a class whose __init__ takes the store"
        )
    retention_ms = 0 if retention is None else duration_ms(retention)
    segment_ms = 0
    if form == "versioned":
        segment_ms = segment_ms_of(retention_ms) if segment is None else duration_ms(segment)
    return StoreBuilder(
        name=check_name(name),
        kind=_KINDS[form],
        key_serde=serde_for(key),
        value_serde=serde_for(value),
        persistent=kind == "persistent" or form == "versioned",
        logging_enabled=logging,
        caching_enabled=caching and form not in {"versioned", "headers"},
        changelog_configs=dict(changelog or {}),
        retention_ms=retention_ms,
        window_ms=0 if window is None else duration_ms(window),
        segment_ms=segment_ms,
        ttl_ms=0 if ttl is None else duration_ms(ttl),
        entries_max=entries_of(name, kind, entries),
        interface=interface,
    )

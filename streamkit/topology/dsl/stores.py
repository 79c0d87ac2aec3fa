"""`sk.store(...)`: a store of the Processor API, as a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from streamkit.common.errors import TopologyError
from streamkit.serdes.lookup import serde_for
from streamkit.state.builders import StoreBuilder, StoreKind, segment_ms_of
from streamkit.topology.dsl.annotations import call_site
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
_PLACES = ("persistent", "memory", "lru")

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
    where = f"store {name} at {call_site()}"
    if form not in _KINDS:
        raise TopologyError(f"{where}: form={form!r}: use one of {', '.join(_KINDS)}")
    _refuse_kind(where, form, kind, caching=caching)
    if ttl is not None and form in _FORGETTING:
        raise TopologyError(f"{where}: ttl= is for rows by key; here say retention=")
    if ttl is not None and form == "headers":
        raise TopologyError(f"{where}: rows with headers have no ttl=")
    _refuse_times(where, form, retention, window, segment)
    if interface is not None and not callable(interface):
        raise TopologyError(
            f"{where}: interface={interface!r}: give a class whose __init__ takes the store"
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
        caching_enabled=caching,
        changelog_configs=dict(changelog or {}),
        retention_ms=retention_ms,
        window_ms=0 if window is None else duration_ms(window),
        segment_ms=segment_ms,
        ttl_ms=0 if ttl is None else duration_ms(ttl),
        entries_max=entries_of(where, kind, entries),
        interface=interface,
    )


def _refuse_kind(where: str, form: str, kind: str, *, caching: bool) -> None:
    """Raise TopologyError for a kind that is none, or that the form has not."""
    if kind not in _PLACES:
        raise TopologyError(f"{where}: kind={kind!r}: use one of {', '.join(_PLACES)}")
    if kind == "lru" and form not in {"key_value", "timestamped"}:
        raise TopologyError(f"{where}: kind='lru' is for rows by key")
    if kind == "memory" and form == "versioned":
        raise TopologyError(f"{where}: form='versioned' is kept on disk: leave out kind='memory'")
    if caching and form in {"versioned", "headers"}:
        raise TopologyError(f"{where}: form={form!r} has no cache: leave out caching=")


def _refuse_times(
    where: str,
    form: str,
    retention: Duration | None,
    window: Duration | None,
    segment: Duration | None,
) -> None:
    """Raise TopologyError for times that a form lacks, or that it would not look at."""
    if form in _FORGETTING and retention is None:
        raise TopologyError(f"{where}: say for how long it keeps rows: retention='1h'")
    if form not in _FORGETTING and retention is not None:
        raise TopologyError(
            f"{where}: retention= is for form='window', 'session' or 'versioned': rows by key "
            "expire by ttl="
        )
    if form != "window" and window is not None:
        raise TopologyError(f"{where}: window= is for form='window'")
    if form != "versioned" and segment is not None:
        raise TopologyError(f"{where}: segment= is for form='versioned'")
    if form != "window":
        return
    if window is None:
        raise TopologyError(f"{where}: say how long its windows are: window='1m'")
    if retention is not None and duration_ms(window) > duration_ms(retention):
        raise TopologyError(
            f"{where}: retention={retention!r} is shorter than its windows, window={window!r}: "
            "keep them for at least their size"
        )

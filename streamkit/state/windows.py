"""Window and session stores: rows by key and time, which expire.

Compiled by Cython; runs the same uncompiled; its types for mypy stand in `windows.pyi`.

`WindowRows` is the store of a table whose keys are windowed; a `CachedStore` may lie over it.
`WindowStore` adds time: what is older than the retention is neither taken nor found, and is
deleted, a segment at a time, by the commit that follows a flush.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import cython

from streamkit.common.direct import TimedRows, ValueAndTimestamp
from streamkit.common.model import Headers, Windowed
from streamkit.serdes import Serde, from_functions, string
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.state.cache import (
    CachedStore,
    ChangelogAppend,
    TimestampedStore,
)
from streamkit.state.expiry import Expiry
from streamkit.state.interfaces import FlushListener
from streamkit.state.overlay import OverlayStore
from streamkit.state.window_keys import (
    SEGMENT_SIZE,
    Keys,
    SessionKeys,
    VaryingKeys,
    WindowKeys,
    segment_ms,
    segment_prefix,
    window_key,
)

if cython.compiled:
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING
    from cython.cimports.cpython.object import PyObject_GenericSetAttr

WINDOWED_KEYS: Serde[Any] = from_functions(bytes, bytes)
"""Tells a cache that keys are not plain values; it is never called."""

_TAIL = cython.declare(cython.Py_ssize_t, 12)
_new_windowed = object.__new__

Row = tuple[Windowed[Any], ValueAndTimestamp]


class Drops(Protocol):
    """What a windowed store needs of the processor context."""

    def drop(self, reason: str) -> None: ...


def keys_of(builder: StoreBuilder) -> Keys:
    """How a windowed store writes its keys."""
    span = segment_ms(builder.retention_ms)
    if builder.kind is StoreKind.SESSION:
        return SessionKeys(span)
    if builder.window_end is not None:
        return VaryingKeys(builder.window_end, span)
    return WindowKeys(builder.window_ms, span)


@cython.cclass
class WindowRows(TimestampedStore):
    """Rows by windowed key, as the bytes of one store; every put goes to the changelog."""

    def __init__(
        self,
        builder: StoreBuilder,
        store: OverlayStore,
        topic: str,
        log: ChangelogAppend | None,
        partition: int,
    ) -> None:
        TimestampedStore.__init__(
            self, builder.name, store, builder.key_serde, builder.value_serde, topic, log, partition
        )
        self._takes_bytes = True
        self.keys = keys_of(builder)
        self.store = store
        self.topic = topic
        self.inner = builder.key_serde
        self._is_text = builder.key_serde is string
        self._is_windows = isinstance(self.keys, WindowKeys)
        self._segment_ms = self.keys.segment_ms
        self._size_ms = getattr(self.keys, "size_ms", 0)
        store.is_rising = True

    @cython.ccall
    def inner_bytes(self, key: Any) -> object:
        """The bytes of a key without its window."""
        if self._is_text and type(key) is str and cython.cast(str, key).isascii():
            return cython.cast(str, key).encode("utf-8")
        return self.inner.serialize(self.topic, key, ()) or b""

    @cython.ccall
    def key_bytes(self, key: Any) -> object:
        """The bytes of a key, which may be given as such."""
        return key if isinstance(key, bytes) else self.place(key.key, key.start, key.end)

    @cython.ccall
    def place(self, key: Any, start: cython.longlong, end: cython.longlong) -> object:
        """The bytes of a key and its window."""
        inner = self.inner_bytes(key)
        if self._is_windows and type(inner) is bytes:
            return window_key(start // self._segment_ms, inner, start)
        keys = self.keys
        number = keys.time(start, end) // self._segment_ms
        return segment_prefix(number) + keys.logged(inner, start, end)

    @cython.ccall
    def key_object(self, data: Any) -> object:
        if cython.compiled and self._is_windows and self._is_text:
            raw: bytes = data
            end_of_key: cython.Py_ssize_t = len(raw) - _TAIL
            began: cython.longlong = get_long(  # noqa: F821 - C's own, from the pxd
                cython.cast(cython.p_uchar, PyBytes_AS_STRING(raw)) + end_of_key
            )
            text = raw[SEGMENT_SIZE:end_of_key].decode("utf-8", "replace")
            return _windowed(text, began, began + self._size_ms)
        key, start, end = self.keys.parts(data[SEGMENT_SIZE:])
        return _windowed(self.inner.deserialize(self.topic, key, ()), start, end)

    def low_bytes(self, low: Any | None) -> bytes | None:
        """Ranges are given in bytes."""
        return low

    def high_bytes(self, high: Any | None) -> bytes | None:
        """Ranges are given in bytes; the high end does not belong to them."""
        return high

    @cython.ccall
    def log(self, key: Any, value: Any, timestamp: cython.longlong) -> object:
        """Tell the changelog alone."""
        TimestampedStore.log(self, cython.cast(bytes, key)[SEGMENT_SIZE:], value, timestamp)


@cython.cclass
class WindowStore(TimedRows):
    """A window store or a session store; see the module."""

    def __init__(
        self,
        builder: StoreBuilder,
        rows: WindowRows,
        table: WindowRows | CachedStore,
        context: Drops,
    ) -> None:
        self.name = builder.name
        self.kind = builder.kind
        self._rows = rows
        self._table = table
        self._cached = table if isinstance(table, CachedStore) else None
        self._context = context
        self._keys = rows.keys
        self._sorts_by_start = builder.persistent
        self.expiry = Expiry(
            rows.store,
            rows.keys.segment_ms,
            builder.retention_ms,
            drops_by_segment=builder.persistent,
        )

    @cython.ccall
    def place(self, key: Any, start: cython.longlong, end: cython.longlong) -> object:
        """The bytes of a key and its window, as `get_at` and `put_at` take them."""
        return self._rows.place(key, start, end)

    @property
    def get_count(self) -> int:
        """How often a row was looked up."""
        return self._table.get_count

    @property
    def put_count(self) -> int:
        """How often a row was put."""
        return self._table.put_count

    def get(self, key: Windowed[Any]) -> ValueAndTimestamp | None:
        """The row of a window, unless it has expired."""
        place = self._rows.place(key.key, key.start, key.end)
        return self.get_at(place, self._keys.time(key.start, key.end))

    def put(self, key: Windowed[Any], value: Any, timestamp: int, headers: Headers = ()) -> None:
        """Set the row of a window, or with None delete it; one that has expired is dropped."""
        place = self._rows.place(key.key, key.start, key.end)
        self.put_at(place, self._keys.time(key.start, key.end), value, timestamp, headers)

    def fetch_session(self, key: Any, start: int, end: int) -> ValueAndTimestamp | None:
        """The row of a key's session, unless it has expired."""
        return self.get(Windowed(key, start, end))

    def remove(self, key: Windowed[Any]) -> None:
        """Delete the row of a session."""
        self.put(key, None, key.end)

    @cython.ccall
    def get_at(self, place: Any, time: cython.longlong) -> object:
        """As `get`: by what `place` gave, and the time by which the row expires."""
        if not self.expiry.is_live(time):
            return None
        return self._table.get(place) if self._cached is None else self._cached.get(place)

    @cython.ccall
    def put_at(
        self,
        place: Any,
        time: cython.longlong,
        value: Any,
        timestamp: cython.longlong,
        headers: Headers,
    ) -> object:
        """As `put`: by what `place` gave, and the time by which the row expires."""
        if not self.expiry.try_take(time):
            self._context.drop(f"{self.name}: the window has expired")
            data = None if value is None else self._rows.value_bytes(value)
            self._rows.log(place, data, timestamp)
        elif self._cached is None:
            self._table.put(place, value, timestamp, headers)
        else:
            self._cached.put(place, value, timestamp, headers)

    @cython.ccall
    def count_up_at(
        self, place: Any, time: cython.longlong, timestamp: cython.longlong, headers: Headers
    ) -> object:
        """Add one to a row, from 0: with a cache in one look-up."""
        expiry = self.expiry
        if self._cached is None or not (expiry.try_take(time) and expiry.is_live(time)):
            TimedRows.count_up_at(self, place, time, timestamp, headers)
        else:
            self._cached.count_up(place, timestamp, headers)

    def fetch(
        self, key: Any, time_from: int, time_to: int | None, *, reverse: bool = False
    ) -> Iterator[Row]:
        """The rows of one key whose time lies in a range, both ends included, by time."""
        low = max(time_from, self.expiry.first_live)
        inner = self._rows.inner_bytes(key)
        first, last = self._keys.bounds(inner, low)
        for number in self.expiry.segments(low, time_to, reverse):
            prefix = segment_prefix(number)
            for row in self._table.range(prefix + first, prefix + last, reverse=reverse):
                time = self._keys.time(row[0].start, row[0].end)
                if row[0].key == key and low <= time and (time_to is None or time <= time_to):
                    yield row

    def fetch_all(self, time_from: int, time_to: int, *, expired_too: bool = False) -> list[Row]:
        """All rows whose time lies in a range, both ends included, by time, then by key bytes.

        Sessions on disk that end together come by their start, as in Kafka Streams.
        """
        low = time_from
        if not expired_too:
            low = max(time_from, self.expiry.first_live)
        found = []
        for number in self.expiry.segments(low, time_to):
            for key, row in self._table.range(segment_prefix(number), segment_prefix(number + 1)):
                time = self._keys.time(key.start, key.end)
                if low <= time <= time_to:
                    start = key.start if self._sorts_by_start else 0
                    found.append((time, start, self._rows.inner_bytes(key.key), key, row))
        found.sort(key=lambda each: each[:3])
        return [(key, row) for *_, key, row in found]

    def all(self) -> Iterator[Row]:
        """Every row that has not expired."""
        first = self.expiry.first_live
        for key, row in self._table.all():
            if self._keys.time(key.start, key.end) >= first:
                yield key, row

    def order_of(self, key: Any) -> bytes:
        """The bytes by which a key is ordered."""
        return self._rows.inner_bytes(key)

    def set_flush_listener(self, listener: FlushListener, sends_old_values: bool) -> bool:
        """True when a cache will call the listener."""
        return self._table.set_flush_listener(listener, sends_old_values)

    def flush(self) -> None:
        """Pass on what the cache holds, then have what has expired deleted."""
        self._table.flush()
        self.expiry.sweep()

    def close(self) -> None:
        """Close the layers below."""
        self._table.close()


@cython.cfunc
def _windowed(key: object, start: object, end: object) -> object:
    """`Windowed(key, start, end)`; in C its fields are set past what keeps others from it."""
    if not cython.compiled:
        return Windowed(key, start, end)
    made = _new_windowed(Windowed)
    PyObject_GenericSetAttr(made, "key", key)
    PyObject_GenericSetAttr(made, "start", start)
    PyObject_GenericSetAttr(made, "end", end)
    return made

"""What an operator or a decorated function sees of a store.

Protocols only. Keys and values are user objects; the wrappers in this package turn them into
bytes. A missing key reads as None; putting None deletes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol, TypeVar, overload

from streamkit.common.model import Headers, Windowed

K = TypeVar("K")
V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)
K_contra = TypeVar("K_contra", contravariant=True)


class ValueAndTimestamp(NamedTuple):
    """A value with the time of the record that made it, in milliseconds."""

    value: object
    timestamp: int


class KeyValue(Protocol[K_contra, V]):
    """What a function may ask for: a plain dict fits too."""

    @overload
    def get(self, key: K_contra, /) -> V | None: ...

    @overload
    def get(self, key: K_contra, default: V, /) -> V: ...

    def __getitem__(self, key: K_contra, /) -> V: ...

    def __setitem__(self, key: K_contra, value: V, /) -> None: ...

    def __delitem__(self, key: K_contra, /) -> None: ...

    def __contains__(self, key: object, /) -> bool: ...


class StateStore(Protocol):
    """The life of a store, as its task drives it."""

    @property
    def name(self) -> str: ...

    def flush(self) -> None:
        """Pass what a cache holds on to the store below and to the flush listener."""

    def close(self) -> None: ...


FlushListener = Callable[[object, object, object, int, Headers], None]
"""Called with (key, new value, old value, timestamp, headers) for each entry a cache passes on."""


class TimestampedKeyValueStore(StateStore, Protocol):
    """The store behind every table: a value and the timestamp of the record that set it."""

    def get(self, key: object, /) -> ValueAndTimestamp | None: ...

    def put(self, key: object, value: object, timestamp: int, headers: Headers = (), /) -> None: ...

    def set_flush_listener(self, listener: FlushListener, sends_old_values: bool, /) -> bool:
        """Register a listener; False when the store has no cache and so will never call it."""

    def range(
        self, low: object | None, high: object | None, *, reverse: bool = False
    ) -> Iterator[tuple[object, ValueAndTimestamp]]: ...

    def all(self) -> Iterator[tuple[object, ValueAndTimestamp]]: ...


class KeyValueStore(StateStore, Protocol[K, V]):
    """The plain key-value store of the Processor API, with mapping access and scans."""

    def get(self, key: K, default: V | None = None, /) -> V | None: ...

    def put(self, key: K, value: V | None, /) -> None: ...

    def put_if_absent(self, key: K, value: V | None, /) -> V | None:
        """Set a row unless there is one; gives the one that was there, or None."""

    def put_all(self, entries: Mapping[K, V | None] | Iterable[tuple[K, V | None]], /) -> None: ...

    def delete(self, key: K, /) -> V | None: ...

    def approximate_num_entries(self) -> int:
        """About how many rows there are; as in Kafka without those that only a cache holds."""

    def __getitem__(self, key: K, /) -> V: ...

    def __setitem__(self, key: K, value: V, /) -> None: ...

    def __delitem__(self, key: K, /) -> None: ...

    def __contains__(self, key: object, /) -> bool: ...

    def range(
        self, low: K | None, high: K | None, *, reverse: bool = False
    ) -> Iterator[tuple[K, V]]: ...

    def prefix(self, prefix: K, *, reverse: bool = False) -> Iterator[tuple[K, V]]: ...

    def all(self) -> Iterator[tuple[K, V]]: ...


class Row(Protocol[V_co]):
    """A value with the time of the record that set it, in milliseconds."""

    @property
    def value(self) -> V_co: ...

    @property
    def timestamp(self) -> int: ...


class RowWithHeaders(Row[V_co], Protocol[V_co]):
    """A row of a store of the form "headers"."""

    @property
    def headers(self) -> Headers: ...


class Version(Row[V_co], Protocol[V_co]):
    """A row as it held from `timestamp` on, until `valid_to` if another came."""

    @property
    def valid_to(self) -> int | None: ...


class TimestampedStore(Protocol[K, V]):
    """A store of the form "timestamped": a time with each value."""

    def get(self, key: K, /) -> Row[V] | None: ...

    def put(self, key: K, value: V | None, timestamp: int, /) -> None: ...

    def put_if_absent(self, key: K, value: V | None, timestamp: int, /) -> Row[V] | None:
        """Set a row unless there is one; gives the one that was there, or None."""

    def put_all(self, entries: Iterable[tuple[K, V | None, int]], /) -> None: ...

    def approximate_num_entries(self) -> int: ...

    def range(
        self, low: K | None, high: K | None, *, reverse: bool = False
    ) -> Iterator[tuple[K, Row[V]]]: ...

    def prefix(self, prefix: K, *, reverse: bool = False) -> Iterator[tuple[K, Row[V]]]: ...

    def all(self) -> Iterator[tuple[K, Row[V]]]: ...


class HeadersStore(Protocol[K, V]):
    """A store of the form "headers"; a put takes time and headers of the record in process."""

    def get(self, key: K, /) -> RowWithHeaders[V] | None: ...

    def put(
        self,
        key: K,
        value: V | None,
        timestamp: int | None = None,
        headers: Headers | None = None,
        /,
    ) -> None: ...

    def put_if_absent(
        self,
        key: K,
        value: V | None,
        timestamp: int | None = None,
        headers: Headers | None = None,
        /,
    ) -> RowWithHeaders[V] | None:
        """Set a row unless there is one; gives the one that was there, or None."""

    def put_all(
        self, entries: Iterable[tuple[K, V | None, int | None, Headers | None]], /
    ) -> None: ...

    def delete(self, key: K, /) -> RowWithHeaders[V] | None: ...

    def approximate_num_entries(self) -> int: ...

    def range(
        self, low: K | None, high: K | None, *, reverse: bool = False
    ) -> Iterator[tuple[K, RowWithHeaders[V]]]: ...

    def prefix(
        self, prefix: K, *, reverse: bool = False
    ) -> Iterator[tuple[K, RowWithHeaders[V]]]: ...

    def all(self) -> Iterator[tuple[K, RowWithHeaders[V]]]: ...


class WindowStore(Protocol[K, V]):
    """A store of the form "window": rows by key and window, for the time of its retention."""

    def get(self, key: Windowed[K], /) -> Row[V] | None: ...

    def put(self, key: Windowed[K], value: V | None, timestamp: int, /) -> None: ...

    def fetch(
        self, key: K, time_from: int, time_to: int | None, /, *, reverse: bool = False
    ) -> Iterator[tuple[Windowed[K], Row[V]]]:
        """A key's windows that begin in a range of times, both included, by their start."""

    def fetch_all(self, time_from: int, time_to: int, /) -> list[tuple[Windowed[K], Row[V]]]:
        """The windows of all keys that begin in a range of times, by time."""

    def all(self) -> Iterator[tuple[Windowed[K], Row[V]]]: ...


class SessionStore(WindowStore[K, V], Protocol[K, V]):
    """A store of the form "session": as `WindowStore`, but times are those of the ends."""

    def fetch_session(self, key: K, start: int, end: int, /) -> Row[V] | None:
        """The session of a key that begins and ends at these times, or None."""

    def remove(self, key: Windowed[K], /) -> None:
        """Delete a session."""


class VersionedStore(Protocol[K, V]):
    """A store of the form "versioned": what held at any time of its retention."""

    def get(self, key: K, as_of: int | None = None, /) -> Version[V] | None: ...

    def put(self, key: K, value: V | None, timestamp: int, /) -> int:
        """Gives the time at which the row ended, -1 for the latest, else that it was too old."""

    def delete(self, key: K, timestamp: int, /) -> Version[V] | None: ...

    def all(self) -> Iterator[tuple[K, Version[V]]]: ...

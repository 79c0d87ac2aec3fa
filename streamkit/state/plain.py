"""The key-value store of the Processor API and of decorated functions.

A face with mapping access over the store of a table, cached or not: a put carries the timestamp
of the record being processed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, Protocol, TypeVar, cast

from streamkit.common.direct import ValueAndTimestamp
from streamkit.state.cache import CachedStore, TimestampedStore
from streamkit.state.lifetimes import ExpiringStore

K = TypeVar("K")
V = TypeVar("V")


class HasTimestamp(Protocol):
    """What a store needs of the processor context."""

    @property
    def timestamp(self) -> int: ...


class PlainStore(Generic[K, V]):
    """See `KeyValueStore`."""

    __slots__ = ("_below", "_context", "name")

    def __init__(
        self, below: TimestampedStore | CachedStore | ExpiringStore, context: HasTimestamp
    ) -> None:
        self.name: str = below.name
        self._below = below
        self._context = context

    @property
    def get_count(self) -> int:
        """How often a row was looked up."""
        return self._below.get_count

    @property
    def put_count(self) -> int:
        """How often a row was put."""
        return self._below.put_count

    @property
    def stream_time(self) -> int:
        """The highest time put so far, where rows expire by it; else -1."""
        return self._below.stream_time if isinstance(self._below, ExpiringStore) else -1

    def get(self, key: K, default: V | None = None, /) -> V | None:
        found = self._below.get(key)
        return default if found is None else found.value

    def put(self, key: K, value: V | None, /) -> None:
        self._below.put(key, value, self._context.timestamp)

    def put_if_absent(self, key: K, value: V | None, /) -> V | None:
        found = self._below.get(key)
        if found is not None:
            return cast(V, found.value)
        self._below.put(key, value, self._context.timestamp)
        return None

    def put_all(self, entries: Mapping[K, V | None] | Iterable[tuple[K, V | None]], /) -> None:
        pairs = entries.items() if isinstance(entries, Mapping) else entries
        for key, value in pairs:
            self._below.put(key, value, self._context.timestamp)

    def approximate_num_entries(self) -> int:
        return self._below.approximate_num_entries()

    def delete(self, key: K, /) -> V | None:
        found = self._below.get(key)
        if found is None:
            return None
        self._below.put(key, None, self._context.timestamp)
        return cast(V, found.value)

    def __getitem__(self, key: K, /) -> V:
        found = self._below.get(key)
        if found is None:
            raise KeyError(key)
        return cast(V, found.value)

    def __setitem__(self, key: K, value: V, /) -> None:
        self._below.put(key, value, self._context.timestamp)

    def __delitem__(self, key: K, /) -> None:
        if self._below.get(key) is None:
            raise KeyError(key)
        self._below.put(key, None, self._context.timestamp)

    def __contains__(self, key: object, /) -> bool:
        return self._below.get(key) is not None

    def range(
        self, low: K | None, high: K | None, *, reverse: bool = False
    ) -> Iterator[tuple[K, V]]:
        return self._values(self._below.range(low, high, reverse=reverse))

    def prefix(self, prefix: K, *, reverse: bool = False) -> Iterator[tuple[K, V]]:
        return self._values(self._below.prefix(prefix, reverse=reverse))

    def all(self) -> Iterator[tuple[K, V]]:
        return self._values(self._below.all())

    def flush(self) -> None:
        self._below.flush()

    def close(self) -> None:
        self._below.close()

    def _values(self, entries: Iterator[tuple[K, ValueAndTimestamp]]) -> Iterator[tuple[K, V]]:
        return ((key, held.value) for key, held in entries)

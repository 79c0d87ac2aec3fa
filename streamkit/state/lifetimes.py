"""A time to live over a key-value store: rows that are too old are not found, and are deleted.

A row's age is counted in stream time, the highest time of a record so far, so that the same input
gives the same rows whenever it is processed. Each flush looks at a bounded number of
rows, round and round, and deletes those that have expired from the changelog too: restoring does
not bring them back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, Protocol

from streamkit.common.direct import ValueAndTimestamp
from streamkit.common.model import Headers
from streamkit.state.cache import CachedStore, TimestampedStore
from streamkit.state.formats import decode_value
from streamkit.state.interfaces import FlushListener
from streamkit.state.overlay import OverlayStore

SWEEP_ROWS: Final = 1_000
"""Rows that one flush looks at."""


class StreamTime(Protocol):
    """What the store needs of the processor context."""

    @property
    def stream_time(self) -> int: ...

    def drop(self, reason: str) -> None: ...


class ExpiringStore:
    """The face of a `TimestampedStore`, over one, cached or not."""

    __slots__ = (
        "_below", "_bytes", "_context", "_cursor", "_rows", "_swept_at", "name", "stream_time",
        "ttl_ms",
    )  # fmt: skip

    def __init__(
        self,
        table: TimestampedStore | CachedStore,
        below: TimestampedStore,
        store: OverlayStore,
        ttl_ms: int,
        context: StreamTime,
    ) -> None:
        self.name: str = below.name
        self.ttl_ms = ttl_ms
        self.stream_time = -1
        self._rows = table
        self._below = below
        self._bytes = store
        self._context = context
        self._cursor: bytes | None = None
        self._swept_at = -1

    @property
    def get_count(self) -> int:
        """How often a row was looked up."""
        return self._rows.get_count

    @property
    def put_count(self) -> int:
        """How often a row was put."""
        return self._rows.put_count

    def get(self, key: Any) -> ValueAndTimestamp | None:
        """The value and its timestamp, unless it has expired."""
        found = self._rows.get(key)
        return None if found is None or self._is_expired(found.timestamp) else found

    def put(self, key: Any, value: Any, timestamp: int, headers: Headers = ()) -> None:
        """Set or, with None, delete; what is too old already is dropped."""
        self._see(timestamp)
        if value is not None and self._is_expired(timestamp):
            self._context.drop(f"{self.name}: the row has expired")
            return
        self._rows.put(key, value, timestamp, headers)

    def range(
        self, low: Any | None, high: Any | None, *, reverse: bool = False
    ) -> Iterator[tuple[Any, ValueAndTimestamp]]:
        """The live rows from `low` to `high`, both included."""
        return self._live(self._rows.range(low, high, reverse=reverse))

    def prefix(
        self, prefix: Any, *, reverse: bool = False
    ) -> Iterator[tuple[Any, ValueAndTimestamp]]:
        """The live rows whose key's bytes begin with those of `prefix`."""
        return self._live(self._rows.prefix(prefix, reverse=reverse))

    def all(self) -> Iterator[tuple[Any, ValueAndTimestamp]]:
        """Every live row."""
        return self._live(self._rows.all())

    def put_if_absent(
        self, key: Any, value: Any, timestamp: int, headers: Headers = ()
    ) -> ValueAndTimestamp | None:
        """Set a row unless there is a live one; gives the one that was there, or None."""
        found = self.get(key)
        if found is None:
            self.put(key, value, timestamp, headers)
        return found

    def put_all(self, entries: Iterable[tuple[Any, Any, int]]) -> None:
        """Set many rows, or with None delete them."""
        for key, value, timestamp in entries:
            self.put(key, value, timestamp)

    def approximate_num_entries(self) -> int:
        """About how many rows there are, those included that have expired and are not deleted."""
        return self._rows.approximate_num_entries()

    def set_flush_listener(self, listener: FlushListener, sends_old_values: bool) -> bool:
        """True when a cache will call the listener."""
        return self._rows.set_flush_listener(listener, sends_old_values)

    def flush(self) -> None:
        """Pass on what the cache holds, then delete some of what has expired."""
        self._rows.flush()
        self._sweep()

    def close(self) -> None:
        """Close the layers below."""
        self._rows.close()

    def _is_expired(self, timestamp: int) -> bool:
        self._see(self._context.stream_time)
        return timestamp + self.ttl_ms <= self.stream_time

    def _see(self, time: int) -> None:
        """Its time goes on, unless the record that brought it fails."""
        if time > self.stream_time:
            if self._bytes.journal is not None:
                self._bytes.journal.append((self._set_stream_time, (self.stream_time,)))
            self.stream_time = time

    def _set_stream_time(self, time: int) -> None:
        self.stream_time = time

    def _live(
        self, rows: Iterator[tuple[Any, ValueAndTimestamp]]
    ) -> Iterator[tuple[Any, ValueAndTimestamp]]:
        for key, row in rows:
            if not self._is_expired(row.timestamp):
                yield key, row

    def _sweep(self) -> None:
        if self._cursor is None and self._swept_at == self.stream_time:
            return
        if self._cursor is None:
            self._swept_at = self.stream_time
        expired = []
        start, self._cursor = self._cursor, None
        for number, (key, data) in enumerate(self._bytes.scan(start, None)):
            if number == SWEEP_ROWS:
                self._cursor = key
                break
            if self._is_expired(decode_value(data)[1]):
                expired.append(key)
        for key in expired:
            self._below.write(key, None, self.stream_time)

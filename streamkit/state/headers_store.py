"""The header-aware key-value store: a value with its timestamp and headers (KIP-1271).

In the changelog headers are those of the record, so its format is the same as without them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol

from streamkit.common.model import Headers
from streamkit.serdes.serde import serialize_with_headers
from streamkit.state.builders import StoreBuilder
from streamkit.state.cache import ChangelogAppend, prefix_end
from streamkit.state.formats import decode_with_headers, encode_with_headers
from streamkit.state.interfaces import FlushListener
from streamkit.state.overlay import OverlayStore


class ValueTimestampHeaders(NamedTuple):
    """A value, the time of the record that made it in milliseconds, and that record's headers."""

    value: Any
    timestamp: int
    headers: Headers


class HasHeaders(Protocol):
    """What the store needs of the processor context."""

    @property
    def timestamp(self) -> int: ...
    @property
    def headers(self) -> Headers: ...


class HeadersStore:
    """See the module; a put without time or headers takes those of the record being processed."""

    __slots__ = ("_append", "_bytes", "_context", "_key", "_partition", "_topic", "_value", "name")

    def __init__(
        self,
        builder: StoreBuilder,
        store: OverlayStore,
        topic: str,
        append: ChangelogAppend | None,
        partition: int,
        context: HasHeaders,
    ) -> None:
        self.name: str = builder.name
        self._bytes = store
        self._topic = topic
        self._append = append
        self._partition = partition
        self._context = context
        self._key = builder.key_serde
        self._value = builder.value_serde

    def get(self, key: Any) -> ValueTimestampHeaders | None:
        """The row of a key, or None."""
        data = self._bytes.get(self._key_bytes(key))
        return None if data is None else self._row(data)

    def put(
        self,
        key: Any,
        value: Any,
        timestamp: int | None = None,
        headers: Headers | None = None,
    ) -> None:
        """Set or, with None, delete."""
        time = self._context.timestamp if timestamp is None else timestamp
        told = self._context.headers if headers is None else headers
        data = None
        if value is not None:
            data, told = serialize_with_headers(self._value, self._topic, value, told)
        key_bytes = self._key_bytes(key)
        self._bytes.put(key_bytes, None if data is None else encode_with_headers(data, time, told))
        if self._append is not None:
            self._append(key_bytes, data, time, told, self._partition)

    def put_if_absent(
        self,
        key: Any,
        value: Any,
        timestamp: int | None = None,
        headers: Headers | None = None,
    ) -> ValueTimestampHeaders | None:
        """Set a row unless there is one; gives the one that was there, or None."""
        found = self.get(key)
        if found is None:
            self.put(key, value, timestamp, headers)
        return found

    def put_all(self, entries: Iterable[tuple[Any, Any, int | None, Headers | None]]) -> None:
        """Set many rows, or with None delete them."""
        for key, value, timestamp, headers in entries:
            self.put(key, value, timestamp, headers)

    def approximate_num_entries(self) -> int:
        """About how many rows there are."""
        return self._bytes.approximate_count()

    def delete(self, key: Any) -> ValueTimestampHeaders | None:
        """Delete a key; what it was."""
        found = self.get(key)
        if found is not None:
            self.put(key, None)
        return found

    def range(
        self, low: Any | None, high: Any | None, *, reverse: bool = False
    ) -> Iterator[tuple[Any, ValueTimestampHeaders]]:
        """The rows from `low` to `high`, both included, in the order of their keys' bytes."""
        first = None if low is None else self._key_bytes(low)
        last = None if high is None else self._key_bytes(high) + b"\x00"
        return self._rows(first, last, reverse)

    def prefix(
        self, prefix: Any, *, reverse: bool = False
    ) -> Iterator[tuple[Any, ValueTimestampHeaders]]:
        """The rows whose key's bytes begin with those of `prefix`."""
        first = self._key_bytes(prefix)
        return self._rows(first, prefix_end(first), reverse)

    def all(self) -> Iterator[tuple[Any, ValueTimestampHeaders]]:
        """Every row."""
        return self._rows(None, None, False)

    def set_flush_listener(self, listener: FlushListener, sends_old_values: bool) -> bool:
        """False: there is no cache that would call it."""
        return False

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is held open."""

    def _rows(
        self, low: bytes | None, high: bytes | None, reverse: bool
    ) -> Iterator[tuple[Any, ValueTimestampHeaders]]:
        for key, data in self._bytes.scan(low, high, reverse):
            yield self._key.deserialize(self._topic, key, ()), self._row(data)

    def _key_bytes(self, key: Any) -> bytes:
        return self._key.serialize(self._topic, key, ()) or b""

    def _row(self, data: bytes) -> ValueTimestampHeaders:
        value, timestamp, headers = decode_with_headers(data)
        return ValueTimestampHeaders(
            self._value.deserialize(self._topic, value, headers), timestamp, headers
        )

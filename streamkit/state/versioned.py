"""The versioned store: every row with the times between which it held.

The latest row of each key lies by itself; older ones by the segment of the time at which they
ended, so that what lies beyond the history goes segment by segment. A delete is a row without a
value, or just the end of the row before it. The rules, and what is forgotten when, are those of
Kafka Streams' RocksDBVersionedStore.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from streamkit.common.model import Headers
from streamkit.serdes import Serde
from streamkit.state.builders import StoreBuilder
from streamkit.state.cache import ChangelogAppend
from streamkit.state.formats import decode_value, encode_value
from streamkit.state.interfaces import FlushListener
from streamkit.state.overlay import OverlayStore
from streamkit.state.windows import Drops

IS_LATEST = -1
NOT_PUT = -(2**63)
_LATEST = b"\x00"
_HISTORY = b"\x01"
_SEGMENT = struct.Struct(">q")
_SIZE = struct.Struct(">i")
_FROM = struct.Struct(">q")
_ENTRY = struct.Struct(">q?")
SWEEP_MAX = 10_000
"""Expired rows that one flush deletes at most."""


class VersionedRecord(NamedTuple):
    """A row with the time from which it held, and that at which it ended, if it has."""

    value: Any
    timestamp: int
    valid_to: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the history, as bytes; without a value it is a delete."""

    start: int
    end: int
    value: bytes | None


class VersionedRows:
    """The bytes of a versioned store; also what restoring one from its changelog uses."""

    def __init__(self, store: OverlayStore, history_ms: int, segment_ms: int) -> None:
        self.store = store
        self._history_ms = history_ms
        self._segment_ms = segment_ms
        self._segments = list(_segments(store))
        # What is in the newest segment ended when this was the time, at the earliest.
        self.stream_time = self._segments[-1] * segment_ms if self._segments else -1

    def is_too_old(self, timestamp: int) -> bool:
        """Whether a put at this time is refused; the history is the grace."""
        return timestamp < self.stream_time - self._history_ms

    def put(self, key: bytes, value: bytes | None, timestamp: int) -> int:
        """Put a row in its place; the time at which it ends, IS_LATEST, or NOT_PUT."""
        if self.is_too_old(timestamp):
            return NOT_PUT
        if timestamp > self.stream_time:
            self._see(timestamp)
        latest = self.latest(key)
        if latest is not None and timestamp >= latest[1]:
            if timestamp > latest[1]:
                self._put_entry(key, Entry(latest[1], timestamp, latest[0]))
            self._put_latest(key, value, timestamp)
            return IS_LATEST
        entries = self._entries(key, timestamp)
        for entry in entries:
            if entry.start <= timestamp < entry.end:
                return self._split(key, entry, value, timestamp)
        later = [entry.start for entry in entries if entry.start > timestamp]
        if latest is not None:
            later.append(latest[1])
        if later:
            self._put_entry(key, Entry(timestamp, min(later), value))
            return min(later)
        if value is not None:
            self._put_latest(key, value, timestamp)
        elif all(entry.end != timestamp for entry in entries):
            self._put_entry(key, Entry(timestamp, timestamp, None))
        return IS_LATEST

    def _see(self, timestamp: int) -> None:
        if self.store.journal is not None:
            self.store.journal.append((self._set_stream_time, (self.stream_time,)))
        self.stream_time = timestamp

    def _set_stream_time(self, timestamp: int) -> None:
        self.stream_time = timestamp

    def latest(self, key: bytes) -> tuple[bytes, int] | None:
        """The row that holds now."""
        data = self.store.get(_LATEST + key)
        return None if data is None else decode_value(data)

    def at(self, key: bytes, timestamp: int) -> Entry | tuple[bytes, int] | None:
        """The row that held at a time: from the history, or the latest."""
        latest = self.latest(key)
        if latest is not None and latest[1] <= timestamp:
            return latest
        if self.is_too_old(timestamp):
            return None
        for entry in self._entries(key, timestamp):
            if entry.start <= timestamp < entry.end:
                return entry
        return None

    def versions(
        self, key: bytes, time_from: int, time_to: int | None
    ) -> list[Entry | tuple[bytes, int]]:
        """The rows of a key that held at any time of a range, both ends included, by time."""
        history = [
            entry
            for entry in self._entries(key, time_from)
            if entry.end > max(entry.start, time_from)
            and (time_to is None or entry.start <= time_to)
        ]
        history.sort(key=lambda entry: entry.start)
        found: list[Entry | tuple[bytes, int]] = [*history]
        latest = self.latest(key)
        if latest is not None and (time_to is None or latest[1] <= time_to):
            found.append(latest)
        return found

    def all(self) -> Iterator[tuple[bytes, Entry | tuple[bytes, int]]]:
        """Every row that is kept, by key, then time; the latest last."""
        rows: list[tuple[bytes, int, int, Entry | tuple[bytes, int]]] = []
        for number in self._segments_from(self._first_live):
            for place, data in self.store.scan(_history(number), _history(number + 1)):
                key, entry = _entry(place, data)
                if entry.value is not None:
                    rows.append((key, 0, entry.start, entry))
        for place, data in self.store.scan(_LATEST, _HISTORY):
            rows.append((place[1:], 1, 0, decode_value(data)))
        rows.sort(key=lambda row: row[:3])
        return ((row[0], row[3]) for row in rows)

    def sweep(self) -> None:
        """Delete some of what lies beyond the history."""
        del self._segments[: bisect_left(self._segments, self._first_live)]
        expired = self.store.scan(_HISTORY, _history(self._first_live))
        for place, _ in [entry for entry, _ in zip(expired, range(SWEEP_MAX), strict=False)]:
            self.store.put(place, None)

    def _segments_from(self, number: int) -> list[int]:
        """The numbers of the segments that may hold rows, from one on."""
        return self._segments[bisect_left(self._segments, number) :]

    @property
    def _first_live(self) -> int:
        return max(self.stream_time - self._history_ms, 0) // self._segment_ms

    def _split(self, key: bytes, entry: Entry, value: bytes | None, timestamp: int) -> int:
        """Put a row between an older one and what ended that."""
        self.store.put(self._place(key, entry), None)
        if entry.start < timestamp:
            self._put_entry(key, Entry(entry.start, timestamp, entry.value))
        self._put_entry(key, Entry(timestamp, entry.end, value))
        return entry.end

    def _entries(self, key: bytes, timestamp: int) -> list[Entry]:
        """The rows of a key in the live segments that end at a time or later."""
        first = max(max(timestamp, 0) // self._segment_ms, self._first_live)
        found = []
        for number in self._segments_from(first):
            low = _history(number) + _SIZE.pack(len(key)) + key
            for place, data in self.store.scan(low, low + b"\xff" * (_FROM.size + 1)):
                found.append(_entry(place, data)[1])
        return found

    def _put_entry(self, key: bytes, entry: Entry) -> None:
        number = entry.end // self._segment_ms
        if number < self._first_live:
            return
        at = bisect_left(self._segments, number)
        if self._segments[at : at + 1] != [number]:
            self._segments.insert(at, number)
        data = _ENTRY.pack(entry.end, entry.value is not None) + (entry.value or b"")
        self.store.put(self._place(key, entry), data)

    def _put_latest(self, key: bytes, value: bytes | None, timestamp: int) -> None:
        self.store.put(_LATEST + key, None if value is None else encode_value(value, timestamp))

    def _place(self, key: bytes, entry: Entry) -> bytes:
        number = entry.end // self._segment_ms
        return _history(number) + _SIZE.pack(len(key)) + key + _FROM.pack(entry.start)


class VersionedStore:
    """Rows by key and time; a table's store, and one for processors."""

    def __init__(
        self,
        builder: StoreBuilder,
        store: OverlayStore,
        topic: str,
        log: ChangelogAppend | None,
        partition: int,
        context: Drops,
    ) -> None:
        self.name = builder.name
        self._rows = VersionedRows(store, builder.retention_ms, builder.segment_ms)
        self._topic = topic
        self._log = log
        self._partition = partition
        self._context = context
        self._key_serde: Serde[Any] = builder.key_serde
        self._value_serde: Serde[Any] = builder.value_serde

    @property
    def stream_time(self) -> int:
        """The highest time put so far."""
        return self._rows.stream_time

    def get(self, key: Any, as_of: int | None = None, /) -> VersionedRecord | None:
        """The row that holds now, or that held at a time in the history."""
        place = self._key_bytes(key)
        found = self._rows.latest(place) if as_of is None else self._rows.at(place, as_of)
        return None if found is None else self._record(found)

    def put(self, key: Any, value: Any, timestamp: int, headers: Headers = (), /) -> int:
        """Put a row, or with None a delete, in its place in the history.

        Gives the time at which it ended, -1 when it is the latest, and `NOT_PUT` when it is older
        than the history.
        """
        data = None if value is None else self._value_serde.serialize(self._topic, value, headers)
        place = self._key_bytes(key)
        code = self._rows.put(place, data, timestamp)
        if code == NOT_PUT:
            self._context.drop(f"{self.name}: older than the history")
        if self._log is not None:
            self._log(place, data, timestamp, (), self._partition)
        return code

    def delete(self, key: Any, timestamp: int, /) -> VersionedRecord | None:
        """Put a delete; gives the row that held at that time."""
        place = self._key_bytes(key)
        found = None if self._rows.is_too_old(timestamp) else self._rows.at(place, timestamp)
        self.put(key, None, timestamp)
        return None if found is None else self._record(found)

    def all(self) -> Iterator[tuple[Any, VersionedRecord]]:
        """Every row that is kept, by key bytes, then time; deletes are not among them."""
        for place, found in self._rows.all():
            record = self._record(found)
            if record is not None:
                yield self._key_serde.deserialize(self._topic, place, ()), record

    def set_flush_listener(self, listener: FlushListener, sends_old_values: bool) -> bool:
        """False: there is no cache over versions."""
        return False

    def flush(self) -> None:
        """Delete some of what lies beyond the history."""
        self._rows.sweep()

    def close(self) -> None:
        """Nothing is held open."""

    def _key_bytes(self, key: Any) -> bytes:
        return self._key_serde.serialize(self._topic, key, ()) or b""

    def _record(self, found: Entry | tuple[bytes, int]) -> VersionedRecord | None:
        if isinstance(found, Entry):
            if found.value is None:
                return None
            value = self._value_serde.deserialize(self._topic, found.value, ())
            return VersionedRecord(value, found.start, found.end)
        return VersionedRecord(self._value_serde.deserialize(self._topic, found[0], ()), found[1])


def _history(number: int) -> bytes:
    return _HISTORY + _SEGMENT.pack(number)


def _entry(place: bytes, data: bytes) -> tuple[bytes, Entry]:
    key = place[len(_HISTORY) + _SEGMENT.size + _SIZE.size : -_FROM.size]
    start = _FROM.unpack(place[-_FROM.size :])[0]
    end, has_value = _ENTRY.unpack_from(data)
    return key, Entry(start, end, data[_ENTRY.size :] if has_value else None)


def _segments(store: OverlayStore) -> Iterator[int]:
    """The numbers of the segments that hold rows, in rising order."""
    low = _HISTORY
    while (entry := next(store.scan(low, None), None)) is not None:
        number = int(_SEGMENT.unpack_from(entry[0], len(_HISTORY))[0])
        yield number
        low = _history(number + 1)

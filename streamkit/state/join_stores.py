"""The stores of stream-stream joins.

`JoinWindowStore` keeps every record of one side for as long as a partner may come; records of one
key and time lie side by side, told apart by a sequence number. `UnmatchedStore` keeps the records
that a left or outer join has found no partner for yet, in the order of time; both sides share it.
Keys in the changelogs, and the values of `UnmatchedStore`, are those of Kafka Streams.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from streamkit.common.errors import TaskCorruptedError
from streamkit.common.model import Headers
from streamkit.state.builders import StoreBuilder
from streamkit.state.cache import ChangelogAppend
from streamkit.state.expiry import Expiry
from streamkit.state.formats import decode_value, encode_value
from streamkit.state.overlay import OverlayStore
from streamkit.state.plain import HasTimestamp
from streamkit.state.window_keys import SEGMENT_SIZE, WindowKeys, segment_ms, segment_prefix
from streamkit.state.windows import Drops

LONG_MAX = 2**63 - 1
_SEQUENCE_MASK = 0x7FFFFFFF
_KEY = struct.Struct(">q?")
_LIST = struct.Struct(">bi")
_VARIABLE_SIZE = 1
_SIZE = struct.Struct(">i")


class JoinWindowStore:
    """The records of one side of a join, by key and time; equal ones are all kept."""

    def __init__(
        self,
        builder: StoreBuilder,
        store: OverlayStore,
        topic: str,
        log: ChangelogAppend | None,
        partition: int,
        context: Drops,
    ) -> None:
        span = segment_ms(builder.retention_ms)
        self.name = builder.name
        self._store = store
        self._topic = topic
        self._log = log
        self._partition = partition
        self._context = context
        self._key_serde = builder.key_serde
        self._value_serde = builder.value_serde
        self._keys = WindowKeys(builder.window_ms, span)
        self._persistent = builder.persistent
        self.window_ms = builder.window_ms
        self._sequence = 0
        self._expiry = Expiry(
            store, span, builder.retention_ms, drops_by_segment=builder.persistent
        )

    def put(self, key: Any, value: Any, time: int, headers: Headers = ()) -> None:
        """Add a record; one that has expired is dropped, one without a value is not kept."""
        if value is None and self._persistent:
            return
        is_taken = self._expiry.try_take(time)
        if not is_taken:
            self._context.drop(f"{self.name}: the record has expired")
        if value is None:
            return
        logged, stored = self._free_key(self._key_bytes(key), time)
        data = self._value_serde.serialize(self._topic, value, headers)
        if data is not None and is_taken:
            self._store.put(stored, encode_value(data, time))
        if self._log is not None:
            self._log(logged, data, time, headers, self._partition)

    def fetch(self, key: Any, time_from: int, time_to: int) -> Iterator[tuple[int, Any]]:
        """Time and value of the records of a key, both ends included, by time."""
        low = max(time_from, self._expiry.first_live)
        inner = self._key_bytes(key)
        first, last = self._keys.bounds(inner, low)
        for number in self._expiry.segments(low, time_to):
            prefix = segment_prefix(number)
            for stored, data in self._store.scan(prefix + first, prefix + last):
                found, time, _ = self._keys.parts(stored[SEGMENT_SIZE:])
                if found == inner and low <= time <= time_to:
                    yield time, self._value(data)

    def all(self) -> Iterator[tuple[Any, int, Any]]:
        """Key, time and value of every record that has not expired, by key, then time."""
        rows = []
        for stored, data in self._store.scan(None, None):
            key, time, _ = self._keys.parts(stored[SEGMENT_SIZE:])
            if time >= self._expiry.first_live:
                rows.append((key, time, stored, data))
        for key, time, _, data in sorted(rows):
            yield self._key_serde.deserialize(self._topic, key, ()), time, self._value(data)

    def flush(self) -> None:
        """Delete some of what has expired."""
        self._expiry.sweep()

    def close(self) -> None:
        """Nothing is held open."""

    def _key_bytes(self, key: Any) -> bytes:
        return self._key_serde.serialize(self._topic, key, ()) or b""

    def _value(self, data: bytes) -> Any:
        return self._value_serde.deserialize(self._topic, decode_value(data)[0], ())

    def _free_key(self, key: bytes, time: int) -> tuple[bytes, bytes]:
        """The next sequence number that is free: after a restart they begin anew."""
        prefix = segment_prefix(time // self._keys.segment_ms)
        while True:
            self._sequence = (self._sequence + 1) & _SEQUENCE_MASK
            logged = self._keys.logged(key, time, time, self._sequence)
            if self._store.get(prefix + logged) is None:
                return logged, prefix + logged


class UnmatchedStore:
    """Records without a partner so far, by time, side and key; and the time both sides share.

    `is_left` says which side a record is of. `min_time` is at most the time of the first record.
    """

    def __init__(
        self,
        builder: StoreBuilder,
        store: OverlayStore,
        topic: str,
        log: ChangelogAppend | None,
        partition: int,
        context: HasTimestamp,
    ) -> None:
        self.name = builder.name
        self.stream_time = -1
        self.min_time = LONG_MAX
        self.next_emit_ms = 0
        self._store = store
        self._topic = topic
        self._log = log
        self._partition = partition
        self._context = context
        self._key_serde = builder.key_serde
        self._value_serde = builder.value_serde

    def see(self, time: int) -> None:
        """The time that both sides have seen goes on, unless the record that brought it fails."""
        if time > self.stream_time:
            self.note()
            self.stream_time = time

    def note(self) -> None:
        """Should the record in process fail, the times are to be what they are now."""
        if self._store.journal is not None:
            times = self.stream_time, self.min_time, self.next_emit_ms
            self._store.journal.append((self._set_times, times))

    def _set_times(self, stream_time: int, min_time: int, next_emit_ms: int) -> None:
        self.stream_time, self.min_time, self.next_emit_ms = stream_time, min_time, next_emit_ms

    def add(self, key: Any, is_left: bool, time: int, value: Any) -> None:
        """Keep one more record."""
        place = self._place(key, is_left, time)
        data = self._value_serde.serialize(self._topic, (is_left, value), ())
        held = self._store.get(place)
        items = [] if held is None else decode_list(decode_value(held)[0])
        self._write(place, encode_list([*items, data or b""]))
        if time < self.min_time:
            self.note()
            self.min_time = time

    def discard(self, key: Any, is_left: bool, time: int) -> None:
        """Forget the records of a key, side and time, if there are any."""
        place = self._place(key, is_left, time)
        if self._store.get(place) is not None:
            self._write(place, None)

    def all(self) -> Iterator[tuple[Any, bool, int, Any]]:
        """Key, side, time and value of each record, by time; the right side first."""
        for place, held in self._store.scan(None, None):
            time, is_left = _KEY.unpack_from(place)
            key = self._key_serde.deserialize(self._topic, place[_KEY.size :], ())
            for item in decode_list(decode_value(held)[0]):
                value = self._value_serde.deserialize(self._topic, item, ())[1]
                yield key, is_left, time, value

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is held open."""

    def _place(self, key: Any, is_left: bool, time: int) -> bytes:
        inner = self._key_serde.serialize(self._topic, key, ()) or b""
        return _KEY.pack(time, is_left) + inner

    def _write(self, place: bytes, data: bytes | None) -> None:
        timestamp = self._context.timestamp
        self._store.put(place, None if data is None else encode_value(data, timestamp))
        if self._log is not None:
            self._log(place, data, timestamp, (), self._partition)


def encode_list(items: list[bytes]) -> bytes:
    """Bytes as Kafka's ListSerializer writes them."""
    parts = [_LIST.pack(_VARIABLE_SIZE, len(items))]
    for item in items:
        parts += [_SIZE.pack(len(item)), item]
    return b"".join(parts)


def decode_list(data: bytes) -> list[bytes]:
    """What `encode_list` wrote. Raises TaskCorruptedError."""
    strategy, count = _LIST.unpack_from(data)
    if strategy != _VARIABLE_SIZE:
        raise TaskCorruptedError(f"a list of unmatched records has the strategy {strategy}")
    items, at = [], _LIST.size
    for _ in range(count):
        size = _SIZE.unpack_from(data, at)[0]
        items.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return items

"""The buffer of a stream-table join with grace: records by time, until the grace is over.

Keys and values in the changelog are those of Kafka Streams' RocksDBTimeOrderedKeyValueBuffer:
a zero byte, time, key and sequence number; record context and value.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from streamkit.common.model import Headers
from streamkit.serdes import Serde
from streamkit.state.builders import StoreBuilder
from streamkit.state.cache import ChangelogAppend
from streamkit.state.formats import decode_value, encode_value
from streamkit.state.overlay import OverlayStore
from streamkit.state.suppress_buffer import (
    Buffered,
    Current,
    Origin,
    decode_buffered,
    encode_buffered,
)

LONG_MAX = 2**63 - 1
_PREFIX = struct.Struct(">bq")
_SEQUENCE = struct.Struct(">i")
_SEQUENCE_MASK = 0x7FFFFFFF


@dataclass(frozen=True, slots=True)
class Waiting:
    """A record whose grace is over; `place` takes it out."""

    place: bytes
    key: Any
    value: Any
    origin: Origin


class TimeBuffer:
    """Records in the order of their times; `retention_ms` of the builder is the grace."""

    def __init__(
        self,
        builder: StoreBuilder,
        store: OverlayStore,
        topic: str,
        log: ChangelogAppend | None,
        partition: int,
        context: Current,
    ) -> None:
        self.name = builder.name
        self._store = store
        self._topic = topic
        self._log = log
        self._partition = partition
        self._context = context
        self._grace_ms = builder.retention_ms
        self._key_serde: Serde[Any] = builder.key_serde
        self._value_serde: Serde[Any] = builder.value_serde
        self._stream_time = -1
        self._first_due = 0
        self._sequence = 0

    def try_put(self, key: Any, value: Any, timestamp: int, headers: Headers) -> bool:
        """Keep a record; False when it comes after its grace already."""
        if timestamp < self._stream_time - self._grace_ms:
            return False
        self.see(timestamp)
        here = self._context
        origin = Origin(timestamp, here.offset, here.topic, here.partition, headers)
        inner = self._key_serde.serialize(self._topic, key, headers) or b""
        data = self._value_serde.serialize(self._topic, value, headers)
        place = self._free_place(inner, timestamp)
        self._write(place, encode_buffered(Buffered(None, None, data, origin), 0))
        self._first_due = min(self._first_due, timestamp)
        return True

    def see(self, time: int) -> None:
        """Its time goes on, unless the record that brought it fails."""
        if self._store.journal is not None:
            self._store.journal.append((self._set_times, (self._stream_time, self._first_due)))
        self._stream_time = max(self._stream_time, time)

    def _set_times(self, stream_time: int, first_due: int) -> None:
        self._stream_time, self._first_due = stream_time, first_due

    def due(self) -> Iterator[Waiting]:
        """The records whose grace is over, by time; take each out with `remove`."""
        end = self._stream_time - self._grace_ms
        if self._first_due > end:
            return
        for place, held in self._store.scan(_PREFIX.pack(0, 0), _PREFIX.pack(0, end + 1)):
            buffered, _ = decode_buffered(decode_value(held)[0])
            inner = place[_PREFIX.size : -_SEQUENCE.size]
            value = None
            if buffered.new is not None:
                value = self._value_serde.deserialize(self._topic, buffered.new, ())
            key = self._key_serde.deserialize(self._topic, inner, ())
            yield Waiting(place, key, value, buffered.origin)
        self._first_due = end + 1

    def remove(self, place: bytes) -> None:
        """Take a record out."""
        self._write(place, None)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is held open."""

    def _free_place(self, key: bytes, timestamp: int) -> bytes:
        while True:
            self._sequence = (self._sequence + 1) & _SEQUENCE_MASK
            place = _PREFIX.pack(0, timestamp) + key + _SEQUENCE.pack(self._sequence)
            if self._store.get(place) is None:
                return place

    def _write(self, place: bytes, data: bytes | None) -> None:
        now_ms = self._context.wall_time_ms()
        self._store.put(place, None if data is None else encode_value(data, now_ms))
        if self._log is not None:
            self._log(place, data, now_ms, (), self._partition)

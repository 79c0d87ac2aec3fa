"""The buffer of `suppress()`: the latest change of each key, by the time at which it is due.

A key keeps its place from its first change until it is evicted. What is buffered lies in memory,
in the format of Kafka Streams' changelog (version 3: record context, prior, old and new value,
time); changes reach the changelog with a flush, one for each key.
"""

from __future__ import annotations

import heapq
import struct
from dataclasses import dataclass
from typing import Any, Protocol

from streamkit.common.model import Headers
from streamkit.state.builders import StoreBuilder
from streamkit.state.cache import ChangelogAppend
from streamkit.state.formats import decode_value, encode_value
from streamkit.state.overlay import OverlayStore

LONG_MAX = 2**63 - 1
CHANGELOG_HEADERS: Headers = (("v", b"\x03"),)
_TIMES = struct.Struct(">qq")
_LONG = struct.Struct(">q")
_INT = struct.Struct(">i")
_NULL = -1
_SAME_AS_PRIOR = -2


class Current(Protocol):
    """What the buffer needs of the processor context: the clock, and the record in process."""

    @property
    def topic(self) -> str: ...

    @property
    def partition(self) -> int: ...

    @property
    def offset(self) -> int: ...

    def wall_time_ms(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a buffered change came from."""

    timestamp: int
    offset: int
    topic: str
    partition: int
    headers: Headers

    @property
    def size_bytes(self) -> int:
        """Its size as Kafka Streams estimates it."""
        headers = sum(len(name) + len(value or b"") for name, value in self.headers)
        return 8 + 8 + len(self.topic) + 4 + headers


@dataclass(frozen=True, slots=True)
class Buffered:
    """A change of a key; `prior` is what downstream last saw of the key."""

    prior: bytes | None
    old: bytes | None
    new: bytes | None
    origin: Origin

    @property
    def size_bytes(self) -> int:
        """Its size as Kafka Streams estimates it."""
        old = 0 if self.old is None or self.old == self.prior else len(self.old)
        return len(self.prior or b"") + old + len(self.new or b"") + self.origin.size_bytes


@dataclass(frozen=True, slots=True)
class Due:
    """The change that is due first."""

    key: Any
    new: Any
    old: Any
    origin: Origin


class SuppressBuffer:
    """See the module."""

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
        self.size_bytes = 0
        self._store = store
        self._topic = topic
        self._log = log
        self._partition = partition
        self._context = context
        self._key_serde = builder.key_serde
        self._value_serde = builder.value_serde
        self._held: dict[bytes, Buffered] = {}
        self._order: list[tuple[int, bytes]] = []
        self._times: dict[bytes, int] = {}
        self._dirty: dict[bytes, None] = {}
        for key, data in store.scan(None, None):
            buffered, time = decode_buffered(decode_value(data)[0])
            self._hold(key, buffered, time)

    @property
    def records(self) -> int:
        """How many keys are buffered."""
        return len(self._held)

    @property
    def min_time(self) -> int:
        """When the first change is due."""
        return self._order[0][0] if self._order else LONG_MAX

    def put(
        self, key: Any, new: Any, old: Any, time: int, timestamp: int, headers: Headers
    ) -> None:
        """Buffer a change in place of an earlier one of its key."""
        here = self._context
        origin = Origin(timestamp, here.offset, here.topic, here.partition, headers)
        place = self._key_serde.serialize(self._topic, key, origin.headers) or b""
        old_bytes = self._to_bytes(old, origin)
        before = self._held.get(place)
        prior = old_bytes if before is None else before.prior
        buffered = Buffered(prior, old_bytes, self._to_bytes(new, origin), origin)
        self._note(place)
        self._hold(place, buffered, time)
        data = encode_buffered(buffered, self._times[place])
        self._store.put(place, encode_value(data, origin.timestamp))
        self._dirty[place] = None

    def first(self) -> Due:
        """The change that is due first; `evict` takes it out."""
        place = self._order[0][1]
        buffered = self._held[place]
        return Due(
            self._key_serde.deserialize(self._topic, place, ()),
            self._to_object(buffered.new),
            self._to_object(buffered.old),
            buffered.origin,
        )

    def evict(self) -> None:
        """Take the first change out."""
        self._note(self._order[0][1])
        _, place = heapq.heappop(self._order)
        del self._times[place]
        self.size_bytes -= _size(place, self._held.pop(place))
        self._store.put(place, None)
        self._dirty[place] = None

    def prior(self, key: Any) -> tuple[Any, int] | None:
        """What downstream last saw of a key that is buffered, without a time; None for others."""
        place = self._key_serde.serialize(self._topic, key, ()) or b""
        held = self._held.get(place)
        return None if held is None else (self._to_object(held.prior), -1)

    def flush(self) -> None:
        """Log the keys that changed."""
        if self._log is not None:
            for place in self._dirty:
                self._log_key(place, self._log)
        self._dirty.clear()

    def close(self) -> None:
        """Nothing is held open."""

    def _note(self, place: bytes) -> None:
        """What must be undone when the record in process fails."""
        journal = self._store.journal
        if journal is not None:
            was = place, self._held.get(place), self._times.get(place, 0)
            journal.append((self._undo, was))

    def _undo(self, place: bytes, held: Buffered | None, time: int) -> None:
        now = self._held.pop(place, None)
        if now is not None:
            self.size_bytes -= _size(place, now)
            self._order.remove((self._times.pop(place), place))
            heapq.heapify(self._order)
        if held is not None:
            self._hold(place, held, time)

    def _log_key(self, place: bytes, append: ChangelogAppend) -> None:
        held, now_ms = self._held.get(place), self._context.wall_time_ms()
        if held is None:
            append(place, None, now_ms, (), self._partition)
            return
        data = encode_buffered(held, self._times[place])
        append(place, data, now_ms, CHANGELOG_HEADERS, self._partition)

    def _hold(self, place: bytes, buffered: Buffered, time: int) -> None:
        before = self._held.get(place)
        if before is None:
            self._times[place] = time
            heapq.heappush(self._order, (time, place))
        else:
            self.size_bytes -= _size(place, before)
        self._held[place] = buffered
        self.size_bytes += _size(place, buffered)

    def _to_bytes(self, value: Any, origin: Origin) -> bytes | None:
        if value is None:
            return None
        return self._value_serde.serialize(self._topic, value, origin.headers)

    def _to_object(self, data: bytes | None) -> Any:
        return None if data is None else self._value_serde.deserialize(self._topic, data, ())


def encode_buffered(buffered: Buffered, time: int) -> bytes:
    """A changelog value."""
    origin, prior, old = buffered.origin, buffered.prior, buffered.old
    parts = [_TIMES.pack(origin.timestamp, origin.offset), _sized(origin.topic.encode())]
    parts += [_INT.pack(origin.partition), _INT.pack(len(origin.headers))]
    for name, value in origin.headers:
        parts += [_sized(name.encode()), _sized(value)]
    is_same = old is not None and old == prior
    parts += [_sized(prior), _INT.pack(_SAME_AS_PRIOR) if is_same else _sized(old)]
    return b"".join([*parts, _sized(buffered.new), _LONG.pack(time)])


def decode_buffered(data: bytes) -> tuple[Buffered, int]:
    """What `encode_buffered` wrote."""
    reader = _Reader(data, _TIMES.size)
    timestamp, offset = _TIMES.unpack_from(data)
    topic = (reader.sized() or b"").decode()
    partition, count = reader.number(), reader.number()
    headers = tuple(((reader.sized() or b"").decode(), reader.sized()) for _ in range(count))
    prior = reader.sized()
    size = reader.number()
    old = prior if size == _SAME_AS_PRIOR else reader.of_size(size)
    new = reader.sized()
    origin = Origin(timestamp, offset, topic, partition, headers)
    return Buffered(prior, old, new, origin), _LONG.unpack_from(data, reader.at)[0]


@dataclass(slots=True)
class _Reader:
    data: bytes
    at: int

    def number(self) -> int:
        number: int = _INT.unpack_from(self.data, self.at)[0]
        self.at += _INT.size
        return number

    def sized(self) -> bytes | None:
        return self.of_size(self.number())

    def of_size(self, size: int) -> bytes | None:
        if size == _NULL:
            return None
        self.at += size
        return self.data[self.at - size : self.at]


def _sized(data: bytes | None) -> bytes:
    return _INT.pack(_NULL) if data is None else _INT.pack(len(data)) + data


def _size(place: bytes, buffered: Buffered) -> int:
    return 8 + len(place) + buffered.size_bytes

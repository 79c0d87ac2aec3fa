"""Windowed keys as bytes, as Java's serdes for windowed keys (WindowedSerdes) write them.

As in Java the serde of the key itself is given no headers.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from streamkit.common.errors import SerializationError
from streamkit.common.model import Headers, Windowed
from streamkit.serdes.lookup import serde_for
from streamkit.serdes.serde import Serde, for_keys

K = TypeVar("K")

_START = struct.Struct(">q")
_SESSION = struct.Struct(">qq")
_LONG_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class TimeWindowedSerde:
    """The key and the window's start; a reader must know the size, in milliseconds."""

    inner: Serde[Any]
    size_ms: int

    def for_keys(self) -> TimeWindowedSerde:
        """With keys inside."""
        return TimeWindowedSerde(for_keys(self.inner), self.size_ms)

    def serialize(self, topic: str, value: Windowed[Any], headers: Headers, /) -> bytes:
        key = self.inner.serialize(topic, _windowed(topic, value).key, ()) or b""
        return key + _START.pack(value.start)

    def deserialize(self, topic: str, data: bytes, headers: Headers, /) -> Windowed[Any]:
        if len(data) < _START.size:
            raise SerializationError(f"topic {topic}: {len(data)} bytes are no windowed key")
        start = _START.unpack(data[-_START.size :])[0]
        key = self.inner.deserialize(topic, data[: -_START.size], ())
        return Windowed(key, start, min(start + self.size_ms, _LONG_MAX))


@dataclass(frozen=True, slots=True)
class VaryingWindowedSerde:
    """The same bytes, where the start says when a window ends: windows are of any size."""

    inner: Serde[Any]
    end_of: Callable[[int], int]

    def for_keys(self) -> VaryingWindowedSerde:
        """With keys inside."""
        return VaryingWindowedSerde(for_keys(self.inner), self.end_of)

    def serialize(self, topic: str, value: Windowed[Any], headers: Headers, /) -> bytes:
        key = self.inner.serialize(topic, _windowed(topic, value).key, ()) or b""
        return key + _START.pack(value.start)

    def deserialize(self, topic: str, data: bytes, headers: Headers, /) -> Windowed[Any]:
        read = TimeWindowedSerde(self.inner, 0).deserialize(topic, data, headers)
        return Windowed(read.key, read.start, self.end_of(read.start))


@dataclass(frozen=True, slots=True)
class SessionWindowedSerde:
    """The key, the session's end, and its start."""

    inner: Serde[Any]

    def for_keys(self) -> SessionWindowedSerde:
        """With keys inside."""
        return SessionWindowedSerde(for_keys(self.inner))

    def serialize(self, topic: str, value: Windowed[Any], headers: Headers, /) -> bytes:
        key = self.inner.serialize(topic, _windowed(topic, value).key, ()) or b""
        return key + _SESSION.pack(value.end, value.start)

    def deserialize(self, topic: str, data: bytes, headers: Headers, /) -> Windowed[Any]:
        if len(data) < _SESSION.size:
            raise SerializationError(f"topic {topic}: {len(data)} bytes are no session key")
        end, start = _SESSION.unpack(data[-_SESSION.size :])
        return Windowed(self.inner.deserialize(topic, data[: -_SESSION.size], ()), start, end)


def time_windowed(
    key: type[K] | Serde[K], size_ms: int | Callable[[int], int]
) -> Serde[Windowed[K]]:
    """Keys of time windows, for the topic that a windowed table is written to.

    Bytes hold the start only, so a reader must know the size: `sk.tumbling("1m").size_ms`, or a
    function that gives a window's end by its start.
    """
    if callable(size_ms):
        return VaryingWindowedSerde(serde_for(key), size_ms)
    return TimeWindowedSerde(serde_for(key), size_ms)


def session_windowed(key: type[K] | Serde[K]) -> Serde[Windowed[K]]:
    """Keys of sessions, for the topic that a table of sessions is written to."""
    return SessionWindowedSerde(serde_for(key))


def _windowed(topic: str, value: Any) -> Windowed[Any]:
    if not isinstance(value, Windowed):
        raise SerializationError(f"topic {topic}: the serde takes a Windowed, not {value!r:.80}")
    return value

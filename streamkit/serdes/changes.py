"""Changes of a table as bytes: what travels to the aggregate of its groups (KIP-904).

old value, 0 · new value, 1 · varint length of the new value, new value, old value, 2
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from streamkit.common.errors import SerializationError
from streamkit.common.model import Headers
from streamkit.serdes.serde import Serde, writes_headers

_OLD, _NEW, _BOTH = 0, 1, 2


@dataclass(frozen=True, slots=True)
class ChangeSerde:
    """Pairs (new, old), one of which may be None, by the serde of the values."""

    inner: Serde[Any]

    @property
    def writes_headers(self) -> bool:
        """As the serde of the values."""
        return writes_headers(self.inner)

    def serialize(self, topic: str, value: tuple[Any, Any], headers: Headers, /) -> bytes:
        new, old = value
        if new is None and old is None:
            raise SerializationError(f"topic {topic}: a change has neither a new nor an old value")
        if old is None:
            return self._bytes(topic, new, headers) + bytes([_NEW])
        if new is None:
            return self._bytes(topic, old, headers) + bytes([_OLD])
        data = self._bytes(topic, new, headers)
        return _varint(len(data)) + data + self._bytes(topic, old, headers) + bytes([_BOTH])

    def deserialize(self, topic: str, data: bytes, headers: Headers, /) -> tuple[Any, Any]:
        kind, body = data[-1], data[:-1]
        if kind == _NEW:
            return self.inner.deserialize(topic, body, headers), None
        if kind == _OLD:
            return None, self.inner.deserialize(topic, body, headers)
        if kind != _BOTH:
            raise SerializationError(f"topic {topic}: a change of the unknown kind {kind}")
        size, start = _read_varint(body)
        new = self.inner.deserialize(topic, body[start : start + size], headers)
        return new, self.inner.deserialize(topic, body[start + size :], headers)

    def _bytes(self, topic: str, value: Any, headers: Headers) -> bytes:
        return self.inner.serialize(topic, value, headers) or b""


def _varint(number: int) -> bytes:
    """A length as Kafka writes it: zig-zag, seven bits at a time, the lowest first."""
    rest = number << 1
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def _read_varint(data: bytes) -> tuple[int, int]:
    number = shift = index = 0
    while True:
        byte = data[index]
        number |= (byte & 0x7F) << shift
        index += 1
        if byte < 0x80:
            return number >> 1, index
        shift += 7

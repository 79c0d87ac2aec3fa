"""Keys of windowed stores as bytes.

In the changelog a key is as Kafka Streams writes it: key, start, sequence number for windows;
key, end, start for sessions. In the store the number of its segment comes first, so that what
has expired lies at the front and a key's windows lie together within each segment.
Compiled by Cython; runs the same uncompiled.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

SEGMENT_MS_MIN = 60_000
"""The shortest segment, as in Kafka Streams."""

_SEGMENT = struct.Struct(">q")
_WINDOW = struct.Struct(">qi")
_SESSION = struct.Struct(">qq")
SEGMENT_SIZE = _SEGMENT.size


@dataclass(frozen=True, slots=True)
class WindowKeys:
    """Windows of one size, by their start."""

    size_ms: int
    segment_ms: int

    def logged(self, key: bytes, start: int, end: int, sequence: int = 0) -> bytes:
        """The key in the changelog."""
        return key + _WINDOW.pack(start, sequence)

    def parts(self, logged: bytes) -> tuple[bytes, int, int]:
        """Key, start and end of a changelog key."""
        start = _WINDOW.unpack(logged[-_WINDOW.size :])[0]
        return logged[: -_WINDOW.size], start, start + self.size_ms

    def time(self, start: int, end: int) -> int:
        """The time by which a row expires."""
        return start

    def bounds(self, key: bytes, low: int) -> tuple[bytes, bytes]:
        """The changelog keys of one key from a time on."""
        return key + _WINDOW.pack(max(low, 0), 0), key + b"\x7f" + b"\xff" * (_WINDOW.size - 1)


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """Sessions, by their end."""

    segment_ms: int

    def logged(self, key: bytes, start: int, end: int) -> bytes:
        """The key in the changelog."""
        return key + _SESSION.pack(end, start)

    def parts(self, logged: bytes) -> tuple[bytes, int, int]:
        """Key, start and end of a changelog key."""
        end, start = _SESSION.unpack(logged[-_SESSION.size :])
        return logged[: -_SESSION.size], start, end

    def time(self, start: int, end: int) -> int:
        """The time by which a row expires."""
        return end

    def bounds(self, key: bytes, low: int) -> tuple[bytes, bytes]:
        """The changelog keys of one key from a time on."""
        return key + _SESSION.pack(max(low, 0), 0), key + b"\x7f" + b"\xff" * (_SESSION.size - 1)


Keys = WindowKeys | SessionKeys


def segment_ms(retention_ms: int) -> int:
    """How much time one segment spans."""
    return max(retention_ms // 2, SEGMENT_MS_MIN)


def segment_prefix(number: int) -> bytes:
    """What the keys of a segment begin with."""
    return _SEGMENT.pack(number)


def stored_key(keys: Keys, logged: bytes) -> bytes:
    """The key in the store of a changelog key."""
    _, start, end = keys.parts(logged)
    return segment_prefix(keys.time(start, end) // keys.segment_ms) + logged

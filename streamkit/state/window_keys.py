"""Keys of windowed stores as bytes.

In the changelog a key is as Kafka Streams writes it: key, start, sequence number for windows;
key, end, start for sessions. In the store the number of its segment comes first, so that what
has expired lies at the front and a key's windows lie together within each segment.
Compiled by Cython; runs the same uncompiled; its types for mypy stand in `window_keys.pyi`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import cython

if cython.compiled:
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize
    from cython.cimports.libc.string import memcpy

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
class VaryingKeys:
    """Windows of any size, by their start, which says where they end."""

    end_of: Callable[[int], int]
    segment_ms: int

    def logged(self, key: bytes, start: int, end: int, sequence: int = 0) -> bytes:
        """The key in the changelog."""
        return key + _WINDOW.pack(start, sequence)

    def parts(self, logged: bytes) -> tuple[bytes, int, int]:
        """Key, start and end of a changelog key."""
        start = _WINDOW.unpack(logged[-_WINDOW.size :])[0]
        return logged[: -_WINDOW.size], start, self.end_of(start)

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


Keys = WindowKeys | VaryingKeys | SessionKeys


def segment_ms(retention_ms: int) -> int:
    """How much time one segment spans."""
    return max(retention_ms // 2, SEGMENT_MS_MIN)


def segment_prefix(number: int) -> bytes:
    """What the keys of a segment begin with."""
    return _SEGMENT.pack(number)


@cython.ccall
def window_key(segment: cython.longlong, key: bytes, start: cython.longlong) -> bytes:
    """The key in the store of a window: its segment's prefix, then what the changelog has."""
    if cython.compiled:
        size: cython.Py_ssize_t = len(key)
        data = PyBytes_FromStringAndSize(cython.NULL, size + 20)
        out = cython.cast(cython.p_uchar, PyBytes_AS_STRING(data))
        put_long(out, segment)  # noqa: F821 - C's own, from the pxd
        memcpy(out + 8, PyBytes_AS_STRING(key), size)
        put_long(out + 8 + size, start)  # noqa: F821
        put_int(out + 16 + size, 0)  # noqa: F821
        return data
    return segment_prefix(segment) + key + _WINDOW.pack(start, 0)


def stored_key(keys: Keys, logged: bytes) -> bytes:
    """The key in the store of a changelog key."""
    _, start, end = keys.parts(logged)
    return segment_prefix(keys.time(start, end) // keys.segment_ms) + logged

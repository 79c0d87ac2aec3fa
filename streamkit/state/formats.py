"""Bytes on disk: values and changelog offsets, each behind a format version.

A value is `version, flags, [timestamp], [time to live], [headers], value`. Version 1 writes the
timestamp only; a reader refuses versions and flags that it does not know, so that an older
program never misreads the state of a newer one. What goes into a changelog is the plain value.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from streamkit.common.errors import TaskCorruptedError
from streamkit.common.model import Headers

VERSION = 1
HAS_TIMESTAMP = 0x01
HAS_HEADERS = 0x04
VALUE_PREFIX_SIZE = 10

_TIMESTAMPED = bytes([VERSION, HAS_TIMESTAMP])
_VALUE = struct.Struct(">BBq")
_COUNT = struct.Struct(">H")
_SIZE = struct.Struct(">i")
_OFFSET = struct.Struct(">B16sq")


@dataclass(frozen=True, slots=True)
class StoredOffset:
    """How far a store has got in its changelog: the next offset to read, of which topic."""

    offset: int
    topic_id: UUID


def encode_value(value: bytes, timestamp: int) -> bytes:
    """A value and its timestamp as the store keeps them."""
    return _VALUE.pack(VERSION, HAS_TIMESTAMP, timestamp) + value


def encode_values(values: Sequence[bytes | None], timestamps: Sequence[int]) -> list[bytes | None]:
    """`encode_value` of many at once; None stays None."""
    times = struct.pack(f">{len(timestamps)}q", *timestamps)
    return [
        None if value is None else _TIMESTAMPED + times[at : at + 8] + value
        for value, at in zip(values, range(0, len(times), 8), strict=True)
    ]


def decode_value(data: bytes) -> tuple[bytes, int]:
    """The value and its timestamp. Raises TaskCorruptedError for an unknown format."""
    if data[:2] != b"\x01\x01" or len(data) < VALUE_PREFIX_SIZE:
        raise TaskCorruptedError(
            f"a stored value has format {data[:2].hex()}, this program knows 0101 only"
        )
    return data[VALUE_PREFIX_SIZE:], int.from_bytes(data[2:VALUE_PREFIX_SIZE], "big", signed=True)


def encode_with_headers(value: bytes, timestamp: int, headers: Headers) -> bytes:
    """A value, its timestamp and its headers as the store keeps them."""
    parts = [
        _VALUE.pack(VERSION, HAS_TIMESTAMP | HAS_HEADERS, timestamp),
        _COUNT.pack(len(headers)),
    ]
    for name, data in headers:
        text = name.encode()
        parts += [_COUNT.pack(len(text)), text, _SIZE.pack(-1 if data is None else len(data))]
        parts.append(data or b"")
    parts.append(value)
    return b"".join(parts)


def decode_with_headers(data: bytes) -> tuple[bytes, int, Headers]:
    """Value, timestamp and headers; none of those for a value that was stored without.

    Raises TaskCorruptedError for an unknown format.
    """
    if data[:2] == b"\x01\x01":
        return *decode_value(data), ()
    if data[:2] != b"\x01\x05":
        raise TaskCorruptedError(
            f"a stored value has format {data[:2].hex()}, this program knows 0101 and 0105"
        )
    timestamp = int.from_bytes(data[2:VALUE_PREFIX_SIZE], "big", signed=True)
    (count,) = _COUNT.unpack_from(data, VALUE_PREFIX_SIZE)
    at = VALUE_PREFIX_SIZE + _COUNT.size
    headers = []
    for _ in range(count):
        (size,) = _COUNT.unpack_from(data, at)
        at += _COUNT.size
        name = data[at : at + size].decode()
        (length,) = _SIZE.unpack_from(data, at + size)
        at += size + _SIZE.size
        headers.append((name, None if length < 0 else data[at : at + length]))
        at += max(length, 0)
    return data[at:], timestamp, tuple(headers)


def encode_offset(stored: StoredOffset) -> bytes:
    """A changelog offset as the offsets column family keeps it."""
    return _OFFSET.pack(VERSION, stored.topic_id.bytes, stored.offset)


def decode_offset(data: bytes) -> StoredOffset:
    """The changelog offset. Raises TaskCorruptedError for an unknown format."""
    if len(data) != _OFFSET.size or data[0] != VERSION:
        raise TaskCorruptedError(f"a stored changelog offset has format {data[:1].hex()}")
    _, topic_id, offset = _OFFSET.unpack(data)
    return StoredOffset(offset, UUID(bytes=topic_id))

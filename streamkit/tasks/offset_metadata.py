"""What goes beside a committed offset, as Kafka Streams' TopicPartitionMetadata writes it.

The partition time, and small numbers of operators by name: up to which time closed windows were
emitted, and how far stream time went on without input.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

_TIME = struct.Struct(">bq")
_INT = struct.Struct(">i")
_LONG = struct.Struct(">q")
_VERSION = 2


@dataclass(frozen=True, slots=True)
class OffsetMetadata:
    """A partition time, -1 when it is unknown, and what operators keep."""

    partition_time: int = -1
    processors: Mapping[str, int] = field(default_factory=dict)


UNKNOWN = OffsetMetadata()


def encode_metadata(partition_time: int, processors: Mapping[str, int]) -> str:
    """The metadata of a committed offset; "" when there is nothing to say."""
    if partition_time < 0 and not processors:
        return ""
    parts = [_TIME.pack(_VERSION, partition_time)]
    if processors:
        parts.append(_INT.pack(len(processors)))
    for name, value in processors.items():
        data = name.encode()
        parts += [_INT.pack(len(data)), data, _LONG.pack(value)]
    return base64.b64encode(b"".join(parts)).decode()


def decode_metadata(metadata: str) -> OffsetMetadata:
    """What `encode_metadata` wrote; nothing is known when it is not readable."""
    try:
        data = base64.b64decode(metadata, validate=True)
        if not data or data[0] not in {1, _VERSION}:
            return UNKNOWN
        (_, partition_time) = _TIME.unpack_from(data)
        return OffsetMetadata(partition_time, _processors(data, _TIME.size))
    except (binascii.Error, struct.error, ValueError):
        return UNKNOWN


def _processors(data: bytes, at: int) -> dict[str, int]:
    found: dict[str, int] = {}
    if at == len(data):
        return found
    (count,) = _INT.unpack_from(data, at)
    at += _INT.size
    for _ in range(count):
        (size,) = _INT.unpack_from(data, at)
        at += _INT.size
        name = data[at : at + size].decode()
        at += size
        (found[name],) = _LONG.unpack_from(data, at)
        at += _LONG.size
    return found

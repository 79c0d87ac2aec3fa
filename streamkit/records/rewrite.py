"""A batch with fewer records: what compaction leaves of it.

Offsets and sequences never change: the base offset, the last offset delta and the base sequence
stay, also when no record is left. Records keep their bytes; only a new delete horizon, which
takes the place of the base timestamp (KIP-534), changes their timestamp deltas.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import crc32c

from streamkit.common.errors import CorruptBatchError
from streamkit.records.batch import DecodedBatch
from streamkit.records.codec import (
    COMPRESSION_MASK,
    CRC_START,
    DELETE_HORIZON,
    HEADER_BYTES,
    LOG_OVERHEAD,
    MAGIC,
    BatchHeader,
)
from streamkit.records.compression import Buffer, Compression, compress, decompress

NO_TIMESTAMP = -1
HEADER = struct.Struct(">qiibIhiqqqhii")
CRC = struct.Struct(">I")
CRC_POSITION = 17


def keep_records(
    batch: Buffer, header: BatchHeader, decoded: DecodedBatch, kept: Sequence[int], horizon: int
) -> bytes:
    """The batch with the records whose indexes are `kept`; a `horizon` of -1 leaves the old one.

    `batch` is the batch alone, `decoded` what is in it.
    """
    plain = memoryview(decompress(header.compression, memoryview(batch)[HEADER_BYTES:]))
    bounds = list(_record_bounds(plain, header.count))
    base_timestamp = header.base_timestamp if horizon < 0 else horizon
    pieces: list[Buffer] = []
    for index in kept:
        start, end = bounds[index]
        record: Buffer = plain[start:end]
        if horizon >= 0 and not header.is_log_append_time:
            record = _with_time(record, decoded.timestamps[index] - horizon)
        pieces.append(record)
    newest = max(decoded.timestamps[index] for index in kept)
    attributes = header.attributes if horizon < 0 else header.attributes | DELETE_HORIZON
    records = compress(header.compression, b"".join(pieces))
    return _assembled(header, attributes, base_timestamp, newest, len(kept), records)


def without_records(header: BatchHeader) -> bytes:
    """The batch with no record: what it says of offsets, epochs and sequences stays."""
    attributes = header.attributes & ~(COMPRESSION_MASK | DELETE_HORIZON) | Compression.NONE
    return _assembled(header, attributes, NO_TIMESTAMP, header.max_timestamp, 0, b"")


def _assembled(
    header: BatchHeader,
    attributes: int,
    base_timestamp: int,
    max_timestamp: int,
    count: int,
    records: Buffer,
) -> bytes:
    head = bytearray(HEADER_BYTES)
    HEADER.pack_into(
        head,
        0,
        header.base_offset,
        HEADER_BYTES - LOG_OVERHEAD + len(records),
        header.leader_epoch,
        MAGIC,
        0,
        attributes,
        header.last_offset_delta,
        base_timestamp,
        max_timestamp,
        header.producer_id,
        header.producer_epoch,
        header.base_sequence,
        count,
    )
    crc = crc32c.crc32c(records, crc32c.crc32c(memoryview(head)[CRC_START:]))
    CRC.pack_into(head, CRC_POSITION, crc)
    return b"".join((head, records))


def _record_bounds(plain: memoryview, count: int) -> Iterator[tuple[int, int]]:
    position = 0
    for _ in range(count):
        start = position
        length, position = _varint(plain, position)
        position += length
        if length < 0 or position > len(plain):
            raise CorruptBatchError(f"a record at {start} ends at {position} of {len(plain)} bytes")
        yield start, position


def _with_time(record: Buffer, delta: int) -> bytes:
    """A record with another timestamp delta: length, attributes, delta, and the rest."""
    view = memoryview(record)
    _, body = _varint(view, 0)
    _, behind = _varint(view, body + 1)
    time = _encoded_varint(delta)
    size = _encoded_varint(1 + len(time) + len(view) - behind)
    return b"".join((size, view[body : body + 1], time, view[behind:]))


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    """A zig-zag varint at a position, and the position behind it."""
    value = shift = 0
    while True:
        if position >= len(view) or shift > 63:
            raise CorruptBatchError(f"no varint at {position} of {len(view)} bytes")
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), position
        shift += 7


def _encoded_varint(value: int) -> bytes:
    rest = ((value << 1) ^ (value >> 63)) & 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)

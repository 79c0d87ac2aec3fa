"""What a leader checks of a batch before it appends it, and how it rewrites the header.

Pure. The records' bytes are never copied: a prepared batch is a new prefix and a view of the rest
(Kafka's UnifiedLog.analyzeAndValidateRecords and LogValidator).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

import crc32c

from streamkit.broker.log.errors import LogError
from streamkit.broker.log.producer_state import Origin
from streamkit.broker.log.settings import PRODUCER_COMPRESSION, LogSettings
from streamkit.common.errors import CorruptBatchError
from streamkit.common.seams import Bytes
from streamkit.protocol.errors import ErrorCode
from streamkit.records import (
    BatchHeader,
    Compression,
    check_records,
    decode,
    read_header,
    verify_crc,
)
from streamkit.records.codec import (
    COMPRESSION_MASK,
    HEADER_BYTES,
    LOG_APPEND_TIME,
    LOG_OVERHEAD,
    MAGIC,
)
from streamkit.records.compression import compress, compression_of, decompress

MAGIC_POSITION = 16
ATTRIBUTES_END = 22
PREFIX = struct.Struct(">qii")
PREFIX_BYTES = PREFIX.size
FROM_ATTRIBUTES = struct.Struct(">hiqqqhii")
NO_TIMESTAMP = -1
RECORD_ERRORS_MAX = 10_000
"""A larger batch is refused without saying what is wrong with which record."""

HEAVY_BYTES_MIN = 16 * 1024
"""To decompress or compress as much takes longer than to hand it to a thread."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch that may be appended: `head` without the offset, then the bytes that follow."""

    header: BatchHeader
    max_timestamp: int
    log_append_time: int
    size: int
    fields: tuple[int, ...] | None
    tail: Bytes

    def chunks(self, base_offset: int, leader_epoch: int) -> tuple[bytes, Bytes]:
        """The bytes to write for these offsets and this leader epoch."""
        prefix = PREFIX.pack(base_offset, self.size - LOG_OVERHEAD, leader_epoch)
        if self.fields is None:
            return (prefix, self.tail)
        rest = FROM_ATTRIBUTES.pack(*self.fields)
        crc = crc32c.crc32c(self.tail, crc32c.crc32c(rest))
        return (prefix + struct.pack(">bI", MAGIC, crc) + rest, self.tail)

    def at(self, now_ms: int) -> Prepared:
        """The batch as prepared now: where the log notes times, they do not go back."""
        if self.fields is None or self.log_append_time == NO_TIMESTAMP:
            return self
        fields = (*self.fields[:3], now_ms, *self.fields[4:])
        return replace(self, max_timestamp=now_ms, log_append_time=now_ms, fields=fields)


def is_heavy(records: Bytes, settings: LogSettings) -> bool:
    """Whether to check a client's batch takes long, since it is large and is (de)compressed."""
    if len(records) < HEAVY_BYTES_MIN or records[MAGIC_POSITION] != MAGIC:
        return False
    codec = records[ATTRIBUTES_END] & COMPRESSION_MASK
    return codec != Compression.NONE or _target_codec(codec, settings) != Compression.NONE


def prepare_ahead(records: Bytes, settings: LogSettings, now_ms: int) -> Prepared | LogError:
    """All of a client's batch that can be checked without its log; or why it is refused."""
    try:
        header = check_batch(records, 0, settings, Origin.CLIENT)
        return prepare(records, header, settings, now_ms, Origin.CLIENT)
    except LogError as error:
        return error


def check_batch(
    records: Bytes, position: int, settings: LogSettings, origin: Origin
) -> BatchHeader:
    """The header of the batch at `position`, whole and intact. Raises LogError."""
    size = len(records) - position
    if size > MAGIC_POSITION and records[position + MAGIC_POSITION] < MAGIC:
        raise LogError(
            ErrorCode.unsupported_for_message_format,
            f"message format {records[position + MAGIC_POSITION]} is not supported",
        )
    try:
        header = read_header(records, position)
    except CorruptBatchError as error:
        raise LogError(ErrorCode.corrupt_message, str(error)) from None
    if header.size > settings.message_bytes_max and origin is not Origin.RAFT_LEADER:
        raise LogError(
            ErrorCode.message_too_large,
            f"a batch of {header.size} bytes is above max.message.bytes, "
            f"{settings.message_bytes_max}",
        )
    if header.size > settings.segment_bytes:
        raise LogError(
            ErrorCode.record_list_too_large,
            f"a batch of {header.size} bytes is above segment.bytes, {settings.segment_bytes}",
        )
    try:
        verify_crc(records, header)
    except CorruptBatchError as error:
        raise LogError(ErrorCode.corrupt_message, str(error)) from None
    return header


def prepare(
    records: Bytes, header: BatchHeader, settings: LogSettings, now_ms: int, origin: Origin
) -> Prepared:
    """Check a leader's batch whose crc is right. Raises LogError."""
    if origin is Origin.CLIENT:
        _check_client_batch(records, header)
    if header.count <= 0 or header.last_offset_delta != header.count - 1:
        raise LogError(
            ErrorCode.invalid_record,
            f"batch has {header.count} records and last offset delta {header.last_offset_delta}",
        )
    max_timestamp = _check_contents(records, header, settings, now_ms, origin)
    end = header.position + header.size
    codec = header.compression if header.is_control else _target_codec(header.compression, settings)
    stays = codec == header.compression and not settings.is_log_append_time
    if stays and header.max_timestamp == max_timestamp:
        tail = memoryview(records)[header.position + PREFIX_BYTES : end]
        return Prepared(header, max_timestamp, NO_TIMESTAMP, header.size, None, tail)
    return _rewritten(records, header, settings, now_ms, max_timestamp, codec)


def _check_client_batch(records: Bytes, header: BatchHeader) -> None:
    if header.size != len(records):
        raise LogError(
            ErrorCode.invalid_record, "a produce request must have one batch per partition"
        )
    if header.base_offset != 0:
        raise LogError(
            ErrorCode.invalid_record, f"batch has base offset {header.base_offset}, not 0"
        )
    if header.is_control:
        raise LogError(ErrorCode.invalid_record, "clients may not write control records")
    if header.producer_id >= 0 and (header.base_sequence < 0 or header.producer_epoch < 0):
        raise LogError(
            ErrorCode.invalid_record,
            f"batch of producer {header.producer_id} has epoch {header.producer_epoch} and "
            f"sequence {header.base_sequence}",
        )
    if header.producer_id < 0 and header.is_transactional:
        raise LogError(ErrorCode.invalid_record, "a transactional batch needs a producer id")


def _check_contents(
    records: Bytes, header: BatchHeader, settings: LogSettings, now_ms: int, origin: Origin
) -> int:
    """Check each record; returns the highest timestamp."""
    try:
        lowest, highest, null_key = check_records(records, header)
    except CorruptBatchError as error:
        raise LogError(ErrorCode.invalid_record, str(error)) from None
    if header.is_control:
        return highest
    if settings.is_compacted and null_key >= 0:
        why = "a record of a compacted topic needs a key"
        raise LogError(ErrorCode.invalid_record, why, [(null_key, why)])
    if origin is Origin.CLIENT and not settings.is_log_append_time:
        _check_timestamps(records, header, settings, now_ms, lowest, highest)
    return highest


def _check_timestamps(
    records: Bytes, header: BatchHeader, settings: LogSettings, now_ms: int, low: int, high: int
) -> None:
    if header.is_log_append_time:
        raise LogError(
            ErrorCode.invalid_timestamp, "clients may not set the time type LogAppendTime"
        )
    after = now_ms + settings.timestamp_after_max_ms
    before = now_ms - settings.timestamp_before_max_ms
    if high <= after and (low >= before or low == NO_TIMESTAMP):
        return
    if header.count > RECORD_ERRORS_MAX:
        raise LogError(
            ErrorCode.invalid_timestamp,
            f"of {header.count} records some lie outside of [{before}, {after}]",
        )
    timestamps = decode(records, header, check_crc=False).timestamps
    errors = [
        (index, f"timestamp {timestamp} is outside of [{before}, {after}]")
        for index, timestamp in enumerate(timestamps)
        if timestamp > after or NO_TIMESTAMP != timestamp < before
    ]
    if errors:
        raise LogError(ErrorCode.invalid_timestamp, errors[0][1], errors)


def _target_codec(codec: int, settings: LogSettings) -> int:
    if settings.compression_type == PRODUCER_COMPRESSION:
        return codec
    if settings.compression_type == "uncompressed":
        return Compression.NONE
    return compression_of(settings.compression_type)


def _rewritten(
    records: Bytes,
    header: BatchHeader,
    settings: LogSettings,
    now_ms: int,
    max_timestamp: int,
    codec: int,
) -> Prepared:
    """The batch with another codec, time type or highest timestamp: a new header and crc."""
    start, end = header.position + HEADER_BYTES, header.position + header.size
    tail: Bytes = memoryview(records)[start:end]
    if codec != header.compression:
        tail = compress(codec, decompress(header.compression, tail), settings.compression_level)
    size = HEADER_BYTES + len(tail)
    if size > settings.message_bytes_max:
        raise LogError(
            ErrorCode.message_too_large,
            f"a batch of {size} bytes after compression is above max.message.bytes, "
            f"{settings.message_bytes_max}",
        )
    attributes = (header.attributes & ~COMPRESSION_MASK) | codec
    append_time = NO_TIMESTAMP
    if settings.is_log_append_time and not header.is_control:
        attributes |= LOG_APPEND_TIME
        max_timestamp = append_time = now_ms
    fields = (
        attributes,
        header.last_offset_delta,
        header.base_timestamp,
        max_timestamp,
        header.producer_id,
        header.producer_epoch,
        header.base_sequence,
        header.count,
    )
    return Prepared(header, max_timestamp, append_time, size, fields, tail)

"""The frame of a metadata record: varint frame version 1, varint type, varint version, message.

A record is written at the lowest version that holds what it says, as Kafka does, and read back
as its newest version, the fields that the written one lacks having their defaults.
"""

from __future__ import annotations

import dataclasses
import io
from functools import cache
from typing import Any, cast

from streamkit.protocol import kio_import as _kio_import  # noqa: F401  # before any of kio

# isort: split
from kio.serial import entity_writer
from kio.serial.writers import write_unsigned_varint
from kio.static.primitive import uvarint

from streamkit.broker.kraft.records import (
    RECORD_CLASSES,
    RECORD_TYPES,
    RECORD_VERSIONS,
    BrokerRegistrationChangeRecord,
    MetadataRecord,
    at_version,
)
from streamkit.common.errors import FatalError, StorageError
from streamkit.protocol.entities import checked_reader

FRAME_VERSION = 1
VARINT_BYTES_MAX = 5


def encode_record(record: MetadataRecord) -> bytes:
    """The value of the log record that carries `record`."""
    version = _written_version(record)
    buffer = io.BytesIO()
    for number in (FRAME_VERSION, RECORD_TYPES[type(record)], version):
        write_unsigned_varint(buffer, uvarint(number))
    _writer(RECORD_TYPES[type(record)], version)(buffer, record)
    return buffer.getvalue()


def decode_record(value: bytes) -> MetadataRecord:
    """Read one framed record. Raises FatalError for a type or version not known here."""
    frame_version, position = _uvarint(value, 0)
    if frame_version != FRAME_VERSION:
        raise FatalError(f"metadata record frame version {frame_version} is not {FRAME_VERSION}")
    number, position = _uvarint(value, position)
    version, position = _uvarint(value, position)
    cls = RECORD_CLASSES.get(number)
    if cls is None or version > RECORD_VERSIONS[cls]:
        raise FatalError(
            f"metadata record type {number} version {version} was written by newer software"
        )
    try:
        entity, _ = _reader(number, version)(value, position)
    except StorageError as error:
        raise FatalError(f"metadata record type {number} is damaged: {error}") from error
    return _newest(cls, entity)


def _newest(cls: type[Any], entity: Any) -> MetadataRecord:
    if type(entity) is not cls:
        entity = cls(
            **{each.name: getattr(entity, each.name) for each in dataclasses.fields(entity)}
        )
    return cast(MetadataRecord, entity)


def _written_version(record: MetadataRecord) -> int:
    """Kafka writes a registration change at the lowest version that holds it, else the newest."""
    if not isinstance(record, BrokerRegistrationChangeRecord):
        return RECORD_VERSIONS[type(record)]
    if record.cordoned_log_dirs is not None:
        return 3
    if record.log_dirs:
        return 2
    return 1 if record.in_controlled_shutdown else 0


@cache
def _writer(number: int, version: int) -> Any:
    return entity_writer(at_version(number, version))


@cache
def _reader(number: int, version: int) -> Any:
    return checked_reader(at_version(number, version))


def _uvarint(value: bytes, position: int) -> tuple[int, int]:
    result = 0
    for index in range(VARINT_BYTES_MAX):
        if position + index >= len(value):
            raise FatalError(f"metadata record of {len(value)} bytes ends inside its frame")
        byte = value[position + index]
        result |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return result, position + index + 1
    raise FatalError("metadata record frame has a varint longer than 5 bytes")

"""Messages of the wire protocol: kio's classes, loaded on first use, to bytes and back.

A message knows its API, version and direction (`__api_key__`, `__version__`, `__type__`). Record
sets are never copied on the way out (`Chunks` holds the caller's buffer) and once on the way in.
Whatever the bytes are, decoding raises `MalformedMessage` or `UnsupportedVersionError` only.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from streamkit.protocol import kio_import as _kio_import  # noqa: F401  # before any of kio

# isort: split
from kio.serial import entity_reader, entity_writer
from kio.serial._introspect import EntityField, EntityTupleField, classify_field
from kio.serial.errors import SerialError

from streamkit.common.seams import FileSlice, Piece
from streamkit.protocol.apis import ApiKey, is_flexible
from streamkit.protocol.caching import cached
from streamkit.protocol.errors import MalformedMessage, UnsupportedVersionError
from streamkit.protocol.quick import EncodedBody
from streamkit.protocol.shapes import shape_of
from streamkit.protocol.walk import UNLIMITED, checked

Bytes = bytes | bytearray | memoryview
Chunks = list[Bytes]
"""One encoded message in pieces, in order; no size prefix."""

Message = Any
"""An instance of one of kio's request or response classes."""

T = TypeVar("T")

REQUEST_ITEMS_MAX: Final = 100_000
"""A request is decoded at once, and a frame of 100 MB could hold 100 million items."""

SPLICE_BYTES_MIN: Final = 1024
"""A buffer of at least this size stays a chunk of its own; smaller ones are joined."""

_REQUEST_HEADER: Final = struct.Struct(">hhi")
_INT16: Final = struct.Struct(">h")
_INT32: Final = struct.Struct(">i")
_API_KEYS: Final = {int(each): each for each in ApiKey}
_DECODE_ERRORS: Final = (SerialError, ValueError, OverflowError, TypeError, LookupError)


class Reader(Protocol):
    """Reads one entity at an offset; gives it back with the bytes it took."""

    def __call__(self, buffer: Bytes, offset: int, /) -> tuple[Any, int]: ...


Writer = Callable[[Any, Any], None]


class RequestHeader(NamedTuple):
    """The header of a request; the body starts at `body_at`."""

    api_key: int
    api_version: int
    correlation_id: int
    client_id: str | None
    body_at: int


class Request(NamedTuple):
    """One decoded request."""

    api_key: ApiKey
    api_version: int
    correlation_id: int
    client_id: str | None
    message: Message


def encode_request(correlation_id: int, client_id: str | None, message: Message) -> bytes:
    """The header and the body of a request, without a size prefix."""
    return b"".join(encode_request_chunks(correlation_id, client_id, message))


def encode_request_chunks(correlation_id: int, client_id: str | None, message: Message) -> Chunks:
    """As `encode_request`, with record sets as the caller's own buffers."""
    api, version = int(message.__api_key__), int(message.__version__)
    name = b"" if client_id is None else client_id.encode()
    header = _REQUEST_HEADER.pack(api, version, correlation_id) + _INT16.pack(
        -1 if client_id is None else len(name)
    )
    tags = b"\0" if is_flexible(api, version) else b""
    return _encode(header + name + tags, message)


def encode_response(correlation_id: int, message: Message) -> Chunks:
    """The header and the body of a response, without a size prefix."""
    api, version = int(message.__api_key__), int(message.__version__)
    return _encode(_response_header(correlation_id, api, version), message)


def encoded_response(correlation_id: int, body: EncodedBody) -> list[Piece]:
    """As `encode_response`, of a body that is bytes already."""
    first, *others = body.chunks
    assert not isinstance(first, FileSlice), "a body begins with numbers"
    return [_response_header(correlation_id, body.api_key, body.version) + first, *others]


def read_request_header(buffer: Bytes) -> RequestHeader:
    """The header of a request. Raises UnsupportedVersionError where no schema is known."""
    try:
        api, version, correlation_id = _REQUEST_HEADER.unpack_from(buffer, 0)
        if not _is_known(api, version):
            raise UnsupportedVersionError(api, version, correlation_id)
        client_id, position = _read_client_id(buffer)
        if is_flexible(api, version):
            # Nobody has tagged fields in a request's header yet.
            position = skip_tags(buffer, position) if buffer[position] else position + 1
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise MalformedMessage(f"request header: {error}") from None
    return RequestHeader(api, version, correlation_id, client_id, position)


def decode_request(buffer: Bytes) -> Request:
    """A whole request. Raises MalformedMessage or UnsupportedVersionError.

    Its arrays may hold `REQUEST_ITEMS_MAX` items together.
    """
    key, version, correlation_id, client_id, body_at = read_request_header(buffer)
    message = _decode(request_type(key, version), buffer, body_at, REQUEST_ITEMS_MAX)
    return Request(_API_KEYS[key], version, correlation_id, client_id, message)


def decode_response(api: int, version: int, buffer: Bytes) -> tuple[int, Message]:
    """The correlation id and the message of a response to a request of this API and version."""
    try:
        (correlation_id,) = _INT32.unpack_from(buffer, 0)
        position = skip_tags(buffer, 4) if _has_response_tags(api, version) else 4
    except (struct.error, IndexError) as error:
        raise MalformedMessage(f"response header: {error}") from None
    return correlation_id, _decode(response_type(api, version), buffer, position)


@cached
def request_type(api: int, version: int) -> type[Any]:
    """kio's class of a request. Raises UnsupportedVersionError."""
    return _load(api, version, "request")


@cached
def response_type(api: int, version: int) -> type[Any]:
    """kio's class of a response. Raises UnsupportedVersionError."""
    return _load(api, version, "response")


@cached
def nested_types(entity: type[Any]) -> dict[str, type[Any]]:
    """The entity classes of those fields of an entity that hold entities, by field name."""
    return {
        field.name: kind.type_
        for field in fields(entity)
        if isinstance(kind := classify_field(field), EntityField | EntityTupleField)
    }


def skip_tags(buffer: Bytes, position: int) -> int:
    """The position behind a section of tagged fields, none of which is looked at."""
    count, position = read_uvarint(buffer, position)
    for _ in range(count):
        _, position = read_uvarint(buffer, position)
        size, position = read_uvarint(buffer, position)
        position += size
        if position > len(buffer):
            raise MalformedMessage("tagged field goes beyond the end")
    return position


def read_uvarint(buffer: Bytes, position: int) -> tuple[int, int]:
    """An unsigned varint of at most five bytes, and the position behind it."""
    value = 0
    for shift in range(0, 35, 7):
        byte = buffer[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise MalformedMessage("varint is longer than five bytes")


def _read_client_id(buffer: Bytes) -> tuple[str | None, int]:
    (size,) = _INT16.unpack_from(buffer, 8)
    if size < 0:
        return None, 10
    if 10 + size > len(buffer):
        raise MalformedMessage("client id goes beyond the end")
    return str(buffer[10 : 10 + size], "utf-8"), 10 + size


def _response_header(correlation_id: int, api: int, version: int) -> bytes:
    header = _INT32.pack(correlation_id)
    return header + b"\0" if _has_response_tags(api, version) else header


@cached
def _has_response_tags(api: int, version: int) -> bool:
    # A client that asks for versions cannot know yet which header to expect (KIP-511).
    return api != ApiKey.API_VERSIONS and is_flexible(api, version)


def _decode(entity: type[Any], buffer: Bytes, position: int, items_max: int = UNLIMITED) -> Message:
    if isinstance(buffer, bytearray):
        buffer = memoryview(buffer).toreadonly()
    buffer = checked(shape_of(entity), buffer, position, items_max)
    try:
        message, _ = _reader(entity)(buffer, position)
    except _DECODE_ERRORS as error:
        raise MalformedMessage(f"{entity.__name__} v{entity.__version__}: {error}") from None
    return message


def _encode(header: bytes, message: Message) -> Chunks:
    entity = type(message)
    pieces = _Pieces(header)
    _writer(entity)(pieces, message)
    if _has_records(entity):
        return _join_small(pieces.pieces)
    return [b"".join(pieces.pieces)]


class _Pieces:
    """What kio's writers write to: each piece is kept as it came."""

    __slots__ = ("pieces", "write")

    def __init__(self, header: bytes) -> None:
        self.pieces: Chunks = [header]
        self.write = self.pieces.append


def _join_small(pieces: Chunks) -> Chunks:
    chunks: Chunks = []
    start = 0
    for index, piece in enumerate(pieces):
        if len(piece) >= SPLICE_BYTES_MIN:
            if index > start:
                chunks.append(b"".join(pieces[start:index]))
            chunks.append(piece)
            start = index + 1
    if start < len(pieces):
        chunks.append(b"".join(pieces[start:]))
    return chunks


@cached
def _reader(entity: type[Any]) -> Reader:
    return entity_reader(entity)


@cached
def _writer(entity: type[Any]) -> Writer:
    return entity_writer(entity)


@cached
def _has_records(entity: type[Any]) -> bool:
    own = any(field.metadata.get("kafka_type") == "records" for field in fields(entity))
    return own or any(_has_records(nested) for nested in nested_types(entity).values())


@cached
def _is_known(api: int, version: int) -> bool:
    try:
        request_type(api, version)
    except UnsupportedVersionError:
        return False
    return True


def _load(api: int, version: int, direction: str) -> type[Any]:
    from kio.index import KioIndexError, load_request_schema, load_response_schema

    load = load_request_schema if direction == "request" else load_response_schema
    try:
        return load(api, version)
    except KioIndexError:
        raise UnsupportedVersionError(api, version, -1) from None

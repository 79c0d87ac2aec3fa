"""The serdes of Kafka's own types, byte for byte as the Java client writes them.

Numbers are big-endian two's complement or IEEE 754; a value outside the range is refused, not
wrapped. Each class has one instance, so that hot code may compare by identity.
"""

from __future__ import annotations

import struct
from uuid import UUID

from streamkit.common.errors import SerializationError
from streamkit.common.model import Headers


class StringSerde:
    """UTF-8 text. Malformed bytes read as U+FFFD, as Java's StringDeserializer does."""

    __slots__ = ()

    def serialize(self, topic: str, value: str, headers: Headers, /) -> bytes | None:
        if not isinstance(value, str):
            raise _refuse(topic, value, "a str")
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise SerializationError(f"topic {topic}: {error}") from error

    def deserialize(self, topic: str, data: bytes, headers: Headers, /) -> str:
        return data.decode("utf-8", "replace")


class BytesSerde:
    """Bytes as they are."""

    __slots__ = ()

    def serialize(self, topic: str, value: bytes, headers: Headers, /) -> bytes | None:
        if type(value) is bytes:
            return value
        if isinstance(value, bytes | bytearray | memoryview):
            return bytes(value)
        raise _refuse(topic, value, "bytes")

    def deserialize(self, topic: str, data: bytes, headers: Headers, /) -> bytes:
        return data


class IntegerSerde:
    """A whole number of 2, 4 or 8 bytes."""

    __slots__ = ("_pack", "_size", "_unpack")

    def __init__(self, size: int) -> None:
        codec = struct.Struct({2: ">h", 4: ">i", 8: ">q"}[size])
        self._size = size
        self._pack = codec.pack
        self._unpack = codec.unpack

    def serialize(self, topic: str, value: int, headers: Headers, /) -> bytes | None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise _refuse(topic, value, "an int")
        try:
            return self._pack(value)
        except struct.error as error:
            raise SerializationError(
                f"topic {topic}: {value} does not fit in {self._size * 8} bits"
            ) from error

    def deserialize(self, topic: str, data: bytes, headers: Headers, /) -> int:
        if len(data) != self._size:
            raise _wrong_size(topic, data, self._size)
        number: int = self._unpack(data)[0]
        return number


class FloatSerde:
    """An IEEE 754 number of 4 or 8 bytes."""

    __slots__ = ("_pack", "_size", "_unpack")

    def __init__(self, size: int) -> None:
        codec = struct.Struct({4: ">f", 8: ">d"}[size])
        self._size = size
        self._pack = codec.pack
        self._unpack = codec.unpack

    def serialize(self, topic: str, value: float, headers: Headers, /) -> bytes | None:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise _refuse(topic, value, "a float")
        try:
            return self._pack(value)
        except (struct.error, OverflowError) as error:
            raise SerializationError(
                f"topic {topic}: {value} does not fit in {self._size * 8} bits"
            ) from error

    def deserialize(self, topic: str, data: bytes, headers: Headers, /) -> float:
        if len(data) != self._size:
            raise _wrong_size(topic, data, self._size)
        number: float = self._unpack(data)[0]
        return number


class BooleanSerde:
    """One byte: 0 or 1."""

    __slots__ = ()

    def serialize(self, topic: str, value: bool, headers: Headers, /) -> bytes | None:
        if not isinstance(value, bool):
            raise _refuse(topic, value, "a bool")
        return b"\x01" if value else b"\x00"

    def deserialize(self, topic: str, data: bytes, headers: Headers, /) -> bool:
        if len(data) != 1:
            raise _wrong_size(topic, data, 1)
        if data[0] > 1:
            raise SerializationError(f"topic {topic}: byte {data[0]} is neither 0 nor 1")
        return data[0] == 1


class UuidSerde:
    """A UUID as its 36 characters of text."""

    __slots__ = ()

    def serialize(self, topic: str, value: UUID, headers: Headers, /) -> bytes | None:
        if not isinstance(value, UUID):
            raise _refuse(topic, value, "a UUID")
        return str(value).encode()

    def deserialize(self, topic: str, data: bytes, headers: Headers, /) -> UUID:
        try:
            return UUID(data.decode())
        except ValueError as error:
            raise SerializationError(f"topic {topic}: {data[:40]!r} is not a UUID") from error


class VoidSerde:
    """Nothing: for keys or values that are always null."""

    __slots__ = ()

    def serialize(self, topic: str, value: None, headers: Headers, /) -> bytes | None:
        raise _refuse(topic, value, "only null")

    def deserialize(self, topic: str, data: bytes, headers: Headers, /) -> None:
        raise SerializationError(f"topic {topic}: {len(data)} bytes where only null is due")


def _refuse(topic: str, value: object, wanted: str) -> SerializationError:
    kind = type(value).__name__
    return SerializationError(f"topic {topic}: the serde takes {wanted}, not {kind} {value!r:.80}")


def _wrong_size(topic: str, data: bytes, size: int) -> SerializationError:
    return SerializationError(f"topic {topic}: {len(data)} bytes where {size} are due")


string = StringSerde()
raw = BytesSerde()
short = IntegerSerde(2)
integer = IntegerSerde(4)
long = IntegerSerde(8)
float32 = FloatSerde(4)
double = FloatSerde(8)
boolean = BooleanSerde()
uuid = UuidSerde()
void = VoidSerde()

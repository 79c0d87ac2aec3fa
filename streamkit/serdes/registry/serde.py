"""`RegisteredSerde`: values of one format in Confluent's wire format.

Bytes are: 0, the schema's id in four bytes, for Protobuf the indexes of the message, and the value.
With the id in a header they are the value alone; both are read. A header that speaks of an older
value is taken away, so that nobody reads the new one by it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from streamkit.common.errors import SerializationError
from streamkit.common.model import Headers
from streamkit.serdes.registry.client import SchemaRegistry
from streamkit.serdes.registry.errors import translated
from streamkit.serdes.registry.options import RegistryOptions

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import SchemaRegistryClient

T = TypeVar("T")

HeaderList = list[tuple[str, bytes | None]]

KEY_ID, VALUE_ID = "__key_schema_id", "__value_schema_id"
"""The headers with a schema's GUID, as Confluent's HeaderSchemaIdSerializer names them."""

_MAGIC_GUID = 1

Half = Callable[[Any, Any], Any]
"""One of the library's serializers or deserializers: (value or bytes, context)."""

Write = Callable[[Any, "HeaderList | None"], bytes | None]
Read = Callable[[str, bytes], Any]


class Format(Protocol):
    """What the formats differ in; immutable."""

    def serializer(self, client: SchemaRegistryClient, config: dict[str, Any]) -> Half: ...

    def deserializer(self, client: SchemaRegistryClient, config: dict[str, Any]) -> Half: ...

    def refusal(self, value: object) -> str | None:
        """What is wrong with the type of a value that is to be written."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class RegisteredSerde(Generic[T]):
    """See the module. A topic has a serializer of its own: the library's remembers one id."""

    format: Format
    registry: SchemaRegistry
    options: RegistryOptions
    is_key: bool = False
    _writers: dict[str, Write] = field(default_factory=dict, repr=False)
    _readers: list[Read] = field(default_factory=list, repr=False)
    _keys: list[RegisteredSerde[T]] = field(default_factory=list, repr=False)

    writes_headers = True

    def for_keys(self) -> RegisteredSerde[T]:
        """The same for keys, whose subject ends in `-key`."""
        if self.is_key:
            return self
        if not self._keys:
            self._keys.append(replace(self, is_key=True, _writers={}, _readers=[], _keys=[]))
        return self._keys[0]

    def serialize(self, topic: str, value: T, headers: Headers | HeaderList, /) -> bytes | None:
        refusal = self.format.refusal(value)
        if refusal is not None:
            raise SerializationError(f"topic {topic}: {refusal}")
        changed: HeaderList | None = None
        if isinstance(headers, list):
            _forget(headers, self._header)
            changed = headers if self.options.id_in_header else None
        try:
            write = self._writers.get(topic) or self._new_writer(topic)
            return write(value, changed)
        except Exception as error:  # the library's edge: rules and converters may be anybody's
            raise translated(error, f"topic {topic}: {value!r:.80}", self.registry) from error

    def deserialize(self, topic: str, data: bytes, headers: Headers, /) -> T:
        guid = _last(headers, self._header)
        framed = data if guid is None else guid + data
        if not framed or framed[0] > _MAGIC_GUID:
            raise SerializationError(
                f"topic {topic}: {data[:40]!r} does not begin with the magic byte 0: it was not "
                "written by a serializer of a schema registry"
            )
        try:
            read = self._readers[0] if self._readers else self._new_reader()
            value: T = read(topic, framed)
        except Exception as error:  # the library's edge: rules and converters may be anybody's
            what = f"topic {topic}: {_schema_of(framed)}"
            raise translated(error, what, self.registry) from error
        return value

    @property
    def _header(self) -> str:
        return KEY_ID if self.is_key else VALUE_ID

    def _new_writer(self, topic: str) -> Write:
        from confluent_kafka.schema_registry import (
            header_schema_id_serializer,
            prefix_schema_id_serializer,
        )
        from confluent_kafka.serialization import MessageField, SerializationContext

        def place_id(payload: bytes, context: SerializationContext, schema_id: Any) -> bytes:
            if context.headers is None:
                return prefix_schema_id_serializer(payload, context, schema_id)
            if schema_id.guid is None:
                raise SerializationError(
                    f"topic {topic}: a schema has no GUID in the schema registry {self.registry}: "
                    "use id_in_header=False there"
                )
            return header_schema_id_serializer(payload, context, schema_id)

        config = {**self.options.to_write(), "schema.id.serializer": place_id}
        half = self.format.serializer(self.registry.client, config)
        side = MessageField.KEY if self.is_key else MessageField.VALUE

        def write(value: Any, headers: Any) -> bytes | None:
            data: bytes | None = half(value, SerializationContext(topic, side, headers))
            return data

        return self._writers.setdefault(topic, write)

    def _new_reader(self) -> Read:
        from confluent_kafka.serialization import MessageField, SerializationContext

        half = self.format.deserializer(self.registry.client, self.options.to_read())
        side = MessageField.KEY if self.is_key else MessageField.VALUE

        def read(topic: str, data: bytes) -> Any:
            return half(data, SerializationContext(topic, side))

        self._readers.append(read)
        return read


def _last(headers: Headers, name: str) -> bytes | None:
    """The header of a name that was added last, as Java's Headers.lastHeader gives it."""
    for key, value in reversed(headers):
        if key == name:
            return value
    return None


def _forget(headers: HeaderList, name: str) -> None:
    if any(key == name for key, _ in headers):
        headers[:] = [header for header in headers if header[0] != name]


def _schema_of(framed: bytes) -> str:
    if framed[0] == _MAGIC_GUID:
        return f"schema {framed[1:17].hex()}"
    return f"schema id {int.from_bytes(framed[1:5], 'big')}"

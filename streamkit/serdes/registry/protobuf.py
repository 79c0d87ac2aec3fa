"""Protobuf with a schema registry: messages of a class that protoc has made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from streamkit.common.errors import UsageError
from streamkit.serdes.registry.client import SchemaRegistry, registry_of, require
from streamkit.serdes.registry.options import RegistryOptions, SubjectName
from streamkit.serdes.registry.serde import Half, RegisteredSerde
from streamkit.serdes.serde import Serde

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import SchemaRegistryClient

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProtobufFormat:
    """A message class; the schema is its file's, and the indexes say which message it is."""

    message: Any

    def serializer(self, client: SchemaRegistryClient, config: dict[str, Any]) -> Half:
        from confluent_kafka.schema_registry.protobuf import ProtobufSerializer

        made: Half = ProtobufSerializer(self.message, client, config)
        return made

    def deserializer(self, client: SchemaRegistryClient, config: dict[str, Any]) -> Half:
        from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer

        made: Half = ProtobufDeserializer(self.message, config, client)
        return made

    def refusal(self, value: object) -> str | None:
        if isinstance(value, self.message):
            return None
        return f"the serde takes {self.message.__name__}, not {type(value).__name__} {value!r:.80}"


def protobuf(
    message: type[T],
    /,
    *,
    registry: SchemaRegistry | str,
    subject: SubjectName = "topic",
    auto_register: bool = True,
    use_latest: bool = False,
    normalize: bool = False,
    id_in_header: bool = False,
) -> Serde[T]:
    """Messages of one Protobuf class; files that its file imports are registered as references.

    The arguments are those of `RegistryOptions`. Raises UsageError, saying what to install,
    without the extra `protobuf`.

        paid = app.topic("paid", key=str, value=sk.serdes.protobuf(Payment, registry=URL))
    """
    require("protobuf", "google.protobuf")
    if not hasattr(message, "DESCRIPTOR"):
        raise UsageError(f"serdes.protobuf({message!r}): give a message class that protoc has made")
    options = RegistryOptions(subject, auto_register, use_latest, normalize, id_in_header)
    return RegisteredSerde(ProtobufFormat(message), registry_of(registry), options)

"""Avro with a schema registry: dicts, or typed values that pydantic turns into them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar, overload

from streamkit.serdes.registry.client import SchemaRegistry, registry_of, require
from streamkit.serdes.registry.options import RegistryOptions, SubjectName, schema_text
from streamkit.serdes.registry.serde import Half, RegisteredSerde
from streamkit.serdes.serde import Serde

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import SchemaRegistryClient

    from streamkit.serdes.models import Typed

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AvroFormat:
    """A schema as text, and the type of the values; without a schema, the registry's."""

    schema: str | None
    typed: Typed | None

    def serializer(self, client: SchemaRegistryClient, config: dict[str, Any]) -> Half:
        from confluent_kafka.schema_registry.avro import AvroSerializer

        to_dict = None if self.typed is None else self._to_dict
        if self.schema is None:
            config = {**config, "auto.register.schemas": False, "use.latest.version": True}
        made: Half = AvroSerializer(client, self.schema, to_dict, conf=config)
        return made

    def deserializer(self, client: SchemaRegistryClient, config: dict[str, Any]) -> Half:
        from confluent_kafka.schema_registry.avro import AvroDeserializer

        from_dict = None if self.typed is None else self._from_dict
        made: Half = AvroDeserializer(client, self.schema, from_dict, conf=config)
        return made

    def refusal(self, value: object) -> str | None:
        return None if self.typed is None else self.typed.refusal(value)

    def _to_dict(self, value: object, context: object) -> Any:
        assert self.typed is not None, "only for typed values"
        return _without_enums(
            self.typed.adapter.dump_python(value, by_alias=True, warnings="error")
        )

    def _from_dict(self, found: Any, context: object) -> Any:
        assert self.typed is not None, "only for typed values"
        return self.typed.from_python(found)


@overload
def avro(
    schema: str | Mapping[str, Any] | None = None,
    /,
    *,
    registry: SchemaRegistry | str,
    subject: SubjectName = "topic",
    auto_register: bool = True,
    use_latest: bool = False,
    normalize: bool = False,
    id_in_header: bool = False,
) -> Serde[dict[str, Any]]: ...


@overload
def avro(
    schema: str | Mapping[str, Any] | None = None,
    /,
    *,
    registry: SchemaRegistry | str,
    model: type[T],
    subject: SubjectName = "topic",
    auto_register: bool = True,
    use_latest: bool = False,
    normalize: bool = False,
    id_in_header: bool = False,
) -> Serde[T]: ...


def avro(
    schema: str | Mapping[str, Any] | None = None,
    /,
    *,
    registry: SchemaRegistry | str,
    model: type[Any] | None = None,
    subject: SubjectName = "topic",
    auto_register: bool = True,
    use_latest: bool = False,
    normalize: bool = False,
    id_in_header: bool = False,
) -> Serde[Any]:
    """Avro records as dicts, or as `model`: a pydantic model, a dataclass, a TypedDict.

    `schema` is Avro's JSON, as text or dict. Without one, records are read by the schema that they
    were written with, and written with the newest of their subject. The other arguments are those
    of `RegistryOptions`. Raises UsageError, saying what to install, without the extra `avro`.

        orders = app.topic("orders", key=str, value=sk.serdes.avro(SCHEMA, registry=URL))
    """
    require("avro", "fastavro")
    options = RegistryOptions(subject, auto_register, use_latest, normalize, id_in_header)
    text = None if schema is None else schema_text(schema, "serdes.avro()")
    typed = None
    if model is not None:
        from streamkit.serdes.models import Typed

        typed = Typed(model)
    return RegisteredSerde(AvroFormat(text, typed), registry_of(registry), options)


def _without_enums(value: Any) -> Any:
    """Symbols of Avro's enums are texts."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {key: _without_enums(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_enums(each) for each in value]
    return value

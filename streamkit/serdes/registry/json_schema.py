"""JSON Schema with a schema registry: JSON that was checked against a schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, overload

import orjson

from streamkit.serdes.registry.client import SchemaRegistry, registry_of, require
from streamkit.serdes.registry.options import RegistryOptions, SubjectName, schema_text
from streamkit.serdes.registry.serde import Half, RegisteredSerde
from streamkit.serdes.serde import Serde

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import SchemaRegistryClient

    from streamkit.serdes.models import Typed

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class JsonSchemaFormat:
    """A schema as text, else that of a type; with neither, the registry's."""

    schema: str | None
    typed: Typed | None

    def serializer(self, client: SchemaRegistryClient, config: dict[str, Any]) -> Half:
        from confluent_kafka.schema_registry.json_schema import JSONSerializer

        to_dict = None if self.typed is None else self._to_dict
        made: Half = JSONSerializer(
            self._text, client, to_dict, conf=config, json_encode=orjson.dumps
        )
        return made

    def deserializer(self, client: SchemaRegistryClient, config: dict[str, Any]) -> Half:
        from confluent_kafka.schema_registry.json_schema import JSONDeserializer

        from_dict = None if self.typed is None else self._from_dict
        made: Half = JSONDeserializer(
            self._text, from_dict, client, conf=config, json_decode=orjson.loads
        )
        return made

    def refusal(self, value: object) -> str | None:
        return None if self.typed is None else self.typed.refusal(value)

    @property
    def _text(self) -> str | None:
        if self.schema is not None or self.typed is None:
            return self.schema
        made = self.typed.adapter.json_schema(by_alias=True)
        # Confluent's registry names a schema by its title.
        return orjson.dumps({"title": self.typed.name, **made}).decode()

    def _to_dict(self, value: object, context: object) -> Any:
        assert self.typed is not None, "only for typed values"
        return self.typed.adapter.dump_python(value, mode="json", by_alias=True, warnings="error")

    def _from_dict(self, found: Any, context: object) -> Any:
        assert self.typed is not None, "only for typed values"
        return self.typed.from_json(orjson.dumps(found))


@overload
def json_schema(
    schema: type[T],
    /,
    *,
    registry: SchemaRegistry | str,
    subject: SubjectName = "topic",
    auto_register: bool = True,
    use_latest: bool = False,
    normalize: bool = False,
    id_in_header: bool = False,
) -> Serde[T]: ...


@overload
def json_schema(
    schema: str | Mapping[str, Any],
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


@overload
def json_schema(
    schema: str | Mapping[str, Any],
    /,
    *,
    registry: SchemaRegistry | str,
    subject: SubjectName = "topic",
    auto_register: bool = True,
    use_latest: bool = False,
    normalize: bool = False,
    id_in_header: bool = False,
) -> Serde[Any]: ...


def json_schema(
    schema: type[Any] | str | Mapping[str, Any],
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
    """JSON checked against a schema: that of a pydantic model or a dataclass, or a given one.

    A schema given as text or dict makes values of any JSON, or of `model`. The other arguments are
    those of `RegistryOptions`. Raises UsageError, saying what to install, without the extra
    `json-schema`.

        clicks = app.topic("clicks", key=str, value=sk.serdes.json_schema(Click, registry=URL))
    """
    require("json-schema", "jsonschema")
    options = RegistryOptions(subject, auto_register, use_latest, normalize, id_in_header)
    declared = model
    text = None
    if isinstance(schema, type):
        declared = schema
    else:
        text = schema_text(schema, "serdes.json_schema()")
    typed = None
    if declared is not None:
        from streamkit.serdes.models import Typed

        typed = Typed(declared)
    return RegisteredSerde(JsonSchemaFormat(text, typed), registry_of(registry), options)

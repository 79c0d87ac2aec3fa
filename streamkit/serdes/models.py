"""Typed values as JSON: pydantic models, dataclasses, and what a pydantic TypeAdapter takes.

Reading validates; writing refuses a value of another type. Imported on first use, because
pydantic takes a tenth of a second to load.
"""

from __future__ import annotations

from typing import Any

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from streamkit.common.errors import SerializationError, TopologyError
from streamkit.common.model import Headers


class ModelSerde:
    """JSON text of one declared type, checked both ways."""

    __slots__ = ("_adapter", "_check", "_name")

    def __init__(self, declared: Any) -> None:
        self._name = getattr(declared, "__name__", None) or str(declared)
        self._check: type | None = declared if isinstance(declared, type) else None
        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(declared)
        except (PydanticSchemaGenerationError, PydanticUserError) as error:
            raise TopologyError(
                f"no serde for type {self._name}: give one with key= or value= "
                f"({error.message.splitlines()[0]})"
            ) from error
        if self._check is not None and not _can_check(self._check):
            self._check = None

    def serialize(self, topic: str, value: Any, headers: Headers, /) -> bytes | None:
        if self._check is not None and not isinstance(value, self._check):
            kind = type(value).__name__
            raise SerializationError(
                f"topic {topic}: the serde takes {self._name}, not {kind} {value!r:.80}"
            )
        try:
            return self._adapter.dump_json(value, by_alias=True, warnings="error")
        except PydanticSerializationError as error:
            raise SerializationError(f"topic {topic}: {value!r:.80}: {error}") from error

    def deserialize(self, topic: str, data: bytes, headers: Headers, /) -> Any:
        try:
            return self._adapter.validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "value"
            raise SerializationError(
                f"topic {topic}: {data[:80]!r} is no {self._name}: {place}: {first['msg']}"
            ) from error


def _can_check(declared: type) -> bool:
    """TypedDicts and other fictions of the type checker refuse isinstance."""
    try:
        isinstance(None, declared)
    except TypeError:
        return False
    return True

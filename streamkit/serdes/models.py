"""Typed values by pydantic: models, dataclasses, and what a pydantic TypeAdapter takes.

Reading validates; writing refuses a value of another type. Imported on first use, because
pydantic takes a tenth of a second to load.
"""

from __future__ import annotations

from typing import Any

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from streamkit.common.errors import SerializationError, TopologyError
from streamkit.common.model import Headers


class Typed:
    """One declared type. Raises TopologyError when pydantic does not know what to do with it."""

    __slots__ = ("_check", "adapter", "name")

    def __init__(self, declared: Any) -> None:
        self.name = getattr(declared, "__name__", None) or str(declared)
        self._check: type | None = declared if _can_check(declared) else None
        try:
            self.adapter: TypeAdapter[Any] = TypeAdapter(declared)
        except (PydanticSchemaGenerationError, PydanticUserError) as error:
            raise TopologyError(
                f"no serde for type {self.name}: give one with key= or value= "
                f"({error.message.splitlines()[0]})"
            ) from error

    def refusal(self, value: object) -> str | None:
        """What is wrong with a value of another type."""
        if self._check is None or isinstance(value, self._check):
            return None
        return f"the serde takes {self.name}, not {type(value).__name__} {value!r:.80}"

    def from_python(self, found: Any) -> Any:
        """The value of dicts, lists and what they hold. Raises SerializationError."""
        try:
            return self.adapter.validate_python(found)
        except ValidationError as error:
            raise self._mismatch(error, repr(found)) from error

    def from_json(self, data: bytes) -> Any:
        """The value of JSON text. Raises SerializationError."""
        try:
            return self.adapter.validate_json(data)
        except ValidationError as error:
            raise self._mismatch(error, repr(data[:80])) from error

    def _mismatch(self, error: ValidationError, given: str) -> SerializationError:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "value"
        return SerializationError(f"{given:.80} is no {self.name}: {place}: {first['msg']}")


class ModelSerde:
    """JSON text of one declared type, checked both ways."""

    __slots__ = ("_typed",)

    def __init__(self, declared: Any) -> None:
        self._typed = Typed(declared)

    def serialize(self, topic: str, value: Any, headers: Headers, /) -> bytes | None:
        refusal = self._typed.refusal(value)
        if refusal is not None:
            raise SerializationError(f"topic {topic}: {refusal}")
        try:
            return self._typed.adapter.dump_json(value, by_alias=True, warnings="error")
        except PydanticSerializationError as error:
            raise SerializationError(f"topic {topic}: {value!r:.80}: {error}") from error

    def deserialize(self, topic: str, data: bytes, headers: Headers, /) -> Any:
        try:
            return self._typed.from_json(data)
        except SerializationError as error:
            raise SerializationError(f"topic {topic}: {error}") from error


def _can_check(declared: Any) -> bool:
    """TypedDicts and other fictions of the type checker refuse isinstance."""
    if not isinstance(declared, type):
        return False
    try:
        isinstance(None, declared)
    except TypeError:
        return False
    return True

"""The error codes that a response holds, wherever in it they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, Final

from streamkit.protocol.caching import cached
from streamkit.protocol.errors import ErrorCode
from streamkit.protocol.messages import Message, nested_types

ERROR_CODE: Final = "error_code"


def error_codes(message: Message) -> Iterator[ErrorCode]:
    """All error codes of a message, those that say that there is no error among them."""
    has_code, inner = _places(type(message))
    if has_code:
        yield message.error_code
    for name in inner:
        value = getattr(message, name)
        if isinstance(value, tuple):
            for each in value:
                yield from error_codes(each)
        elif value is not None:
            yield from error_codes(value)


@cached
def _places(entity: type[Any]) -> tuple[bool, tuple[str, ...]]:
    """Whether an entity has a code itself, and which of its fields may hold some."""
    inner = tuple(name for name, nested in nested_types(entity).items() if _has_codes(nested))
    return any(field.name == ERROR_CODE for field in fields(entity)), inner


@cached
def _has_codes(entity: type[Any]) -> bool:
    has_code, inner = _places(entity)
    return has_code or bool(inner)

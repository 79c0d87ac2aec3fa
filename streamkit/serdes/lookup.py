"""Which serde a type has.

Kafka's own types come first, then JSON for plain dicts and lists, then typed JSON for models,
dataclasses, enums and containers of them. Nothing is guessed from a value, nothing is pickled.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import types
import typing
from typing import Any, TypeVar
from uuid import UUID

from streamkit.common.errors import TopologyError
from streamkit.serdes import builtin
from streamkit.serdes.json import json
from streamkit.serdes.serde import Serde

T = TypeVar("T")

_BY_TYPE: dict[Any, Serde[Any]] = {
    str: builtin.string,
    bytes: builtin.raw,
    int: builtin.long,
    float: builtin.double,
    bool: builtin.boolean,
    UUID: builtin.uuid,
    dict: json,
    list: json,
}
_PLAIN_JSON = {str, int, float, bool, None, type(None), Any, object}
_MODELS: dict[Any, Serde[Any]] = {}


def serde_for(declared: Any) -> Serde[Any]:
    """The serde of a type, an annotation or a serde itself.

    Raises TopologyError, naming the type, when there is none.

    >>> serde_for(int).serialize("counts", 5, ())
    b'\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x05'
    """
    found = find_serde(declared)
    if found is None:
        if isinstance(declared, type) and issubclass(declared, Serde):
            name = declared.__name__
            raise TopologyError(f"{name} is a class: pass a serde, as in {name}()")
        if isinstance(declared, str):
            raise TopologyError(f"no serde for type {declared!r}: write it without quotes")
        name = getattr(declared, "__name__", None) or str(declared)
        raise TopologyError(
            f"no serde for type {name}: use str, bytes, int, float, bool, UUID, dict, list, a "
            "pydantic model, a dataclass, or pass a streamkit.serdes.Serde"
        )
    return found


def as_serde(choice: Any) -> Serde[Any] | None:
    """What `key=` or `value=` of an operator means: None stays None, the rest by `serde_for`."""
    return None if choice is None else serde_for(choice)


def find_serde(declared: Any) -> Serde[Any] | None:
    """As `serde_for`, but None for a type without a serde."""
    declared = declared if _is_serde(declared) else _strip(declared)
    if _is_serde(declared):
        serde: Serde[Any] = declared
        _check_calls(serde)
        return serde
    try:
        known = _BY_TYPE.get(declared)
    except TypeError:  # not hashable, so no type
        return None
    if known is not None:
        return known
    if typing.get_origin(declared) in {dict, list} and _is_plain_json(declared):
        return json
    return model(declared) if _is_typed(declared) else None


def model(declared: type[T]) -> Serde[T]:
    """JSON text of a pydantic model, a dataclass or any type that pydantic can validate."""
    if declared not in _MODELS:
        from streamkit.serdes.models import ModelSerde

        _MODELS[declared] = ModelSerde(declared)
    return _MODELS[declared]


def type_of(serde: object) -> object:
    """The type that has this serde; None when that is not known, or more than one has it."""
    if serde is builtin.short or serde is builtin.integer:
        return int
    known = [*_BY_TYPE.items(), *_MODELS.items()]
    found = [declared for declared, its in known if its is serde]
    return found[0] if len(found) == 1 else None


def _is_serde(value: object) -> bool:
    return not isinstance(value, type) and isinstance(value, Serde)


def _check_calls(serde: Serde[Any]) -> None:
    """Raises TopologyError when a method cannot be called as it will be."""
    for method, given in (("serialize", "value"), ("deserialize", "data")):
        try:
            signature = inspect.signature(getattr(serde, method))
        except ValueError:  # of a C function that does not tell
            continue
        try:
            signature.bind("", None, ())
        except TypeError:
            raise TopologyError(
                f"serde {type(serde).__name__}: it is called as "
                f"{method}(topic, {given}, headers), and takes {signature}"
            ) from None


def _strip(declared: Any) -> Any:
    """Reduce `X | None`, `NewType`, `Annotated` and a `Literal` of one type to what they hold."""
    while True:
        origin = typing.get_origin(declared)
        if isinstance(declared, typing.NewType):
            declared = declared.__supertype__
        elif origin is typing.Annotated:
            inner, *extras = typing.get_args(declared)
            declared = next((extra for extra in extras if _is_serde(extra)), inner)
            if _is_serde(declared):
                return declared
        elif origin in {typing.Union, types.UnionType}:
            members = [arg for arg in typing.get_args(declared) if arg is not type(None)]
            if len(members) != 1:
                return declared
            declared = members[0]
        elif origin is typing.Literal:
            kinds = {type(arg) for arg in typing.get_args(declared)}
            return kinds.pop() if len(kinds) == 1 else declared
        else:
            return declared


def _is_plain_json(declared: Any) -> bool:
    origin = typing.get_origin(declared)
    arguments = typing.get_args(declared)
    if origin is dict:
        return arguments[0] is str and _is_plain_json(arguments[1])
    if origin in {list, typing.Union, types.UnionType}:
        return all(_is_plain_json(argument) for argument in arguments)
    try:
        return declared in _PLAIN_JSON or declared in {dict, list}
    except TypeError:
        return False


def _is_typed(declared: Any) -> bool:
    origin = typing.get_origin(declared)
    if origin in {dict, list, tuple, set, frozenset, typing.Union, types.UnionType}:
        return not any(isinstance(argument, TypeVar) for argument in typing.get_args(declared))
    declared = origin or declared
    if not isinstance(declared, type):
        return False
    return (
        dataclasses.is_dataclass(declared)
        or hasattr(declared, "__pydantic_core_schema__")
        or hasattr(declared, "__pydantic_validator__")
        or issubclass(declared, enum.Enum)
        or (issubclass(declared, dict) and hasattr(declared, "__required_keys__"))
        or (issubclass(declared, tuple) and hasattr(declared, "_fields"))
    )

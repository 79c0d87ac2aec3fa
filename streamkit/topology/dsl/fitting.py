"""Whether a value of one type may be a value of another.

Denied is what can never be: both types are known, and neither is a kind of the other; a narrower
one is what a filter before may have left. Unions, type variables, protocols and what has no
annotation are given the benefit of the doubt; type checkers are stricter.
"""

from __future__ import annotations

import types
import typing
from typing import Any

_WIDER: dict[type, set[type]] = {
    int: {float, complex},
    bool: {float, complex},
    float: {complex},
    tuple: {list},
}
"""Numbers that stand for others in annotations (PEP 484); tuples are the arrays of JSON, too."""


def may_take(have: object, want: object) -> bool:
    """Whether a value of one type may be one of the other; None is a type that is not known.

    >>> may_take(int, float), may_take(str, int | None), may_take(str, list)
    (True, False, False)
    """
    if have is None or want is None:
        return True
    return any(_fits(one, other) for one in _members(have) for other in _members(want))


def _fits(have: object, want: object) -> bool:
    kind, wanted = _class_of(have), _class_of(want)
    if kind is None or wanted is None:
        return True
    try:
        is_kind = issubclass(kind, wanted) or wanted in _WIDER.get(kind, set())
        if not is_kind and issubclass(wanted, kind):
            return True
    except TypeError:  # a class that cannot be asked
        return True
    inner, asked = typing.get_args(have), typing.get_args(want)
    if not is_kind or kind is not wanted or len(inner) != len(asked):
        return is_kind
    return all(may_take(one, other) for one, other in zip(inner, asked, strict=True))


def _members(declared: object) -> list[object]:
    """The types that a type stands for: those of a union without None, of a literal."""
    origin, arguments = typing.get_origin(declared), typing.get_args(declared)
    if isinstance(declared, typing.NewType):
        return _members(declared.__supertype__)
    if origin is typing.Annotated:
        return _members(arguments[0])
    if origin is typing.Literal:
        return [type(each) for each in arguments]
    if origin in {typing.Union, types.UnionType}:
        return [one for each in arguments if each is not type(None) for one in _members(each)]
    return [declared]


def _class_of(declared: object) -> type | None:
    """The class that tells; None for what may be anything."""
    origin = typing.get_origin(declared) or declared
    if not isinstance(origin, type) or origin in {Any, object}:
        return None
    if getattr(origin, "_is_protocol", False):
        return None
    is_typed_dict = issubclass(origin, dict) and hasattr(origin, "__required_keys__")
    return dict if is_typed_dict else origin


def type_name(declared: object) -> str:
    """How a message names a type."""
    origin, arguments = typing.get_origin(declared), typing.get_args(declared)
    if declared is None or declared is type(None):
        return "None"
    if origin in {typing.Union, types.UnionType}:
        return " | ".join(type_name(each) for each in arguments)
    if isinstance(origin, type):
        return f"{origin.__name__}[{', '.join(type_name(each) for each in arguments)}]"
    return declared.__name__ if isinstance(declared, type) else str(declared)

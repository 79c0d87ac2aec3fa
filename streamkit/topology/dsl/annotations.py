"""Reading the annotations of user functions, and the place in the program that an error names."""

from __future__ import annotations

import sys
import typing
from collections.abc import Callable
from types import FrameType
from typing import Any

from streamkit.common.errors import TopologyError

_OWN = "streamkit."


def hints_of(function: Callable[..., object]) -> dict[str, Any]:
    """The annotations of a function; empty for lambdas, builtins and unresolvable names."""
    if not getattr(function, "__annotations__", None):
        return {}
    try:
        return typing.get_type_hints(function, localns=_caller_locals(), include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}


def callable_or_raise(function: object, operator: str) -> None:
    """Raises TopologyError, naming the operator and its line, for what cannot be called."""
    if not callable(function):
        raise TopologyError(
            f"{operator} at {call_site()}: {function!r} is no function: give a function or a lambda"
        )


def call_site() -> str:
    """`word_count.py:12`: the line of the program that is calling streamkit."""
    frame = _caller()
    if frame is None:
        return "?"
    return f"{frame.f_code.co_filename.rsplit('/', 1)[-1]}:{frame.f_lineno}"


def _caller() -> FrameType | None:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith(_OWN):
        frame = frame.f_back
    return frame


def _caller_locals() -> dict[str, Any]:
    """The names of the function that declares a topology, for types defined inside it."""
    frame = _caller()
    return dict(frame.f_locals) if frame is not None else {}

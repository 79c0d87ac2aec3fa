"""Reading the annotations of user functions, and the place in the program that an error names."""

from __future__ import annotations

import inspect
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
    # Its own module's names first: the program's may be others of the same name.
    for names in (None, _caller_locals()):
        try:
            return typing.get_type_hints(function, localns=names, include_extras=True)
        except NameError:
            continue
        except (TypeError, AttributeError):
            break
    return {}


def callable_or_raise(function: object, operator: str) -> None:
    """Raises TopologyError, naming the operator and its line, for what cannot be called.

    Nor can an async function: only processors wait for one, others would take its coroutine.
    """
    if not callable(function):
        raise TopologyError(
            f"{operator} at {call_site()}: {function!r} is no function: give a function or a lambda"
        )
    if is_async(function):
        name = getattr(function, "__name__", repr(function))
        raise TopologyError(
            f"{operator} at {call_site()}: {name} is async, and only process() and @app.processor "
            "wait for it: use one of them, or make it a plain function"
        )


def is_async(function: object) -> bool:
    """Whether a call of it gives something to be awaited."""
    called = function if inspect.isroutine(function) else getattr(function, "__call__", None)  # noqa: B004 - its code is looked at
    return any(
        inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each)
        for each in (function, called)
    )


def is_count(given: object) -> bool:
    """Whether it is a whole number, 1 or more; True and False are none."""
    return isinstance(given, int) and not isinstance(given, bool) and given >= 1


def initializer_of(initial: object, operator: str) -> Callable[[], Any]:
    """What gives the first aggregate of a key: `initial` itself, or a function of its value.

    Raises TopologyError for a value that all keys would share and change.
    """
    if callable(initial):
        callable_or_raise(initial, operator)
        return initial
    if isinstance(initial, list | dict | set | bytearray):
        kind = type(initial).__name__
        made = kind if not initial else f"lambda: {initial!r}"
        raise TopologyError(
            f"{operator} at {call_site()}: all keys would begin with the same {kind}: give a "
            f"function that makes a new one, as in aggregate({made}, ...)"
        )
    return lambda: initial


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

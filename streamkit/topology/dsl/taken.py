"""Whether a function can take what comes to it, as far as its annotations say."""

from __future__ import annotations

import inspect
from typing import Any

from streamkit.common.errors import TopologyError
from streamkit.topology.dsl.annotations import call_site, callable_or_raise, hints_of
from streamkit.topology.dsl.fitting import may_take, type_name
from streamkit.topology.dsl.sides import Side


def function_or_raise(function: object, operator: str, *comes: Side) -> None:
    """Raises TopologyError for what cannot be called, or not with what comes."""
    callable_or_raise(function, operator)
    hints = _hints(function)
    if not hints:
        return
    for parameter, side in zip(_positional(function), comes, strict=False):
        wanted = hints.get(parameter)
        if not may_take(side.declared, wanted):
            raise TopologyError(
                f"{operator} at {call_site()}: {_name(function)} takes {type_name(wanted)} as "
                f"{parameter}, but {type_name(side.declared)} comes: change one of the types"
            )


def same_key_or_raise(function: object, operator: str, key: Side) -> None:
    """Raises TopologyError when a function's results can be no keys of the other table."""
    given = _hints(function).get("return")
    if not may_take(given, key.declared):
        raise TopologyError(
            f"{operator} at {call_site()}: {_name(function)} gives {type_name(given)}, but the "
            f"keys of the other table are {type_name(key.declared)}: change one of the types"
        )


def _hints(function: object) -> dict[str, Any]:
    """Those of a plain function or method: a class and a wrapper may take something else."""
    if not inspect.isroutine(function) or hasattr(function, "__wrapped__"):
        return {}
    return hints_of(function)


def _positional(function: object) -> list[str]:
    assert callable(function), "it was looked at"
    fills = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    parameters = inspect.signature(function).parameters.values()
    return [each.name for each in parameters if each.kind in fills]


def _name(function: object) -> str:
    return str(getattr(function, "__name__", "the function"))

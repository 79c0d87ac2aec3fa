"""`functools.cache` that keeps the signature, for functions of classes.

mypy does not take a `type[Any]` for hashable.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")


def cached(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which remembers every answer."""
    return cast(Callable[P, R], cache(function))

"""The type of `@app.processor(...)`: it gives the function back, and type checkers hold the
function's first parameter and its result against the topics.

One overload stands for each shape of signature, so that the function keeps its own type. mypy
warns that some overlap (a topic whose values are records, iterators
or coroutines); then either is right.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from streamkit.common.model import Record

K = TypeVar("K")
V = TypeVar("V")
K2 = TypeVar("K2")
R = TypeVar("R")
P = ParamSpec("P")
T = TypeVar("T")

Later = Coroutine[Any, Any, T]
"""What an async function gives when it is called."""


class ProcessorInto(Generic[K, V, R]):
    """Decorates a function whose results go to a topic with keys of the same type."""

    def __init__(self, declare: Callable[[Callable[..., Any]], None]) -> None:
        self._declare = declare

    @overload
    def __call__(
        self, function: Callable[Concatenate[V, P], AsyncIterator[Record[K, R]]], /
    ) -> Callable[Concatenate[V, P], AsyncIterator[Record[K, R]]]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]  # see the module's docstring
        self, function: Callable[Concatenate[Record[K, V], P], AsyncIterator[Record[K, R]]], /
    ) -> Callable[Concatenate[Record[K, V], P], AsyncIterator[Record[K, R]]]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[V, P], Later[Record[K, R]]], /
    ) -> Callable[Concatenate[V, P], Later[Record[K, R]]]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]  # see the module's docstring
        self, function: Callable[Concatenate[Record[K, V], P], Later[Record[K, R]]], /
    ) -> Callable[Concatenate[Record[K, V], P], Later[Record[K, R]]]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[V, P], Later[Record[K, R] | None]], /
    ) -> Callable[Concatenate[V, P], Later[Record[K, R] | None]]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]  # see the module's docstring
        self,
        function: Callable[Concatenate[Record[K, V], P], Later[Record[K, R] | None]],
        /,
    ) -> Callable[Concatenate[Record[K, V], P], Later[Record[K, R] | None]]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[V, P], AsyncIterator[R]], /
    ) -> Callable[Concatenate[V, P], AsyncIterator[R]]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]  # see the module's docstring
        self, function: Callable[Concatenate[Record[K, V], P], AsyncIterator[R]], /
    ) -> Callable[Concatenate[Record[K, V], P], AsyncIterator[R]]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[V, P], Later[R]], /
    ) -> Callable[Concatenate[V, P], Later[R]]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]  # see the module's docstring
        self, function: Callable[Concatenate[Record[K, V], P], Later[R]], /
    ) -> Callable[Concatenate[Record[K, V], P], Later[R]]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[V, P], Later[R | None]], /
    ) -> Callable[Concatenate[V, P], Later[R | None]]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]  # see the module's docstring
        self, function: Callable[Concatenate[Record[K, V], P], Later[R | None]], /
    ) -> Callable[Concatenate[Record[K, V], P], Later[R | None]]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[V, P], Iterator[Record[K, R]]], /
    ) -> Callable[Concatenate[V, P], Iterator[Record[K, R]]]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]  # see the module's docstring
        self, function: Callable[Concatenate[Record[K, V], P], Iterator[Record[K, R]]], /
    ) -> Callable[Concatenate[Record[K, V], P], Iterator[Record[K, R]]]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[V, P], Record[K, R]], /
    ) -> Callable[Concatenate[V, P], Record[K, R]]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]  # see the module's docstring
        self, function: Callable[Concatenate[Record[K, V], P], Record[K, R]], /
    ) -> Callable[Concatenate[Record[K, V], P], Record[K, R]]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[V, P], Record[K, R] | None], /
    ) -> Callable[Concatenate[V, P], Record[K, R] | None]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]  # see the module's docstring
        self, function: Callable[Concatenate[Record[K, V], P], Record[K, R] | None], /
    ) -> Callable[Concatenate[Record[K, V], P], Record[K, R] | None]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[V, P], Iterator[R]], /
    ) -> Callable[Concatenate[V, P], Iterator[R]]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]  # see the module's docstring
        self, function: Callable[Concatenate[Record[K, V], P], Iterator[R]], /
    ) -> Callable[Concatenate[Record[K, V], P], Iterator[R]]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[V, P], R], /
    ) -> Callable[Concatenate[V, P], R]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[Record[K, V], P], R], /
    ) -> Callable[Concatenate[Record[K, V], P], R]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[V, P], R | None], /
    ) -> Callable[Concatenate[V, P], R | None]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[Record[K, V], P], R | None], /
    ) -> Callable[Concatenate[Record[K, V], P], R | None]: ...

    def __call__(self, function: Any, /) -> Any:
        """Declare the processor; the function stays as it is."""
        self._declare(function)
        return function


class RekeyingInto(Generic[K, V, K2, R]):
    """Decorates a function whose results go to a topic with keys of another type."""

    def __init__(self, declare: Callable[[Callable[..., Any]], None]) -> None:
        self._declare = declare

    @overload
    def __call__(
        self, function: Callable[Concatenate[V, P], AsyncIterator[Record[K2, R]]], /
    ) -> Callable[Concatenate[V, P], AsyncIterator[Record[K2, R]]]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[Record[K, V], P], AsyncIterator[Record[K2, R]]], /
    ) -> Callable[Concatenate[Record[K, V], P], AsyncIterator[Record[K2, R]]]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[V, P], Later[Record[K2, R]]], /
    ) -> Callable[Concatenate[V, P], Later[Record[K2, R]]]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]  # see the module's docstring
        self,
        function: Callable[Concatenate[Record[K, V], P], Later[Record[K2, R]]],
        /,
    ) -> Callable[Concatenate[Record[K, V], P], Later[Record[K2, R]]]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[V, P], Later[Record[K2, R] | None]], /
    ) -> Callable[Concatenate[V, P], Later[Record[K2, R] | None]]: ...

    @overload
    def __call__(
        self,
        function: Callable[Concatenate[Record[K, V], P], Later[Record[K2, R] | None]],
        /,
    ) -> Callable[Concatenate[Record[K, V], P], Later[Record[K2, R] | None]]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[V, P], Iterator[Record[K2, R]]], /
    ) -> Callable[Concatenate[V, P], Iterator[Record[K2, R]]]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[Record[K, V], P], Iterator[Record[K2, R]]], /
    ) -> Callable[Concatenate[Record[K, V], P], Iterator[Record[K2, R]]]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[V, P], Record[K2, R]], /
    ) -> Callable[Concatenate[V, P], Record[K2, R]]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]  # see the module's docstring
        self, function: Callable[Concatenate[Record[K, V], P], Record[K2, R]], /
    ) -> Callable[Concatenate[Record[K, V], P], Record[K2, R]]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[V, P], Record[K2, R] | None], /
    ) -> Callable[Concatenate[V, P], Record[K2, R] | None]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[Record[K, V], P], Record[K2, R] | None], /
    ) -> Callable[Concatenate[Record[K, V], P], Record[K2, R] | None]: ...

    def __call__(self, function: Any, /) -> Any:
        """Declare the processor; the function stays as it is."""
        self._declare(function)
        return function


class ProcessorEnd(Generic[K, V]):
    """Decorates a function whose results, if any, go nowhere."""

    def __init__(self, declare: Callable[[Callable[..., Any]], None]) -> None:
        self._declare = declare

    @overload
    def __call__(
        self, function: Callable[Concatenate[V, P], R], /
    ) -> Callable[Concatenate[V, P], R]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[Record[K, V], P], R], /
    ) -> Callable[Concatenate[Record[K, V], P], R]: ...

    def __call__(self, function: Any, /) -> Any:
        """Declare the processor; the function stays as it is."""
        self._declare(function)
        return function

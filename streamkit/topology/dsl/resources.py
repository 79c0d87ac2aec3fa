"""Resources with a lifespan: a database connection, an HTTP client, one for each worker.

    @app.resource
    def database() -> Iterator[Connection]:
        with connect("orders.db") as connection:
            yield connection

    @app.processor(orders)
    def store(order: Order, db: Connection = database) -> None: ...

Opened when the first task that needs it starts, closed when the last one has ended.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from streamkit.common.errors import TopologyError


class Resource:
    """What `app.resource` gives: the default of a function's parameter.

    In a task the parameter gets what the generator yields; used outside of one it says so.
    """

    __slots__ = ("factory", "name")

    def __init__(self, factory: Callable[[], Any]) -> None:
        self.name: str = getattr(factory, "__name__", "resource")
        self.factory = factory

    @property
    def is_async(self) -> bool:
        """Whether it is opened on the loop of the async processors."""
        return inspect.isasyncgenfunction(self.factory)

    def __getattr__(self, name: str) -> Any:
        raise TopologyError(
            f"resource {self.name} is open only in a running processor: give a stand-in in tests"
        )


def resource_of(factory: Callable[[], Any]) -> Resource:
    """Check what is decorated. Raises TopologyError."""
    if not inspect.isgeneratorfunction(factory) and not inspect.isasyncgenfunction(factory):
        raise TopologyError(
            f"resource {getattr(factory, '__name__', factory)!s}: write a generator function that "
            "yields the resource once, and closes it behind the yield"
        )
    return Resource(factory)

"""The resources of one processing thread: opened for the first who asks, closed after the last."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from streamkit.common.errors import FatalError
from streamkit.tasks.async_loop import AsyncLoop
from streamkit.topology.dsl.resources import Resource


def own_resources() -> Resources:
    """Resources over an event loop of asyncio's own kind."""
    return Resources(AsyncLoop(asyncio.new_event_loop))


@dataclass(slots=True)
class _Open:
    value: Any
    generator: Any
    users: int


class Resources:
    """See the module."""

    def __init__(self, loop: AsyncLoop) -> None:
        self.loop = loop
        self._open: dict[Resource, _Open] = {}

    def acquire(self, resource: Resource) -> Any:
        """What the resource yields. Raises FatalError when it cannot be opened."""
        found = self._open.get(resource)
        if found is None:
            generator = resource.factory()
            try:
                value = self._next(resource, generator)
            except Exception as error:  # the user's code
                raise FatalError(
                    f"resource {resource.name} could not be opened: {type(error).__name__}: {error}"
                ) from error
            found = self._open[resource] = _Open(value, generator, 0)
        found.users += 1
        return found.value

    def release(self, resource: Resource) -> None:
        """One user less. Raises FatalError when it cannot be closed."""
        found = self._open[resource]
        found.users -= 1
        if found.users:
            return
        del self._open[resource]
        try:
            self._next(resource, found.generator)
        except (StopIteration, StopAsyncIteration):
            return
        except Exception as error:  # the user's code
            raise FatalError(
                f"resource {resource.name} could not be closed: {type(error).__name__}: {error}"
            ) from error
        raise FatalError(f"resource {resource.name} yields more than once")

    def _next(self, resource: Resource, generator: Any) -> Any:
        if resource.is_async:
            return self.loop.run(generator.__anext__())
        return next(generator)

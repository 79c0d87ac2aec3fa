"""The background tasks of one client, in one task group that ends with it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

from streamkit.client.errors import ClosedError


class Background:
    """A task group whose tasks are cancelled, not awaited, when its owner is done.

    A task that fails by a bug ends the owner's body, as in any task group.
    """

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._is_open = False

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a task. Raises ClosedError after the end."""
        if not self._is_open:
            work.close()
            raise ClosedError(f"the client is closed: {name} was not started")
        task = self._group.create_task(work, name=name)
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))
        return task

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._is_open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_open = False
        for task in list(self._tasks):
            task.cancel()
        if isinstance(error, asyncio.CancelledError):
            await self._group.__aexit__(kind, error, trace)
        else:
            # The body's own error goes on as it is, not inside of an ExceptionGroup.
            await self._group.__aexit__(None, None, None)

"""The event loop of the async processors: of its own, on the processing thread.

The thread steps it between records, and waits in it instead of in the inbox while calls are under
way. Inside of a running loop (a simulation) the calls run on that one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any


class AsyncLoop:
    """See the module; nothing is made before the first use."""

    def __init__(self, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self._new_loop = new_loop
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_own = False
        self._woken: asyncio.Event | None = None
        self.under_way = 0

    @property
    def is_used(self) -> bool:
        """Whether anything has ever run here."""
        return self._loop is not None

    def start(self, call: Coroutine[Any, Any, Any], scope: Context) -> asyncio.Task[Any]:
        """Begin a call, with its context variables; `step` and `wait` bring it further."""
        task = self._opened().create_task(call, context=scope)
        self.under_way += 1
        task.add_done_callback(self._on_done)
        return task

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        """Run something to its end, for the opening and closing of resources."""
        return self._opened().run_until_complete(call)

    def step(self) -> None:
        """Let what is ready run."""
        if self._is_own and self._loop is not None:
            self._loop.call_soon(self._loop.stop)
            self._loop.run_forever()

    def wait(self, seconds: float, has_news: Callable[[], bool] = lambda: False) -> None:
        """Wait until a call is done, `wake` is called, or the time is over."""
        if not self._is_own or self._loop is None or self._woken is None:
            return
        self._woken.clear()
        if not has_news():
            self._loop.run_until_complete(self._wait(seconds))

    def wake(self) -> None:
        """End a wait; from any thread."""
        loop, woken = self._loop, self._woken
        if loop is not None and woken is not None and not loop.is_closed():
            loop.call_soon_threadsafe(woken.set)

    def close(self) -> None:
        """Close the loop, if it is its own."""
        if self._is_own and self._loop is not None:
            self._loop.close()
        self._loop = None

    def _opened(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            try:
                self._loop = asyncio.get_running_loop()
            except RuntimeError:
                self._loop = self._new_loop()
                self._is_own = True
            self._woken = asyncio.Event()
        return self._loop

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self.under_way -= 1
        if self._woken is not None:
            self._woken.set()

    async def _wait(self, seconds: float) -> None:
        assert self._woken is not None, "the loop is open"
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return

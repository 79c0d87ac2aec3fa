"""The two bounded queues between the threads of a worker.

`Inbox` is read by the processing thread, which may block on it; `Outbox` is read by the network
thread's event loop. A put never blocks: who puts looks at `has_room` first, where it can wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")

INBOX_LIMIT = 256
"""Events that may wait before the network stops handing over fetched data."""


class Outbox(Generic[T]):
    """Commands for the event loop that made it."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._items: deque[T] = deque()
        self._loop = loop
        self._filled = asyncio.Event()
        self._is_signalled = False

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say which loop waits here; before the first put from another thread."""
        self._loop = loop

    def put(self, item: T) -> None:
        """Add from any thread."""
        self._items.append(item)
        if self._loop is not None and not self._is_signalled:
            self._is_signalled = True
            self._loop.call_soon_threadsafe(self._filled.set)

    def take_all(self) -> list[T]:
        """Everything that waits, without blocking."""
        self._is_signalled = False
        self._filled.clear()
        taken: list[T] = []
        while self._items:
            taken.append(self._items.popleft())
        return taken

    async def wait(self) -> None:
        """Wait until something was put."""
        if not self._items:
            await self._filled.wait()


class Inbox(Generic[T]):
    """Events for the processing thread."""

    def __init__(self, limit: int = INBOX_LIMIT) -> None:
        self._items: SimpleQueue[T] = SimpleQueue()
        self._limit = limit
        self._loop: asyncio.AbstractEventLoop | None = None
        self._emptied = asyncio.Event()
        self._is_waited_for = False
        self.on_put: Callable[[], None] | None = None
        """Called after each put, from the thread that puts."""

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say which loop puts here and may wait for room."""
        self._loop = loop

    @property
    def has_items(self) -> bool:
        """Whether anything waits."""
        return not self._items.empty()

    @property
    def has_room(self) -> bool:
        """Whether fewer than the limit are waiting."""
        return self._items.qsize() < self._limit

    def put(self, item: T) -> None:
        """Add; events other than fetched data are few and always taken."""
        self._items.put(item)
        on_put = self.on_put
        if on_put is not None:
            on_put()

    async def wait_room(self) -> None:
        """Wait until processing has taken what was there."""
        while not self.has_room:
            self._emptied.clear()
            self._is_waited_for = True
            if self.has_room:
                return
            await self._emptied.wait()

    def take_all(self, wait_s: float = 0.0) -> list[T]:
        """Everything that waits; blocks up to `wait_s` for the first."""
        taken: list[T] = []
        try:
            if wait_s > 0:
                taken.append(self._items.get(True, wait_s))
            while True:
                taken.append(self._items.get_nowait())
        except Empty:
            pass
        if taken and self._is_waited_for and self._loop is not None:
            self._is_waited_for = False
            self._loop.call_soon_threadsafe(self._emptied.set)
        return taken

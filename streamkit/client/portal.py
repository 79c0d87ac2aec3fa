"""A background event loop in a thread, for the blocking twins of the async clients.

The loop lives as long as its one async context manager: it is entered and left in the loop's own
task, and calls from other threads run between.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar

from streamkit.client.errors import ClosedError
from streamkit.common.errors import UsageError
from streamkit.common.seams import Spawn, Thread
from streamkit.common.system import run_loop

C = TypeVar("C")
T = TypeVar("T")


class Portal(Generic[C]):
    """A thread that runs one async client."""

    def __init__(self, make: Callable[[], AbstractAsyncContextManager[C]], spawn: Spawn) -> None:
        self._make = make
        self._spawn = spawn
        self._thread: Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._outcome: concurrent.futures.Future[None] = concurrent.futures.Future()

    def open(self) -> C:
        """Start the thread; gives the client once it is entered, or raises what that raised."""
        ready: concurrent.futures.Future[C] = concurrent.futures.Future()
        self._outcome = concurrent.futures.Future()
        self._thread = self._spawn.thread(lambda: self._main(ready), "streamkit-client")
        return ready.result()

    def close(self) -> None:
        """Leave the client and end the thread; raises what leaving raised."""
        if self._loop is None or self._stop is None:
            return
        self._refuse_in_loop()
        self._loop.call_soon_threadsafe(self._stop.set)
        try:
            self._outcome.result()
        finally:
            self._loop = None
            if self._thread is not None:
                self._thread.join()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop and wait for it.

        Raises UsageError inside of the loop, as in a delivery callback: it would wait for itself.
        """
        if self._loop is None:
            work.close()
            raise ClosedError("the client is not open: use it in a `with` block")
        try:
            self._refuse_in_loop()
        except UsageError:
            work.close()
            raise
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            # An interrupt of the waiting thread ends the work, too.
            future.cancel()
            raise

    def post(self, call: Callable[[], None]) -> None:
        """Run something in the loop soon, without waiting."""
        if self._loop is None:
            raise ClosedError("the client is not open: use it in a `with` block")
        self._loop.call_soon_threadsafe(call)

    def _refuse_in_loop(self) -> None:
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            return
        if running is self._loop:
            raise UsageError(
                "a blocking call inside of a callback waits for itself; make it outside (KIP-1118)"
            )

    def _main(self, ready: concurrent.futures.Future[C]) -> None:
        try:
            run_loop(self._live(ready))
        except BaseException as error:
            if ready.done():
                self._outcome.set_exception(error)
            else:
                ready.set_exception(error)
        else:
            self._outcome.set_result(None)

    async def _live(self, ready: concurrent.futures.Future[C]) -> None:
        async with self._make() as client:
            self._loop = asyncio.get_running_loop()
            self._stop = asyncio.Event()
            ready.set_result(client)
            await self._stop.wait()

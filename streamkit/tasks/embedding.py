"""A worker inside another program: `async with app.worker(...)`, or `with app.worker(...)`.

The worker's network runs in the caller's event loop, or, in the blocking form, in a thread of its
own. Leaving the block drains: work in hand is committed, then the group is left, or not.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from streamkit.common.errors import StreamkitError, UsageError
from streamkit.common.seams import Seams, Thread
from streamkit.tasks.group_topology import refuse_patterns
from streamkit.tasks.listeners import NO_LISTENERS, Listeners
from streamkit.tasks.local_stores import LocalStore
from streamkit.tasks.settings import StreamsSettings
from streamkit.tasks.states import State
from streamkit.tasks.worker import Progress, Worker
from streamkit.topology.plan import Topology


class EmbeddedWorker:
    """One worker as a context manager of either kind. Raises StreamkitError when it failed.

    Raises TopologyError at once for a topology that no worker runs.
    """

    def __init__(
        self,
        topology: Topology,
        settings: StreamsSettings,
        seams: Seams,
        listeners: Listeners = NO_LISTENERS,
        *,
        remains_in_group: bool = False,
    ) -> None:
        refuse_patterns(topology)
        self._worker = Worker(
            topology, settings, seams, listeners=listeners, remains_in_group=remains_in_group
        )
        self._seams = seams
        self._serving: asyncio.Task[int] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None
        self._status = 0

    def progress(self) -> Progress:
        """Where the worker stands."""
        return self._worker.progress()

    @property
    def state(self) -> State:
        """Where it is in its life, by Kafka Streams' names."""
        return self._worker.state

    @property
    def is_paused(self) -> bool:
        """Whether `pause` was called, and `resume` was not since."""
        return self._worker.is_paused

    def pause(self) -> None:
        """Process nothing, punctuate nothing and follow no standby's changelog (KIP-834).

        The worker stays in its group with its tasks; may be called before the block begins.
        """
        self._worker.pause()

    def resume(self) -> None:
        """Go on."""
        self._worker.pause(is_paused=False)

    def store(self, name: str, *, stale: bool = False) -> LocalStore:
        """A store to read from, as far as this worker has it; see `LocalStore`.

        Raises UsageError when the program has none of that name, or the worker does not run.
        """
        loop = self._loop or self._worker.loop
        if loop is None:
            raise UsageError("the worker does not run yet: read its stores inside the block")
        return LocalStore(self._worker.queries, name, stale=stale, loop=loop)

    async def wait(self) -> None:
        """Wait until the worker ends by itself. Raises StreamkitError when it has failed."""
        assert self._serving is not None, "the block was entered"
        self._status = await asyncio.shield(self._serving)
        self._check(None)

    def join(self, timeout_s: float | None = None) -> None:
        """`wait` for the blocking form, for so long at most."""
        assert self._thread is not None, "the block was entered"
        self._thread.join(timeout_s)
        self._check(None)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._serving = asyncio.create_task(self._worker.serve(), name="streamkit-worker")
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        assert self._serving is not None, "the block was entered"
        self._worker.request_stop()
        self._status = await self._serving
        self._check(error)

    def __enter__(self) -> Self:
        self._thread = self._seams.spawn.thread(self._run, "streamkit-worker")
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        assert self._thread is not None, "the block was entered"
        self._worker.request_stop()
        self._thread.join()
        self._check(error)

    def _run(self) -> None:
        self._status = self._worker.run()

    def _check(self, error: BaseException | None) -> None:
        # An error of the block itself is not hidden behind the worker's.
        if self._status != 0 and error is None:
            cause = self._worker.failure
            why = "its log says why" if cause is None else str(cause)
            raise StreamkitError(f"the worker failed: {why}") from cause

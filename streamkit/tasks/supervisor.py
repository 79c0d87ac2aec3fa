"""The parent of `--processes N`: one process id and state directory, N workers as children.

Slot *i* keeps its member id across crashes, so a restarted child takes its tasks back at once. A
child that was killed is started again, with a back-off; one that fails again and again by its own
error ends the whole, and so does an error of use, and one for which the application is stopped.
Children end when the parent dies.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from streamkit.common.seams import Child, Seams
from streamkit.tasks.group_topology import refuse_patterns
from streamkit.tasks.settings import StreamsSettings
from streamkit.tasks.uncaught import STATUS_STOP_APPLICATION
from streamkit.tasks.worker import DRAIN_DEADLINE_MS, state_directory, take_directory
from streamkit.topology.plan import Topology

log = logging.getLogger(__name__)

LOOK_MS = 50
BACKOFF_MS = 100
BACKOFF_MAX_MS = 10_000
STEADY_MS = 60_000
"""A child that lived so long begins anew with its back-off and its failures."""

FAILURES_MAX = 5
"""Failures in a row, each within `STEADY_MS`, after which the supervisor gives up."""

KILL_AFTER_MS = DRAIN_DEADLINE_MS + 10_000
"""A child that misses its own deadline still has to leave the group and say so."""

STATUS_USAGE = 2


@dataclass(slots=True)
class Slot:
    """One child's place; pure, but for the child it holds."""

    number: int
    child: Child | None = None
    started_ms: float = 0.0
    restart_ms: float = 0.0
    deaths: int = 0
    failures: int = 0
    is_done: bool = False

    def on_exit(self, status: int, now_ms: float) -> int | None:
        """Decide what follows; an exit status for all when that is the end of everything."""
        self.child = None
        if now_ms - self.started_ms >= STEADY_MS:
            self.deaths = self.failures = 0
        if status == 0:
            self.is_done = True
            return None
        if status == STATUS_USAGE:
            return STATUS_USAGE
        if status == STATUS_STOP_APPLICATION:
            log.error("slot %d failed and had all workers stop", self.number)
            return 1
        self.deaths += 1
        if status > 0:
            self.failures += 1
            if self.failures >= FAILURES_MAX:
                log.error("slot %d failed %d times in a row; giving up", self.number, self.failures)
                return 1
        backoff_ms = min(BACKOFF_MS * 2 ** (self.deaths - 1), BACKOFF_MAX_MS)
        self.restart_ms = now_ms + backoff_ms
        log.warning(
            "slot %d ended with status %d; starting it again in %d ms",
            self.number, status, backoff_ms,
        )  # fmt: skip
        return None


class Supervisor:
    """Runs `argv` once for each slot, with the slot and the process id appended."""

    def __init__(
        self,
        topology: Topology,
        settings: StreamsSettings,
        seams: Seams,
        argv: Sequence[str],
        processes: int,
    ) -> None:
        self._topology = topology
        self._settings = settings
        self._seams = seams
        self._argv = list(argv)
        self.slots = [Slot(number) for number in range(processes)]
        self._stop_requested = False

    def run(self) -> int:
        """Supervise until told to stop, or until all children are done; blocks."""
        from streamkit.common.system import run_loop

        return run_loop(self.serve())

    def request_stop(self) -> None:
        """Have the children drain and end; safe in a signal handler."""
        self._stop_requested = True

    async def serve(self) -> int:
        """`run` in the event loop of the caller."""
        refuse_patterns(self._topology)
        directory = state_directory(self._topology, self._settings, self._seams)
        release = take_directory(directory, self._settings, self._seams)
        try:
            process_id = str(directory.process_id(self._seams.random))
            self._argv += ["--process-id", process_id]
            try:
                status = await self._supervise()
            finally:
                drained = await self._end_children()
            return status or drained
        finally:
            release()

    async def _supervise(self) -> int:
        while not self._stop_requested:
            now = self._seams.clock.monotonic_ms()
            for slot in self.slots:
                status = self._look_after(slot, now)
                if status is not None:
                    return status
            if all(slot.is_done for slot in self.slots):
                return 0
            await asyncio.sleep(LOOK_MS / 1000)
        return 0

    def _look_after(self, slot: Slot, now_ms: float) -> int | None:
        if slot.child is not None:
            status = slot.child.poll()
            return None if status is None else slot.on_exit(status, now_ms)
        if not slot.is_done and now_ms >= slot.restart_ms:
            slot.child = self._seams.spawn.process([*self._argv, "--slot", str(slot.number)])
            slot.started_ms = now_ms
            log.info("slot %d runs as process %d", slot.number, slot.child.pid)
        return None

    async def _end_children(self) -> int:
        """Have those that still run drain; 1 when one of them failed to.

        SIGTERM itself ends only a child that is still starting, which has nothing to drain.
        """
        children = [slot.child for slot in self.slots if slot.child is not None]
        for child in children:
            child.terminate()
        deadline = self._seams.clock.monotonic_ms() + KILL_AFTER_MS
        for child in children:
            while child.poll() is None:
                if self._seams.clock.monotonic_ms() >= deadline:
                    log.error("process %d did not end in time; killing it", child.pid)
                    child.kill()
                await asyncio.sleep(LOOK_MS / 1000)
        return int(any(child.poll() not in (0, -signal.SIGTERM) for child in children))

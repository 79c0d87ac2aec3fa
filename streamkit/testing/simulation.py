"""A machine in one test: virtual time, a seeded scheduler's loop, simulated seams.

A `Simulation` runs coroutines on an event loop whose clock jumps to the next timer as soon as
nothing is ready, so that a minute of timers passes in a moment and always in the same order. Its
seams are simulated too: the network of `testing/network.py`, one disk of `testing/disk.py` per
node. Everything that happens is drawn from one seed; `trace` is what happened.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar
from uuid import UUID

from streamkit.common.seams import Child, Seams, Thread
from streamkit.testing.disk import MemoryDisk
from streamkit.testing.network import MemoryNetwork

T = TypeVar("T")

EPOCH_MS = 1_700_000_000_000
"""The wall clock at virtual time zero."""


class DeadlockError(Exception):
    """Nothing is ready and no timer is set: the simulated program waits for ever."""


class _VirtualTime:
    """Stands where a loop has its selector: waiting is moving the clock."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def select(self, timeout: float | None) -> list[object]:
        if timeout is None:
            raise DeadlockError("nothing is ready and no timer is set")
        if timeout > 0:
            self.now_s += timeout
        return []

    def close(self) -> None:
        return None


class SimulatedLoop(asyncio.BaseEventLoop):
    """asyncio's own scheduling on virtual time, without any file descriptor."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = _VirtualTime()

    def time(self) -> float:
        return self._selector.now_s

    def _process_events(self, event_list: list[object]) -> None:
        assert not event_list, "a simulated loop has no file descriptors"

    def _write_to_self(self) -> None:
        """Nothing waits in a system call, so nothing needs waking."""


class SimulatedClock:
    """Wall and elapsed time of a simulated loop."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return EPOCH_MS + int(self._loop.time() * 1000)

    def monotonic_ms(self) -> float:
        return self._loop.time() * 1000


class SimulatedRandom:
    """Chance from a seed; ids too."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def random(self) -> float:
        return self._random.random()

    def randrange(self, stop: int) -> int:
        return self._random.randrange(stop)

    def uuid4(self) -> UUID:
        return UUID(int=self._random.getrandbits(128), version=4)


class SimulatedSpawn:
    """Blocking work runs at once, in the loop; threads and processes do not exist."""

    def thread(self, target: Callable[[], None], name: str) -> Thread:
        raise RuntimeError(f"no thread {name} in a simulation: step the actor instead")

    async def in_thread(self, work: Callable[[], T]) -> T:
        await asyncio.sleep(0)
        return work()

    def process(self, argv: Sequence[str], *, new_session: bool = False) -> Child:
        raise RuntimeError(f"no process {argv[0]} in a simulation")


class Simulation:
    """One seeded world."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.loop = SimulatedLoop()
        self.clock = SimulatedClock(self.loop)
        self.random = SimulatedRandom(seed)
        self.network = MemoryNetwork(self.random)
        self.trace: list[str] = []

    def seams(self, node: str, disk: MemoryDisk) -> Seams:
        """The seams of one node or client, with a disk of its own."""
        return Seams(self.clock, self.random, disk, self.network.at(node), SimulatedSpawn())

    def note(self, event: str) -> None:
        """Add an event to the trace, with the virtual time."""
        self.trace.append(f"{self.loop.time() * 1000:.3f} {event}")

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run `main` to its end on the simulated loop; what still runs then is cancelled."""
        asyncio.set_event_loop(self.loop)
        try:
            return self.loop.run_until_complete(main)
        finally:
            self._cancel_rest()
            asyncio.set_event_loop(None)
            self.loop.close()

    def _cancel_rest(self) -> None:
        tasks = sorted(asyncio.all_tasks(self.loop), key=lambda task: task.get_name())
        for task in tasks:
            task.cancel()
        if tasks:
            self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


async def until(condition: Callable[[], bool], step_s: float = 0.01) -> None:
    """Wait, in virtual or real time, until a condition holds."""
    while not condition():  # noqa: ASYNC110 - any condition, not only one with an event
        await asyncio.sleep(step_s)

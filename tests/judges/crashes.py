"""Brokers that can die and come back, and what happens to them and to workers in a trial."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from tests.foreign import ApacheKafka
from tests.harness import WorkerProcess

PAUSE_S = 4.0
ROLLED_BACK = "rolling back"
SLOT = r"slot (\d) runs as process (\d+)"
RUNNING = r"task (\d+_\d+): running, (\d+) records restored"
QUICK = {
    "group.streams.min.heartbeat.interval.ms": "500",
    "group.streams.heartbeat.interval.ms": "500",
}


class Killable(Protocol):
    """A broker that can die and come back with its data."""

    @property
    def bootstrap(self) -> str: ...
    @property
    def pid(self) -> int: ...
    def kill(self) -> None: ...
    def start(self) -> None: ...


def apache_kafka(directory: Path, config: Mapping[str, str]) -> ApacheKafka:
    """Apache Kafka with these settings; a context manager."""
    return ApacheKafka(directory, *(f"{key}={value}" for key, value in config.items()))


def live_through(
    events: str,
    broker: Killable,
    worker: WorkerProcess,
    seed: int,
    gap_s: tuple[float, float] = (0.5, 2.5),
    freeze_broker: Callable[[], None] | None = None,
) -> None:
    """Let one thing after the other happen, at times drawn from the seed.

    W: a worker is killed, P: one is paused, B: the broker is killed, F: it is frozen by the
    caller's function.
    """
    chance = random.Random(seed)
    for event in events:
        time.sleep(chance.uniform(*gap_s))
        if event == "B":
            broker.kill()
            broker.start()
            continue
        if event == "F":
            assert freeze_broker is not None
            freeze_broker()
            continue
        victim = child_of(worker, chance.choice(slots_of(worker)))
        if victim is not None and event == "W":
            os.kill(victim, signal.SIGKILL)
        elif victim is not None:
            freeze(victim)


def freeze(pid: int) -> None:
    """Stop a process for `PAUSE_S`."""
    os.kill(pid, signal.SIGSTOP)
    time.sleep(PAUSE_S)
    os.kill(pid, signal.SIGCONT)


def slots_of(worker: WorkerProcess) -> list[int]:
    """The slots that ever ran a process."""
    return sorted({int(match[1]) for _, match in worker.logged(SLOT)})


def child_of(worker: WorkerProcess, slot: int) -> int | None:
    """The process of a slot, unless it is just being started again."""
    pid = [int(match[2]) for _, match in worker.logged(SLOT) if int(match[1]) == slot][-1]
    return pid if pid in worker.children() else None

"""Brokers that can die and come back, and what happens to them and to workers in a trial."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from tests.harness import WorkerProcess
from tests.judges.conftest import KAFKA

PAUSE_S = 4.0
FREEZES_MAX = 3
ROLLED_BACK = "rolling back"
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


def free_ports() -> int:
    """A port that is free together with the next one, outside of those for connections."""
    chance = random.Random(os.getpid())
    while True:
        port = chance.randrange(20_000, 30_000)
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


class ApacheKafka:
    """Apache Kafka in a directory."""

    def __init__(self, directory: Path, config: Mapping[str, str]) -> None:
        self._config = config
        self._port = free_ports()
        self._directory = directory
        self._is_formatted = False

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        return int((self._directory / "pid").read_text())

    def start(self) -> None:
        if self._is_formatted:
            self._run("restart", str(self._directory))
            return
        settings = [f"{key}={value}" for key, value in self._config.items()]
        self._run("start", str(self._directory), str(self._port), *settings)
        self._is_formatted = True

    def kill(self) -> None:
        self._run("stop", str(self._directory), "KILL")

    def stop(self) -> None:
        self._run("stop", str(self._directory))

    def _run(self, *arguments: str) -> None:
        subprocess.run(
            [str(KAFKA), *arguments],
            check=True,
            timeout=180,
            env={"KAFKA_HEAP": "512m", **os.environ},
        )


@contextmanager
def apache_kafka(directory: Path, config: Mapping[str, str]) -> Iterator[ApacheKafka]:
    running = ApacheKafka(directory, config)
    running.start()
    try:
        yield running
    finally:
        running.stop()


def live_through(
    events: str,
    broker: Killable,
    worker: WorkerProcess,
    seed: int,
    gap_s: tuple[float, float] = (0.5, 2.5),
) -> None:
    """Let one thing after the other happen, at times drawn from the seed.

    W: a worker is killed, P: one is paused, B: the broker is killed, F: it freezes for a
    while, again and again until that met a batch on its way and a worker rolled back.
    """
    chance = random.Random(seed)
    for event in events:
        time.sleep(chance.uniform(*gap_s))
        if event == "B":
            broker.kill()
            broker.start()
            continue
        if event == "F":
            freeze_until_rolled_back(broker, worker, chance)
            continue
        victim = child_of(worker, chance.randrange(2))
        if victim is not None and event == "W":
            os.kill(victim, signal.SIGKILL)
        elif victim is not None:
            freeze(victim)


def freeze_until_rolled_back(
    broker: Killable, worker: WorkerProcess, chance: random.Random
) -> None:
    """Freeze the broker until a worker rolls back, `FREEZES_MAX` times at most."""
    before = len(worker.logged(ROLLED_BACK))
    for _ in range(FREEZES_MAX):
        freeze(broker.pid)
        time.sleep(chance.uniform(0.5, 1.0))
        if len(worker.logged(ROLLED_BACK)) > before:
            return


def freeze(pid: int) -> None:
    """Stop a process for `PAUSE_S`."""
    os.kill(pid, signal.SIGSTOP)
    time.sleep(PAUSE_S)
    os.kill(pid, signal.SIGCONT)


def child_of(worker: WorkerProcess, slot: int) -> int | None:
    """The process of a slot, unless it is just being started again."""
    slots = worker.logged(r"slot (\d) runs as process (\d+)")
    pid = [int(match[2]) for _, match in slots if int(match[1]) == slot][-1]
    return pid if pid in worker.children() else None

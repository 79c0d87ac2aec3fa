"""The ledger: workers and the broker are killed and paused, each word is counted exactly once.

Without cache and linger every count that a task makes is a record, so the committed records of one
word must be 1, 2, 3, ... up to the true count: nothing missing, nothing twice, nothing taken back.
The reader is librdkafka, which reads committed records only (its default).
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from streamkit.testing.broker import Broker
from tests.foreign import create_topics, latest, read_confluent
from tests.harness import WorkerProcess, wait_for
from tests.judges.conftest import KAFKA
from tests.judges.word_feed import WordFeed, end_offset_sum, group_lag

pytestmark = pytest.mark.judge

PROGRAM = "examples/word_count.py"
APPLICATION = "word-count"
REPARTITION = f"{APPLICATION}-word-counts-repartition"
PARTITIONS = 4
TASKS = 2 * PARTITIONS
WORDS_PER_S = 4_000
SEED = 20_262
PAUSE_S = 4.0
TRANSACTION_TIMEOUT_MS = 2_000

SETTINGS = {
    "processing.guarantee": "exactly_once_v2",
    "producer.linger.ms": "0",
    "statestore.cache.max.bytes": "0",
    "repartition.purge.interval.ms": "3600000",
}
SHORT = {"producer.transaction.timeout.ms": str(TRANSACTION_TIMEOUT_MS)}
SILENT = {"log_level": "0"}
RUNNING = r"task (\d+_\d+): running, (\d+) records restored"
QUICK = {
    "group.streams.min.heartbeat.interval.ms": "500",
    "group.streams.heartbeat.interval.ms": "500",
}
IMPATIENT = QUICK | {"transaction.abort.timed.out.transaction.cleanup.interval.ms": "500"}
"""For paused workers. Not for killed brokers: Apache Kafka 4.3.1 that aborts timed-out transactions
while it starts again after kill -9 completes them without their markers, and their partitions hang.
"""


@dataclass(frozen=True, slots=True)
class Trial:
    """What happens, one thing after the other, while words come in for so many seconds.

    W: a worker is killed, P: one is paused until its transaction is aborted and it is fenced,
    B: the broker is killed.
    """

    events: str
    seconds: float
    settings: Mapping[str, str]


KILLS = Trial("WWBWWBWW", 45, SETTINGS)
PAUSES = Trial("PWPWP", 30, SETTINGS | SHORT)


class Killable(Protocol):
    """A broker that can die and come back with its data."""

    @property
    def bootstrap(self) -> str: ...
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


def test_kills_on_apache_kafka(tmp_path: Path) -> None:
    with apache_kafka(tmp_path / "kafka", QUICK) as broker:
        run_trial(KILLS, broker, tmp_path)


def test_pauses_on_apache_kafka(tmp_path: Path) -> None:
    with apache_kafka(tmp_path / "kafka", IMPATIENT) as broker:
        run_trial(PAUSES, broker, tmp_path)


def test_kills_on_our_broker(tmp_path: Path) -> None:
    with Broker() as broker:
        run_trial(KILLS, broker, tmp_path)


def test_pauses_on_our_broker(tmp_path: Path) -> None:
    config = {"transaction.abort.timed.out.transaction.cleanup.interval.ms": "500"}
    with Broker(config=config) as broker:
        run_trial(PAUSES, broker, tmp_path)


def run_trial(trial: Trial, broker: Killable, directory: Path) -> None:
    create_topics(broker.bootstrap, PARTITIONS, "lines", "counts")
    with (
        WorkerProcess(
            PROGRAM, broker.bootstrap, directory / "worker", processes=2, settings=trial.settings
        ) as worker,
        WordFeed(
            broker.bootstrap, "lines",
            partitions=PARTITIONS, words_per_s=WORDS_PER_S, seconds=trial.seconds, config=SILENT,
        ) as feed,
    ):  # fmt: skip
        wait_for(lambda: len(worker.logged(RUNNING)) >= TASKS, 60, "running tasks")
        live_through(trial.events, broker, worker)
        expected = feed.finish()
        topics = {"lines": PARTITIONS, REPARTITION: PARTITIONS}
        wait_for(lambda: group_lag(broker.bootstrap, APPLICATION, topics) == 0, 60, "the lag of 0")
        status = worker.stop()
    unseen = end_offset_sum(broker.bootstrap, REPARTITION, PARTITIONS) - expected.total()
    print(
        f"\n{expected.total()} words; events {trial.events}; "
        f"rolled back {len(worker.logged('rolling back'))} times, "
        f"tasks lost {len(worker.logged('all tasks are lost'))} times; "
        f"{unseen} offsets of re-partitioned words are aborted or markers"
    )
    check_ledger(broker.bootstrap, expected)
    assert status == 0
    assert "Traceback" not in worker.output()


def live_through(events: str, broker: Killable, worker: WorkerProcess) -> None:
    """Let one thing after the other happen, at times drawn from the seed."""
    chance = random.Random(SEED)
    for event in events:
        time.sleep(chance.uniform(0.5, 2.5))
        if event == "B":
            broker.kill()
            broker.start()
            continue
        victim = child_of(worker, chance.randrange(2))
        if victim is not None and event == "W":
            os.kill(victim, signal.SIGKILL)
        elif victim is not None:
            os.kill(victim, signal.SIGSTOP)
            time.sleep(PAUSE_S)
            os.kill(victim, signal.SIGCONT)


def child_of(worker: WorkerProcess, slot: int) -> int | None:
    """The process of a slot, unless it is just being started again."""
    slots = worker.logged(r"slot (\d) runs as process (\d+)")
    pid = [int(match[2]) for _, match in slots if int(match[1]) == slot][-1]
    return pid if pid in worker.children() else None


def check_ledger(bootstrap: str, expected: Counter[str]) -> None:
    words = read_confluent(bootstrap, REPARTITION, PARTITIONS)
    assert Counter((key or b"").decode() for key, _ in words) == expected
    rows = read_confluent(bootstrap, "counts", PARTITIONS)
    assert latest(rows) == dict(expected)
    counted: dict[str, list[int]] = defaultdict(list)
    for key, value in rows:
        counted[(key or b"").decode()].append(int.from_bytes(value or b"", "big"))
    for word, counts in counted.items():
        assert counts == list(range(1, expected[word] + 1)), f"the counts of {word}"

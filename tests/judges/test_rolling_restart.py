"""A worker that is stopped and started again with `--remain-in-group`: its tasks wait for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamkit.testing.broker import Broker
from tests.foreign import create_topics, produce_lines, read_confluent
from tests.harness import WorkerProcess, wait_for

pytestmark = pytest.mark.judge

PARTITIONS = 2
PROGRAM = """
import streamkit as sk

app = sk.App("rolling")
lines = app.topic("lines", key=str, value=str)
counts = app.topic("counts", key=str, value=int)

words = app.stream(lines).group_by(lambda _, line: line.partition(":")[0], key=str)
words.count(name="counted").to_stream().to(counts)
"""


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker(config={"group.streams.session.timeout.ms": "45000"}) as running:
        yield running


def assigned(worker: WorkerProcess, since: float = 0.0) -> list[str]:
    """What it said that it was assigned, oldest first."""
    return [match[1] for _, match in worker.logged(r"assigned ([\d_, ]+)$", since)]


def restored(worker: WorkerProcess, since: float) -> list[int]:
    """How many records each task restored."""
    told = worker.logged(r"running, (\d+) records restored", since)
    return [int(match[1]) for _, match in told]


def fed(broker: Broker, begin: int, end: int) -> None:
    lines = [f"{number % 16}:{number}" for number in range(begin, end)]
    produce_lines(broker.bootstrap, "lines", lines, PARTITIONS)
    wait_for(
        lambda: len(read_confluent(broker.bootstrap, "counts", PARTITIONS)) >= end,
        20, f"{end} counts",
    )  # fmt: skip


def test_tasks_of_a_worker_that_remains_wait_for_it_warm(broker: Broker, tmp_path: Path) -> None:
    create_topics(broker.bootstrap, PARTITIONS, "lines", "counts")
    program = tmp_path / "rolling.py"
    program.write_text(PROGRAM)
    settings = {"commit.interval.ms": "50", "statestore.cache.max.bytes": "0"}

    def worker(host: str) -> WorkerProcess:
        directory = tmp_path / host
        options = ["--remain-in-group"]
        return WorkerProcess(
            program, broker.bootstrap, directory, settings=settings, options=options
        )

    with worker("a") as other, worker("b") as stopped:
        wait_for(
            lambda: [len((assigned(each) or [""])[-1].split(", ")) for each in (other, stopped)]
            == [2, 2],
            20, "two tasks each",
        )  # fmt: skip
        fed(broker, 0, 200)
        before, since = assigned(stopped)[-1], time.time()
        assert stopped.stop() == 0
        with worker("b") as again:
            wait_for(lambda: len(restored(again, since)) == 2, 20, "its tasks")
            fed(broker, 200, 300)
            assert assigned(again, since) == [before]
            assert sum(restored(again, since)) < 20, "the state on disk was found again"
            assert assigned(other, since) == [], "nothing moved"
            assert again.stop() == 0
        assert other.stop() == 0

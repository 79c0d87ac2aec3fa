"""Workers whose user code blocks, and the state that tasks leave behind on a host."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamkit.tasks.worker import DRAIN_DEADLINE_MS
from streamkit.testing.broker import Broker
from tests.foreign import create_topics, produce_lines, read_confluent
from tests.harness import WorkerProcess, wait_for
from tests.judges.word_feed import WordFeed, balance, group_lag

pytestmark = pytest.mark.judge

PARTITIONS = 2
POLL_INTERVAL_MAX_MS = 10_000
SETTINGS = {
    "processing.guarantee": "at_least_once",
    "commit.interval.ms": "100",
    "max.poll.interval.ms": str(POLL_INTERVAL_MAX_MS),
}
CLEANUP_DELAY_MS = 2_000
LOG_TIME_MS = 50
"""The log's clock is not the worker's."""

CLOSED = r"task (\d_\d): closed"
DELETED = r"task (\d_\d): its state was not used any more and is deleted"
BLOCKING = """
import os, time
import streamkit as sk

app = sk.App("blocking")
orders = app.topic("orders", key=str, value=str)
done = app.topic("done", key=str, value=str)

def work(value: str) -> str:
    name, _, end = value.partition(":")
    if end and not os.path.exists(f"FLAGS/{name}"):
        open(f"FLAGS/{name}", "w").close()
        while not os.path.exists(f"FLAGS/{end}"):
            time.sleep(0.05)
    return value

app.stream(orders).map_values(work, value=str).to(done)
"""
"""`NAME:END` blocks the first worker that gets it until there is a file END, and no other."""


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as running:
        yield running


def two_workers(broker: Broker, directory: Path) -> tuple[WorkerProcess, WorkerProcess]:
    program = directory / "blocking.py"
    program.write_text(BLOCKING.replace("FLAGS", str(directory)))
    first, second = (
        WorkerProcess(program, broker.bootstrap, directory / host, settings=SETTINGS)
        for host in ("a", "b")
    )
    return first, second


def values(broker: Broker) -> list[str]:
    return sorted(
        (value or b"").decode() for _, value in read_confluent(broker.bootstrap, "done", PARTITIONS)
    )


def wait_values(broker: Broker, expected: list[str], limit_s: float = 60) -> None:
    wait_for(lambda: values(broker) == sorted(expected), limit_s, f"{expected} in done")


def wait_shared(first: WorkerProcess, second: WorkerProcess, since: float = 0.0) -> None:
    """Wait until each of the two says last that it was assigned one task."""

    def has_one(worker: WorkerProcess) -> bool:
        told = worker.logged(r"assigned ([\d_, ]+)$", since)
        return bool(told) and len(told[-1][1][1].split(", ")) == 1

    wait_for(lambda: has_one(first) and has_one(second), 60, "one task each")


def test_stuck_worker_gives_up_its_tasks_and_returns(broker: Broker, tmp_path: Path) -> None:
    create_topics(broker.bootstrap, PARTITIONS, "orders", "done")
    first, second = two_workers(broker, tmp_path)
    with first, second:
        wait_shared(first, second)
        produce_lines(broker.bootstrap, "orders", ["one", "two"], PARTITIONS)
        wait_values(broker, ["one", "two"])

        sent = time.time()
        produce_lines(broker.bootstrap, "orders", ["slow:release", "three"], PARTITIONS)
        wait_values(broker, ["one", "slow:release", "three", "two"])
        taken_s = time.time() - sent
        stuck, other = sorted((first, second), key=lambda each: -len(each.logged("been stuck")))
        ((_, complaint),) = stuck.logged(
            r"stuck for (\d+) ms .* task 0_0, record orders-0 offset 1;"
        )
        assert other.logged("been stuck") == []
        released = time.time()
        (tmp_path / "release").touch()
        wait_for(lambda: stuck.logged("joining the group again"), 60, "the stuck worker's return")
        wait_shared(first, second, since=released)
        produce_lines(broker.bootstrap, "orders", ["four", "five"], PARTITIONS)
        wait_values(broker, ["five", "four", "one", "slow:release", "three", "two"])
        print(
            f"\nstuck for {complaint[1]} ms (max.poll.interval.ms={POLL_INTERVAL_MAX_MS}): its "
            f"record was done by another worker {taken_s:.2f} s after it was sent, and only once"
        )
        assert other.stop() == 0
        assert stuck.stop() == 0


def test_drain_ends_at_its_deadline_when_user_code_blocks(broker: Broker, tmp_path: Path) -> None:
    create_topics(broker.bootstrap, PARTITIONS, "orders", "done")
    first, second = two_workers(broker, tmp_path)
    with first, second:
        wait_shared(first, second)
        produce_lines(broker.bootstrap, "orders", ["block:never"], PARTITIONS)
        wait_for((tmp_path / "block").exists, 10, "the block")
        began = time.monotonic()
        first.process.terminate()
        second.process.terminate()
        statuses = sorted(each.process.wait(90) for each in (first, second))
        ended_s = time.monotonic() - began
        logs = first.output() + second.output()
    print(f"\nSIGTERM with blocked user code: ended after {ended_s:.2f} s")
    assert statuses == [0, 1]
    assert DRAIN_DEADLINE_MS <= ended_s * 1000 <= DRAIN_DEADLINE_MS + 25_000
    assert f"did not drain within {DRAIN_DEADLINE_MS} ms" in logs
    assert "Traceback" not in logs


def test_state_of_departed_tasks_is_cleaned(broker: Broker, tmp_path: Path) -> None:
    partitions = 4
    create_topics(broker.bootstrap, partitions, "lines", "counts")
    settings = {"commit.interval.ms": "100", "state.cleanup.delay.ms": str(CLEANUP_DELAY_MS)}

    def worker(host: str) -> WorkerProcess:
        return WorkerProcess(
            "examples/word_count.py", broker.bootstrap, tmp_path / host, settings=settings
        )

    def folders(host: str) -> set[str]:
        return {path.name for path in (tmp_path / host / "state/word-count").glob("[0-9]_[0-9]")}

    with worker("a") as first:
        wait_for(lambda: len(first.logged("running, ")) >= 2 * partitions, 60, "running tasks")
        with WordFeed(
            broker.bootstrap, "lines", partitions=partitions, words_per_s=5_000, seconds=8
        ) as feed:
            assert len(folders("a")) == 2 * partitions
            with worker("b") as second:
                wait_for(lambda: len(second.logged("running, ")) >= partitions, 60, "its half")
                wait_for(lambda: len(first.logged(DELETED)) == partitions, 60, "the cleaning")
                closed = {match[1]: when for when, match in first.logged(CLOSED)}
                cleaned_s = min(when - closed[m[1]] for when, m in first.logged(DELETED))
                assert len(folders("a")) == partitions
                assert len(folders("b")) == partitions
                assert folders("a").isdisjoint(folders("b"))
                assert second.stop() == 0
            expected = feed.finish()
        topics = {"lines": partitions, "word-count-word-counts-repartition": partitions}
        wait_for(lambda: group_lag(broker.bootstrap, "word-count", topics) == 0, 30, "lag 0")
        found = balance(broker.bootstrap, partitions, expected, "word-count")
        restored = sum(int(m[1]) for _, m in first.logged(r"running, (\d+) records restored"))
        assert first.stop() == 0
    print(
        f"\nstate of {partitions} departed tasks deleted after {cleaned_s:.2f} s "
        f"(state.cleanup.delay.ms={CLEANUP_DELAY_MS}); back from the changelog: {restored} records"
    )
    assert cleaned_s * 1000 >= CLEANUP_DELAY_MS - LOG_TIME_MS
    assert restored > 0
    assert found.missing == {}
    assert found.excess == 0

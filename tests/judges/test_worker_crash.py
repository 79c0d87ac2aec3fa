"""Workers that die in mid-run: no word is lost, few are counted twice, nobody waits in vain.

How many words may be counted twice is bounded by what two sub-topologies process in one commit
interval and what is in flight then (linger, the commit itself); reprocessing everything since the
beginning exceeds the bound many times.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamkit.testing.broker import Broker
from tests.foreign import create_topics
from tests.harness import WorkerProcess, is_running, wait_for
from tests.judges.word_feed import Balance, WordFeed, balance, group_lag

pytestmark = pytest.mark.judge

PROGRAM = "examples/word_count.py"
APPLICATION = "word-count"
PARTITIONS = 4
TASKS = 2 * PARTITIONS
WORDS_PER_S = 20_000
SECONDS = 32
KILLS_AT_S = (8, 13, 18, 23)
COMMIT_INTERVAL_MS = 100
SETTINGS = {
    "processing.guarantee": "at_least_once",
    "commit.interval.ms": str(COMMIT_INTERVAL_MS),
}
UNBUFFERED = SETTINGS | {"producer.linger.ms": "0", "statestore.cache.max.bytes": "0"}
"""What is processed is sent at once, so that a crash leaves something to be done twice."""

SESSION_TIMEOUT_MS = 10_000
IN_FLIGHT_MS = 250
"""Linger (100 ms), the acknowledgement, the commit's own request, and a busy machine's delays."""

RUNNING = r"task (\d+_\d+): running, (\d+) records restored"


def excess_max(kills: int) -> int:
    """Words that may be counted twice: by each of both sub-topologies, for each kill."""
    return kills * 2 * WORDS_PER_S * (COMMIT_INTERVAL_MS + IN_FLIGHT_MS) // 1000


@pytest.fixture
def broker() -> Iterator[Broker]:
    config = {"group.streams.session.timeout.ms": str(SESSION_TIMEOUT_MS)}
    with Broker(config=config) as running:
        create_topics(running.bootstrap, PARTITIONS, "lines", "counts")
        yield running


def feed_words(broker: Broker, seconds: float = SECONDS) -> WordFeed:
    return WordFeed(
        broker.bootstrap, "lines", partitions=PARTITIONS, words_per_s=WORDS_PER_S, seconds=seconds
    )


def wait_running(
    worker: WorkerProcess, tasks: int, since: float = 0.0, limit_s: float = 30
) -> float:
    """Wait until so many tasks run; the time of the last one."""
    found = wait_for(
        lambda: (runs := worker.logged(RUNNING, since)) and len(runs) >= tasks and runs,
        limit_s,
        f"{tasks} running tasks",
    )
    return found[tasks - 1][0]


def settle(broker: Broker, feed: WordFeed) -> Balance:
    """Wait for the end of input and of its processing; the balance."""
    expected = feed.finish()
    topics = {"lines": PARTITIONS, f"{APPLICATION}-word-counts-repartition": PARTITIONS}
    wait_for(lambda: group_lag(broker.bootstrap, APPLICATION, topics) == 0, 60, "the lag of 0")
    found = balance(broker.bootstrap, PARTITIONS, expected, APPLICATION)
    assert found.missing == {}
    return found


def check_excess(found: Balance, kills: int) -> None:
    bound = excess_max(kills)
    assert bound < found.words / 7, "the bound would let reprocessing pass"
    assert found.excess <= bound, f"{found.excess} words too many, of {found.words}"


def test_killed_child_returns_to_its_tasks_at_once(broker: Broker, tmp_path: Path) -> None:
    with (
        WorkerProcess(
            PROGRAM, broker.bootstrap, tmp_path, processes=2, settings=UNBUFFERED
        ) as worker,
        feed_words(broker) as feed,
    ):
        wait_running(worker, TASKS)
        gaps_s = []
        for number, at_s in enumerate(KILLS_AT_S):
            feed.wait_until(at_s)
            gaps_s.append(kill_child(worker, slot=number % 2))
        found = settle(broker, feed)
        members = [match[1] for _, match in worker.logged(r"member (\S+)$")]
        status = worker.stop()
    shown = ", ".join(f"{gap:.2f}" for gap in gaps_s)
    print(
        f"\nchildren killed: their {TASKS // 2} tasks run again after {shown} s (session timeout "
        f"{SESSION_TIMEOUT_MS / 1000:.0f} s); {describe(found, len(gaps_s))}"
    )
    assert len(members) == 2 + len(gaps_s)
    assert len(set(members)) == 2
    assert max(gaps_s) < SESSION_TIMEOUT_MS / 1000 / 2
    assert status == 0
    check_excess(found, len(gaps_s))


def kill_child(worker: WorkerProcess, slot: int) -> float:
    """`kill -9` of a slot's child; how many seconds its tasks were away."""
    slots = worker.logged(r"slot (\d) runs as process (\d+)")
    victim = [int(match[2]) for _, match in slots if int(match[1]) == slot][-1]
    assert victim in worker.children()
    killed = time.time()
    os.kill(victim, signal.SIGKILL)
    running = wait_running(worker, TASKS // 2, killed)
    restarts = worker.logged(r"slot (\d) runs as process", killed)
    assert [int(match[1]) for _, match in restarts] == [slot]
    assert len({match[1] for _, match in worker.logged(RUNNING, killed)}) == TASKS // 2
    return running - killed


def describe(found: Balance, kills: int) -> str:
    return (
        f"{found.words} words, excess {found.excess}, of them {found.split_twice} split twice; "
        f"bound {excess_max(kills)}"
    )


def test_another_host_takes_over_from_a_dead_one(broker: Broker, tmp_path: Path) -> None:
    """First the parent is killed alone, then a whole host at once."""

    def worker_on(host: str) -> WorkerProcess:
        return WorkerProcess(
            PROGRAM, broker.bootstrap, tmp_path / host, processes=2, settings=SETTINGS
        )

    with worker_on("a") as first, feed_words(broker) as feed:
        wait_running(first, TASKS)
        feed.wait_until(6)
        children = first.children()
        killed = time.time()
        first.kill()
        wait_for(lambda: not any(map(is_running, children)), 10, "the end of the children")
        ended_s = time.time() - killed
        with worker_on("b") as second:
            inherited_s = wait_running(second, TASKS) - killed
            feed.wait_until(14)
            host = [second.pid, *second.children()]
            lost = time.time()
            for pid in host:
                os.kill(pid, signal.SIGKILL)
            with worker_on("c") as third:
                taken_s = wait_running(third, TASKS, limit_s=40) - lost
                found = settle(broker, feed)
                restored = sum(int(match[2]) for _, match in third.logged(RUNNING))
                assert third.stop() == 0
    print(
        f"\nparent killed: children ended after {ended_s:.2f} s, another worker had all tasks "
        f"after {inherited_s:.2f} s; host killed: taken over after {taken_s:.2f} s (session "
        f"timeout {SESSION_TIMEOUT_MS / 1000:.0f} s), {restored} records restored; "
        f"{describe(found, 2)}"
    )
    assert restored > 0
    assert taken_s < SESSION_TIMEOUT_MS / 1000 + 8
    check_excess(found, kills=2)


def test_drained_worker_leaves_nothing_to_do_twice(broker: Broker, tmp_path: Path) -> None:
    def worker() -> WorkerProcess:
        return WorkerProcess(PROGRAM, broker.bootstrap, tmp_path, processes=2, settings=SETTINGS)

    with worker() as first, feed_words(broker, 14) as feed:
        wait_running(first, TASKS)
        feed.wait_until(6)
        began = time.monotonic()
        assert first.stop() == 0
        drained_s = time.monotonic() - began
        stopped = time.time()
        with worker() as second:
            started_s = wait_running(second, TASKS, stopped) - stopped
            found = settle(broker, feed)
            assert second.stop() == 0
    print(
        f"\nSIGTERM: drained and ended in {drained_s:.2f} s; all tasks ran {started_s:.2f} s after "
        f"the restart; {found.words} words, excess {found.excess}"
    )
    assert found.excess == 0
    assert found.split_twice == 0
    assert started_s < SESSION_TIMEOUT_MS / 1000 / 2


def test_frozen_worker_comes_back_as_a_stranger(broker: Broker, tmp_path: Path) -> None:
    """It was away past its session timeout: it drops what it had in hand, and joins again."""

    def worker_on(host: str) -> WorkerProcess:
        return WorkerProcess(PROGRAM, broker.bootstrap, tmp_path / host, settings=UNBUFFERED)

    with worker_on("a") as first, worker_on("b") as second, feed_words(broker, 26) as feed:
        wait_running(first, TASKS // 2)
        wait_running(second, TASKS // 2)
        feed.wait_until(6)
        frozen = time.time()
        os.kill(first.pid, signal.SIGSTOP)
        taken_s = wait_running(second, TASKS // 2, frozen) - frozen
        os.kill(first.pid, signal.SIGCONT)
        woken = time.time()
        back_s = wait_running(first, TASKS // 2, woken) - woken
        found = settle(broker, feed)
        assert first.logged("all tasks are lost", woken)
        assert (first.stop(), second.stop()) == (0, 0)
    print(
        f"\nworker frozen: its tasks were taken over after {taken_s:.2f} s (session timeout "
        f"{SESSION_TIMEOUT_MS / 1000:.0f} s); woken, it had tasks again after {back_s:.2f} s; "
        f"{describe(found, 1)}"
    )
    assert taken_s < SESSION_TIMEOUT_MS / 1000 + 8
    check_excess(found, kills=1)

"""A large stateful task moves to a new worker when it is warm there, and not before.

A worker has counted a large vocabulary; a second one joins under load. With warm-ups it follows the
changelogs while the first goes on counting, and takes the tasks over with next to nothing left to
restore. Without them it restores all of it after the tasks were taken from the first.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from streamkit.cli.groups import command as groups
from streamkit.testing.broker import Broker
from tests.foreign import create_topics, latest, produce_lines, read_confluent
from tests.harness import WorkerProcess, wait_for
from tests.judges.word_feed import WORDS_PER_LINE, WordFeed, group_lag

pytestmark = pytest.mark.judge

PROGRAM = "examples/word_count.py"
APPLICATION = "word-count"
PARTITIONS = 4
MOVED = PARTITIONS // 2
"""Counting tasks that a second worker gets."""

WORDS = 240_000
"""Each of them once: so long are the changelogs together."""

WORDS_PER_S = 4_000
LAG_MAX = 2_000
SETTINGS = {"statestore.cache.max.bytes": "0"}
INPUT = {"lines": PARTITIONS, f"{APPLICATION}-word-counts-repartition": PARTITIONS}


@pytest.fixture(params=["2", "0"], ids=["warm", "cold"])
def warmups(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_large_tasks_move_when_they_are_warm(tmp_path: Path, warmups: str) -> None:
    config = {
        "group.streams.num.warmup.replicas": warmups,
        "group.streams.acceptable.recovery.lag": str(LAG_MAX),
        "group.streams.task.offset.interval.ms": "3000",
        "group.streams.heartbeat.interval.ms": "300",
    }
    with Broker(config=config) as broker:
        at = broker.bootstrap
        create_topics(at, PARTITIONS, "lines", "counts")
        produce_lines(at, "lines", vocabulary(), PARTITIONS)
        with WorkerProcess(PROGRAM, at, tmp_path / "one", settings=SETTINGS) as first:
            wait_for(lambda: len(first.logged(r"task \d_\d: running")) == 2 * PARTITIONS, 30)
            wait_for(lambda: group_lag(at, APPLICATION, INPUT) == 0, 90, "all words counted")
            wait_for(lambda: are_lengths_known(at), 30, "the coordinator to know the changelogs")
            feed = WordFeed(at, "lines", partitions=PARTITIONS, words_per_s=WORDS_PER_S, seconds=16)
            with feed, WorkerProcess(PROGRAM, at, tmp_path / "two", settings=SETTINGS) as second:
                told = wait_moved(at, second)
                expected = feed.finish()
                wait_for(lambda: group_lag(at, APPLICATION, INPUT) == 0, 60, "the lag of 0")
                assert second.stop() == 0
            assert first.stop() == 0
            report(first, second, told, is_warm=warmups != "0")
        expected.update(word for line in vocabulary() for word in line.split())
        assert latest(read_confluent(at, "counts", PARTITIONS)) == dict(expected)


def vocabulary() -> list[str]:
    words = [f"w{number}" for number in range(WORDS)]
    return [" ".join(words[n : n + WORDS_PER_LINE]) for n in range(0, WORDS, WORDS_PER_LINE)]


def described(bootstrap: str) -> dict[str, Any]:
    """`streamkit groups describe`, in this process: a new one takes longer than a warm-up."""
    arguments = ["describe", APPLICATION, "--json", "--bootstrap", bootstrap]
    done = CliRunner().invoke(groups, arguments)
    shown: dict[str, Any] = json.loads(done.stdout) if done.exit_code == 0 else {}
    return shown


def are_lengths_known(bootstrap: str) -> bool:
    """Without them a task moves at once, cold."""
    members = described(bootstrap).get("members", [])
    ends = {task: end for each in members for task, end in each["end_offsets"].items()}
    return sum(end for task, end in ends.items() if task.startswith("1_")) >= WORDS


def wait_moved(bootstrap: str, second: WorkerProcess) -> list[str]:
    """Look at the group until the second worker runs its counting tasks; what was told of it."""
    told: list[str] = []

    def has_moved() -> bool:
        shown = described(bootstrap)
        told.extend([*shown.get("reasons", []), shown.get("note", "")])
        return len(second.logged(r"task 1_\d: running")) == MOVED

    wait_for(has_moved, 90, "counting tasks on the second worker")
    return told


def report(first: WorkerProcess, second: WorkerProcess, told: list[str], *, is_warm: bool) -> None:
    restored = [
        int(match[1]) for _, match in second.logged(r"task 1_\d: running, (\d+) records restored")
    ]
    closed = {match[1]: when for when, match in first.logged(r"task (1_\d): closed")}
    running = {match[1]: when for when, match in second.logged(r"task (1_\d): running")}
    pauses = [round(running[task] - closed[task], 2) for task in sorted(running)]
    print(f"\nwarm-ups {is_warm}: restored at the move {restored}, paused for {pauses} s")
    behind = [
        int(match[1]) for _, match in second.logged(r"task 1_\d: standby follows, (\d+) offsets")
    ]
    each = WORDS // PARTITIONS
    if is_warm:
        assert len(behind) == MOVED
        assert all(lag > each * 0.9 for lag in behind)
        assert all(count < each / 4 for count in restored)
        assert any("until its state is warm on" in text for text in told), told
        assert any("is warm," in text for text in told), told
    else:
        assert behind == []
        assert all(count > each * 0.9 for count in restored)

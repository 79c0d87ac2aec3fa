"""`streamkit groups`, `reset`, `topics`, `configs`, `transactions` on Apache Kafka and on ours."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from streamkit.testing.broker import Broker
from tests.cluster_commands import (
    configs_are_shown_and_changed,
    topics_are_made_changed_and_deleted,
    transactions_are_shown,
)
from tests.foreign import create_topics, latest, produce_lines, read_confluent
from tests.harness import ROOT, WorkerProcess, streamkit, wait_for
from tests.judges.test_exactly_once import QUICK, apache_kafka

pytestmark = pytest.mark.judge

PROGRAM = "examples/word_count.py"
GROUP = "word-count"
PARTITIONS = 2
LINES = ["one two three", "two three", "three"] * 20
COUNTS = {"one": 20, "two": 40, "three": 60}
TIMERS = QUICK | {
    "group.streams.min.session.timeout.ms": "6000",
    "group.streams.session.timeout.ms": "6000",
    "group.streams.initial.rebalance.delay.ms": "0",
}
INTERNAL = ("word-count-word-counts-changelog", "word-count-word-counts-repartition")


@pytest.fixture(scope="module", params=["apache", "streamkit"])
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """`HOST:PORT` of Apache Kafka, then of our broker, with the program's input."""
    with ExitStack() as stack:
        running: Any = (
            stack.enter_context(Broker())
            if request.param == "streamkit"
            else stack.enter_context(apache_kafka(tmp_path_factory.mktemp("kafka"), TIMERS))
        )
        create_topics(running.bootstrap, PARTITIONS, "lines", "counts")
        produce_lines(running.bootstrap, "lines", LINES, PARTITIONS)
        yield running.bootstrap


def groups(bootstrap: str, *arguments: str) -> str:
    done = streamkit("groups", *arguments, "--bootstrap", bootstrap)
    assert done.returncode == 0, done.stderr
    return done.stdout


def described(bootstrap: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(groups(bootstrap, "describe", GROUP, "--json"))
    return shown


def lag(bootstrap: str) -> int:
    return sum(each["lag"] for each in described(bootstrap)["lags"])


def worker(bootstrap: str, directory: Path) -> WorkerProcess:
    settings = {"processing.guarantee": "at_least_once", "commit.interval.ms": "100"}
    return WorkerProcess(PROGRAM, bootstrap, directory, settings=settings)


def counts(bootstrap: str) -> dict[str, int]:
    return latest(read_confluent(bootstrap, "counts", PARTITIONS))


def test_running_group_is_described_and_not_reset(cluster: str, tmp_path: Path) -> None:
    with worker(cluster, tmp_path) as running:
        wait_for(lambda: counts(cluster) == COUNTS, 60, "the counts")
        wait_for(lambda: lag(cluster) == 0, 30, "a lag of 0")
        shown = described(cluster)
        assert (shown["type"], shown["state"], shown["reasons"]) == ("streams", "Stable", [])
        assert shown["epoch"] == shown["assignment_epoch"] >= 2
        (member,) = shown["members"]
        assert member["assigned"] == member["target"]
        assert member["assigned"]["active"] == ["0_0", "0_1", "1_0", "1_1"]
        text = groups(cluster, "describe", GROUP)
        print(f"\n{text}")
        for topic in INTERNAL:
            assert topic in text
        refused = streamkit("groups", "reset", GROUP, "--bootstrap", cluster)
        assert refused.returncode == 2
        assert "has 1 member: " in refused.stderr
        assert running.stop() == 0
    assert described(cluster)["reasons"] == ["The group has no members: start a worker."]


def test_offsets_are_moved_and_processing_goes_on_from_there(cluster: str, tmp_path: Path) -> None:
    if GROUP not in groups(cluster, "list"):
        with worker(cluster, tmp_path) as running:
            wait_for(lambda: counts(cluster) == COUNTS, 60, "the counts")
            assert running.stop() == 0
    told = groups(cluster, "reset", GROUP, "--to", "-5")
    assert "2 offsets set" in told
    assert lag(cluster) == 10
    with worker(cluster, tmp_path) as running:
        wait_for(lambda: lag(cluster) == 0, 60, "a lag of 0")
        assert running.stop() == 0
    # Ten lines more, of three kinds, with two words each on average.
    assert sum(counts(cluster).values()) == sum(COUNTS.values()) + words_again()


def words_again() -> int:
    parts = [LINES[partition::PARTITIONS][-5:] for partition in range(PARTITIONS)]
    return sum(len(line.split()) for lines in parts for line in lines)


def test_program_begins_anew_after_a_reset(cluster: str, tmp_path: Path) -> None:
    said, faults = tmp_path / "said", tmp_path / "faults"
    argv = [sys.executable, "-m", "streamkit", "reset", PROGRAM, "--bootstrap", cluster]
    argv += ["--set", f"state.dir={tmp_path / 'state'}", "--wait", "120"]
    with worker(cluster, tmp_path / "other") as other:
        with worker(cluster, tmp_path) as here:
            wait_for(lambda: here.logged("running, "), 60, "a task here")
            assert here.stop() == 0
        with (
            said.open("wb") as out,
            faults.open("wb") as err,
            subprocess.Popen(argv, cwd=ROOT, stdout=out, stderr=err) as reset,
        ):
            waits = "waiting for 1 member to leave or to time out"
            wait_for(lambda: waits in said.read_text(), 60, "the reset that waits")
            other.kill()
            assert reset.wait(240) == 0, faults.read_text()
    told = said.read_text()
    print(f"\n{told}")
    for step in ("group word-count deleted", *(f"topic {topic} deleted" for topic in INTERNAL)):
        assert step in told
    with worker(cluster, tmp_path) as running:
        wait_for(lambda: counts(cluster) == COUNTS, 60, "the same counts again")
        assert running.stop() == 0
    told = groups(cluster, "delete", GROUP, "--internal")
    assert f"topic {INTERNAL[1]} deleted (2 of 2)" in told
    assert GROUP not in groups(cluster, "list")


@pytest.mark.parametrize(
    "scenario",
    [
        topics_are_made_changed_and_deleted,
        configs_are_shown_and_changed,
        transactions_are_shown,
    ],
)
def test_commands_on_a_cluster(cluster: str, scenario: Callable[[str], None]) -> None:
    scenario(cluster)

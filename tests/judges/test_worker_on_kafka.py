"""The same program on Apache Kafka, with its default timers: in the open, and over SASL_SSL."""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.foreign import create_topics, latest, read_confluent
from tests.harness import WorkerProcess, streamkit, wait_for
from tests.judges.secure_kafka import PASSWORD, USERNAME, Authority, SecureKafka
from tests.judges.word_feed import WordFeed, group_lag, uncommitted_words

pytestmark = pytest.mark.judge

PROGRAM = "examples/word_count.py"
PARTITIONS = 2
TASKS = 2 * PARTITIONS
REPARTITION = "word-count-word-counts-repartition"
WORDS_PER_S = 20_000
UNBUFFERED = {"producer.linger.ms": "0", "statestore.cache.max.bytes": "0"}
"""What is processed is sent at once, so that a crash leaves something to be done twice."""

SESSION_TIMEOUT_S = 45
"""Kafka's default; a restarted child must not wait for it."""

RUNNING = r"task (\d+_\d+): running, (\d+) records restored"


@dataclass(slots=True)
class Tally:
    """What was written to `lines` so far, by whichever test."""

    expected: Counter[str] = field(default_factory=Counter)

    def check(self, bootstrap: str, excess_max: int = 0) -> str:
        """Wait until all is counted, and compare; the figures."""
        topics = {"lines": PARTITIONS, REPARTITION: PARTITIONS}
        wait_for(lambda: group_lag(bootstrap, "word-count", topics) == 0, 60, "the lag of 0")
        counts = latest(read_confluent(bootstrap, "counts", PARTITIONS))
        words = self.expected.total()
        excess = sum(counts.values()) - words
        assert counts.keys() == self.expected.keys()
        assert all(counts[word] >= count for word, count in self.expected.items())
        assert excess <= min(excess_max, words // 7)  # more could be all of it again
        self.expected = Counter(counts)
        return f"{words} words, excess {excess}"


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    with SecureKafka(tmp_path_factory.mktemp("kafka")) as running:
        create_topics(running.plaintext, PARTITIONS, "lines", "counts")
        yield running


@pytest.fixture(scope="module")
def tally() -> Tally:
    return Tally()


def security(kafka: SecureKafka, mechanism: str, **changed: str) -> dict[str, str]:
    given = {"password": PASSWORD, "ca": kafka.ca, **changed}
    return {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": mechanism,
        "sasl.username": USERNAME,
        "sasl.password": given["password"],
        "ssl.truststore.location": given["ca"],
    }


def worker_on(bootstrap: str, directory: Path, settings: dict[str, str]) -> WorkerProcess:
    return WorkerProcess(
        PROGRAM,
        bootstrap,
        directory,
        processes=2,
        settings={
            "processing.guarantee": "at_least_once",
            "commit.interval.ms": "100",
            **settings,
        },
    )


def wait_both_work(worker: WorkerProcess) -> None:
    """Wait until each of the two children has half of the tasks and runs them."""

    def are_shared() -> bool:
        told = worker.logged(r"assigned ([\d_, ]+)$")[-2:]
        shared = {task for _, match in told for task in match[1].split(", ")}
        halves = [len(match[1].split(", ")) for _, match in told]
        return len(shared) == TASKS and halves == [TASKS // 2] * 2

    wait_for(are_shared, 60, "half of the tasks for each")
    last = worker.logged(r"assigned ([\d_, ]+)$")[-1]
    tasks = set(last[1][1].split(", "))
    wait_for(
        lambda: tasks <= {match[1] for _, match in worker.logged(RUNNING, last[0])},
        30,
        "running tasks",
    )


def test_word_count_with_a_killed_child(kafka: SecureKafka, tally: Tally, tmp_path: Path) -> None:
    with worker_on(kafka.plaintext, tmp_path, UNBUFFERED) as worker:
        wait_both_work(worker)
        with WordFeed(
            kafka.plaintext, "lines", partitions=PARTITIONS, words_per_s=WORDS_PER_S, seconds=15
        ) as feed:
            feed.wait_until(6)
            victim = worker.children()[0]
            killed = time.time()
            bound = uncommitted_words(
                kafka.plaintext, "word-count", PARTITIONS, lambda: os.kill(victim, signal.SIGKILL)
            )
            running = wait_for(
                lambda: (runs := worker.logged(RUNNING, killed))[TASKS // 2 - 1 :] and runs,
                30,
                "the tasks of the killed child",
            )
            gap_s = running[TASKS // 2 - 1][0] - killed
            tally.expected += feed.finish()
        figures = tally.check(kafka.plaintext, bound)
        members = {match[1] for _, match in worker.logged(r"member (\S+)$")}
        assert worker.stop() == 0
    print(
        f"\nApache Kafka, child killed: its tasks run again after {gap_s:.2f} s (session timeout "
        f"{SESSION_TIMEOUT_S} s); {figures}; bound {bound}"
    )
    assert len(members) == 2
    assert gap_s < SESSION_TIMEOUT_S / 3


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "PLAIN"])
def test_word_count_over_sasl_ssl(
    kafka: SecureKafka, tally: Tally, tmp_path: Path, mechanism: str
) -> None:
    with worker_on(kafka.sasl_ssl, tmp_path, security(kafka, mechanism)) as worker:
        wait_both_work(worker)
        with WordFeed(
            kafka.plaintext, "lines", partitions=PARTITIONS, words_per_s=WORDS_PER_S, seconds=2
        ) as feed:
            tally.expected += feed.finish()
        figures = tally.check(kafka.plaintext)
        assert worker.stop() == 0
    print(f"\nApache Kafka over SASL_SSL with {mechanism}: {figures}")


def refused(kafka: SecureKafka, directory: Path, settings: dict[str, str]) -> str:
    """Start a worker that must not start; its one line."""
    pairs = {"state.dir": str(directory / "state"), **settings}
    options = [text for key, value in pairs.items() for text in ("--set", f"{key}={value}")]
    done = streamkit("worker", PROGRAM, "--bootstrap", kafka.sasl_ssl, *options)
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1, done.stderr
    line = done.stderr.strip()
    assert re.match("streamkit: .", line)
    return line


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "PLAIN"])
def test_wrong_password_is_one_line(kafka: SecureKafka, tmp_path: Path, mechanism: str) -> None:
    line = refused(kafka, tmp_path, security(kafka, mechanism, password="wrong"))
    print(f"\n{line}")
    assert mechanism in line
    assert "check the name and password" in line


def test_untrusted_certificate_is_one_line(kafka: SecureKafka, tmp_path: Path) -> None:
    other = str(Authority.create(tmp_path / "other").certificate)
    line = refused(kafka, tmp_path, security(kafka, "SCRAM-SHA-512", ca=other))
    print(f"\n{line}")
    assert "not trusted" in line
    assert "ssl.truststore.location" in line


def test_wrong_password_ends_all_processes(kafka: SecureKafka, tmp_path: Path) -> None:
    settings = security(kafka, "SCRAM-SHA-512", password="wrong")
    with worker_on(kafka.sasl_ssl, tmp_path, settings) as worker:
        assert worker.process.wait(90) == 2
        lines = [line for line in worker.output().splitlines() if line.startswith("streamkit: ")]
    assert len(lines) == 1
    assert "Traceback" not in worker.output()

"""The ledger: workers and the broker are killed and paused, each word is counted exactly once.

Without cache and linger every count that a task makes is a record, so the committed records of one
word must be 1, 2, 3, ... up to the true count: nothing missing, nothing twice, nothing taken back.
The reader is librdkafka, which reads committed records only (its default).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from streamkit.testing.broker import Broker
from tests.foreign import create_topics, latest, read_confluent
from tests.harness import WorkerProcess, wait_for
from tests.judges.crashes import (
    QUICK,
    ROLLED_BACK,
    RUNNING,
    Killable,
    apache_kafka,
    freeze,
    live_through,
)
from tests.judges.word_feed import WordFeed, end_offset_sum, group_lag

pytestmark = pytest.mark.judge

PROGRAM = "examples/word_count.py"
APPLICATION = "word-count"
REPARTITION = f"{APPLICATION}-word-counts-repartition"
PARTITIONS = 4
TASKS = 2 * PARTITIONS
WORDS_PER_S = 4_000
SEED = 20_262
TRANSACTION_TIMEOUT_MS = 2_000
BURST_WORDS = 60_000
FREEZES_MAX = 6

SETTINGS = {
    "processing.guarantee": "exactly_once_v2",
    "producer.linger.ms": "0",
    "statestore.cache.max.bytes": "0",
    "repartition.purge.interval.ms": "3600000",
}
SHORT = {"producer.transaction.timeout.ms": str(TRANSACTION_TIMEOUT_MS)}
IMPATIENT_PRODUCER = {
    "producer.delivery.timeout.ms": "2500",
    "producer.request.timeout.ms": "1000",
}
"""A frozen broker fails batches, so that transactions are aborted and their input read again."""
SILENT = {"log_level": "0"}
IMPATIENT = QUICK | {"transaction.abort.timed.out.transaction.cleanup.interval.ms": "500"}
"""For paused workers. Not for killed brokers: Apache Kafka 4.3.1 that aborts timed-out transactions
while it starts again after kill -9 completes them without their markers, and their partitions hang.
"""


@dataclass(frozen=True, slots=True)
class Trial:
    """What happens, one thing after the other, while words come in for so many seconds.

    W: a worker is killed, P: one is paused until its transaction is aborted and it is fenced,
    B: the broker is killed, F: it freezes for a while.
    """

    events: str
    seconds: float
    settings: Mapping[str, str]


KILLS = Trial("WWBWWBWW", 45, SETTINGS)
PAUSES = Trial("PWPWP", 30, SETTINGS | SHORT)
FREEZES = Trial("FWF", 30, SETTINGS | IMPATIENT_PRODUCER)


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


def test_frozen_broker_makes_workers_roll_back(tmp_path: Path) -> None:
    with Broker() as broker:
        assert run_trial(FREEZES, broker, tmp_path) > 0


def run_trial(trial: Trial, broker: Killable, directory: Path) -> int:
    """How often a worker rolled back."""
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
        live_through(
            trial.events, broker, worker, SEED,
            freeze_broker=lambda: freeze_until_rolled_back(broker, worker, feed),
        )  # fmt: skip
        expected = feed.finish()
        topics = {"lines": PARTITIONS, REPARTITION: PARTITIONS}
        wait_for(lambda: group_lag(broker.bootstrap, APPLICATION, topics) == 0, 60, "the lag of 0")
        status = worker.stop()
    unseen = end_offset_sum(broker.bootstrap, REPARTITION, PARTITIONS) - expected.total()
    rolled_back = len(worker.logged(ROLLED_BACK))
    print(
        f"\n{expected.total()} words; events {trial.events}; rolled back {rolled_back} times, "
        f"tasks lost {len(worker.logged('all tasks are lost'))} times; "
        f"{unseen} offsets of re-partitioned words are aborted or markers"
    )
    check_ledger(broker.bootstrap, expected)
    assert status == 0
    assert "Traceback" not in worker.output()
    return rolled_back


def freeze_until_rolled_back(broker: Killable, worker: WorkerProcess, feed: WordFeed) -> None:
    """Freeze the broker while the workers are busy, so that it meets batches on their way.

    Once should do; a stalled machine may need another one.
    """
    before = len(worker.logged(ROLLED_BACK))
    for _ in range(FREEZES_MAX):
        written = end_offset_sum(broker.bootstrap, REPARTITION, PARTITIONS)
        feed.burst(BURST_WORDS)
        wait_for_words(broker.bootstrap, written + BURST_WORDS // 20)
        freeze(broker.pid)
        if len(worker.logged(ROLLED_BACK)) > before:
            return


def wait_for_words(bootstrap: str, count: int) -> None:
    """Wait until workers have re-partitioned so many words."""
    wait_for(lambda: end_offset_sum(bootstrap, REPARTITION, PARTITIONS) >= count, 60, "words")


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

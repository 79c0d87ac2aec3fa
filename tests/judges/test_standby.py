"""Standbys on Apache Kafka and on ours: a worker is killed, the one that followed takes over.

Two workers on hosts of their own (a state directory and a process id each). The killed one's
counting tasks run again on the other with what was in flight restored, not with the whole
changelog; every word is counted exactly once.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from streamkit.testing.broker import Broker
from tests.foreign import create_topics, latest, read_confluent
from tests.harness import WorkerProcess, wait_for
from tests.judges.conftest import KafkaTool
from tests.judges.crashes import apache_kafka
from tests.judges.standbys import are_followed, taken_over, tasks_of
from tests.judges.word_feed import WordFeed, end_offset_sum, group_lag

pytestmark = pytest.mark.judge

PROGRAM = "examples/word_count.py"
APPLICATION = "word-count"
REPARTITION = f"{APPLICATION}-word-counts-repartition"
CHANGELOG = f"{APPLICATION}-word-counts-changelog"
PARTITIONS = 4
WORDS_PER_S = 10_000
SESSION_TIMEOUT_MS = 10_000
SETTINGS = {
    "num.standby.replicas": "1",
    "statestore.cache.max.bytes": "0",
    "producer.transaction.timeout.ms": "10000",
}
"""Without a cache every word is a change, and the changelog is long. What the killed worker left
open is aborted after the time-out; until then nobody knows where its input goes on."""

QUICK = {
    "group.streams.min.session.timeout.ms": str(SESSION_TIMEOUT_MS),
    "group.streams.session.timeout.ms": str(SESSION_TIMEOUT_MS),
    "group.streams.min.heartbeat.interval.ms": "500",
    "group.streams.heartbeat.interval.ms": "500",
    "group.streams.initial.rebalance.delay.ms": "0",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
}
LENGTH_MIN = 10 * WORDS_PER_S
"""Of the changelogs at the kill; without standbys about half of them would be restored."""

COUNTING = 1
"""The sub-topology that counts."""


def test_standby_takes_over_on_apache_kafka(tmp_path: Path, kafka_tool: KafkaTool) -> None:
    with apache_kafka(tmp_path / "kafka", QUICK) as broker:
        take_over(broker.bootstrap, tmp_path)
        configs = kafka_tool(
            "configs", "--bootstrap-server", broker.bootstrap, "--describe",
            "--entity-type", "groups", "--entity-name", APPLICATION,
        )  # fmt: skip
    assert "streams.num.standby.replicas=1" in configs


def test_standby_takes_over_on_our_broker(tmp_path: Path) -> None:
    with Broker(config=QUICK) as broker:
        take_over(broker.bootstrap, tmp_path)


def take_over(bootstrap: str, directory: Path) -> None:
    create_topics(bootstrap, PARTITIONS, "lines", "counts")
    workers = [
        WorkerProcess(PROGRAM, bootstrap, directory / name, settings=SETTINGS)
        for name in ("one", "two")
    ]
    victim, heir = workers
    with (
        victim,
        heir,
        WordFeed(
            bootstrap, "lines", partitions=PARTITIONS, words_per_s=WORDS_PER_S, seconds=30
        ) as feed,
    ):
        wait_for(lambda: are_followed(workers, COUNTING, PARTITIONS), 60, "standbys of all counts")
        wait_for(
            lambda: end_offset_sum(bootstrap, CHANGELOG, PARTITIONS) > LENGTH_MIN, 60, "changelogs"
        )
        topics = {"lines": PARTITIONS, REPARTITION: PARTITIONS}
        wait_for(lambda: group_lag(bootstrap, APPLICATION, topics) < WORDS_PER_S, 60, "a small lag")
        lost = tasks_of(victim, COUNTING)
        length = end_offset_sum(bootstrap, CHANGELOG, PARTITIONS)
        killed = time.time()
        victim.kill()
        taken = wait_for(lambda: taken_over(heir, killed, lost), 90, "the killed worker's tasks")
        expected = feed.finish()
        wait_for(lambda: group_lag(bootstrap, APPLICATION, topics) == 0, 60, "the lag of 0")
        assert heir.stop() == 0
    restored = sum(int(match[2]) for _, match in taken)
    print(
        f"\n{len(lost)} counting tasks ran on the killed worker; the other one, which followed "
        f"them, restored {restored} records of {length} in the changelogs; "
        f"running again {max(when for when, _ in taken) - killed:.1f} s after the kill "
        f"(session timeout {SESSION_TIMEOUT_MS / 1000} s)"
    )
    assert restored < length // 4
    assert latest(read_confluent(bootstrap, "counts", PARTITIONS)) == dict(expected)
    assert "Traceback" not in heir.output()

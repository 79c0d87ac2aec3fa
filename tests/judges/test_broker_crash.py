"""A broker that is killed in mid-produce: what it acknowledged is there afterwards, once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import confluent_kafka
import pytest

from streamkit.testing.broker import Broker
from tests.foreign import create_topics
from tests.harness import WorkerProcess, wait_for
from tests.judges.word_feed import WordFeed, balance, group_lag

pytestmark = pytest.mark.judge

PARTITIONS = 3
KILLS = 3
DOWN_S = 0.3
RECORDS_BETWEEN_KILLS = 60_000


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    settings = {"group.streams.session.timeout.ms": "45000"}
    with Broker(str(tmp_path / "broker"), settings) as running:
        yield running


class LedgerProducer:
    """An idempotent producer that writes numbers as fast as it may, and notes every answer."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.sent = 0
        self.acknowledged: dict[tuple[int, int], int] = {}
        """(partition, offset) → the number that was acknowledged there."""

        self.failed: list[str] = []
        self._topic = topic
        self._producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 2,
                "message.timeout.ms": 60_000,
                "reconnect.backoff.max.ms": 200,
            }
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger")

    def __enter__(self) -> LedgerProducer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait_acknowledged(self, count: int) -> None:
        """Wait until so many records are acknowledged."""
        wait_for(lambda: len(self.acknowledged) >= count, 60, f"{count} acknowledged records")

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._producer.produce(
                    self._topic,
                    str(self.sent).encode(),
                    partition=self.sent % PARTITIONS,
                    on_delivery=self._on_delivery,
                )
            except BufferError:
                self._producer.poll(0.005)
                continue
            self.sent += 1
            self._producer.poll(0)
        if self._producer.flush(60):
            self.failed.append("some records were never answered")

    def _on_delivery(self, error: object, message: confluent_kafka.Message) -> None:
        if error is not None:
            self.failed.append(str(error))
            return
        where = (message.partition() or 0, message.offset() or 0)
        assert where not in self.acknowledged, f"{where} was acknowledged twice"
        self.acknowledged[where] = int(message.value() or b"")


def read_ledger(bootstrap: str, topic: str) -> dict[tuple[int, int], int]:
    """(partition, offset) → number, of everything in the topic."""
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "none", "enable.partition.eof": True}
    )
    consumer.assign([confluent_kafka.TopicPartition(topic, p, 0) for p in range(PARTITIONS)])
    found: dict[tuple[int, int], int] = {}
    ended = 0
    while ended < PARTITIONS:
        for message in consumer.consume(10_000, 0.2):
            if message.error() is not None:
                ended += 1
                continue
            found[message.partition(), message.offset()] = int(message.value())
    consumer.close()
    return found


def crash(broker: Broker) -> float:
    """Kill the broker and start it again; seconds from its start to its first answer."""
    broker.kill()
    time.sleep(DOWN_S)
    began = time.monotonic()
    broker.start()
    return time.monotonic() - began


def test_acknowledged_records_survive_kills_of_the_broker(broker: Broker) -> None:
    create_topics(broker.bootstrap, PARTITIONS, "ledger")
    ready_s = []
    with LedgerProducer(broker.bootstrap, "ledger") as producer:
        for _ in range(KILLS):
            goal = len(producer.acknowledged) + RECORDS_BETWEEN_KILLS
            producer.wait_acknowledged(goal)
            ready_s.append(crash(broker))
    found = read_ledger(broker.bootstrap, "ledger")
    duplicates = len(found) - len(set(found.values()))
    print(
        f"\nbroker killed {KILLS} times in mid-produce: {len(producer.acknowledged)} records "
        f"acknowledged of {producer.sent} sent, {len(found)} there, {duplicates} duplicates; ready "
        f"again after {', '.join(f'{each:.2f}' for each in ready_s)} s"
    )
    assert producer.failed == []
    assert len(producer.acknowledged) == producer.sent
    assert producer.acknowledged.items() <= found.items()
    assert duplicates == 0
    assert len(found) == producer.sent


def test_workers_go_on_after_kills_of_the_broker(broker: Broker, tmp_path: Path) -> None:
    partitions = 2
    create_topics(broker.bootstrap, partitions, "lines", "counts")
    settings = {"processing.guarantee": "at_least_once", "commit.interval.ms": "100"}
    with (
        WorkerProcess(
            "examples/word_count.py", broker.bootstrap, tmp_path / "worker",
            processes=2, settings=settings,
        ) as worker,
        WordFeed(
            broker.bootstrap, "lines", partitions=partitions, words_per_s=20_000, seconds=16
        ) as feed,
    ):  # fmt: skip
        wait_for(lambda: len(worker.logged("running, ")) >= 2 * partitions, 30, "running tasks")
        for at_s in (5, 9, 13):
            feed.wait_until(at_s)
            crash(broker)
        expected = feed.finish()
        topics = {"lines": partitions, "word-count-word-counts-repartition": partitions}
        began = time.monotonic()
        wait_for(lambda: group_lag(broker.bootstrap, "word-count", topics) == 0, 60, "lag 0")
        caught_up_s = time.monotonic() - began
        found = balance(broker.bootstrap, partitions, expected, "word-count")
        restarts = len(worker.logged("ended with status"))
        status = worker.stop()
    print(
        f"\nbroker killed 3 times under workers: {found.words} words, excess {found.excess}, "
        f"caught up {caught_up_s:.2f} s after the end of input, {restarts} worker restarts"
    )
    assert found.missing == {}
    assert found.excess == 0
    assert restarts == 0
    assert status == 0

"""A steady stream of words into a topic, and the count that must come of it.

with WordFeed(bootstrap, "lines", partitions=4, words_per_s=20_000, seconds=30) as feed:
    ...                      # the bad day
    expected = feed.finish()
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass

import confluent_kafka

from tests.foreign import latest, read_confluent

WORDS_PER_LINE = 10
VOCABULARY = 1_000
STEP_S = 0.02
SEED = 20_261


class WordFeed:
    """Writes lines at a fixed rate from a thread of its own, with librdkafka."""

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        *,
        partitions: int,
        words_per_s: int,
        seconds: float,
        config: dict[str, str] | None = None,
    ) -> None:
        self.expected: Counter[str] = Counter()
        self.words_per_s = words_per_s
        self.lines = 0
        self._topic = topic
        self._partitions = partitions
        self._seconds = seconds
        self._failed: list[str] = []
        self._producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": bootstrap,
                "linger.ms": 5,
                "enable.idempotence": True,
                "acks": "all",
                **(config or {}),
            }
        )
        self._thread = threading.Thread(target=self._run, name="feed")
        self._ended = threading.Event()

    def __enter__(self) -> WordFeed:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def seconds_fed(self) -> float:
        """How long it has been feeding."""
        return time.monotonic() - self._began

    def wait_until(self, seconds: float) -> None:
        """Let it feed until so many seconds after its beginning."""
        time.sleep(max(0.0, seconds - self.seconds_fed))

    def finish(self) -> Counter[str]:
        """Wait for the end of the input; the true counts of what was acknowledged."""
        self._thread.join()
        assert self._failed == []
        return self.expected

    def _run(self) -> None:
        chance = random.Random(SEED)
        words = [f"word-{number}" for number in range(VOCABULARY)]
        lines_per_s = self.words_per_s / WORDS_PER_LINE
        while self.seconds_fed < self._seconds and not self._ended.is_set():
            due = int(min(self.seconds_fed, self._seconds) * lines_per_s)
            while self.lines < due:
                self._write(chance.choices(words, k=WORDS_PER_LINE))
            self._producer.poll(0)
            time.sleep(STEP_S)
        left = self._producer.flush(60)
        if left:
            self._failed.append(f"{left} lines were not acknowledged")

    def _write(self, words: list[str]) -> None:
        partition = self.lines % self._partitions
        while True:
            try:
                self._producer.produce(
                    self._topic, " ".join(words).encode(), partition=partition,
                    on_delivery=self._on_delivery,
                )  # fmt: skip
                break
            except BufferError:
                self._producer.poll(0.05)
        self.expected.update(words)
        self.lines += 1

    def _on_delivery(self, error: object, _message: object) -> None:
        if error is not None:
            self._failed.append(str(error))


@dataclass(frozen=True, slots=True)
class Balance:
    """Final counts against the true ones."""

    words: int
    missing: dict[str, int]
    """Words whose count is below the true one, with how much is missing."""

    excess: int
    split_twice: int
    """Of the excess, words that were split from their line, and re-partitioned, twice."""

    has_all: bool
    """Whether the sum has reached the sum of the true counts."""


def balance(bootstrap: str, partitions: int, expected: Counter[str], application: str) -> Balance:
    """Compare the table in `counts` with the true counts."""
    counts = latest(read_confluent(bootstrap, "counts", partitions))
    assert set(counts) <= set(expected), "counts has words that were never written"
    repartitioned = end_offset_sum(bootstrap, f"{application}-word-counts-repartition", partitions)
    words = expected.total()
    return Balance(
        words,
        {word: n - counts.get(word, 0) for word, n in expected.items() if counts.get(word, 0) < n},
        sum(max(counts.get(word, 0) - n, 0) for word, n in expected.items()),
        repartitioned - words,
        sum(counts.values()) >= words,
    )


def end_offset_sum(bootstrap: str, topic: str, partitions: int) -> int:
    """How many records were ever written to a topic."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": "none"})
    try:
        return sum(
            consumer.get_watermark_offsets(confluent_kafka.TopicPartition(topic, each), 10)[1]
            for each in range(partitions)
        )
    finally:
        consumer.close()


def group_lag(bootstrap: str, group: str, topics: dict[str, int]) -> int:
    """How many records of the topics the group has not committed yet."""
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False}
    )
    try:
        wanted = [
            confluent_kafka.TopicPartition(topic, partition)
            for topic, count in topics.items()
            for partition in range(count)
        ]
        lag = 0
        for tp in consumer.committed(wanted, 10):
            end = consumer.get_watermark_offsets(tp, 10)[1]
            lag += end - max(tp.offset, 0)
        return lag
    finally:
        consumer.close()

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
from collections.abc import Callable
from dataclasses import dataclass

import confluent_kafka

from tests.foreign import ASK_TIMEOUT_S, latest, read_confluent, until_answered

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
        self._burst_lines = 0
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

    def burst(self, words: int) -> None:
        """Write so many words more, at once."""
        self._burst_lines += words // WORDS_PER_LINE

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
            due = self._burst_lines + int(min(self.seconds_fed, self._seconds) * lines_per_s)
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
        return _end_sum(consumer, topic, partitions)
    finally:
        consumer.close()


def group_lag(bootstrap: str, group: str, topics: dict[str, int]) -> int:
    """How many records of the topics the group has not committed yet."""
    found = offsets(bootstrap, group, topics)
    return sum(end - committed for committed, end in found.values())


def uncommitted_words(
    bootstrap: str, application: str, partitions: int, act: Callable[[], object]
) -> int:
    """Do something that ends workers; how many words at most are processed twice because of it.

    Those of lines, and those that were split from them: what was written then, and was not
    committed before.
    """
    topics = {"lines": WORDS_PER_LINE, f"{application}-word-counts-repartition": 1}
    before = offsets(bootstrap, application, dict.fromkeys(topics, partitions))
    act()
    after = offsets(bootstrap, application, dict.fromkeys(topics, partitions))
    return sum(words * (after[topic][1] - before[topic][0]) for topic, words in topics.items())


def offsets(bootstrap: str, group: str, topics: dict[str, int]) -> dict[str, tuple[int, int]]:
    """The sums of a group's committed offsets and of the end offsets, by topic."""
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False}
    )

    try:
        return {
            topic: (
                _committed_sum(consumer, topic, partitions),
                _end_sum(consumer, topic, partitions),
            )
            for topic, partitions in topics.items()
        }
    finally:
        consumer.close()


def _committed_sum(consumer: confluent_kafka.Consumer, topic: str, partitions: int) -> int:
    parts = [confluent_kafka.TopicPartition(topic, each) for each in range(partitions)]
    found = until_answered(lambda: consumer.committed(parts, ASK_TIMEOUT_S))
    return sum(max(each.offset, 0) for each in found)


def _end_sum(consumer: confluent_kafka.Consumer, topic: str, partitions: int) -> int:
    def end(partition: int) -> int:
        part = confluent_kafka.TopicPartition(topic, partition)
        return int(until_answered(lambda: consumer.get_watermark_offsets(part, ASK_TIMEOUT_S))[1])

    return sum(map(end, range(partitions)))

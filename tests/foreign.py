"""What nobody here wrote, for tests: clients that read and write topics, and Apache Kafka."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import aiokafka
import confluent_kafka
from confluent_kafka.admin import AdminClient, NewTopic

from tests.ports import free_ports

READ_TIMEOUT_S = 60.0
ASK_TIMEOUT_S = 60.0
DELIVERY_TIMEOUT_S = 60.0
START_TIMEOUT_S = 180.0
KAFKA = Path(__file__).parent / "judges" / "kafka"
T = TypeVar("T")


class ApacheKafka:
    """One node of Apache Kafka as a context manager; its files lie in `home`, and outlive it."""

    def __init__(self, home: Path, *settings: str, heap: str = "512m") -> None:
        self.home = home
        self._settings = settings
        self._heap = heap
        self._port = free_ports()
        self._is_formatted = False

    @property
    def bootstrap(self) -> str:
        """`HOST:PORT` for clients."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """Its process."""
        return int((self.home / "pid").read_text())

    @property
    def data(self) -> Path:
        """Where its logs lie."""
        return self.home / "data"

    def __enter__(self) -> ApacheKafka:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, again on the files that it has."""
        if self._is_formatted:
            self._run("restart", str(self.home))
            return
        self._run("start", str(self.home), str(self._port), *self._settings)
        self._is_formatted = True

    def stop(self) -> None:
        """End it cleanly."""
        self._run("stop", str(self.home))

    def kill(self) -> None:
        """End it by SIGKILL."""
        self._run("stop", str(self.home), "KILL")

    def _run(self, *arguments: str) -> None:
        environment = dict(os.environ, KAFKA_HEAP=self._heap)
        subprocess.run(
            [str(KAFKA), *arguments], check=True, timeout=START_TIMEOUT_S, env=environment
        )


def create_topics(bootstrap: str, partitions: int, *names: str) -> None:
    """Make topics and wait until they are there."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    made = admin.create_topics([NewTopic(name, partitions, 1) for name in names])
    for future in made.values():
        future.result(30)


def produce_lines(
    bootstrap: str,
    topic: str,
    lines: Iterable[str],
    partitions: int,
    *,
    linger_ms: int = 20,
    timestamp_ms: int = 0,
) -> int:
    """Write lines with librdkafka, over the partitions in turn; how many were acknowledged.

    A time of 0 is now.
    """
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, "linger.ms": linger_ms})
    failed: list[str] = []

    def on_delivery(error: object, _message: object) -> None:
        if error is not None:
            failed.append(str(error))

    count = 0
    for number, line in enumerate(lines):
        while True:
            try:
                producer.produce(
                    topic, line.encode(), partition=number % partitions,
                    on_delivery=on_delivery, timestamp=timestamp_ms,
                )  # fmt: skip
                break
            except BufferError:
                producer.poll(0.05)
        count += 1
    deadline = time.monotonic() + DELIVERY_TIMEOUT_S
    while len(producer) and time.monotonic() < deadline:  # flush() would not linger
        producer.poll(0.1)
    assert len(producer) == 0, f"{len(producer)} lines are not acknowledged"
    assert failed == []
    return count


def until_answered(ask: Callable[[], T]) -> T:
    """What librdkafka gives, asked again while coordinators load and leaders are missing."""
    deadline = time.monotonic() + ASK_TIMEOUT_S
    while True:
        is_late = time.monotonic() > deadline
        try:
            return ask()
        except (confluent_kafka.KafkaException, LookupError, TimeoutError):
            if is_late:
                raise
        time.sleep(0.1)


Rows = list[tuple[bytes | None, bytes | None]]


def read_confluent(bootstrap: str, topic: str, partitions: int) -> Rows:
    """All records of a topic up to its end, by librdkafka and `assign`."""
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "none", "enable.partition.eof": True}
    )
    consumer.assign([confluent_kafka.TopicPartition(topic, part, 0) for part in range(partitions)])
    rows: Rows = []
    ended = 0
    deadline = time.monotonic() + READ_TIMEOUT_S
    while ended < partitions:
        assert time.monotonic() < deadline, f"{topic} was not read within {READ_TIMEOUT_S} s"
        for message in consumer.consume(10_000, 0.2):
            if message.error() is None:
                rows.append((message.key(), message.value()))
            else:
                assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF
                ended += 1
    consumer.close()
    return rows


def read_aiokafka(bootstrap: str, topic: str, partitions: int) -> Rows:
    """All records of a topic up to its end, by aiokafka and `assign`."""

    async def read() -> Rows:
        consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=None)
        await consumer.start()
        try:
            parts = [aiokafka.TopicPartition(topic, part) for part in range(partitions)]
            consumer.assign(parts)
            await consumer.seek_to_beginning(*parts)
            ends = await consumer.end_offsets(parts)
            rows: Rows = []
            while any([await consumer.position(part) < ends[part] for part in parts]):
                batches = await consumer.getmany(timeout_ms=500)
                for part in parts:
                    rows += [(record.key, record.value) for record in batches.get(part, [])]
            return rows
        finally:
            await consumer.stop()

    return asyncio.run(read())


def latest(rows: Rows) -> dict[str, int]:
    """The last value of each key, as a table of counts."""
    return {
        (key or b"").decode(): int.from_bytes(value or b"", "big", signed=True)
        for key, value in rows
    }

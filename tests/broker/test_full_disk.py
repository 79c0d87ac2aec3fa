"""A disk that is full, by the operating system's word, under a broker in its own process."""

from __future__ import annotations

from pathlib import Path

import confluent_kafka
import pytest
from confluent_kafka import KafkaError

from tests.broker.process import BrokerProcess
from tests.foreign import create_topics, read_confluent
from tests.harness import wait_for

FILE_BYTES_MAX = 100_000
VALUE_BYTES = 1_000


def fill(bootstrap: str, topic: str) -> tuple[list[bytes], set[int]]:
    """Write until it goes wrong: the acknowledged values, and the errors."""
    producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "retries": 0,
            "message.timeout.ms": 5_000,
            "batch.num.messages": 10,
            "log_level": 0,
        }
    )
    acknowledged: list[bytes] = []
    errors: set[int] = set()

    def on_delivery(error: KafkaError | None, message: confluent_kafka.Message) -> None:
        if error is None:
            acknowledged.append(message.value() or b"")
        else:
            errors.add(error.code())

    number = 0
    while not errors:
        value = b"%d " % number
        producer.produce(topic, value.ljust(VALUE_BYTES, b"."), on_delivery=on_delivery)
        producer.poll(0.001)
        number += 1
    producer.flush(20)
    return acknowledged, errors


@pytest.fixture
def topic() -> str:
    return "filled"


def test_broker_on_a_full_disk_says_so_and_stops(tmp_path: Path, topic: str) -> None:
    broker = BrokerProcess(tmp_path, {}, file_bytes_max=FILE_BYTES_MAX)
    try:
        bootstrap = f"127.0.0.1:{broker.port}"
        create_topics(bootstrap, 1, topic)
        acknowledged, errors = fill(bootstrap, topic)
        assert KafkaError.KAFKA_STORAGE_ERROR in errors
        status = broker.process.wait(20)
    finally:
        broker.process.kill()
        broker.process.wait()
    lines = broker.log.read_text().splitlines()
    assert status == 1
    assert broker.tracebacks() == []
    assert lines[-1].startswith(f"streamkit: the broker stops, its log directory {tmp_path}/data ")
    assert lines[-1].endswith("File too large")
    again = BrokerProcess(tmp_path, {})
    try:
        rows = read_confluent(f"127.0.0.1:{again.port}", topic, 1)
    finally:
        again.process.kill()
        again.process.wait()
    stored = [value for _, value in rows]
    assert len(acknowledged) * VALUE_BYTES > FILE_BYTES_MAX // 2
    assert stored[: len(acknowledged)] == acknowledged


def test_broker_that_cannot_start_on_a_full_disk_is_one_line(tmp_path: Path) -> None:
    broker = BrokerProcess(tmp_path, {}, file_bytes_max=200)
    try:
        status = wait_for(broker.process.poll, 20, "the broker's end")
    finally:
        broker.process.kill()
        broker.process.wait()
    assert status == 1
    (line,) = broker.log.read_text().splitlines()
    assert line.startswith("streamkit: cannot ")

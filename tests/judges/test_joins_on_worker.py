"""Joins of every kind and `suppress` on a real worker that is killed between the two halves.

Global rows are there before the first record is joined, at the start and after the kill; what
waits in windows, buffers and subscriptions for its second half is restored. Exactly once.
"""

from __future__ import annotations

import time
from pathlib import Path

import confluent_kafka
import pytest

from streamkit.testing.broker import Broker
from tests.foreign import ASK_TIMEOUT_S, create_topics, read_confluent, until_answered
from tests.harness import WorkerProcess, wait_for
from tests.judges.crashes import QUICK, apache_kafka

pytestmark = pytest.mark.judge

PROGRAM = "tests/judges/shop.py"
PARTITIONS = 3
COUNT = 30
INPUTS = ("people", "orders", "accounts", "bills", "payments", "clicks")
OUTPUTS = ("named", "owned", "paid", "clicked")
SETTINGS = {"producer.transaction.timeout.ms": "2000", "commit.interval.ms": "100"}
MINUTE_MS = 60_000
NOW_MS = int(time.time() * 1000) // MINUTE_MS * MINUTE_MS - 10 * MINUTE_MS
Row = tuple[str, str, str, int]
"""Topic, key, value, time."""


def test_joins_survive_a_kill_on_apache_kafka(tmp_path: Path) -> None:
    quick = {**QUICK, "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500"}
    with apache_kafka(tmp_path / "kafka", quick) as broker:
        join_through_a_kill(broker.bootstrap, tmp_path)


def test_joins_survive_a_kill_on_our_broker(tmp_path: Path) -> None:
    with Broker(config=QUICK) as broker:
        join_through_a_kill(broker.bootstrap, tmp_path)


def join_through_a_kill(bootstrap: str, directory: Path) -> None:
    create_topics(bootstrap, PARTITIONS, *INPUTS, *OUTPUTS)
    numbers = range(COUNT)
    write(bootstrap, [("people", f"p{n}", f"name {n}", NOW_MS) for n in numbers])
    with WorkerProcess(PROGRAM, bootstrap, directory / "worker", settings=SETTINGS) as worker:
        write(bootstrap, first_half())
        wait_for(lambda: len(values(bootstrap, "named")) == COUNT, 90, "the first orders")
        wait_for(lambda: committed(bootstrap, "shop") == 4 * COUNT, 60, "the commit")
        worker.kill()
    write(bootstrap, [("people", f"q{n}", f"late name {n}", NOW_MS) for n in numbers])
    write(bootstrap, second_half())
    with WorkerProcess(PROGRAM, bootstrap, directory / "worker", settings=SETTINGS):
        wait_for(lambda: len(values(bootstrap, "clicked")) == COUNT, 90, "the final counts")
        wait_for(lambda: len(set(values(bootstrap, "owned"))) == COUNT, 60, "the foreign rows")
        wait_for(lambda: len(values(bootstrap, "paid")) >= COUNT, 60, "the payments")
        wait_for(lambda: len(values(bootstrap, "named")) == 2 * COUNT, 60, "all orders")
    assert values(bootstrap, "named") == sorted(
        [(f"o{n}", f"name {n}") for n in numbers] + [(f"r{n}", f"late name {n}") for n in numbers]
    )
    # A right row that waits in a cache answers a subscription, and again when it is flushed.
    assert set(values(bootstrap, "owned")) == {(f"b{n}", f"owner {n % 5}") for n in numbers}
    assert values(bootstrap, "paid") == sorted((f"o{n}", f"p{n}/paid {n}") for n in numbers)
    assert values(bootstrap, "clicked") == sorted((f"c{n}", "2") for n in numbers)


def first_half() -> list[Row]:
    """Orders, bills whose accounts are unknown yet, and clicks; each waits for more."""
    rows: list[Row] = []
    for n in range(COUNT):
        rows += [
            ("orders", f"o{n}", f"p{n}", NOW_MS + n),
            ("bills", f"b{n}", f"a{n % 5}", NOW_MS + n),
            ("clicks", f"c{n}", "x", NOW_MS + n),
            ("clicks", f"c{n}", "y", NOW_MS + n + 100),
        ]
    return rows


def second_half() -> list[Row]:
    """What the first half waited for, and orders of people that were unknown before the kill."""
    rows: list[Row] = [("accounts", f"a{n}", f"owner {n}", NOW_MS + n) for n in range(5)]
    for n in range(COUNT):
        rows += [
            ("payments", f"o{n}", f"paid {n}", NOW_MS + 500),
            ("orders", f"r{n}", f"q{n}", NOW_MS + 600),
        ]
    return rows


def write(bootstrap: str, rows: list[Row]) -> None:
    """Write with librdkafka, by the keys' hash as Java does; then move the time of the clicks."""
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"}
    )
    failed: list[object] = []

    def on_delivery(error: object, _message: object) -> None:
        if error is not None:
            failed.append(error)

    for topic, key, value, at in rows:
        producer.produce(topic, key=key, value=value, timestamp=at, on_delivery=on_delivery)
    if any(topic == "accounts" for topic, *_ in rows):
        for partition in range(PARTITIONS):
            producer.produce(
                "clicks", key="later", value="z", timestamp=NOW_MS + 2 * MINUTE_MS,
                partition=partition,
            )  # fmt: skip
    assert producer.flush(30) == 0
    assert failed == []


def values(bootstrap: str, topic: str) -> list[tuple[str, str]]:
    """Keys and values that are committed, sorted."""
    rows = read_confluent(bootstrap, topic, PARTITIONS)
    return sorted(((key or b"").decode(), (value or b"").decode()) for key, value in rows)


def committed(bootstrap: str, group: str) -> int:
    """The sum of the committed input offsets of the first half's topics."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    partitions = [
        confluent_kafka.TopicPartition(topic, number)
        for topic in ("orders", "bills", "clicks")
        for number in range(PARTITIONS)
    ]
    found = until_answered(lambda: consumer.committed(partitions, ASK_TIMEOUT_S))
    consumer.close()
    return sum(max(each.offset, 0) for each in found)

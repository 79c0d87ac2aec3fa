"""A table whose changelog is its source topic has standbys, too: its rows follow, and take over.

The topology is optimized, so no changelog topic is made. Two workers on hosts of their own; one
is killed, and the other answers for its rows with none of them restored.
"""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient

from streamkit.testing.broker import Broker
from tests.foreign import create_topics, read_confluent
from tests.harness import WorkerProcess, wait_for
from tests.judges.crashes import apache_kafka
from tests.judges.standbys import are_followed, taken_over, tasks_of
from tests.judges.test_standby import QUICK, SESSION_TIMEOUT_MS
from tests.judges.word_feed import group_lag
from tests.ports import free_ports

pytestmark = pytest.mark.judge

PROGRAM = """
import streamkit as sk

app = sk.App("priced", config={"topology.optimization": "all"})
prices = app.table(app.topic("prices", key=str, value=str), name="prices")
(
    app.stream(app.topic("orders", key=str, value=str))
    .join(prices, lambda order, price: f"{order} at {price}", value=str)
    .to(app.topic("bills", key=str, value=str))
)
"""
PARTITIONS = 4
ITEMS = 20_000
FOLLOWED = "kafka_streams_stream_task_metrics_update_total{"


def test_rows_of_the_source_follow_on_apache_kafka(tmp_path: Path) -> None:
    with apache_kafka(tmp_path / "kafka", QUICK) as broker:
        take_over(broker.bootstrap, tmp_path)


def test_rows_of_the_source_follow_on_our_broker(tmp_path: Path) -> None:
    with Broker(config=QUICK) as broker:
        take_over(broker.bootstrap, tmp_path)


def take_over(bootstrap: str, directory: Path) -> None:
    create_topics(bootstrap, PARTITIONS, "prices", "orders", "bills")
    program = directory / "priced.py"
    program.write_text(PROGRAM)
    first = free_ports()
    ports = [first, first + 1]
    victim, heir = (
        WorkerProcess(program, bootstrap, directory / str(port), settings=settings(port))
        for port in ports
    )
    with victim, heir:
        wait_for(lambda: are_followed([victim, heir], 0, PARTITIONS), 60, "a standby of each task")
        produce(bootstrap, "prices", {f"item-{n}": str(n) for n in range(ITEMS)})
        prices = {"prices": PARTITIONS}
        wait_for(lambda: group_lag(bootstrap, "priced", prices) == 0, 60, "the lag of 0")
        wait_for(lambda: followed(ports) >= ITEMS, 60, "all rows on the standbys")
        lost = tasks_of(victim, 0)
        killed = time.time()
        victim.kill()
        taken = wait_for(lambda: taken_over(heir, killed, lost), 90, "the killed worker's tasks")
        produce(bootstrap, "orders", {f"item-{n}": f"order {n}" for n in range(ITEMS)})
        wait_for(
            lambda: len(read_confluent(bootstrap, "bills", PARTITIONS)) == ITEMS, 60, "all bills"
        )
        assert heir.stop() == 0
    restored = sum(int(match[2]) for _, match in taken)
    print(
        f"\n{len(lost)} of {PARTITIONS} tasks ran on the killed worker; the other one, which "
        f"followed them, restored {restored} of {ITEMS} rows; running again "
        f"{max(when for when, _ in taken) - killed:.1f} s after the kill (session timeout "
        f"{SESSION_TIMEOUT_MS / 1000} s)"
    )
    assert restored == 0
    rows = read_confluent(bootstrap, "bills", PARTITIONS)
    bills = {(key or b"").decode(): (value or b"").decode() for key, value in rows}
    assert bills == {f"item-{n}": f"order {n} at {n}" for n in range(ITEMS)}
    assert not [each for each in topics(bootstrap) if each.endswith("-changelog")]
    assert "Traceback" not in heir.output()


def settings(port: int) -> Mapping[str, str]:
    return {
        "num.standby.replicas": "1",
        "producer.transaction.timeout.ms": "10000",
        "web.listener": f"127.0.0.1:{port}",
    }


def followed(ports: Sequence[int]) -> float:
    """How many rows the standbys have."""
    lines: list[str] = []
    for port in ports:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
            lines += answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(FOLLOWED))


def produce(bootstrap: str, topic: str, rows: dict[str, str]) -> None:
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "linger.ms": 20}
    )
    for key, value in rows.items():
        producer.produce(topic, value, key)
        producer.poll(0)
    assert producer.flush(60) == 0


def topics(bootstrap: str) -> list[str]:
    return list(AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=60).topics)

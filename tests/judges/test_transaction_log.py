"""`__transaction_state` against Apache Kafka: the same producers leave the same records.

We read what Apache Kafka wrote and rewrite it byte for byte; both logs tell the same story, of
clients that know transaction.version 2 and of those that do not.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import confluent_kafka
import pytest

from streamkit.broker.coordinators.transaction import records as rec
from streamkit.records import decode, scan
from streamkit.testing.broker import Broker
from tests.foreign import create_topics
from tests.judges.conftest import KAFKA, KafkaTool
from tests.ports import free_ports

pytestmark = pytest.mark.judge

COPIED = 100
Told = list[tuple[object, ...]]


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Apache Kafka: where it answers and where its data is."""
    directory = tmp_path_factory.mktemp("kafka")
    port = free_ports()
    subprocess.run([str(KAFKA), "start", str(directory), str(port)], check=True)
    yield f"127.0.0.1:{port}", directory / "data"
    subprocess.run([str(KAFKA), "stop", str(directory)], check=True)


def live(bootstrap: str, kafka_tool: KafkaTool) -> None:
    """Old clients commit, abort, take over; a new one copies."""
    create_topics(bootstrap, 2, "source", "target")
    for name in ("old", "old"):
        config = {"bootstrap.servers": bootstrap, "transactional.id": name}
        producer = confluent_kafka.Producer(config)
        producer.init_transactions(30)
        for is_commit in (True, False):
            producer.begin_transaction()
            producer.produce("target", b"x", partition=1)
            producer.flush(30)
            if is_commit:
                producer.commit_transaction(30)
            else:
                producer.abort_transaction(30)
    plain = confluent_kafka.Producer({"bootstrap.servers": bootstrap})
    for number in range(COPIED):
        plain.produce("source", b"%d" % number, partition=0)
    assert plain.flush(30) == 0
    kafka_tool(
        "transactional-copier", "--broker-list", bootstrap, "--input-topic", "source",
        "--output-topic", "target", "--input-partition", "0", "--consumer-group", "copiers",
        "--transactional-id", "new", "--max-messages", str(COPIED), "--transaction-size", "50",
    )  # fmt: skip


def told(data: Path) -> dict[str, Told]:
    """What the log says of each id, without times; each record is rewritten on the way."""
    story: dict[str, Told] = {}
    for path in sorted(data.glob("__transaction_state-*/*.log")):
        stored = path.read_bytes()
        for header in scan(stored):
            batch = decode(stored, header)
            for key, value in zip(batch.keys, batch.values, strict=True):
                record = rec.decode(key or b"", value)
                assert record is not None
                assert value is not None
                version = int.from_bytes(value[:2], "big")
                assert rec.encode(record, version) == (key, value)
                lines = story.setdefault(record.transactional_id, [])
                said = _said(record, version)
                # Which partition comes first into an open transaction is the client's luck.
                if lines and lines[-1][:3] == said[:3]:
                    lines.pop()
                lines.append(said)
    return story


def _said(record: rec.Record, version: int) -> tuple[object, ...]:
    transaction = record.transaction
    assert transaction is not None
    topics = sorted({partition.topic for partition in transaction.partitions})
    return (
        version,
        transaction.state.value,
        transaction.producer_epoch,
        topics,
        transaction.timeout_ms,
        transaction.client_transaction_version,
        transaction.next_producer_id,
        transaction.previous_producer_id == transaction.producer_id,
        transaction.started_ms < 0,
    )


def test_same_transactions_leave_the_same_records(
    kafka: tuple[str, Path], tmp_path: Path, kafka_tool: KafkaTool
) -> None:
    bootstrap, data = kafka
    live(bootstrap, kafka_tool)
    with Broker(str(tmp_path)) as ours:
        live(ours.bootstrap, kafka_tool)
        assert told(Path(ours.data)) == told(data)

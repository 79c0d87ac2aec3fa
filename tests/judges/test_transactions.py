"""Transactions of clients and tools that nobody here wrote, against our broker."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient, OffsetSpec

from streamkit.testing.broker import Broker
from tests.foreign import ASK_TIMEOUT_S, create_topics, until_answered
from tests.harness import wait_for

pytestmark = pytest.mark.judge

KafkaTool = Callable[..., str]
COPIED = 2_000
KAFKA = Path(__file__).parent / "kafka"


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    """Our broker, which looks for late transactions often."""
    often = {"transaction.abort.timed.out.transaction.cleanup.interval.ms": "200"}
    with Broker(config=often) as running:
        yield running


def transactional(bootstrap: str, name: str, **config: object) -> confluent_kafka.Producer:
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": bootstrap, "transactional.id": name, **config}
    )
    producer.init_transactions(20)
    return producer


def read(bootstrap: str, topic: str, isolation: str = "read_committed") -> list[bytes]:
    """All values of partition 0, up to its end."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reader",
            "isolation.level": isolation,
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
    values = []
    while True:
        message = consumer.poll(60)
        assert message is not None, f"{topic} has no end"
        if message.error() is not None:
            assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF
            break
        values.append(message.value())
    consumer.close()
    return values


def stable_end(bootstrap: str, topic: str) -> int:
    """The last stable offset of partition 0."""
    at = confluent_kafka.TopicPartition(topic, 0)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    level = confluent_kafka.IsolationLevel.READ_COMMITTED
    asked = admin.list_offsets({at: OffsetSpec.latest()}, isolation_level=level)
    return int(asked[at].result(60).offset)


def committed(bootstrap: str, group: str, topic: str) -> int:
    consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    at = [confluent_kafka.TopicPartition(topic, 0)]
    (found,) = until_answered(lambda: consumer.committed(at, ASK_TIMEOUT_S))
    consumer.close()
    return int(found.offset)


def test_librdkafka_commits_and_aborts(broker: Broker) -> None:
    create_topics(broker.bootstrap, 1, "rd-out")
    producer = transactional(broker.bootstrap, "rd")
    for number in range(8):
        producer.begin_transaction()
        for each in range(10):
            producer.produce("rd-out", b"%d-%d" % (number, each))
        if number % 3 == 1:
            producer.flush(20)
            producer.abort_transaction(20)
        else:
            producer.commit_transaction(20)
    expected = [b"%d-%d" % (n, each) for n in range(8) if n % 3 != 1 for each in range(10)]
    assert read(broker.bootstrap, "rd-out") == expected
    assert len(read(broker.bootstrap, "rd-out", "read_uncommitted")) == 80


def test_librdkafka_sends_offsets(broker: Broker) -> None:
    create_topics(broker.bootstrap, 1, "rd-in", "rd-offsets")
    producer = transactional(broker.bootstrap, "rd-offsets")
    config = {"bootstrap.servers": broker.bootstrap, "group.id": "rd-group"}
    consumer = confluent_kafka.Consumer(config)
    for offset, is_commit in ((41, True), (57, False)):
        producer.begin_transaction()
        producer.produce("rd-offsets", b"x")
        position = confluent_kafka.TopicPartition("rd-in", 0, offset)
        metadata = consumer.consumer_group_metadata()
        producer.send_offsets_to_transaction([position], metadata, 20)
        if is_commit:
            producer.commit_transaction(20)
        else:
            producer.abort_transaction(20)
    consumer.close()
    assert committed(broker.bootstrap, "rd-group", "rd-in") == 41


def test_librdkafka_zombie_is_fenced(broker: Broker) -> None:
    create_topics(broker.bootstrap, 1, "rd-zombie")
    zombie = transactional(broker.bootstrap, "rd-zombie")
    zombie.begin_transaction()
    zombie.produce("rd-zombie", b"zombie")
    zombie.flush(20)
    heir = transactional(broker.bootstrap, "rd-zombie")
    heir.begin_transaction()
    heir.produce("rd-zombie", b"heir")
    heir.commit_transaction(20)
    with pytest.raises(confluent_kafka.KafkaException) as caught:
        zombie.commit_transaction(20)
    assert caught.value.args[0].code() == confluent_kafka.KafkaError._FENCED
    assert read(broker.bootstrap, "rd-zombie") == [b"heir"]


def test_librdkafka_that_takes_too_long_is_aborted(broker: Broker) -> None:
    create_topics(broker.bootstrap, 1, "rd-late")
    producer = transactional(broker.bootstrap, "rd-late", **{"transaction.timeout.ms": 1000})
    producer.begin_transaction()
    producer.produce("rd-late", b"late")
    producer.flush(20)
    wait_for(lambda: stable_end(broker.bootstrap, "rd-late") > 0, what="the abort marker")
    with pytest.raises(confluent_kafka.KafkaException):
        producer.commit_transaction(20)
    assert read(broker.bootstrap, "rd-late") == []


def test_aiokafka_transactions(broker: Broker) -> None:
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

    create_topics(broker.bootstrap, 1, "aio-in", "aio-out")

    async def scenario() -> list[bytes]:
        producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id="aio")
        async with producer:
            for number in range(6):
                await producer.begin_transaction()
                await producer.send_and_wait("aio-out", b"%d" % number)
                offsets = {TopicPartition("aio-in", 0): 100 + number}
                await producer.send_offsets_to_transaction(offsets, "aio-group")
                if number % 2:
                    await producer.abort_transaction()
                else:
                    await producer.commit_transaction()
        consumer = AIOKafkaConsumer(
            bootstrap_servers=broker.bootstrap, isolation_level="read_committed"
        )
        async with consumer:
            partition = TopicPartition("aio-out", 0)
            consumer.assign([partition])
            await consumer.seek_to_beginning()
            found: list[bytes] = []
            while len(found) < 3:
                batches = await asyncio.wait_for(consumer.getmany(timeout_ms=500), 20)
                found += [record.value for record in batches.get(partition, [])]
            return found

    assert asyncio.run(scenario()) == [b"0", b"2", b"4"]
    assert committed(broker.bootstrap, "aio-group", "aio-in") == 104


def copy(broker: Broker, name: str, *options: str) -> list[Any]:
    """Java's read-process-write loop over `COPIED` records, in transactions of 50."""
    source, target = f"{name}-in", f"{name}-out"
    create_topics(broker.bootstrap, 1, source, target)
    producer = confluent_kafka.Producer({"bootstrap.servers": broker.bootstrap})
    for number in range(COPIED):
        producer.produce(source, b"%d" % number)
    assert producer.flush(30) == 0
    done = subprocess.run(
        [
            str(KAFKA), "transactional-copier", "--broker-list", broker.bootstrap,
            "--input-topic", source, "--output-topic", target, "--input-partition", "0",
            "--consumer-group", f"{name}-group", "--transactional-id", name,
            "--max-messages", str(COPIED), "--transaction-size", "50", *options,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_java_copies_through_random_aborts(broker: Broker) -> None:
    copy(broker, "copier", "--enable-random-aborts")
    expected = [b"%d" % number for number in range(COPIED)]
    assert read(broker.bootstrap, "copier-out") == expected
    assert len(read(broker.bootstrap, "copier-out", "read_uncommitted")) > COPIED
    assert committed(broker.bootstrap, "copier-group", "copier-in") == COPIED


def test_java_lists_and_describes(broker: Broker, kafka_tool: KafkaTool) -> None:
    create_topics(broker.bootstrap, 1, "listed")
    producer = transactional(broker.bootstrap, "listed-1")
    producer.begin_transaction()
    producer.produce("listed", b"open")
    producer.flush(20)
    at = ("transactions", "--bootstrap-server", broker.bootstrap)
    assert "Ongoing" in kafka_tool(*at, "list", "--transactional-id-pattern", "listed-.*")
    described = kafka_tool(*at, "describe", "--transactional-id", "listed-1")
    assert "Ongoing" in described
    assert "listed-0" in described
    producers = kafka_tool(*at, "describe-producers", "--topic", "listed", "--partition", "0")
    assert "None" not in producers.splitlines()[1]
    hanging = kafka_tool(*at, "find-hanging", "--broker-id", "1", "--max-transaction-timeout", "0")
    assert len(hanging.splitlines()) <= 1, "a transaction that is known does not hang"
    producer.abort_transaction(20)
    assert "CompleteAbort" in kafka_tool(*at, "list", "--transactional-id-pattern", "listed-1")


def test_operator_aborts_by_tool(broker: Broker, kafka_tool: KafkaTool) -> None:
    create_topics(broker.bootstrap, 1, "operated")
    producer = transactional(broker.bootstrap, "operated")
    producer.begin_transaction()
    producer.produce("operated", b"hangs")
    producer.flush(20)
    plain = confluent_kafka.Producer({"bootstrap.servers": broker.bootstrap})
    plain.produce("operated", b"plain")
    plain.flush(20)
    assert read(broker.bootstrap, "operated") == []
    kafka_tool(
        "transactions", "--bootstrap-server", broker.bootstrap, "abort",
        "--topic", "operated", "--partition", "0", "--start-offset", "0",
    )  # fmt: skip
    assert read(broker.bootstrap, "operated") == [b"plain"]


def test_operator_fences_by_tool(broker: Broker, kafka_tool: KafkaTool) -> None:
    create_topics(broker.bootstrap, 1, "fenced")
    producer = transactional(broker.bootstrap, "fenced")
    producer.begin_transaction()
    producer.produce("fenced", b"x")
    producer.flush(20)
    at = ("transactions", "--bootstrap-server", broker.bootstrap)
    kafka_tool(*at, "forceTerminateTransaction", "--transactionalId", "fenced")
    with pytest.raises(confluent_kafka.KafkaException):
        producer.commit_transaction(20)
    assert read(broker.bootstrap, "fenced") == []


def test_java_decodes_the_log(kafka_tool: KafkaTool) -> None:
    with Broker() as broker:
        create_topics(broker.bootstrap, 1, "decoded")
        producer = transactional(broker.bootstrap, "decoded")
        for is_commit in (True, False):
            producer.begin_transaction()
            producer.produce("decoded", b"x")
            producer.flush(20)
            if is_commit:
                producer.commit_transaction(20)
            else:
                producer.abort_transaction(20)
        broker.stop()
        files = sorted(Path(broker.data).glob("__transaction_state-*/*.log"))
        written = ",".join(str(each) for each in files if each.stat().st_size)
        dump = kafka_tool("dump-log", "--transaction-log-decoder", "--files", written)
        data = ",".join(str(each) for each in Path(broker.data).glob("decoded-0/*.log"))
        markers = kafka_tool("dump-log", "--print-data-log", "--files", data)
        broker.start()
    lines = [line for line in dump.splitlines() if "payload:" in line]
    values = [json.loads(line.partition("payload: ")[2]) for line in lines]
    states = [value["data"]["transactionStatus"] for value in values]
    assert states == [0, 1, 2, 4, 1, 3, 5]
    assert {value["version"] for value in values} == {"1"}
    assert "endTxnMarker: COMMIT" in markers
    assert "endTxnMarker: ABORT" in markers


def test_broker_killed_while_transactions_end() -> None:
    """SIGKILL at many moments: what was acknowledged is there, in order, and nothing hangs."""
    kills = 6
    with Broker() as broker:
        create_topics(broker.bootstrap, 1, "killed")
        bootstrap = broker.bootstrap
        is_over = threading.Event()

        def work(done: list[bytes]) -> None:
            producer = transactional(bootstrap, "killed")
            while not is_over.is_set():
                producer.begin_transaction()
                value = b"%d" % len(done)
                producer.produce("killed", value)
                if len(done) % 7 == 6:
                    producer.flush(30)
                    producer.abort_transaction(30)
                    done.append(b"")
                else:
                    producer.commit_transaction(30)
                    done.append(value)

        done: list[bytes] = []
        worker = threading.Thread(target=work, args=(done,))
        worker.start()
        for number in range(kills):
            seen = len(done)
            wait_for(lambda seen=seen: len(done) > seen + 20, what="transactions")
            time.sleep(0.001 * number)
            broker.kill()
            broker.start()
        is_over.set()
        worker.join(60)
        assert not worker.is_alive()
        assert read(bootstrap, "killed") == [value for value in done if value]


def test_broker_stopped_and_resumed_in_mid_transaction(broker: Broker) -> None:
    create_topics(broker.bootstrap, 1, "paused")
    producer = transactional(broker.bootstrap, "paused")
    producer.begin_transaction()
    producer.produce("paused", b"before")
    producer.flush(20)
    os.kill(broker.pid, signal.SIGSTOP)
    time.sleep(1.0)
    os.kill(broker.pid, signal.SIGCONT)
    producer.produce("paused", b"after")
    producer.commit_transaction(30)
    assert read(broker.bootstrap, "paused") == [b"before", b"after"]

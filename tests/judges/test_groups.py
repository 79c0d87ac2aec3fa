"""Classic consumer groups of foreign clients on our broker."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator

import aiokafka
import confluent_kafka
import kafka
import pytest
from confluent_kafka.admin import AdminClient

from streamkit.testing.broker import Broker
from tests.foreign import create_topics, produce_lines
from tests.harness import ROOT, wait_for

pytestmark = pytest.mark.judge

KAFKA = ROOT / "tests" / "judges" / "kafka"
PARTITIONS = 3
COUNT = 300
TOPIC = "numbers"


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker() as running:
        create_topics(running.bootstrap, PARTITIONS, TOPIC)
        lines = (str(number) for number in range(COUNT))
        produce_lines(running.bootstrap, TOPIC, lines, PARTITIONS)
        yield running


def librdkafka(broker: Broker, group: str, **more: object) -> confluent_kafka.Consumer:
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            **more,
        }
    )
    consumer.subscribe([TOPIC])
    return consumer


def read(consumers: list[confluent_kafka.Consumer], count: int) -> list[bytes]:
    values: list[bytes] = []
    deadline = time.monotonic() + 30
    while len(values) < count:
        assert time.monotonic() < deadline, f"{len(values)} of {count} records"
        for consumer in consumers:
            values += [m.value() for m in consumer.consume(100, 0.1) if m.error() is None]
    return values


@pytest.mark.parametrize("strategy", ["range", "cooperative-sticky"])
def test_members_share_the_partitions_and_take_over_from_one_that_leaves(
    broker: Broker, strategy: str
) -> None:
    pair = [
        librdkafka(broker, f"pair-{strategy}", **{"partition.assignment.strategy": strategy})
        for _ in range(2)
    ]
    assert sorted(read(pair, COUNT)) == sorted(str(n).encode() for n in range(COUNT))

    def settled(sizes: list[int]) -> bool:
        for consumer in pair:
            consumer.poll(0.05)
        return sorted(len(consumer.assignment()) for consumer in pair) == sizes

    wait_for(lambda: settled([1, 2]), 30, "two members with all partitions")
    pair.pop().close()
    wait_for(lambda: settled([PARTITIONS]), 30, "all partitions at the member that stays")
    pair.pop().close()


def test_committed_offsets_survive_a_kill_of_the_broker(broker: Broker) -> None:
    first = librdkafka(broker, "commits")
    read([first], COUNT)
    first.commit(asynchronous=False)
    first.close()
    broker.kill()
    broker.start()
    produce_lines(broker.bootstrap, TOPIC, ["more"], PARTITIONS)
    second = librdkafka(broker, "commits")
    assert read([second], 1) == [b"more"]
    second.close()


def test_kafka_python_reads_in_a_group(broker: Broker) -> None:
    consumer = kafka.KafkaConsumer(
        TOPIC,
        bootstrap_servers=broker.bootstrap,
        group_id="kafka-python",
        auto_offset_reset="earliest",
        consumer_timeout_ms=5000,
    )
    values = {record.value for record in consumer}
    consumer.close()
    assert values >= {str(n).encode() for n in range(COUNT)}


def test_aiokafka_reads_in_a_group(broker: Broker) -> None:
    async def scenario() -> set[bytes]:
        consumer = aiokafka.AIOKafkaConsumer(
            TOPIC,
            bootstrap_servers=broker.bootstrap,
            group_id="aiokafka",
            auto_offset_reset="earliest",
        )
        values: set[bytes] = set()
        async with consumer:
            while len(values) < COUNT:
                record = await asyncio.wait_for(consumer.getone(), 20)
                values.add(record.value)
            await consumer.commit()
        return values

    assert asyncio.run(scenario()) >= {str(n).encode() for n in range(COUNT)}


def test_java_tool_describes_resets_and_deletes_a_group(broker: Broker) -> None:
    consumer = librdkafka(broker, "looked-at")
    read([consumer], COUNT)
    consumer.commit(asynchronous=False)
    consumer.close()

    def tool(*arguments: str) -> str:
        at = ["--bootstrap-server", broker.bootstrap, "--group", "looked-at"]
        return subprocess.check_output(
            [str(KAFKA), "consumer-groups", *at, *arguments], text=True, stderr=subprocess.STDOUT
        )

    described = tool("--describe")
    assert TOPIC in described, described
    reset = tool("--reset-offsets", "--to-earliest", "--topic", TOPIC, "--execute")
    assert "looked-at" in reset, reset
    again = librdkafka(broker, "looked-at")
    assert len(read([again], COUNT)) >= COUNT
    again.close()
    assert "successful" in tool("--delete")
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    groups = admin.list_consumer_groups().result(10).valid
    assert "looked-at" not in {group.group_id for group in groups}

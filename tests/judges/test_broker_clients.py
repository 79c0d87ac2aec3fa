"""Clients and tools that nobody here wrote, against our broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from streamkit.testing.broker import Broker
from tests.harness import wait_for

pytestmark = pytest.mark.judge

COUNT = 500
COMPRESSIONS = ["none", "gzip", "snappy", "lz4", "zstd"]

KafkaTool = Callable[..., str]


def words(topic: str) -> list[tuple[bytes, bytes]]:
    return [(f"k{i % 7}".encode(), f"{topic}-{i}".encode() * 20) for i in range(COUNT)]


def produce_confluent(bootstrap: str, topic: str, **config: object) -> None:
    from confluent_kafka import Producer

    failures: list[object] = []
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, **config})
    for key, value in words(topic):
        producer.produce(
            topic,
            value,
            key,
            partition=0,
            on_delivery=lambda error, _: error and failures.append(error),
        )
    assert producer.flush(30) == 0
    assert failures == []


def consume_confluent(bootstrap: str, topic: str) -> list[tuple[bytes, bytes]]:
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "judge", "enable.auto.commit": False}
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[tuple[bytes, bytes]] = []
    while len(found) < COUNT:
        messages = consumer.consume(COUNT, timeout=60.0)
        assert messages, f"only {len(found)} of {COUNT} records came"
        for message in messages:
            assert message.error() is None
            found.append((message.key(), message.value()))
    consumer.close()
    return found


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_librdkafka_reads_what_it_wrote(broker: Broker, compression: str) -> None:
    topic = f"confluent-{compression}"
    produce_confluent(broker.bootstrap, topic, **{"compression.type": compression})
    assert consume_confluent(broker.bootstrap, topic) == words(topic)


def test_librdkafka_produces_idempotently(broker: Broker) -> None:
    produce_confluent(broker.bootstrap, "idempotent", **{"enable.idempotence": True})
    assert consume_confluent(broker.bootstrap, "idempotent") == words("idempotent")


@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_every_kind_of_acknowledgement(broker: Broker, acks: str) -> None:
    topic = f"acks-{acks}"
    produce_confluent(broker.bootstrap, topic, acks=acks)
    assert consume_confluent(broker.bootstrap, topic) == words(topic)


def test_librdkafka_administers(broker: Broker) -> None:
    from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    made = admin.create_topics([NewTopic("administered", 3, 1, config={"retention.ms": "1234"})])
    made["administered"].result(30)
    assert len(admin.list_topics("administered", 30).topics["administered"].partitions) == 3
    resource = ConfigResource("topic", "administered")
    configs = admin.describe_configs([resource])[resource].result(30)
    assert configs["retention.ms"].value == "1234"
    admin.delete_topics(["administered"])["administered"].result(30)
    assert "administered" not in admin.list_topics(timeout=30).topics


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_aiokafka_reads_what_it_wrote(broker: Broker, compression: str) -> None:
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

    topic = f"aiokafka-{compression}"

    async def scenario() -> list[tuple[bytes, bytes]]:
        producer = AIOKafkaProducer(
            bootstrap_servers=broker.bootstrap,
            compression_type=None if compression == "none" else compression,
            enable_idempotence=True,
        )
        async with producer:
            for key, value in words(topic):
                await producer.send(topic, value, key, partition=0)
            await producer.flush()
        consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, enable_auto_commit=False)
        async with consumer:
            consumer.assign([TopicPartition(topic, 0)])
            await consumer.seek_to_beginning()
            found: list[tuple[bytes, bytes]] = []
            while len(found) < COUNT:
                records = await asyncio.wait_for(consumer.getone(), 60)
                found.append((records.key, records.value))
            return found

    assert asyncio.run(scenario()) == words(topic)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_kafka_python_reads_what_it_wrote(broker: Broker, compression: str) -> None:
    from kafka import KafkaConsumer, KafkaProducer, TopicPartition

    topic = f"kafka-python-{compression}"
    producer = KafkaProducer(
        bootstrap_servers=broker.bootstrap,
        compression_type=None if compression == "none" else compression,
    )
    for key, value in words(topic):
        producer.send(topic, value, key, partition=0)
    producer.flush(30)
    producer.close()
    consumer = KafkaConsumer(
        bootstrap_servers=broker.bootstrap, enable_auto_commit=False, metadata_max_age_ms=1000
    )
    consumer.assign([TopicPartition(topic, 0)])
    consumer.seek_to_beginning()
    found: list[tuple[bytes, bytes]] = []

    def has_all() -> bool:
        for records in consumer.poll(1000).values():
            found.extend((record.key, record.value) for record in records)
        return len(found) >= COUNT

    wait_for(has_all, what="all records")
    consumer.close()
    assert found == words(topic)


def test_java_topics_tool(broker: Broker, kafka_tool: KafkaTool) -> None:
    topics = ("topics", "--bootstrap-server", broker.bootstrap)
    kafka_tool(*topics, "--create", "--topic", "by-java", "--partitions", "4")
    assert "by-java" in kafka_tool(*topics, "--list").split()
    described = kafka_tool(*topics, "--describe", "--topic", "by-java")
    assert "PartitionCount: 4" in described
    assert described.count("Leader: 1") == 4
    kafka_tool(*topics, "--alter", "--topic", "by-java", "--partitions", "6")
    assert "PartitionCount: 6" in kafka_tool(*topics, "--describe", "--topic", "by-java")
    kafka_tool(*topics, "--delete", "--topic", "by-java")
    assert "by-java" not in kafka_tool(*topics, "--list").split()


def test_java_console_clients_and_offsets(broker: Broker, kafka_tool: KafkaTool) -> None:
    server = ("--bootstrap-server", broker.bootstrap)
    lines = [f"line {i}" for i in range(20)]
    kafka_tool("console-producer", *server, "--topic", "console", stdin="\n".join(lines) + "\n")
    read = kafka_tool(
        "console-consumer", *server, "--topic", "console", "--partition", "0",
        "--offset", "earliest", "--max-messages", "20",
    )  # fmt: skip
    assert read.splitlines() == lines
    assert kafka_tool("get-offsets", *server, "--topic", "console").strip() == "console:0:20"


def test_java_lists_api_versions(broker: Broker, kafka_tool: KafkaTool) -> None:
    listed = kafka_tool("broker-api-versions", "--bootstrap-server", broker.bootstrap)
    assert "Produce(0): 0 to 13" in listed
    assert "StreamsGroupHeartbeat(88): 0" in listed
    assert "JoinGroup(11): 0 to 9" in listed
    assert "ShareFetch(78): UNSUPPORTED" in listed


def test_java_changes_configs(broker: Broker, kafka_tool: KafkaTool) -> None:
    server = ("--bootstrap-server", broker.bootstrap)
    kafka_tool("topics", *server, "--create", "--topic", "tuned", "--config", "retention.ms=99000")
    tuned = ("configs", *server, "--entity-type", "topics", "--entity-name", "tuned")
    kafka_tool(*tuned, "--alter", "--add-config", "max.message.bytes=77000")
    kafka_tool(*tuned, "--alter", "--delete-config", "retention.ms")
    described = kafka_tool(*tuned, "--describe")
    assert "max.message.bytes=77000" in described
    assert "retention.ms" not in described


def test_java_dumps_our_segments(broker: Broker, kafka_tool: KafkaTool) -> None:
    produce_confluent(broker.bootstrap, "dumped", **{"compression.type": "zstd"})
    segment = f"{broker.data}/dumped-0/00000000000000000000.log"
    dumped = kafka_tool("dump-log", "--files", segment, "--print-data-log", "--deep-iteration")
    assert dumped.count("| offset:") == COUNT
    assert "isvalid: false" not in dumped

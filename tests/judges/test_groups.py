"""Groups of foreign consumers on our broker, by the classic and by the consumer protocol."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

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
READ_TIMEOUT_S = 30

CONSUMER = {"group.protocol": "consumer"}
PROTOCOLS = {
    "range": {"partition.assignment.strategy": "range"},
    "cooperative-sticky": {"partition.assignment.strategy": "cooperative-sticky"},
    "consumer": CONSUMER,
}
EITHER = {"classic": {}, "consumer": CONSUMER}


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker() as running:
        fill(running, TOPIC)
        yield running


def fill(broker: Broker, topic: str) -> str:
    """Make a topic with numbers; its name."""
    create_topics(broker.bootstrap, PARTITIONS, topic)
    produce_lines(broker.bootstrap, topic, map(str, range(COUNT)), PARTITIONS)
    return topic


def librdkafka(
    broker: Broker, group: str, topic: str = TOPIC, **more: object
) -> confluent_kafka.Consumer:
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            # A broker that is killed and started again is there at once.
            "reconnect.backoff.max.ms": 500,
            **more,
        }
    )
    consumer.subscribe([topic])
    return consumer


def read(consumers: list[confluent_kafka.Consumer], count: int) -> list[bytes]:
    values: list[bytes] = []
    deadline = time.monotonic() + READ_TIMEOUT_S
    while len(values) < count:
        assert time.monotonic() < deadline, f"{len(values)} of {count} records"
        for consumer in consumers:
            values += [m.value() for m in consumer.consume(100, 0.1) if m.error() is None]
    return values


def read_until(consumers: list[confluent_kafka.Consumer], wanted: set[bytes]) -> None:
    """Read until these came; others may come again, since nobody commits."""
    while wanted:
        wanted = wanted - set(read(consumers, 1))


def settle(consumers: list[confluent_kafka.Consumer], sizes: list[int]) -> None:
    """Poll until the members have so many partitions, in any order."""

    def settled() -> bool:
        for consumer in consumers:
            consumer.poll(0.05)
        return sorted(len(consumer.assignment()) for consumer in consumers) == sizes

    wait_for(settled, READ_TIMEOUT_S, f"members with {sizes} partitions")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_members_share_the_partitions_and_take_over_from_one_that_leaves(
    broker: Broker, protocol: str
) -> None:
    pair = [librdkafka(broker, f"pair-{protocol}", **PROTOCOLS[protocol]) for _ in range(2)]
    assert sorted(read(pair, COUNT)) == sorted(str(n).encode() for n in range(COUNT))
    settle(pair, [1, 2])
    pair.pop().close()
    settle(pair, [PARTITIONS])
    pair.pop().close()


@pytest.mark.parametrize("protocol", EITHER)
def test_committed_offsets_survive_a_kill_of_the_broker(broker: Broker, protocol: str) -> None:
    group = topic = fill(broker, f"commits-{protocol}")
    first = librdkafka(broker, group, topic, **EITHER[protocol])
    read([first], COUNT)
    first.commit(asynchronous=False)
    first.close()
    broker.kill()
    broker.start()
    produce_lines(broker.bootstrap, topic, ["more"], PARTITIONS)
    second = librdkafka(broker, group, topic, **EITHER[protocol])
    assert read([second], 1) == [b"more"]
    second.close()


@pytest.mark.parametrize("protocol", EITHER)
def test_members_go_on_after_a_kill_of_the_broker(broker: Broker, protocol: str) -> None:
    topic = fill(broker, f"killed-{protocol}")
    pair = [librdkafka(broker, topic, topic, **EITHER[protocol]) for _ in range(2)]
    read(pair, COUNT)
    settle(pair, [1, 2])
    broker.kill()
    broker.start()
    produce_lines(broker.bootstrap, topic, ["after", "the", "kill"], PARTITIONS)
    read_until(pair, {b"after", b"the", b"kill"})
    settle(pair, [1, 2])
    for consumer in pair:
        consumer.close()


@pytest.mark.parametrize("protocol", EITHER)
def test_static_member_gets_its_partitions_back(broker: Broker, protocol: str) -> None:
    def member(instance: str) -> confluent_kafka.Consumer:
        more = {"group.instance.id": instance, **EITHER[protocol]}
        return librdkafka(broker, f"static-{protocol}", **more)

    def partitions(consumer: confluent_kafka.Consumer) -> list[int]:
        return sorted(each.partition for each in consumer.assignment())

    pair = [member("left"), member("right")]
    settle(pair, [1, 2])
    had = partitions(pair[1])
    pair.pop().close()
    pair.append(member("right"))
    settle(pair, [1, 2])
    assert partitions(pair[1]) == had
    for consumer in pair:
        consumer.close()


@pytest.mark.parametrize("protocol", EITHER)
def test_topics_that_match_a_pattern_are_read_and_new_ones_too(
    broker: Broker, protocol: str
) -> None:
    create_topics(broker.bootstrap, 1, f"{protocol}-pattern-1")
    produce_lines(broker.bootstrap, f"{protocol}-pattern-1", ["first"], 1)
    more = {"topic.metadata.refresh.interval.ms": 500, **EITHER[protocol]}
    # By the classic protocol librdkafka resolves it, else the broker, at most every 10 s.
    consumer = librdkafka(broker, f"pattern-{protocol}", f"^{protocol}-pattern-.*", **more)
    assert read([consumer], 1) == [b"first"]
    create_topics(broker.bootstrap, 1, f"{protocol}-pattern-2")
    produce_lines(broker.bootstrap, f"{protocol}-pattern-2", ["second"], 1)
    read_until([consumer], {b"second"})
    consumer.close()


def test_consumers_replace_classic_members_while_they_read(broker: Broker) -> None:
    """Both ways: the group changes its type with the first and with the last consumer."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})

    def kind() -> str:
        groups = admin.list_consumer_groups().result(10).valid
        (found,) = [group for group in groups if group.group_id == "migrated"]
        return str(found.type)

    topic = fill(broker, "migrated")
    members = [librdkafka(broker, "migrated", topic) for _ in range(2)]
    read(members, COUNT)
    settle(members, [1, 2])
    assert kind() == "ConsumerGroupType.CLASSIC"
    for more in (CONSUMER, {}):
        for _ in range(2):
            members.append(librdkafka(broker, "migrated", topic, **more))
            settle(members, [1, 1, 1])
            members.pop(0).close()
            settle(members, [1, 2])
        expected = "ConsumerGroupType.CONSUMER" if more else "ConsumerGroupType.CLASSIC"
        assert kind() == expected
    produce_lines(broker.bootstrap, topic, ["still", "read", "by all"], PARTITIONS)
    read_until(members, {b"still", b"read", b"by all"})
    for consumer in members:
        consumer.close()


def test_kafka_python_reads_in_a_group(broker: Broker) -> None:
    consumer = kafka.KafkaConsumer(
        TOPIC,
        bootstrap_servers=broker.bootstrap,
        group_id="kafka-python",
        auto_offset_reset="earliest",
        # A topic that is named while the first metadata come is asked for with the next ones only.
        metadata_max_age_ms=1000,
    )
    values: set[bytes] = set()

    def has_all() -> bool:
        for records in consumer.poll(1000).values():
            values.update(record.value for record in records)
        return len(values) >= COUNT

    wait_for(has_all, READ_TIMEOUT_S, "all records")
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
                record = await asyncio.wait_for(consumer.getone(), 60)
                values.add(record.value)
            await consumer.commit()
        return values

    assert asyncio.run(scenario()) >= {str(n).encode() for n in range(COUNT)}


class VerifiableConsumer:
    """Kafka's own consumer in a process; its events come as lines of JSON."""

    def __init__(self, broker: Broker, group: str, protocol: str) -> None:
        self.process = subprocess.Popen(
            [
                str(KAFKA), "verifiable-consumer", "--bootstrap-server", broker.bootstrap,
                "--topic", TOPIC, "--group-id", group, "--group-protocol", protocol,
            ],
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        self.events: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                self.events.append(json.loads(line))

    def of(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["name"] == name]

    @property
    def records(self) -> int:
        return sum(event["count"] for event in self.of("records_consumed"))

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)
        self._reader.join(10)


@pytest.mark.parametrize("protocol", EITHER)
def test_java_consumers_read_and_are_described(broker: Broker, protocol: str) -> None:
    group = f"java-{protocol}"

    def tool(*arguments: str) -> str:
        at = ["--bootstrap-server", broker.bootstrap, "--group", group]
        return subprocess.check_output(
            [str(KAFKA), "consumer-groups", *at, *arguments], text=True, stderr=subprocess.STDOUT
        )

    pair = [VerifiableConsumer(broker, group, protocol) for _ in range(2)]

    def has_partitions(member: VerifiableConsumer) -> bool:
        return any(event["partitions"] for event in member.of("partitions_assigned"))

    try:
        wait_for(lambda: all(map(has_partitions, pair)), 60, "partitions for both")
        wait_for(lambda: sum(each.records for each in pair) >= COUNT, 60, "all records")
        wait_for(lambda: any(each.of("offsets_committed") for each in pair), 30, "commits")
        state = wait_for(
            lambda: (found := tool("--describe", "--state")) and "Stable" in found and found,
            30,
            "a stable group",
        )
        assert (" uniform " if protocol == "consumer" else " range ") in state
        members = tool("--describe", "--members", "--verbose")
        assert members.count(f"{TOPIC}:") >= 2, members
        assert TOPIC in tool("--describe")
    finally:
        for each in pair:
            each.stop()
    assert all(each.of("shutdown_complete") for each in pair)
    assert all(event["success"] for each in pair for event in each.of("offsets_committed"))


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

"""What aiokafka's documentation offers, on our broker: producer, consumer, admin."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiokafka
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    IllegalOperation,
    MessageSizeTooLargeError,
    OffsetOutOfRangeError,
    ProducerFenced,
    RecordTooLargeError,
    TopicAlreadyExistsError,
)

from streamkit.testing.broker import Broker
from tests.foreign import create_topics, produce_lines

pytestmark = pytest.mark.judge

NOW_MS = 1_700_000_000_000
TIMEOUT_S = 30.0


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker(config={"group.min.session.timeout.ms": "1000"}) as running:
        yield running


@asynccontextmanager
async def producer(broker: Broker, **config: Any) -> AsyncIterator[AIOKafkaProducer]:
    client = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, **config)
    async with client:
        yield client


@asynccontextmanager
async def consumer(broker: Broker, *topics: str, **config: Any) -> AsyncIterator[AIOKafkaConsumer]:
    config = {"enable_auto_commit": False, "auto_offset_reset": "earliest", **config}
    async with AIOKafkaConsumer(*topics, bootstrap_servers=broker.bootstrap, **config) as client:
        yield client


@asynccontextmanager
async def administrator(broker: Broker) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def take(client: AIOKafkaConsumer, count: int) -> list[Any]:
    """The next records, exactly so many."""
    return [await asyncio.wait_for(client.getone(), TIMEOUT_S) for _ in range(count)]


async def until(condition: Any) -> None:
    """Wait until a function says yes."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("acks", [0, 1, "all"])
@pytest.mark.parametrize("compression", [None, "gzip", "snappy", "lz4", "zstd"])
def test_records_come_back_whole(broker: Broker, acks: object, compression: str | None) -> None:
    topic = f"whole-{acks}-{compression}"
    create_topics(broker.bootstrap, 2, topic)
    headers = [("name", b"x"), ("name", b"again"), ("empty", b"")]

    async def scenario() -> None:
        async with producer(broker, acks=acks, compression_type=compression) as client:
            assert await client.partitions_for(topic) == {0, 1}
            sent = await client.send_and_wait(
                topic, b"v" * 500, b"k", partition=1, timestamp_ms=NOW_MS, headers=headers
            )
            if acks != 0:
                assert (sent.offset, sent.timestamp, sent.timestamp_type) == (0, NOW_MS, 0)
            await client.send_and_wait(topic, None, b"k", partition=1)
        async with consumer(broker) as client:
            client.assign([TopicPartition(topic, 1)])
            first, second = await take(client, 2)
        assert (first.key, first.value, first.timestamp) == (b"k", b"v" * 500, NOW_MS)
        assert list(first.headers) == headers
        assert second.value is None

    asyncio.run(scenario())


def test_batches_are_built_by_hand(broker: Broker) -> None:
    create_topics(broker.bootstrap, 1, "by-hand")

    async def scenario() -> None:
        async with producer(broker, max_batch_size=2000) as client:
            batch = client.create_batch()
            count = 0
            while batch.append(key=None, value=b"%d" % count * 20, timestamp=NOW_MS) is not None:
                count += 1
            batch.close()
            sent = await (await client.send_batch(batch, "by-hand", partition=0))
            assert (sent.offset, batch.record_count()) == (0, count)
            after = await client.send_and_wait("by-hand", b"after", partition=0)
            assert after.offset == count

    asyncio.run(scenario())


def test_what_is_too_large_is_refused_by_the_broker(broker: Broker) -> None:
    async def scenario() -> None:
        async with administrator(broker) as admin:
            configs = {"max.message.bytes": "1000"}
            await admin.create_topics([NewTopic("small", 1, 1, topic_configs=configs)])
        async with producer(broker) as client:
            with pytest.raises(MessageSizeTooLargeError):
                await client.send_and_wait("small", b"v" * 2000)
            assert (await client.send_and_wait("small", b"v")).offset == 0

    asyncio.run(scenario())


def test_fetch_limits_never_stop_a_large_record(broker: Broker) -> None:
    create_topics(broker.bootstrap, 1, "limited")

    async def scenario() -> None:
        async with producer(broker) as client:
            for size in (10, 5000, 20):
                await client.send_and_wait("limited", b"v" * size)
        async with consumer(broker, "limited", max_partition_fetch_bytes=100) as client:
            try:
                found = await take(client, 3)
            except RecordTooLargeError:
                pytest.fail("the broker gave less than one whole batch")
        assert [len(each.value) for each in found] == [10, 5000, 20]

    asyncio.run(scenario())


def test_positions_ends_times_and_seeks(broker: Broker) -> None:
    create_topics(broker.bootstrap, 1, "placed")
    part = TopicPartition("placed", 0)

    async def scenario() -> None:
        async with producer(broker) as client:
            for number in range(20):
                await client.send_and_wait(
                    "placed", b"%d" % number, timestamp_ms=NOW_MS + 10 * number
                )
        async with consumer(broker) as client:
            client.assign([part])
            assert await client.beginning_offsets([part]) == {part: 0}
            assert await client.end_offsets([part]) == {part: 20}
            found = await client.offsets_for_times({part: NOW_MS + 45})
            assert found[part] == aiokafka.structs.OffsetAndTimestamp(5, NOW_MS + 50)
            assert await client.offsets_for_times({part: NOW_MS + 4500}) == {part: None}
            client.seek(part, 17)
            assert [each.value for each in await take(client, 3)] == [b"17", b"18", b"19"]
            assert await client.position(part) == 20
            assert (client.highwater(part), client.last_stable_offset(part)) == (20, 20)
            await client.seek_to_beginning(part)
            batches = await client.getmany(part, timeout_ms=5000, max_records=3)
            assert [each.offset for each in batches[part]] == [0, 1, 2]
            client.pause(part)
            assert await client.getmany(timeout_ms=300) == {}
            client.resume(part)
            assert (await take(client, 1))[0].offset == 3
            await client.seek_to_end(part)
            assert await client.position(part) == 20

    asyncio.run(scenario())


def test_offset_out_of_range_is_told(broker: Broker) -> None:
    create_topics(broker.bootstrap, 1, "ranged")

    async def scenario() -> None:
        async with consumer(broker, auto_offset_reset="none") as client:
            client.assign([TopicPartition("ranged", 0)])
            client.seek(TopicPartition("ranged", 0), 77)
            with pytest.raises(OffsetOutOfRangeError):
                await asyncio.wait_for(client.getone(), TIMEOUT_S)

    asyncio.run(scenario())


class Listener(aiokafka.ConsumerRebalanceListener):
    """Writes down what a member is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, set[int]]] = []

    def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        self.told.append(("revoked", {each.partition for each in revoked}))

    def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        self.told.append(("assigned", {each.partition for each in assigned}))


def test_group_shares_commits_and_hands_over(broker: Broker) -> None:
    create_topics(broker.bootstrap, 4, "shared")
    produce_lines(broker.bootstrap, "shared", [str(number) for number in range(40)], 4)
    listener = Listener()
    part = TopicPartition("shared", 2)

    async def scenario() -> None:
        group = {"group_id": "sharing", "heartbeat_interval_ms": 100, "session_timeout_ms": 6000}
        async with consumer(broker, **group) as first:
            first.subscribe(["shared"], listener=listener)
            await take(first, 40)
            await first.commit({part: (7, "so far")})
            async with consumer(broker, "shared", **group) as second:
                await until(lambda: len(first.assignment()) == 2 == len(second.assignment()))
                assert not first.assignment() & second.assignment()
            await until(lambda: len(first.assignment()) == 4)
            assert await first.committed(part) == 7
        async with consumer(broker, **group) as heir:
            heir.subscribe(pattern="^shar.d$")
            await until(lambda: len(heir.assignment()) == 4)
            assert await heir.position(part) == 7

    asyncio.run(scenario())
    assert listener.told[0] == ("revoked", set())
    assert listener.told[1] == ("assigned", {0, 1, 2, 3})
    assert {len(parts) for kind, parts in listener.told if kind == "assigned"} == {2, 4}


def test_transactions_commit_abort_and_fence(broker: Broker) -> None:
    create_topics(broker.bootstrap, 1, "moved")
    part = TopicPartition("moved", 0)

    async def scenario() -> None:
        async with producer(broker, transactional_id="mover") as client:
            async with client.transaction():
                await client.send_and_wait("moved", b"kept")
            with suppress(ZeroDivisionError):
                async with client.transaction():
                    await client.send_and_wait("moved", b"dropped")
                    raise ZeroDivisionError
            await client.begin_transaction()
            await client.send_and_wait("moved", b"of a zombie")
            async with producer(broker, transactional_id="mover") as heir:
                async with heir.transaction():
                    await heir.send_and_wait("moved", b"of the heir")
                with pytest.raises(ProducerFenced):
                    await client.commit_transaction()
        async with consumer(broker, isolation_level="read_committed") as reader:
            reader.assign([part])
            found = await take(reader, 2)
            assert [each.value for each in found] == [b"kept", b"of the heir"]
            assert reader.last_stable_offset(part) == (await reader.end_offsets([part]))[part]
        async with consumer(broker) as reader:
            reader.assign([part])
            assert len(await take(reader, 4)) == 4

    asyncio.run(scenario())


def test_idempotent_producer_needs_all_acknowledgements(broker: Broker) -> None:
    create_topics(broker.bootstrap, 1, "once")

    async def scenario() -> None:
        with pytest.raises(ValueError, match="acks"):
            AIOKafkaProducer(enable_idempotence=True, acks=1)
        async with producer(broker, enable_idempotence=True, linger_ms=1) as client:
            waits = [await client.send("once", b"%d" % number) for number in range(500)]
            offsets = [(await wait).offset for wait in waits]
            assert offsets == list(range(500))
            with pytest.raises(IllegalOperation):
                await client.begin_transaction()

    asyncio.run(scenario())


def test_administration(broker: Broker) -> None:
    async def scenario() -> None:
        async with administrator(broker) as admin:
            made = await admin.create_topics([NewTopic("kept", 2, 1), NewTopic("gone", 1, 1)])
            assert [each[1] for each in made.topic_errors] == [0, 0]
            again = await admin.create_topics([NewTopic("kept", 2, 1)])
            assert again.topic_errors[0][1] == TopicAlreadyExistsError.errno
            await admin.create_partitions({"kept": NewPartitions(4)})
            (described,) = await admin.describe_topics(["kept"])
            assert len(described["partitions"]) == 4
            assert {each["leader"] for each in described["partitions"]} == {1}
            await admin.delete_topics(["gone"])
            assert "gone" not in await admin.list_topics()
            resource = ConfigResource(ConfigResourceType.TOPIC, "kept", {"retention.ms": "77000"})
            await admin.alter_configs([resource])
            asked = ConfigResource(ConfigResourceType.TOPIC, "kept")
            (answer,) = await admin.describe_configs([asked])
            configs = {each[0]: each[1] for each in answer.resources[0][4]}
            assert configs["retention.ms"] == "77000"
            cluster = await admin.describe_cluster()
            assert [each["node_id"] for each in cluster["brokers"]] == [1]
            await records_and_groups(broker, admin)

    asyncio.run(scenario())


async def records_and_groups(broker: Broker, admin: AIOKafkaAdminClient) -> None:
    """Delete records, and look at a group's offsets."""
    part = TopicPartition("kept", 0)
    async with producer(broker) as client:
        for _ in range(5):
            await client.send_and_wait("kept", b"v", partition=0)
    await admin.delete_records({part: RecordsToDelete(before_offset=3)})
    async with consumer(broker, "kept", group_id="looked-at") as client:
        assert await client.beginning_offsets([part]) == {part: 3}
        await client.commit({part: 4})
        (described,) = await admin.describe_consumer_groups(["looked-at"])
        assert described.groups[0][2] in {"Stable", "PreparingRebalance", "CompletingRebalance"}
    assert ("looked-at", "consumer") in await admin.list_consumer_groups()
    assert await admin.find_coordinator("looked-at") == 1
    offsets = await admin.list_consumer_group_offsets("looked-at")
    assert offsets[part].offset == 4

"""The public producer and consumer, async and blocking."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from streamkit.client.blocking import BlockingConsumer, BlockingProducer
from streamkit.client.blocking_admin import BlockingAdmin
from streamkit.client.closing import CloseOptions
from streamkit.client.consumer import Consumer
from streamkit.client.errors import (
    ClosedError,
    DeliveryTimeoutError,
    OffsetOutOfRangeError,
    RecordTooLargeError,
    UnknownTopicError,
)
from streamkit.client.portal import Portal
from streamkit.client.producer import Producer
from streamkit.client.records import RecordMetadata
from streamkit.common.errors import RetriableError, StreamkitError, UsageError
from streamkit.common.model import TopicPartition
from streamkit.common.partitioner import partition_for
from streamkit.common.system import system_seams
from streamkit.net.errors import ConnectionLost
from streamkit.protocol.apis import ApiKey
from streamkit.records import decode, scan

TP = TopicPartition("orders", 0)


def rows_of(cluster: Any, partition: int = 0) -> list[tuple[bytes | None, bytes | None]]:
    rows: list[tuple[bytes | None, bytes | None]] = []
    for data in cluster.partition(TopicPartition("orders", partition)).batches:
        (header,) = scan(data)
        batch = decode(data, header)
        rows += zip(batch.keys, batch.values, strict=True)
    return rows


def run(world: Any, check: Any, kind: Any, *, partitions: int = 3, **more: Any) -> None:
    async def scenario(cluster: Any, seams: Any) -> None:
        cluster.add_topic("orders", partitions=partitions)
        values = {key.replace("_", "."): value for key, value in more.items()}
        values["bootstrap.servers"] = cluster.bootstrap
        async with kind(values, seams=seams) as client:
            await check(cluster, client)

    world.run(scenario)


def test_keys_decide_the_partition_as_in_kafka(world: Any) -> None:
    async def check(cluster: Any, producer: Producer) -> None:
        keys = [f"key-{number}" for number in range(40)]
        for key in keys:
            await producer.send("orders", "v", key=key)
        await producer.flush()
        for partition in range(3):
            expected = [k.encode() for k in keys if partition_for(k.encode(), 3) == partition]
            assert [key for key, _ in rows_of(cluster, partition)] == expected

    run(world, check, Producer)


def test_records_without_key_stick_to_a_partition_and_fill_batches(world: Any) -> None:
    async def check(cluster: Any, producer: Producer) -> None:
        for _ in range(300):
            await producer.send("orders", b"x" * 100)
        await producer.flush()
        batches = [len(cluster.partition(TopicPartition("orders", i)).batches) for i in range(3)]
        assert sum(batches) < 30
        assert sum(len(rows_of(cluster, i)) for i in range(3)) == 300

    run(world, check, Producer, batch_size=2_000)


def test_linger_sends_what_nobody_flushes(world: Any) -> None:
    async def check(cluster: Any, producer: Producer) -> None:
        await producer.send("orders", "one", partition=0)
        await asyncio.sleep(0.03)
        assert rows_of(cluster) == []
        await asyncio.sleep(0.2)
        assert rows_of(cluster) == [(None, b"one")]

    run(world, check, Producer, linger_ms=100)


def test_delivery_says_where_each_record_lies(world: Any) -> None:
    async def check(cluster: Any, producer: Producer) -> None:
        places: list[RecordMetadata | None] = []
        for number in range(4):
            await producer.send(
                "orders",
                None if number == 2 else "v",
                partition=1,
                timestamp=1_700_000_000_007 + number,
                headers=(("h", b"1"),),
                on_delivery=lambda place, _: places.append(place),
            )
        await producer.flush()
        expected = [RecordMetadata("orders", 1, n, 1_700_000_000_007 + n) for n in range(4)]
        assert places == expected
        place = await producer.send_and_wait("orders", "w", partition=1)
        assert place.offset == 4

    run(world, check, Producer)


def test_flush_raises_the_error_that_nobody_heard_of(world: Any, fault: Any) -> None:
    async def check(cluster: Any, producer: Producer) -> None:
        cluster.faults.append(fault(ApiKey.PRODUCE, code=10, times=2))
        await producer.send("orders", "v")
        with pytest.raises(RecordTooLargeError):
            await producer.flush()
        await producer.flush()
        with pytest.raises(RecordTooLargeError):
            await producer.send_and_wait("orders", "v")
        await producer.flush()

    run(world, check, Producer)


def test_flush_in_a_delivery_callback_is_refused_and_bad_callbacks_harm_nobody(
    world: Any,
) -> None:
    async def check(cluster: Any, producer: Producer) -> None:
        errors: list[Exception] = []

        def on_delivery(_place: RecordMetadata | None, _error: StreamkitError | None) -> None:
            try:
                producer.flush()
            except UsageError as error:
                errors.append(error)
                raise

        for _ in range(3):
            await producer.send("orders", "v", partition=0, on_delivery=on_delivery)
        await producer.flush()
        assert len(errors) == 3

    run(world, check, Producer)


def test_unknown_topic_partition_and_full_buffer_are_told_by_send(world: Any) -> None:
    async def check(cluster: Any, producer: Producer) -> None:
        with pytest.raises(UnknownTopicError, match="nowhere"):
            await producer.send("nowhere", "v")
        with pytest.raises(UsageError, match="3 partitions"):
            await producer.send("orders", "v", partition=3)
        await producer.send_and_wait("orders", "v")
        await cluster.stop(cluster.nodes[0])

        async def send_on_and_on() -> None:
            for _ in range(100):
                await producer.send("orders", b"x" * 100)

        with pytest.raises(RetriableError, match=r"buffer\.memory"):
            await send_on_and_on()
        with pytest.raises(ClosedError):
            await producer.close(CloseOptions(timeout_ms=100))

    run(world, check, Producer, max_block_ms=2_000, buffer_memory=5_000, batch_size=500)


def test_leaving_the_block_flushes(world: Any) -> None:
    async def scenario(cluster: Any, seams: Any) -> None:
        cluster.add_topic("orders")
        async with Producer({"bootstrap.servers": cluster.bootstrap}, seams=seams) as producer:
            await producer.send("orders", "v")
        assert rows_of(cluster) == [(None, b"v")]
        with pytest.raises(ClosedError):
            await producer.send("orders", "v")

    world.run(scenario)


def test_topic_is_created_by_producing_to_it(world: Any) -> None:
    async def check(cluster: Any, producer: Producer) -> None:
        cluster.auto_create = True
        place = await producer.send_and_wait("fresh", "v")
        assert place.topic == "fresh"

    run(world, check, Producer)


def test_delivery_timeout_reaches_the_caller(world: Any) -> None:
    async def check(cluster: Any, producer: Producer) -> None:
        await producer.send_and_wait("orders", "v")
        await cluster.stop(cluster.nodes[0])
        with pytest.raises(DeliveryTimeoutError):
            await producer.send_and_wait("orders", "v")

    run(world, check, Producer, delivery_timeout_ms=2_000, request_timeout_ms=1_000)


async def fill(cluster: Any, seams: Any, count: int, partition: int = 0) -> None:
    async with Producer({"bootstrap.servers": cluster.bootstrap}, seams=seams) as producer:
        for number in range(count):
            await producer.send("orders", f"{number}", key="k", partition=partition)


def run_consumer(world: Any, check: Any, **more: Any) -> None:
    async def scenario(cluster: Any, seams: Any) -> None:
        cluster.add_topic("orders", partitions=2)
        await fill(cluster, seams, 9)
        values = {key.replace("_", "."): value for key, value in more.items()}
        values["bootstrap.servers"] = cluster.bootstrap
        async with Consumer(values, seams=seams) as consumer:
            await check(cluster, consumer, seams)

    world.run(scenario)


async def read(consumer: Consumer, count: int) -> list[int]:
    offsets: list[int] = []
    async with asyncio.timeout(30):
        async for record in consumer:
            assert record.value == f"{record.offset}".encode()
            offsets.append(record.offset)
            if len(offsets) == count:
                break
    return offsets


def test_records_are_iterated_from_the_beginning(world: Any) -> None:
    async def check(cluster: Any, consumer: Consumer, seams: Any) -> None:
        consumer.assign(await consumer.partitions_of("orders"))
        assert await read(consumer, 9) == list(range(9))

    run_consumer(world, check, auto_offset_reset="earliest")


def test_latest_begins_behind_what_is_there(world: Any) -> None:
    async def check(cluster: Any, consumer: Consumer, seams: Any) -> None:
        consumer.assign([TP])
        assert await consumer.poll(1_000) == []
        assert await consumer.position(TP) == 9
        await fill(cluster, seams, 1)
        (batch,) = await consumer.poll(5_000)
        assert [record.offset for record in batch.records()] == [9]

    run_consumer(world, check)


def test_seek_moves_in_the_middle_of_an_iteration(world: Any) -> None:
    async def check(cluster: Any, consumer: Consumer, seams: Any) -> None:
        consumer.assign({TP: 7})
        seen = []
        async for record in consumer:
            seen.append(record.offset)
            if seen == [7]:
                consumer.seek(TP, 2)
            if len(seen) == 4:
                break
        assert seen == [7, 2, 3, 4]
        consumer.seek_to_beginning()
        assert await read(consumer, 2) == [0, 1]
        consumer.seek_to_end(TP)
        assert await consumer.position(TP) == 9

    run_consumer(world, check)


def test_commits_are_where_the_next_consumer_begins(world: Any) -> None:
    async def check(cluster: Any, consumer: Consumer, seams: Any) -> None:
        consumer.assign([TP])
        await consumer.poll(1_000)
        await consumer.commit({TP: 4})
        assert await consumer.committed([TP, TopicPartition("orders", 1)]) == {TP: 4}
        consumer.assign([TP])
        assert await read(consumer, 5) == [4, 5, 6, 7, 8]

    run_consumer(world, check, group_id="shop", auto_offset_reset="earliest")


def test_lost_position_is_reset_by_policy_or_raised(world: Any) -> None:
    async def reset(cluster: Any, consumer: Consumer, seams: Any) -> None:
        cluster.partition(TP).log_start = 6
        consumer.assign({TP: 2})
        assert await read(consumer, 3) == [6, 7, 8]

    async def raised(cluster: Any, consumer: Consumer, seams: Any) -> None:
        consumer.assign({TP: 77})
        with pytest.raises(OffsetOutOfRangeError):
            await consumer.poll(5_000)
        consumer.assign([TP])
        with pytest.raises(OffsetOutOfRangeError, match=r"auto\.offset\.reset"):
            await consumer.poll(5_000)

    run_consumer(world, reset, auto_offset_reset="earliest")
    run_consumer(world, raised, auto_offset_reset="none")


def test_wrong_use_is_told(world: Any) -> None:
    async def check(cluster: Any, consumer: Consumer, seams: Any) -> None:
        with pytest.raises(UsageError, match="not assigned"):
            consumer.seek(TP, 3)
        with pytest.raises(UsageError, match=r"group\.id"):
            await consumer.commit({TP: 3})
        with pytest.raises(UsageError, match="async with"):
            Consumer({"bootstrap.servers": cluster.bootstrap}, seams=seams).assign([TP])

    run_consumer(world, check)


@pytest.fixture
def bootstrap(fake_cluster: Any) -> Iterator[str]:
    """A scripted cluster in a thread of its own, over real sockets."""
    portal: Portal[Any] = Portal(fake_cluster, system_seams().spawn)
    cluster = portal.open()
    cluster.add_topic("orders", partitions=2)
    yield cluster.bootstrap
    portal.close()


def test_blocking_twins_send_and_read(bootstrap: str) -> None:
    config = {"bootstrap.servers": bootstrap}
    with BlockingProducer(config) as producer:
        for number in range(3_000):
            producer.send("orders", f"{number}", partition=0)
        assert producer.send_and_wait("orders", "3000", partition=0).offset == 3_000
    with BlockingConsumer(config | {"auto.offset.reset": "earliest"}) as consumer:
        consumer.assign(consumer.partitions_of("orders"))
        records = (record for record in consumer)
        assert [next(records).value for _ in range(3_001)] == [b"%d" % n for n in range(3_001)]
        assert consumer.end_offsets([TP]) == {TP: 3_001}
    with BlockingAdmin(config) as admin:
        assert admin.list_topics() == ["orders"]


def test_blocking_call_in_a_callback_is_refused(bootstrap: str) -> None:
    refused: list[UsageError] = []
    with BlockingProducer({"bootstrap.servers": bootstrap}) as producer:

        def on_delivery(_place: RecordMetadata | None, _error: StreamkitError | None) -> None:
            try:
                producer.flush()
            except UsageError as error:
                refused.append(error)

        producer.send("orders", "v", on_delivery=on_delivery)
        producer.flush()
    assert len(refused) == 1


def test_blocking_errors_are_those_of_the_async_client(bootstrap: str) -> None:
    config = {"bootstrap.servers": bootstrap, "max.block.ms": 50}
    with BlockingProducer(config) as producer:
        producer.send("nowhere", "v")
        with pytest.raises(UnknownTopicError):
            producer.flush()
    with pytest.raises(ClosedError):
        producer.flush()
    lost = {"bootstrap.servers": "127.0.0.1:1", "default.api.timeout.ms": 50}
    with pytest.raises(ConnectionLost), BlockingConsumer(lost):
        raise AssertionError("not reached")

"""The batch sender against a scripted cluster: order, retries, faults, limits."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from streamkit.client.client import Client
from streamkit.client.errors import (
    AuthorizationError,
    ClosedError,
    DeliveryTimeoutError,
    RecordTooLargeError,
)
from streamkit.client.sender import BatchSender
from streamkit.client.settings import ProducerSettings
from streamkit.common.errors import StreamkitError, UsageError
from streamkit.common.model import TopicPartition
from streamkit.protocol.apis import ApiKey
from streamkit.records import BatchBuilder, decode, scan

TP = TopicPartition("orders", 0)


@dataclass
class Deliveries:
    """What the callbacks said."""

    offsets: list[int] = field(default_factory=list)
    errors: list[StreamkitError] = field(default_factory=list)

    def __call__(self, _tp: TopicPartition, base_offset: int, error: StreamkitError | None) -> None:
        if error is None:
            self.offsets.append(base_offset)
        else:
            self.errors.append(error)


def settings_for(cluster: Any, **more: Any) -> ProducerSettings:
    values = {key.replace("_", "."): value for key, value in more.items()}
    return ProducerSettings.from_mapping({"bootstrap.servers": cluster.bootstrap, **values})


def batch(*values: str) -> BatchBuilder:
    builder = BatchBuilder(16_384)
    for value in values:
        builder.append(None, value.encode(), 1_700_000_000_123)
    return builder


def log_of(cluster: Any, tp: TopicPartition = TP) -> list[str]:
    values: list[str] = []
    for data in cluster.partition(tp).batches:
        (header,) = scan(data)
        values += [value.decode() for value in decode(data, header).values]
    return values


async def send_all(sender: BatchSender, deliveries: Deliveries, count: int) -> list[str]:
    values = [f"v{number}" for number in range(count)]
    for value in values:
        sender.submit(TP, batch(value), deliveries)
    await sender.flush()
    return values


def run(world: Any, check: Any, *, brokers: int = 1, **more: Any) -> None:
    async def scenario(cluster: Any, seams: Any) -> None:
        cluster.add_topic("orders", partitions=3)
        settings = settings_for(cluster, **more)
        async with Client(settings, seams) as client:
            sender = BatchSender(client, settings)
            await check(cluster, sender)
            await sender.close(timeout_ms=1_000)

    world.run(scenario, brokers=brokers)


def test_batches_arrive_in_order_with_their_offsets(world: Any) -> None:
    async def check(cluster: Any, sender: BatchSender) -> None:
        deliveries = Deliveries()
        values = await send_all(sender, deliveries, 23)
        assert log_of(cluster) == values
        assert deliveries.offsets == list(range(23))

    run(world, check)


@pytest.mark.parametrize("drop", ["before", "after"])
def test_lost_connections_neither_lose_nor_double_nor_reorder(
    world: Any, drop: str, fault: Any
) -> None:
    async def check(cluster: Any, sender: BatchSender) -> None:
        deliveries = Deliveries()
        for times in range(7):
            cluster.faults.append(fault(ApiKey.PRODUCE, drop=drop))
            values = [f"{times}-{number}" for number in range(9)]
            for value in values:
                sender.submit(TP, batch(value), deliveries)
            await sender.flush()
            assert log_of(cluster)[-9:] == values
        assert len(log_of(cluster)) == 63
        assert deliveries.errors == []

    run(world, check)


def test_new_leader_named_by_the_broker_is_followed_without_metadata(world: Any) -> None:
    async def check(cluster: Any, sender: BatchSender) -> None:
        deliveries = Deliveries()
        await send_all(sender, deliveries, 3)
        before = cluster.count(ApiKey.METADATA)
        cluster.move(TP, cluster.nodes[1])
        await send_all(sender, deliveries, 4)
        assert len(log_of(cluster)) == 7
        assert deliveries.errors == []
        assert cluster.count(ApiKey.METADATA) == before

    run(world, check, brokers=2)


def test_new_leader_is_found_by_metadata(world: Any) -> None:
    async def check(cluster: Any, sender: BatchSender) -> None:
        deliveries = Deliveries()
        cluster.names_new_leaders = False
        await send_all(sender, deliveries, 3)
        cluster.move(TP, cluster.nodes[1])
        await send_all(sender, deliveries, 4)
        assert len(log_of(cluster)) == 7
        assert deliveries.errors == []

    run(world, check, brokers=2)


def test_retriable_codes_are_retried(world: Any, fault: Any) -> None:
    async def check(cluster: Any, sender: BatchSender) -> None:
        deliveries = Deliveries()
        cluster.faults += [
            fault(ApiKey.INIT_PRODUCER_ID, code=14, times=2),
            fault(ApiKey.PRODUCE, code=19, times=3),
        ]
        values = await send_all(sender, deliveries, 12)
        assert log_of(cluster) == values
        assert deliveries.errors == []

    run(world, check)


def test_refused_batch_is_reported_and_those_behind_it_arrive(world: Any, fault: Any) -> None:
    async def check(cluster: Any, sender: BatchSender) -> None:
        deliveries = Deliveries()
        await send_all(sender, deliveries, 2)
        cluster.faults.append(fault(ApiKey.PRODUCE, code=10))
        await send_all(sender, deliveries, 6)
        assert [type(error) for error in deliveries.errors] == [RecordTooLargeError]
        assert log_of(cluster) == ["v0", "v1", "v1", "v2", "v3", "v4", "v5"]
        assert sender.identity.epoch > 3

    run(world, check)


def test_lost_producer_state_bumps_the_epoch(world: Any) -> None:
    async def check(cluster: Any, sender: BatchSender) -> None:
        deliveries = Deliveries()
        await send_all(sender, deliveries, 4)
        identity = sender.identity
        # As after DeleteRecords: the broker knows the producer, but at another sequence.
        cluster.partition(TP).producers[identity.producer_id] = (identity.epoch, [(90, 91, 3)])
        await send_all(sender, deliveries, 4)
        assert len(log_of(cluster)) == 8
        assert deliveries.errors == []
        assert sender.identity.epoch == identity.epoch + 1

    run(world, check)


def test_unanswered_batches_time_out_with_the_reason(world: Any) -> None:
    async def check(cluster: Any, sender: BatchSender) -> None:
        deliveries = Deliveries()
        await send_all(sender, deliveries, 1)
        await cluster.stop(cluster.nodes[0])
        await send_all(sender, deliveries, 2)
        assert [type(error) for error in deliveries.errors] == [DeliveryTimeoutError] * 2
        assert "orders-0" in str(deliveries.errors[0])

    run(world, check, delivery_timeout_ms=3_000, request_timeout_ms=1_000)


def test_unknown_topic_times_out(world: Any) -> None:
    async def check(cluster: Any, sender: BatchSender) -> None:
        deliveries = Deliveries()
        sender.submit(TopicPartition("nowhere", 2), batch("x"), deliveries)
        await sender.flush()
        assert [type(error) for error in deliveries.errors] == [DeliveryTimeoutError]

    run(world, check, delivery_timeout_ms=3_000, request_timeout_ms=1_000)


def test_topic_created_later_gets_its_batches(world: Any) -> None:
    async def check(cluster: Any, sender: BatchSender) -> None:
        deliveries = Deliveries()
        tp = TopicPartition("later", 0)
        sender.submit(tp, batch("x"), deliveries)
        await asyncio.sleep(2)
        cluster.add_topic("later")
        await sender.flush()
        assert log_of(cluster, tp) == ["x"]

    run(world, check)


def test_forbidden_topic_fails_at_once(world: Any, fault: Any) -> None:
    async def check(cluster: Any, sender: BatchSender) -> None:
        deliveries = Deliveries()
        cluster.faults.append(fault(ApiKey.PRODUCE, code=29))
        await send_all(sender, deliveries, 1)
        assert [type(error) for error in deliveries.errors] == [AuthorizationError]

    run(world, check)


def test_recreated_topic_takes_new_batches(world: Any) -> None:
    async def check(cluster: Any, sender: BatchSender) -> None:
        deliveries = Deliveries()
        await send_all(sender, deliveries, 2)
        cluster.add_topic("orders", partitions=3)
        await send_all(sender, deliveries, 3)
        assert log_of(cluster) == ["v0", "v1", "v2"]
        assert deliveries.errors == []

    run(world, check)


def test_one_request_carries_the_partitions_of_a_broker(world: Any) -> None:
    async def check(cluster: Any, sender: BatchSender) -> None:
        deliveries = Deliveries()
        await send_all(sender, deliveries, 1)
        before = cluster.count(ApiKey.PRODUCE)
        for partition in range(3):
            sender.submit(TopicPartition("orders", partition), batch("x"), deliveries)
        await sender.flush()
        assert cluster.count(ApiKey.PRODUCE) == before + 1

    run(world, check)


def test_full_buffer_holds_back_until_there_is_room(world: Any) -> None:
    async def check(cluster: Any, sender: BatchSender) -> None:
        deliveries = Deliveries()
        most = 0
        for number in range(400):
            await sender.wait_room()
            sender.submit(TP, batch("x" * 1_000, str(number)), deliveries)
            most = max(most, sender.pending_bytes)
        await sender.flush()
        assert len(deliveries.offsets) == 400
        assert most <= 10_000 + 1_200
        assert sender.pending_bytes == 0

    run(world, check, buffer_memory=10_000)


def test_flush_inside_of_a_callback_is_refused(world: Any) -> None:
    async def check(cluster: Any, sender: BatchSender) -> None:
        refused: list[UsageError] = []

        def on_done(_tp: TopicPartition, _offset: int, _error: StreamkitError | None) -> None:
            with pytest.raises(UsageError, match="KIP-1118") as caught:
                sender.flush()
            refused.append(caught.value)

        sender.submit(TP, batch("x"), on_done)
        await sender.flush()
        assert len(refused) == 1

    run(world, check)


def test_close_fails_what_is_left(world: Any) -> None:
    async def check(cluster: Any, sender: BatchSender) -> None:
        deliveries = Deliveries()
        await cluster.stop(cluster.nodes[0])
        sender.submit(TP, batch("x"), deliveries)
        await sender.close(timeout_ms=500)
        assert [type(error) for error in deliveries.errors] == [ClosedError]
        with pytest.raises(ClosedError):
            sender.submit(TP, batch("x"), deliveries)

    run(world, check)


def test_acks_0_is_done_when_it_is_sent(world: Any) -> None:
    async def check(cluster: Any, sender: BatchSender) -> None:
        deliveries = Deliveries()
        await send_all(sender, deliveries, 5)
        assert deliveries.offsets == [-1] * 5
        await asyncio.sleep(1)
        assert len(log_of(cluster)) == 5

    run(world, check, acks="0", enable_idempotence="false")


def test_old_broker_without_topic_ids_is_spoken_to_by_name(world: Any) -> None:
    async def check(cluster: Any, sender: BatchSender) -> None:
        deliveries = Deliveries()
        values = await send_all(sender, deliveries, 5)
        assert log_of(cluster) == values

    async def scenario(cluster: Any, seams: Any) -> None:
        cluster.version_max = {ApiKey.PRODUCE: 8, ApiKey.METADATA: 8, ApiKey.INIT_PRODUCER_ID: 1}
        cluster.add_topic("orders", partitions=3)
        settings = settings_for(cluster)
        async with Client(settings, seams) as client:
            await check(cluster, BatchSender(client, settings))

    world.run(scenario)

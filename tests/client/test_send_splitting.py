"""Batches too large for their topic: split and sent again; a record too large alone fails."""

from __future__ import annotations

import random
from typing import Any

import pytest

from streamkit.client.backoff import Backoff
from streamkit.client.batch import ProducerIdentity
from streamkit.client.client import Client
from streamkit.client.errors import RecordTooLargeError
from streamkit.client.metadata import BrokerView, ClusterView, PartitionView, TopicView
from streamkit.client.producer import Producer
from streamkit.client.send_state import SendLimits, SendState
from streamkit.client.sender import BatchSender
from streamkit.client.settings import ProducerSettings
from streamkit.common.errors import StreamkitError
from streamkit.common.model import TopicPartition
from streamkit.records import BatchBuilder, decode, scan

TP = TopicPartition("orders", 0)
TOO_LARGE = 10


def batch(*values: str) -> BatchBuilder:
    builder = BatchBuilder(16_384)
    for number, value in enumerate(values):
        builder.append(b"k", value.encode(), 1_700_000_000_123 + number, (("h", b"x"),))
    return builder


def log_of(cluster: Any) -> list[str]:
    values: list[str] = []
    for data in cluster.partition(TP).batches:
        (header,) = scan(data)
        values += [value.decode() for value in decode(data, header).values]
    return values


def run(world: Any, bytes_max: int, check: Any, **more: Any) -> None:
    async def scenario(cluster: Any, seams: Any) -> None:
        cluster.add_topic("orders", partitions=1)
        cluster.partition(TP).bytes_max = bytes_max
        settings = ProducerSettings.from_mapping({"bootstrap.servers": cluster.bootstrap, **more})
        async with Client(settings, seams) as client:
            sender = BatchSender(client, settings)
            await check(cluster, sender)
            await sender.close(timeout_ms=1_000)

    world.run(scenario, brokers=1)


@pytest.mark.parametrize("idempotent", ["true", "false"])
def test_batch_too_large_arrives_in_pieces_and_in_order(world: Any, idempotent: str) -> None:
    done: list[tuple[int, StreamkitError | None]] = []

    async def check(cluster: Any, sender: BatchSender) -> None:
        values = [f"v{number:02d}" for number in range(23)]
        sender.submit(TP, batch("first"), lambda tp, base, error: done.append((base, error)))
        sender.submit(TP, batch(*values), lambda tp, base, error: done.append((base, error)))
        sender.submit(TP, batch("last"), lambda tp, base, error: done.append((base, error)))
        await sender.flush()
        assert log_of(cluster) == ["first", *values, "last"]
        assert sorted(base for base, _ in done) == [0, 1, 24]
        assert [error for _, error in done] == [None] * 3
        assert sender.pending_batches == 0
        assert sender.pending_bytes == 0

    settings = {"enable.idempotence": idempotent}
    if idempotent == "false":
        settings["max.in.flight.requests.per.connection"] = "1"
    run(world, 200, check, **settings)


def test_record_too_large_alone_fails_and_the_others_arrive(world: Any) -> None:
    errors: list[StreamkitError | None] = []

    async def check(cluster: Any, sender: BatchSender) -> None:
        values = ["a", "b", "x" * 300, "c"]
        sender.submit(TP, batch(*values), lambda tp, base, error: errors.append(error))
        await sender.flush()
        assert log_of(cluster) == ["a", "b", "c"]
        assert [type(error) for error in errors] == [RecordTooLargeError]

    run(world, 200, check)


def test_each_record_of_a_split_batch_learns_its_own_offset(world: Any) -> None:
    async def scenario(cluster: Any, seams: Any) -> None:
        cluster.add_topic("orders", partitions=1)
        cluster.partition(TP).bytes_max = 200
        settings = {"bootstrap.servers": cluster.bootstrap, "linger.ms": "50"}
        got: list[Any] = []
        async with Producer(settings, seams=seams) as producer:
            for value in ("a", "b", "x" * 300, "c", "d"):
                await producer.send(
                    "orders", value.encode(), on_delivery=lambda at, error: got.append((at, error))
                )
            await producer.flush()
        offsets = [None if at is None else at.offset for at, _ in got]
        assert sorted(each for each in offsets if each is not None) == [0, 1, 2, 3]
        assert [type(error) for _, error in got if error is not None] == [RecordTooLargeError]

    world.run(scenario, brokers=1)


def test_pieces_keep_the_sequences_of_their_batch() -> None:
    limits = SendLimits(
        is_idempotent=True,
        is_transactional=False,
        delivery_timeout_ms=60_000,
        retries_max=9,
        request_bytes_max=1 << 20,
        retry_backoff=Backoff(100, 1_000),
    )
    state = SendState(limits)
    state.set_identity(ProducerIdentity(9_004, 3))
    view = ClusterView(
        brokers={7: BrokerView(7, "host", 9092)},
        topics={"orders": TopicView("orders", None, partitions=(PartitionView(0, 7, 5),))},
    )
    chance = random.Random(11)
    done: list[int] = []
    state.submit(TP, batch(*"abcdefg"), lambda tp, base, error: done.append(base), 0)
    state.submit(TP, batch("h"), lambda tp, base, error: done.append(base), 0)
    sequences: list[tuple[int, int]] = []
    for now in range(40):
        for each in state.collect(7, view, now):
            if each.builder.count > 2:
                assert state.on_refused(each, TOO_LARGE, None, now, chance.random()) == []
                continue
            sequences.append((each.sequence, each.builder.count))
            for result in state.on_acknowledged(each, each.sequence):
                result.batch.on_done(TP, result.base_offset, result.error)
    assert sequences == [(0, 1), (1, 2), (3, 2), (5, 2), (7, 1)]
    assert done == [0, 7]

"""A disk that fails: the partition goes offline and says so; nothing is acknowledged by mistake."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streamkit.broker.log.log import Log
from streamkit.broker.log.segment import Segment
from streamkit.common.errors import FatalError, StorageError
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ErrorCode
from streamkit.testing.disk import MemoryDisk, MemoryFile


def used(disk: MemoryDisk) -> int:
    total, usable = disk.usage("/data")
    return total - usable


def test_a_full_disk_takes_every_partition_offline(world: Any) -> None:
    async def until_full(asker: Any) -> None:
        orders, others = await asker.create("orders"), await asker.create("others")
        assert (await asker.produce(orders, "kept")).error_code == ErrorCode.none
        world.disk.bytes_max = used(world.disk) + 20
        full = await asker.produce(orders, "x" * 100)
        assert full.error_code == ErrorCode.kafka_storage_error
        world.disk.bytes_max = None
        # Offline is offline until the next start: what is on disk is not known any more.
        for answer in (await asker.produce(orders, "y"), await asker.fetch(orders, 0)):
            assert answer.error_code == ErrorCode.kafka_storage_error
        assert (await asker.produce(others, "z")).error_code == ErrorCode.kafka_storage_error

    async def main() -> None:
        async with world.node() as node:
            await until_full(world.asker(node))
        assert not world.disk.exists("/data/.kafka_cleanshutdown")
        async with world.node() as node:
            asker = world.asker(node)
            asked = [{"name": "orders", "topic_id": None}]
            answer = await asker.ask(ApiKey.METADATA, topics=asked)
            topic_id = answer.topics[0].topic_id
            assert (await asker.produce(topic_id, "next")).base_offset == 1

    world.simulation.run(main())


def test_the_node_halts_when_its_log_directory_fails(world: Any) -> None:
    async def main() -> None:
        node = world.node()
        await node.start()
        asker = world.asker(node)
        topic_id = await asker.create("orders")
        world.disk.bytes_max = used(world.disk)
        running = asyncio.create_task(node.run_until(asyncio.Event()))
        assert (await asker.produce(topic_id, "x")).error_code == ErrorCode.kafka_storage_error
        with pytest.raises(FatalError, match="log directory /data failed: "):
            await running
        seams = world.simulation.seams("client", None)
        with pytest.raises(ConnectionRefusedError):
            await seams.network.dial(asyncio.Protocol, "broker", 9092)

    world.simulation.run(main())


def test_the_node_says_which_background_work_failed(
    world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def bug() -> None:
        raise ZeroDivisionError("a bug")

    async def main() -> None:
        node = world.node()
        await node.start()
        node._start_task(bug())
        with pytest.raises(FatalError, match="a bug"):
            await node.run_until(asyncio.Event())

    world.simulation.run(main())
    assert "ZeroDivisionError" in caplog.text


def test_a_node_that_is_told_to_stop_stops_cleanly(world: Any) -> None:
    async def main() -> None:
        node, stop = world.node(), asyncio.Event()
        await node.start()
        stop.set()
        await node.run_until(stop)
        assert world.disk.exists("/data/.kafka_cleanshutdown")

    world.simulation.run(main())


def test_disk_that_is_full_at_the_end_leaves_no_mark_of_a_clean_shutdown(world: Any) -> None:
    async def main() -> None:
        node, stop = world.node(), asyncio.Event()
        await node.start()
        await world.asker(node).create("orders")
        world.disk.bytes_max = used(world.disk)
        stop.set()
        with pytest.raises(FatalError, match="log directory /data failed: "):
            await node.run_until(stop)
        assert not world.disk.exists("/data/.kafka_cleanshutdown")

    world.simulation.run(main())


def test_full_disk_in_the_metadata_log_creates_nothing(world: Any) -> None:
    async def scenario(asker: Any) -> None:
        world.disk.bytes_max = used(world.disk)
        topics = [{"name": "orders", "num_partitions": 3, "replication_factor": 1}]
        refused = await asker.ask(ApiKey.CREATE_TOPICS, topics=topics)
        assert refused.topics[0].error_code == ErrorCode.kafka_storage_error
        world.disk.bytes_max = None
        # An answer of success could still be lost: the log's end is not known any more.
        again = await asker.ask(ApiKey.CREATE_TOPICS, topics=topics)
        assert again.topics[0].error_code == ErrorCode.kafka_storage_error
        listed = await asker.ask(ApiKey.METADATA, topics=None)
        assert listed.topics == ()
        assert asker.node.failure is not None

    world.run(scenario)


def test_failed_flush_of_the_metadata_log_is_not_tried_again(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second fsync may succeed without having written what the first one lost."""

    async def scenario(asker: Any) -> None:
        monkeypatch.setattr(Segment, "sync_log", failing)
        topics = [{"name": "orders", "num_partitions": 3, "replication_factor": 1}]
        for _ in range(2):
            refused = await asker.ask(ApiKey.CREATE_TOPICS, topics=topics)
            assert refused.topics[0].error_code == ErrorCode.kafka_storage_error
            monkeypatch.undo()
        listed = await asker.ask(ApiKey.METADATA, topics=None)
        assert listed.topics == ()

    world.run(scenario)


def test_a_failed_flush_acknowledges_nothing(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(asker: Any) -> None:
        topic_id = await asker.create("orders", flush_messages="1")
        assert (await asker.produce(topic_id, "kept")).error_code == ErrorCode.none
        monkeypatch.setattr(Segment, "sync_log", failing)
        lost = await asker.produce(topic_id, "lost")
        assert lost.error_code == ErrorCode.kafka_storage_error
        monkeypatch.undo()

    world.run(scenario)


def test_a_failed_read_is_told_and_not_an_empty_answer(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(asker: Any) -> None:
        topic_id = await asker.create("orders")
        await asker.produce(topic_id, "a")
        monkeypatch.setattr(MemoryFile, "read_at", failing)
        answer = await asker.fetch(topic_id, 0)
        monkeypatch.undo()
        assert answer.error_code == ErrorCode.kafka_storage_error

    world.run(scenario)


@pytest.mark.parametrize(
    ("owner", "method"), [(Log, "delete_old_segments"), (MemoryDisk, "write_atomic")]
)
def test_failures_of_upkeep_take_every_partition_offline(
    world: Any, monkeypatch: pytest.MonkeyPatch, owner: type, method: str
) -> None:
    async def scenario(asker: Any) -> None:
        topic_id = await asker.create("orders", retention_ms="10")
        others = await asker.create("others")
        await asker.produce(topic_id, "a")
        monkeypatch.setattr(owner, method, failing)
        await asyncio.sleep(400)
        monkeypatch.undo()
        assert asker.node.failure is not None
        for each in (topic_id, others):
            assert (await asker.produce(each, "b")).error_code == ErrorCode.kafka_storage_error

    world.run(scenario)


def failing(*_: object, **__: object) -> Any:
    raise StorageError("input/output error")

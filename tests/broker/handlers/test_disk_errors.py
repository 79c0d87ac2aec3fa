"""A disk that fails: the partition goes offline and says so; nothing is acknowledged by mistake."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streamkit.broker.log.log import Log
from streamkit.broker.log.segment import Segment
from streamkit.common.errors import StorageError
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ErrorCode
from streamkit.testing.disk import MemoryDisk, MemoryFile


def used(disk: MemoryDisk) -> int:
    total, usable = disk.usage("/data")
    return total - usable


def test_a_full_disk_takes_the_partition_offline_and_no_other(world: Any) -> None:
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
        assert (await asker.produce(others, "fine")).error_code == ErrorCode.none

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


def test_failures_of_upkeep_do_not_end_the_node(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(asker: Any) -> None:
        topic_id = await asker.create("orders", retention_ms="10")
        others = await asker.create("others")
        await asker.produce(topic_id, "a")
        monkeypatch.setattr(Log, "delete_old_segments", failing)
        monkeypatch.setattr(MemoryDisk, "write_atomic", failing)
        await asyncio.sleep(400)
        monkeypatch.undo()
        # Their first retention round failed, and with it they went offline one by one.
        for each in (topic_id, others):
            assert (await asker.produce(each, "b")).error_code == ErrorCode.kafka_storage_error
        made = await asker.create("made-later")
        assert (await asker.produce(made, "c")).error_code == ErrorCode.none

    world.run(scenario)


def failing(*_: object, **__: object) -> Any:
    raise StorageError("input/output error")

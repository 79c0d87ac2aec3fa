"""Upkeep of a node's logs: flushes by time, retention, checkpoints, strays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from typing import Any

from streamkit.broker.replicas import Replicas
from streamkit.broker.settings import settings_for
from streamkit.broker.upkeep import LogUpkeep
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ErrorCode
from streamkit.records import scan
from streamkit.testing.simulation import Simulation


def replicas_of(asker: Any) -> Replicas:
    parts = asker.node.dispatcher._parts
    assert parts is not None
    replicas: Replicas = parts.replicas
    return replicas


def test_records_are_flushed_after_flush_ms(world: Any) -> None:
    async def main() -> None:
        async with world.node() as node:
            asker = world.asker(node)
            topic_id = await asker.create("orders", flush_ms="700")
            await asker.produce(topic_id, "a", "b")
            log = replicas_of(asker).find("orders", 0).log
            await asyncio.sleep(0.5)
            assert log.recovery_point == 0
            await asyncio.sleep(6)
            assert log.recovery_point == 2
            await asker.produce(topic_id, "c")
            await asyncio.sleep(0.8)
            assert log.recovery_point == 3

    world.simulation.run(main())


def test_retention_runs_by_itself(world: Any) -> None:
    async def main() -> None:
        async with world.node() as node:
            asker = world.asker(node)
            topic_id = await asker.create("orders", retention_ms="5000", file_delete_delay_ms="1")
            await asker.produce(topic_id, "a", "b")
            log = replicas_of(asker).find("orders", 0).log
            await asyncio.sleep(700)
            assert (log.log_start_offset, log.size) == (2, 0)
            await asyncio.sleep(300)
            names = world.disk.list("/data/orders-0")
            assert not [name for name in names if name.endswith(".deleted")]

    world.simulation.run(main())


def test_a_log_without_a_topic_is_put_aside_at_the_start(world: Any) -> None:
    async def main() -> None:
        async with world.node() as node:
            asker = world.asker(node)
            topic_id = await asker.create("orders")
            await asker.produce(topic_id, "a")
        world.disk.rename("/data/orders-0", "/data/strange-3")
        async with world.node() as node:
            names = world.disk.list("/data")
            assert f"strange-3.{topic_id.hex}-stray" in names
            assert "strange-3" not in names
            assert "orders-0" in names

    world.simulation.run(main())


def test_a_compacted_topic_is_compacted_by_itself(world: Any) -> None:
    async def main() -> None:
        async with world.node() as node:
            asker = world.asker(node)
            topic_id = await asker.create(
                "orders", cleanup_policy="compact", internal_segment_bytes="500"
            )
            for number in range(30):
                await asker.produce(topic_id, f"value {number}")
            log = replicas_of(asker).find("orders", 0).log
            size = log.size
            await asyncio.sleep(40)
            assert log.cleaned_offset == log.active.base_offset
            assert log.size < size / 2
            assert world.disk.read("/data/cleaner-offset-checkpoint").splitlines()[2:] == [
                b"orders 0 %d" % log.cleaned_offset
            ]
            answer = await asker.fetch(topic_id, 0)
            assert scan(answer.records)[0].last_offset > 10

    world.simulation.run(main())


class Changing:
    """A log directory whose checkpoints are never the same; it notes who writes at once."""

    path = "/data"

    def __init__(self) -> None:
        self.writers = 0
        self.most_writers = 0
        self.count = 0

    def checkpoint_files(self) -> dict[str, bytes]:
        self.count += 1
        return {"replication-offset-checkpoint": b"%d" % self.count}

    async def write(self, work: Callable[[], Any]) -> Any:
        self.writers += 1
        self.most_writers = max(self.most_writers, self.writers)
        await asyncio.sleep(0.01)
        self.writers -= 1
        return work()

    def write_files(self, files: Mapping[str, bytes]) -> None:
        """Nothing is kept."""


def test_checkpoints_are_written_one_after_the_other(world: Any) -> None:
    async def main() -> None:
        directory: Any = Changing()
        no_replicas: Any = ()
        upkeep = LogUpkeep(
            directory,
            no_replicas,
            settings_for("broker:9092", "data", {}),
            lambda _: 7_000,
            world.simulation.seams("broker", world.disk).clock,
            directory.write,
            lambda _: None,
        )
        await asyncio.gather(upkeep.checkpoint(), upkeep.checkpoint())
        assert directory.count == 2
        assert directory.most_writers == 1

    world.simulation.run(main())


def test_start_that_outlives_its_records_is_where_the_log_goes_on(world: Any) -> None:
    """The start's checkpoint is on the disk, the records below and above it are not."""

    async def deleting() -> Any:
        node = world.node()
        await node.start()
        asker = world.asker(node)
        topic_id = await asker.create("orders")
        await asker.produce(topic_id, "a")
        await asyncio.sleep(10)
        await asker.produce(topic_id, *"bcdefghij")
        await asker.ask(
            ApiKey.DELETE_RECORDS,
            timeout=1000,
            topics=[{"name": "orders", "partitions": [{"partition_index": 0, "offset": 8}]}],
        )
        await asyncio.sleep(10)
        await node.abandon()
        return topic_id

    async def going_on(asker: Any) -> Any:
        produced = await asker.produce(topic_id, "next")
        answer = await asker.fetch(topic_id, produced.base_offset)
        return produced.base_offset, answer.error_code, len(scan(bytes(answer.records)))

    topic_id = world.simulation.run(deleting())
    world.disk.crash(Random(3))
    offset, code, count = replace(world, simulation=Simulation(5)).run(going_on)
    assert (offset >= 8, code, count) == (True, ErrorCode.none, 1)

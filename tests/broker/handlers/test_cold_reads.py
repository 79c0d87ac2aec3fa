"""Reads of what is not in memory wait in a thread, never on the event loop; flushes are shared."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streamkit.broker.partitions import COLD_TRIES
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ErrorCode
from streamkit.records import decode, scan
from streamkit.testing.disk import MemoryDisk, MemoryFile

AT = 1_699_999_000_000


class Watch:
    """Notes reads of a log's cold pages outside of threads, and work that is done in threads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.in_thread = 0
        self.blocked: list[int] = []
        self._is_in_thread = False
        self._content: object = None
        read_at = MemoryFile.read_at

        def noting(file: MemoryFile, position: int, size: int) -> bytes:
            is_cold = not file._content.cold.isdisjoint(file._pages(position, size))
            is_watched = file._content is self._content
            if is_cold and is_watched and not self._is_in_thread:
                self.blocked.append(position)
            return read_at(file, position, size)

        monkeypatch.setattr(MemoryFile, "read_at", noting)

    def spy(self, partition: Any, disk: MemoryDisk | None = None) -> None:
        """Note the partition's work in threads; with `disk`, memory is lost again each time."""
        in_thread = partition._in_thread
        self._content = partition.log.active.file._content

        async def noting(work: Any) -> Any:
            self.in_thread += 1

            def marked() -> Any:
                self._is_in_thread = True
                try:
                    return work()
                finally:
                    self._is_in_thread = False

            found = await in_thread(marked)
            if disk is not None:
                disk.cool()
            return found

        partition._in_thread = noting


def values_of(records: bytes) -> list[bytes | None]:
    data = bytes(records)
    return [value for header in scan(data) for value in decode(data, header).values]


async def filled(asker: Any, watch: Watch, disk: MemoryDisk | None = None) -> Any:
    """A topic of 40 batches whose partition is watched; its id."""
    topic = await asker.create("orders", index_interval_bytes="0")
    for number in range(40):
        await asker.produce(topic, *(f"{number}-{each}-" + "x" * 300 for each in range(3)))
    partition = asker.node.dispatcher._parts.replicas.find(topic, 0)
    # The log knows where recent batches begin; a start forgets that.
    partition.log.active._recent_starts.clear()
    watch.spy(partition, disk)
    return topic


def test_cold_records_are_read_in_a_thread(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(monkeypatch)

    async def scenario(asker: Any) -> tuple[Any, Any]:
        topic = await filled(asker, watch)
        world.disk.cool()
        cold = await asker.fetch(topic, 31)
        threads = watch.in_thread
        warm = await asker.fetch(topic, 31)
        assert watch.in_thread == threads
        return cold, warm

    cold, warm = world.run(scenario)
    assert values_of(cold.records)[0] == b"10-0-" + b"x" * 300
    assert len(values_of(cold.records)) == 90
    assert bytes(cold.records) == bytes(warm.records)
    assert watch.in_thread > 0
    assert watch.blocked == []


def test_a_cold_first_batch_is_given_whole(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(monkeypatch)

    async def scenario(asker: Any) -> Any:
        topic = await filled(asker, watch)
        world.disk.cool()
        partitions = [{"partition": 0, "fetch_offset": 60, "partition_max_bytes": 50}]
        topics = [{"topic_id": topic, "partitions": partitions}]
        answer = await asker.ask(
            ApiKey.FETCH, max_wait=0, min_bytes=1, max_bytes=50, topics=topics, session_epoch=-1
        )
        return answer.responses[0].partitions[0]

    found = world.run(scenario)
    assert values_of(found.records)[0] == b"20-0-" + b"x" * 300
    assert watch.blocked == []


def test_memory_that_is_always_short_ends_in_a_read_that_waits(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(monkeypatch)

    async def scenario(asker: Any) -> Any:
        topic = await filled(asker, watch, world.disk)
        world.disk.cool()
        return await asker.fetch(topic, 0)

    found = world.run(scenario)
    assert len(values_of(found.records)) == 120
    assert watch.in_thread == COLD_TRIES
    assert watch.blocked != []


def test_a_timestamp_is_looked_up_in_a_thread(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(monkeypatch)

    async def scenario(asker: Any) -> Any:
        topic = await filled(asker, watch)
        await asker.produce(topic, "late")
        world.disk.cool()
        partitions = [{"partition_index": 0, "timestamp": AT + 2}]
        topics = [{"name": "orders", "partitions": partitions}]
        answer = await asker.ask(ApiKey.LIST_OFFSETS, replica_id=-1, topics=topics)
        return answer.topics[0].partitions[0]

    found = world.run(scenario)
    assert (found.offset, found.timestamp) == (2, AT + 2)
    assert watch.in_thread > 0
    assert watch.blocked == []


def test_acknowledgements_wait_for_a_flush_that_they_share(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(asker: Any) -> tuple[int, int]:
        topic = await asker.create("orders", flush_messages="1")
        await asker.produce(topic, "first")
        before = world.disk.syncs
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asker.produce(topic, f"n{each}")) for each in range(50)]
        assert {task.result().error_code for task in tasks} == {ErrorCode.none}
        log = asker.node.dispatcher._parts.replicas.find(topic, 0).log
        assert log.recovery_point == log.log_end_offset == 51
        return before, world.disk.syncs

    before, after = world.run(scenario)
    # One flush is under way when most of them come; the next takes them all.
    assert 1 <= after - before <= 4


def test_what_was_acknowledged_with_a_flush_outlives_a_crash(world: Any) -> None:
    async def main() -> Any:
        node = world.node()
        await node.start()
        asker = world.asker(node)
        topic = await asker.create("orders", flush_messages="1")
        for value in ("a", "b", "c"):
            assert (await asker.produce(topic, value)).error_code == ErrorCode.none
        await node.abandon()
        world.disk.crash(world.simulation.seams("broker", world.disk).random)
        async with world.node() as restarted:
            return await world.asker(restarted).fetch(topic, 0)

    assert values_of(world.simulation.run(main()).records) == [b"a", b"b", b"c"]

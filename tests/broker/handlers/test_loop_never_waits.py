"""While a node runs, nothing on its event loop waits for the disk: fsync is for threads."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from streamkit.broker.node import Node
from streamkit.broker.settings import settings_for
from streamkit.common.seams import Child, Spawn, Thread
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ErrorCode
from streamkit.testing.disk import MemoryDisk, MemoryFile

T = TypeVar("T")

SETTINGS = {
    "node.id": "7",
    "offsets.topic.num.partitions": "2",
    "transaction.state.log.num.partitions": "2",
    "log.initial.task.delay.ms": "100",
    "log.retention.check.interval.ms": "500",
    "log.cleaner.backoff.ms": "200",
    "replica.high.watermark.checkpoint.interval.ms": "300",
}


class Watch:
    """Who waited for the disk, and whether that was in a thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_running = False
        self.in_thread = 0
        self.in_threads = 0
        self.on_loop: list[str] = []
        for owner, name in (
            (MemoryFile, "sync"),
            (MemoryDisk, "sync_dir"),
            (MemoryDisk, "write_atomic"),
        ):
            monkeypatch.setattr(owner, name, self._noting(getattr(owner, name)))

    def _noting(self, wait: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*arguments: Any) -> Any:
            if self.is_running and self.in_thread:
                self.in_threads += 1
            elif self.is_running:
                self.on_loop.append("".join(traceback.format_stack(limit=6)))
            return wait(*arguments)

        return noting


class NotingSpawn:
    """Tells the watch what runs in a thread."""

    def __init__(self, spawn: Spawn, watch: Watch) -> None:
        self._spawn = spawn
        self._watch = watch

    def thread(self, target: Callable[[], None], name: str) -> Thread:
        return self._spawn.thread(target, name)

    def in_thread(self, work: Callable[[], T]) -> Awaitable[T]:
        def marked() -> T:
            self._watch.in_thread += 1
            try:
                return work()
            finally:
                self._watch.in_thread -= 1

        return self._spawn.in_thread(marked)

    def process(self, argv: Sequence[str], *, new_session: bool = False) -> Child:
        return self._spawn.process(argv, new_session=new_session)


def test_no_request_and_no_upkeep_waits_for_the_disk_on_the_loop(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(monkeypatch)
    seams = world.simulation.seams("broker", world.disk)
    seams = replace(seams, spawn=NotingSpawn(seams.spawn, watch))

    async def main() -> None:
        node = Node(settings_for("broker:9092", "/data", SETTINGS), seams)
        async with node:
            watch.is_running = True
            await busy(world.asker(node))
            # Retention, checkpoints, compaction and flushes by time have their rounds.
            await asyncio.sleep(3)
            watch.is_running = False

    world.simulation.run(main())
    assert watch.on_loop == []
    assert watch.in_threads > 20


async def busy(asker: Any) -> None:
    """Everything that writes."""
    durable = await asker.create("durable", flush_messages="1")
    small = await asker.create(
        "small", internal_segment_bytes="1024", retention_bytes="2048", flush_ms="150",
        file_delete_delay_ms="100",
    )  # fmt: skip
    compacted = await asker.create(
        "compacted", cleanup_policy="compact", internal_segment_bytes="1024",
        min_cleanable_dirty_ratio="0.01",
    )  # fmt: skip
    for number in range(12):
        for topic in (durable, small, compacted):
            answer = await asker.produce(topic, f"{number}" * 200)
            assert answer.error_code == ErrorCode.none
    commit = {"partition_index": 0, "committed_offset": 5, "committed_metadata": ""}
    topics = [{"name": "durable", "topic_id": durable, "partitions": [commit]}]
    await asker.ask(
        ApiKey.OFFSET_COMMIT, group_id="readers", generation_id_or_member_epoch=-1, topics=topics
    )
    asked = {"partition_index": 0, "offset": 3}
    await asker.ask(
        ApiKey.DELETE_RECORDS,
        topics=[{"name": "durable", "partitions": [asked]}],
        timeout=1000,
    )
    await asker.ask(ApiKey.INIT_PRODUCER_ID, transactional_id="shop", transaction_timeout=60_000)
    await asker.ask(ApiKey.CREATE_PARTITIONS, topics=[{"name": "small", "count": 3}], timeout=1000)
    doomed = await asker.create("doomed")
    await asker.produce(doomed, "gone soon")
    await asker.ask(ApiKey.DELETE_TOPICS, topics=[{"topic_id": doomed, "name": None}], timeout=1000)

"""Batches that take long to check are checked in a thread, and others' requests go on meanwhile."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from streamkit.broker.log.validator import HEAVY_BYTES_MIN
from streamkit.broker.node import Node
from streamkit.broker.settings import settings_for
from streamkit.common.seams import Child, Spawn, Thread
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ErrorCode
from streamkit.protocol.units import to_timestamp
from streamkit.records import Compression, decode, encode, scan
from streamkit.testing.simulation import until

T = TypeVar("T")

AT = 1_699_999_000_000
VALUE = os.urandom(HEAVY_BYTES_MIN)


class HeldSpawn:
    """Threads that do not begin before they are let; how many wait."""

    def __init__(self, spawn: Spawn) -> None:
        self._spawn = spawn
        self._is_open = asyncio.Event()
        self.begun = 0

    def thread(self, target: Callable[[], None], name: str) -> Thread:
        return self._spawn.thread(target, name)

    async def in_thread(self, work: Callable[[], T]) -> T:
        self.begun += 1
        await self._is_open.wait()
        return await self._spawn.in_thread(work)

    def process(self, argv: Sequence[str], *, new_session: bool = False) -> Child:
        return self._spawn.process(argv, new_session=new_session)

    def hold(self) -> None:
        self._is_open.clear()
        self.begun = 0

    def release(self) -> None:
        self._is_open.set()


def run(world: Any, scenario: Callable[[Any, HeldSpawn], Any]) -> Any:
    """A scenario against a node whose threads can be held."""

    async def main() -> Any:
        seams = world.simulation.seams("broker", world.disk)
        spawn = HeldSpawn(seams.spawn)
        spawn.release()
        values = {"node.id": "7", "offsets.topic.num.partitions": "3"}
        settings = settings_for("broker:9092", "/data", values)
        async with Node(settings, replace(seams, spawn=spawn)) as node:
            return await scenario(world.asker(node), spawn)

    return world.simulation.run(main())


def heavy(codec: Compression = Compression.NONE, **build: Any) -> bytes:
    return bytes(encode([(b"key", VALUE, AT, ())], compression=codec, **build))


async def produce(asker: Any, topic: object, *batches: bytes) -> list[Any]:
    """The answers for batches of one request, one for each partition."""
    data = [{"index": index, "records": each} for index, each in enumerate(batches)]
    answer = await asker.ask(
        ApiKey.PRODUCE,
        acks=-1,
        timeout=1000,
        topic_data=[{"topic_id": topic, "partition_data": data}],
    )
    return list(answer.responses[0].partition_responses)


async def stored(asker: Any, topic: object, partition: int = 0) -> list[tuple[int, int, bytes]]:
    """Codec, last offset and first value of each batch in a partition."""
    records = bytes((await asker.fetch(topic, 0, partition)).records)
    return [
        (each.compression, each.last_offset, bytes(decode(records, each).values[0] or b""))
        for each in scan(records)
    ]


def test_recompression_does_not_hold_up_other_requests(world: Any) -> None:
    async def scenario(asker: Any, spawn: HeldSpawn) -> None:
        topic = await asker.create("orders", compression_type="gzip")
        spawn.hold()
        waiting = asyncio.ensure_future(produce(asker, topic, heavy()))
        await until(lambda: spawn.begun == 1, 0.001)
        # Another connection's: the held one has no place in the log yet.
        assert (await asker.produce(topic, "small")).base_offset == 0
        assert await stored(asker, topic) == [(Compression.GZIP, 0, b"small")]
        assert not waiting.done()
        spawn.release()
        (answer,) = await waiting
        assert (answer.error_code, answer.base_offset) == (0, 1)
        assert await stored(asker, topic) == [
            (Compression.GZIP, 0, b"small"),
            (Compression.GZIP, 1, VALUE),
        ]

    run(world, scenario)


@pytest.mark.parametrize(
    ("topic_codec", "codec", "in_threads"),
    [
        ("producer", Compression.NONE, 0),
        ("uncompressed", Compression.NONE, 0),
        ("producer", Compression.LZ4, 1),
        ("uncompressed", Compression.ZSTD, 1),
        ("zstd", Compression.NONE, 1),
        ("snappy", Compression.GZIP, 1),
    ],
)
def test_only_what_is_compressed_goes_to_a_thread(
    world: Any, topic_codec: str, codec: Compression, in_threads: int
) -> None:
    async def scenario(asker: Any, spawn: HeldSpawn) -> None:
        topic = await asker.create("orders", compression_type=topic_codec)
        spawn.begun = 0
        (answer,) = await produce(asker, topic, heavy(codec))
        assert answer.error_code == 0
        assert spawn.begun == in_threads
        kept = {"producer": codec, "uncompressed": Compression.NONE}
        wanted = kept.get(topic_codec) if topic_codec in kept else Compression[topic_codec.upper()]
        assert await stored(asker, topic) == [(wanted, 0, VALUE)]

    run(world, scenario)


def test_one_thread_serves_all_partitions_of_a_request_and_refusals_stay_with_theirs(
    world: Any,
) -> None:
    damaged = bytearray(heavy(Compression.LZ4))
    damaged[-7] ^= 0x55

    async def scenario(asker: Any, spawn: HeldSpawn) -> None:
        topic = await asker.create("orders", partitions=3, compression_type="lz4")
        spawn.begun = 0
        good = heavy(Compression.ZSTD, producer_id=5, producer_epoch=3, base_sequence=0)
        answers = await produce(asker, topic, good, bytes(damaged), heavy())
        assert spawn.begun == 1
        codes = [each.error_code for each in answers]
        assert codes == [ErrorCode.none, ErrorCode.corrupt_message, ErrorCode.none]
        for partition in (0, 2):
            assert await stored(asker, topic, partition) == [(Compression.LZ4, 0, VALUE)]
        # What was sent before is known again, though its bytes are others now.
        (again,) = await produce(asker, topic, good)
        assert (again.error_code, again.base_offset) == (0, 0)
        assert len(await stored(asker, topic)) == 1

    run(world, scenario)


def test_log_append_time_is_when_the_batch_is_appended(world: Any) -> None:
    async def scenario(asker: Any, spawn: HeldSpawn) -> None:
        topic = await asker.create(
            "orders", compression_type="zstd", message_timestamp_type="LogAppendTime"
        )
        spawn.hold()
        waiting = asyncio.ensure_future(produce(asker, topic, heavy()))
        await until(lambda: spawn.begun == 1, 0.001)
        begun_ms = world.simulation.clock.now_ms()
        await asyncio.sleep(2.5)
        first = await asker.produce(topic, "small")
        spawn.release()
        (answer,) = await waiting
        records = bytes((await asker.fetch(topic, 0)).records)
        times = [to_timestamp(each.log_append_time) for each in (first, answer)]
        assert [each.max_timestamp for each in scan(records)] == times
        assert begun_ms + 2500 <= times[0] <= times[1]

    run(world, scenario)

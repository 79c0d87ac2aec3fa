"""Produce, crash, restart: one broker, one producer, a lossy network, a disk without flush.

The broker flushes before it acknowledges. It crashes several times in mid-produce: its disk loses
what was not flushed, its connections are gone, and a new node starts on what is left. In the end
every acknowledged record must be there, once, at the offset that was acknowledged.

    python -m tests.simulation.produce_crash SEED      prints the digest of the trace
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from dataclasses import dataclass, field

from streamkit.broker.node import Node
from streamkit.broker.settings import settings_for
from streamkit.client import Admin, Consumer, NewTopic, Producer, RecordMetadata
from streamkit.common.errors import StreamkitError
from streamkit.testing.disk import MemoryDisk
from streamkit.testing.network import Weather
from streamkit.testing.simulation import Simulation

ADDRESS = "broker:9092"
BROKER = {"log.flush.interval.messages": "1", "log.segment.bytes": "16384"}
CLIENT = {"bootstrap.servers": ADDRESS}
PRODUCER = CLIENT | {"linger.ms": "2", "delivery.timeout.ms": "600000"}
CONSUMER = CLIENT | {"auto.offset.reset": "earliest"}
PARTITIONS = 3
RECORDS = 600
CRASHES = 4
WEATHER = Weather(delay_ms_min=0.1, delay_ms_max=8.0, reset_chance=0.01, split_chance=0.2)
LIMIT_S = 3600
"""Of virtual time: what does not come to an end fails."""


@dataclass
class Outcome:
    """What was acknowledged and what lay in the log in the end."""

    acknowledged: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    stored: dict[bytes, list[tuple[int, int]]] = field(default_factory=dict)
    crashes: int = 0
    digest: str = ""


class World:
    """One seeded run."""

    def __init__(self, seed: int) -> None:
        self.sim = Simulation(seed)
        self.sim.network.weather = WEATHER
        self.disk = MemoryDisk()
        self.outcome = Outcome()
        self.node: Node | None = None
        self._life: asyncio.Task[None] | None = None

    def run(self) -> Outcome:
        self.sim.run(asyncio.wait_for(self._story(), LIMIT_S))
        self.outcome.digest = hashlib.sha256("\n".join(self.sim.trace).encode()).hexdigest()
        return self.outcome

    async def _story(self) -> None:
        await self._start_broker()
        client = self.sim.seams("client", MemoryDisk())
        async with Admin(CLIENT, seams=client) as admin:
            await admin.create_topics([NewTopic("events", PARTITIONS)], exist_ok=True)
        chaos = asyncio.create_task(self._crash_now_and_then(), name="chaos")
        async with Producer(PRODUCER, seams=client) as producer:
            await self._produce(producer)
            await chaos
        await self._crash()
        await self._start_broker()
        async with Consumer(CONSUMER, seams=client) as consumer:
            await self._read(consumer)
        await self._crash()

    async def _produce(self, producer: Producer) -> None:
        for number in range(RECORDS):
            value = b"%06d" % number
            await producer.send(
                "events", value, partition=number % PARTITIONS, on_delivery=self._noting(value)
            )
            await asyncio.sleep(self.sim.random.random() * 0.02)
        await producer.flush()

    def _noting(self, value: bytes):  # type: ignore[no-untyped-def]  # the callback's own types
        def on_delivery(metadata: RecordMetadata | None, error: StreamkitError | None) -> None:
            self.sim.note(f"answer {value!r} {metadata} {error}")
            if metadata is not None:
                self.outcome.acknowledged[value] = (metadata.partition, metadata.offset)

        return on_delivery

    async def _crash_now_and_then(self) -> None:
        for _ in range(CRASHES):
            await asyncio.sleep(0.2 + self.sim.random.random())
            await self._crash()
            await asyncio.sleep(self.sim.random.random() * 0.3)
            await self._start_broker()

    async def _start_broker(self) -> None:
        settings = settings_for(ADDRESS, "data", dict(BROKER))
        node = Node(settings, self.sim.seams("broker", self.disk))
        is_ready = asyncio.Event()

        async def live() -> None:
            await node.start()
            is_ready.set()
            try:
                await asyncio.Event().wait()
            finally:
                await node.abandon()

        self.node = node
        self._life = asyncio.create_task(live(), name=f"broker-{self.outcome.crashes}")
        await is_ready.wait()
        self.sim.note("broker ready")

    async def _crash(self) -> None:
        """Power off: first the disk and the network, so that nothing the old node does counts."""
        assert self._life is not None, "the broker was started"
        self.disk.crash(self.sim.random)
        self.sim.network.crash("broker")
        self._life.cancel()
        await asyncio.wait([self._life])
        self.outcome.crashes += 1
        self.sim.note("broker crashed")

    async def _read(self, consumer: Consumer) -> None:
        partitions = await consumer.partitions_of("events")
        ends = await consumer.end_offsets(partitions)
        consumer.assign(dict.fromkeys(partitions, 0))
        while any([await consumer.position(part) < ends[part] for part in partitions]):
            for batch in await consumer.poll(1000):
                for record in batch.records():
                    assert record.value is not None, "no tombstone was sent"
                    place = (record.partition, record.offset)
                    self.outcome.stored.setdefault(record.value, []).append(place)
        self.sim.note(f"stored {self.outcome.stored}")


if __name__ == "__main__":
    print(World(int(sys.argv[1])).run().digest)

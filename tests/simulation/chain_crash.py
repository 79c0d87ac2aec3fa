"""Consume, transform, produce, crash, restart: offsets are committed with what they led to.

One copier for each partition of the input moves its records into the output, a few in a
transaction, and commits its place with them. It goes on from the committed place: after an abort,
after the loss of its process in mid-transaction, and when a successor of the same transactional id
takes over while it still lives (a zombie). The broker crashes on the way; the network is lossy. In
the end a reader of committed records sees each input once, those of a partition in their order,
and the committed places are the ends of the input.

    python -m tests.simulation.chain_crash SEED      prints the digest of the trace
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from dataclasses import dataclass, field

from streamkit.broker.node import Node
from streamkit.broker.settings import settings_for
from streamkit.client import Admin, Consumer, NewTopic, Producer, TopicPartition
from streamkit.common.errors import StreamkitError
from streamkit.testing.disk import MemoryDisk
from streamkit.testing.network import Weather
from streamkit.testing.simulation import Simulation

ADDRESS = "broker:9092"
BROKER = {
    "log.flush.interval.messages": "1",
    "log.segment.bytes": "16384",
    "transaction.state.log.num.partitions": "3",
    "offsets.topic.num.partitions": "2",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
}
CLIENT = {"bootstrap.servers": ADDRESS}
PRODUCER = CLIENT | {
    "linger.ms": "0",
    "delivery.timeout.ms": "30000",
    "transaction.timeout.ms": "20000",
}
CONSUMER = CLIENT | {
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
    "enable.auto.commit": "false",
}
GROUP = "copiers"
PARTITIONS = 3
RECORDS = 80
"""In each partition of the input."""
CRASHES = 3
ABORT_CHANCE = 0.1
LOSS_CHANCE = 0.06
"""How often a copier is lost in mid-transaction."""
ZOMBIE_CHANCE = 0.06
"""How often a successor comes while the copier lives on."""
TORN_CHANCE = 0.04
"""How often a copier's connections are cut while it commits."""
WEATHER = Weather(delay_ms_min=0.1, delay_ms_max=8.0, reset_chance=0.01, split_chance=0.2)
LIMIT_S = 3600
"""Of virtual time: what does not come to an end fails."""


class LostError(Exception):
    """The copier's process is gone."""


@dataclass
class Outcome:
    """What lies in the output, and where the copiers stand."""

    read: list[bytes] = field(default_factory=list)
    committed: dict[TopicPartition, int] = field(default_factory=dict)
    crashes: int = 0
    lost: int = 0
    zombies: int = 0
    fenced: int = 0
    digest: str = ""


class World:
    """One seeded run."""

    def __init__(self, seed: int) -> None:
        self.sim = Simulation(seed)
        self.sim.network.weather = WEATHER
        self.disk = MemoryDisk()
        self.outcome = Outcome()
        self._life: asyncio.Task[None] | None = None
        self._lives = 0
        self._zombies: list[asyncio.Task[None]] = []

    def run(self) -> Outcome:
        self.sim.run(asyncio.wait_for(self._story(), LIMIT_S))
        self.outcome.digest = hashlib.sha256("\n".join(self.sim.trace).encode()).hexdigest()
        return self.outcome

    async def _story(self) -> None:
        await self._start_broker()
        await self._fill()
        chaos = asyncio.create_task(self._crash_now_and_then(), name="chaos")
        await asyncio.gather(*(self._copy(number) for number in range(PARTITIONS)))
        ends = await asyncio.gather(*self._zombies, return_exceptions=True)
        assert all(isinstance(end, StreamkitError | LostError | None) for end in ends), ends
        await chaos
        await self._crash()
        await self._start_broker()
        await self._read()
        await self._crash()

    async def _fill(self) -> None:
        seams = self.sim.seams("client", MemoryDisk())
        async with Admin(CLIENT, seams=seams) as admin:
            topics = [NewTopic("input", PARTITIONS), NewTopic("output", PARTITIONS)]
            await admin.create_topics(topics, exist_ok=True)
        async with Producer(CLIENT, seams=seams) as producer:
            for number in range(RECORDS):
                for partition in range(PARTITIONS):
                    value = b"%d-%03d" % (partition, number)
                    await producer.send("input", value, partition=partition)

    async def _copy(self, number: int) -> None:
        """One copier after the other, until everything is copied."""
        while True:
            self._lives += 1
            name = f"copier-{number}-{self._lives}"
            life = asyncio.create_task(self._live(number, name), name=name)
            is_wanted = asyncio.Event()
            life.add_done_callback(lambda _, wanted=is_wanted: wanted.set())
            if self.sim.random.random() < ZOMBIE_CHANCE * 4:
                await self._wait_a_while(is_wanted)
            else:
                await is_wanted.wait()
            if not life.done():
                self.outcome.zombies += 1
                self._zombies.append(life)
                self.sim.note(f"{name} has a successor")
                continue
            if life.exception() is None:
                return
            self.sim.note(f"{name} gave up: {life.exception()!r}")
            await asyncio.sleep(0.05)

    async def _wait_a_while(self, event: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(0.3 + self.sim.random.random()):
                await event.wait()
        except TimeoutError:
            pass

    async def _live(self, number: int, name: str) -> None:
        """Take over, find the place, and copy from there. Raises when it must be replaced."""
        seams = self.sim.seams(name, MemoryDisk())
        source = TopicPartition("input", number)
        try:
            async with (
                Producer(PRODUCER | {"transactional.id": f"copier-{number}"}, seams=seams) as to,
                Consumer(CONSUMER | {"group.id": GROUP}, seams=seams) as reader,
            ):
                await self._run(reader, to, source)
        except LostError:
            self.sim.network.crash(name)
            self.outcome.lost += 1
            raise
        except StreamkitError:
            self.outcome.fenced += 1
            raise

    async def _run(self, reader: Consumer, to: Producer, source: TopicPartition) -> None:
        at = await self._rewind(reader, source)
        while at < RECORDS:
            for batch in await reader.poll(1000):
                records = [record for record in batch.records() if record.offset >= at]
                while records:
                    some = records[: 1 + self.sim.random.randrange(6)]
                    values = [record.value or b"" for record in some]
                    if not await self._move(to, source, values, some[-1].offset + 1):
                        at = await self._rewind(reader, source)
                        break
                    at = some[-1].offset + 1
                    records = records[len(some) :]

    async def _rewind(self, reader: Consumer, source: TopicPartition) -> int:
        at = (await reader.committed([source])).get(source, 0)
        reader.assign({source: at})
        self.sim.note(f"{source} goes on at {at}")
        return at

    async def _move(
        self, to: Producer, source: TopicPartition, values: list[bytes], offset: int
    ) -> bool:
        """One transaction; False when it was aborted."""
        chance = self.sim.random.random()
        await to.begin()
        for value in values:
            await to.send("output", value, partition=source.partition)
        if chance < ABORT_CHANCE:
            await to.abort()
            return False
        await to.send_offsets({source: offset}, group=GROUP)
        if chance < ABORT_CHANCE + LOSS_CHANCE:
            raise LostError
        if chance < ABORT_CHANCE + LOSS_CHANCE + TORN_CHANCE:
            torn = asyncio.create_task(to.commit())
            await asyncio.sleep(self.sim.random.random() * 0.01)
            torn.cancel()
            await asyncio.wait([torn])
            raise LostError
        await to.commit()
        self.sim.note(f"{source} is copied to {offset}")
        return True

    async def _crash_now_and_then(self) -> None:
        for _ in range(CRASHES):
            await asyncio.sleep(0.2 + self.sim.random.random())
            await self._crash()
            await asyncio.sleep(self.sim.random.random() * 0.3)
            await self._start_broker()

    async def _start_broker(self) -> None:
        seams = self.sim.seams("broker", self.disk)
        node = Node(settings_for(ADDRESS, "data", dict(BROKER)), seams)
        is_ready = asyncio.Event()

        async def live() -> None:
            await node.start()
            is_ready.set()
            try:
                await asyncio.Event().wait()
            finally:
                await node.abandon()

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

    async def _read(self) -> None:
        """Read until nothing is open any more: what was left open times out."""
        seams = self.sim.seams("client", MemoryDisk())
        async with Consumer(CONSUMER | {"group.id": GROUP}, seams=seams) as consumer:
            sources = [TopicPartition("input", number) for number in range(PARTITIONS)]
            self.outcome.committed = await consumer.committed(sources)
            consumer.assign(dict.fromkeys(await consumer.partitions_of("output"), 0))
            quiet = 0
            while quiet < 40:
                batches = await consumer.poll(1000)
                quiet = 0 if batches else quiet + 1
                for batch in batches:
                    self.outcome.read += [record.value or b"" for record in batch.records()]
        self.sim.note(f"read {self.outcome.read}")


if __name__ == "__main__":
    print(World(int(sys.argv[1])).run().digest)

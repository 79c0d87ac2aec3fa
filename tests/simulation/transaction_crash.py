"""Transactions, crash, restart: one broker, several producers, a lossy network and disk.

Each producer moves tokens: it writes the same token to every partition in one transaction, and
commits or aborts, or is fenced by another of its id. The broker crashes several times on the way.
In the end a reader of committed records sees each committed token once in every partition, in the
order in which its producer committed it, no aborted one, and of an unknown outcome all or nothing.

    python -m tests.simulation.transaction_crash SEED      prints the digest of the trace
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from dataclasses import dataclass, field

from streamkit.broker.node import Node
from streamkit.broker.settings import settings_for
from streamkit.client import Admin, Consumer, NewTopic, Producer
from streamkit.common.errors import StreamkitError
from streamkit.testing.disk import MemoryDisk
from streamkit.testing.network import Weather
from streamkit.testing.simulation import Simulation

ADDRESS = "broker:9092"
BROKER = {
    "log.flush.interval.messages": "1",
    "log.segment.bytes": "16384",
    "transaction.state.log.num.partitions": "3",
    "offsets.topic.num.partitions": "1",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
}
CLIENT = {"bootstrap.servers": ADDRESS}
PRODUCER = CLIENT | {"linger.ms": "0", "delivery.timeout.ms": "30000"}
CONSUMER = CLIENT | {"auto.offset.reset": "earliest", "isolation.level": "read_committed"}
PARTITIONS = 3
PRODUCERS = 3
TRANSACTIONS = 50
HIJACK_CHANCE = 0.08
"""How often another producer of the same id comes in mid-transaction and fences the first."""
CRASHES = 3
WEATHER = Weather(delay_ms_min=0.1, delay_ms_max=8.0, reset_chance=0.01, split_chance=0.2)
LIMIT_S = 3600
"""Of virtual time: what does not come to an end fails."""


@dataclass
class Outcome:
    """What each producer knows of its tokens, and what each partition holds."""

    committed: list[bytes] = field(default_factory=list)
    aborted: list[bytes] = field(default_factory=list)
    unknown: list[bytes] = field(default_factory=list)
    read: list[list[bytes]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])
    crashes: int = 0
    digest: str = ""


class World:
    """One seeded run."""

    def __init__(self, seed: int) -> None:
        self.sim = Simulation(seed)
        self.sim.network.weather = WEATHER
        self.disk = MemoryDisk()
        self.outcome = Outcome()
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
        await asyncio.gather(*(self._produce(number) for number in range(PRODUCERS)))
        await chaos
        await self._crash()
        await self._start_broker()
        async with Consumer(CONSUMER, seams=client) as consumer:
            await self._read(consumer)
        await self._crash()

    async def _produce(self, number: int) -> None:
        """Run transactions; a producer that gave up is replaced by one of the same id."""
        seams = self.sim.seams(f"client-{number}", MemoryDisk())
        config = PRODUCER | {"transactional.id": f"mover-{number}"}
        done = 0
        while done < TRANSACTIONS:
            try:
                async with Producer(config, seams=seams) as producer:
                    while done < TRANSACTIONS:
                        done += 1
                        token = b"%d-%03d" % (number, done)
                        await self._move(producer, token, Producer(config, seams=seams))
            except StreamkitError as error:
                self.sim.note(f"mover {number} gave up: {error}")
                await asyncio.sleep(0.1)

    async def _move(self, producer: Producer, token: bytes, rival: Producer) -> None:
        is_commit = self.sim.random.random() < 0.7
        fate = self.outcome.unknown
        fate.append(token)
        await producer.begin()
        for partition in range(PARTITIONS):
            await producer.send("events", token, partition=partition)
        await asyncio.sleep(self.sim.random.random() * 0.03)
        if self.sim.random.random() < HIJACK_CHANCE:
            async with rival:
                self.sim.note(f"{token!r} hijacked")
        if is_commit:
            await producer.commit()
            self.outcome.committed.append(token)
        else:
            await producer.abort()
            self.outcome.aborted.append(token)
        fate.remove(token)
        self.sim.note(f"{token!r} {'committed' if is_commit else 'aborted'}")

    async def _crash_now_and_then(self) -> None:
        for _ in range(CRASHES):
            await asyncio.sleep(0.2 + self.sim.random.random())
            await self._crash()
            await asyncio.sleep(self.sim.random.random() * 0.3)
            await self._start_broker()

    async def _start_broker(self) -> None:
        node = Node(
            settings_for(ADDRESS, "data", dict(BROKER)), self.sim.seams("broker", self.disk)
        )
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

    async def _read(self, consumer: Consumer) -> None:
        """Read until nothing is open any more: what was left open times out."""
        partitions = await consumer.partitions_of("events")
        consumer.assign(dict.fromkeys(partitions, 0))
        quiet = 0
        while quiet < 100:
            batches = await consumer.poll(1000)
            quiet = 0 if batches else quiet + 1
            for batch in batches:
                for record in batch.records():
                    assert record.value is not None, "no tombstone was sent"
                    self.outcome.read[record.partition].append(record.value)
        self.sim.note(f"read {self.outcome.read}")


if __name__ == "__main__":
    print(World(int(sys.argv[1])).run().digest)

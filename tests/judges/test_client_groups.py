"""Groups of our own consumers on Apache Kafka 4.3.1 and on our broker, mixed with foreign ones."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import confluent_kafka
import pytest

from streamkit.client import (
    Admin,
    BlockingConsumer,
    Consumer,
    NewTopic,
    Producer,
    RebalanceListener,
    Resource,
    ResourceType,
    TopicPartition,
)
from streamkit.testing.broker import Broker
from tests.harness import ROOT
from tests.ports import free_ports

pytestmark = pytest.mark.judge

KAFKA = ROOT / "tests" / "judges" / "kafka"
PARTITIONS = 3
COUNT = 300
SETTINGS = {
    "group.consumer.assignment.interval.ms": "0",
    "group.consumer.min.heartbeat.interval.ms": "200",
    "group.consumer.heartbeat.interval.ms": "500",
    "group.consumer.min.session.timeout.ms": "3000",
    "group.consumer.session.timeout.ms": "30000",
    "offsets.topic.num.partitions": "3",
}
DEADLINE_S = 120


class Cluster:
    """A running broker that can be killed and started again."""

    def __init__(self, bootstrap: str, kill: Callable[[], Any], start: Callable[[], Any]) -> None:
        self.bootstrap = bootstrap
        self.kill = kill
        self.start = start


@pytest.fixture(scope="module", params=["kafka", "streamkit"])
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    if request.param == "streamkit":
        with Broker(config=SETTINGS) as broker:
            yield Cluster(broker.bootstrap, broker.kill, broker.start)
        return
    data = str(tmp_path_factory.mktemp("kafka"))
    port = free_ports()

    def kafka(*arguments: str) -> None:
        subprocess.run([str(KAFKA), *arguments], check=True, timeout=180)

    kafka("start", data, str(port), *(f"{key}={value}" for key, value in SETTINGS.items()))
    yield Cluster(
        f"127.0.0.1:{port}", lambda: kafka("stop", data, "KILL"), lambda: kafka("restart", data)
    )
    kafka("stop", data, "KILL")


async def fill(cluster: Cluster, topic: str, partitions: int = PARTITIONS) -> str:
    """Make a topic with numbers; its name."""
    config = {"bootstrap.servers": cluster.bootstrap}
    async with Admin(config) as admin, Producer(config) as producer:
        await admin.create_topics([NewTopic(topic, partitions)])
        for number in range(COUNT):
            await producer.send(topic, str(number).encode(), partition=number % partitions)
    return topic


def consumer(cluster: Cluster, group: str, **more: str) -> Consumer:
    config = {name.replace("_", "."): value for name, value in more.items()}
    return Consumer(
        {
            "bootstrap.servers": cluster.bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            **config,
        }
    )


async def until(done: Callable[[list[bytes]], bool], *consumers: Consumer) -> list[bytes]:
    """Poll until something holds of what came; the values."""
    values: list[bytes] = []
    async with asyncio.timeout(DEADLINE_S):
        while not done(values):
            for each in consumers:
                for batch in await each.poll(50):
                    values += [record.value or b"" for record in batch.records()]
    return values


def sizes(*consumers: Consumer) -> list[int]:
    return sorted(len(each.assignment) for each in consumers)


def test_members_share_commit_and_take_over(cluster: Cluster) -> None:
    told: list[str] = []

    def note(what: str) -> Callable[[Any], None]:
        return lambda partitions: told.append(what + ",".join(map(str, partitions)))

    async def main() -> dict[TopicPartition, int]:
        topic = await fill(cluster, "shared")
        listener = RebalanceListener(note("+"), note("-"), note("lost "))
        async with consumer(cluster, "shared") as first:
            first.subscribe([topic], listener=listener)
            values = await until(lambda values: len(values) >= COUNT, first)
            assert sorted(values) == sorted(str(number).encode() for number in range(COUNT))
            async with consumer(cluster, "shared") as second:
                second.subscribe([topic])
                await until(lambda _: sizes(first, second) == [1, 2], first, second)
            assert await until(lambda _: sizes(first) == [3], first) == []
        async with consumer(cluster, "shared") as later:
            return await later.committed(await later.partitions_of(topic))

    committed = asyncio.run(main())
    assert set(committed.values()) == {COUNT // PARTITIONS}
    assert told[0] == "+shared-0,shared-1,shared-2"
    assert len(told) == 4
    assert told[-1] == "-shared-0,shared-1,shared-2"


def test_a_killed_member_is_replaced_and_its_records_read_again(cluster: Cluster) -> None:
    async def main() -> None:
        topic = await fill(cluster, "dying")
        async with Admin({"bootstrap.servers": cluster.bootstrap}) as admin:
            group = Resource(ResourceType.GROUP, "dying")
            await admin.alter_configs(group, {"consumer.session.timeout.ms": "5000"})
        async with consumer(cluster, "dying") as stays:
            stays.subscribe([topic])
            dying = consumer(cluster, "dying", enable_auto_commit="false")
            async with dying:
                dying.subscribe([topic])
                await until(lambda _: sizes(stays, dying) == [1, 2], stays, dying)
                dying._shared = None  # it says nothing any more
            await until(lambda _: sizes(stays) == [3], stays)

    asyncio.run(main())


def test_members_go_on_after_a_kill_of_the_broker(cluster: Cluster) -> None:
    async def main() -> None:
        topic = await fill(cluster, "killed")
        async with consumer(cluster, "killed") as first, consumer(cluster, "killed") as second:
            for each in (first, second):
                each.subscribe([topic])
            read = await until(lambda _: sizes(first, second) == [1, 2], first, second)
            await until(lambda values: len({*read, *values}) >= COUNT, first, second)
            # Not in another thread: our broker ends with the thread that started it.
            cluster.kill()
            cluster.start()
            async with Producer({"bootstrap.servers": cluster.bootstrap}) as producer:
                for part in range(PARTITIONS):
                    await producer.send(topic, b"after the kill", partition=part)
            await until(lambda values: values.count(b"after the kill") >= PARTITIONS, first, second)

    asyncio.run(main())


def test_static_members_and_patterns(cluster: Cluster) -> None:
    async def main() -> None:
        await fill(cluster, "static-1", 2)
        await fill(cluster, "static-2", 2)
        async with consumer(cluster, "static", group_instance_id="i-1") as first:
            first.subscribe(pattern="static-.*")
            async with consumer(cluster, "static", group_instance_id="i-2") as second:
                second.subscribe(pattern="static-.*")
                await until(lambda _: sizes(first, second) == [2, 2], first, second)
                had = second.assignment
            async with consumer(cluster, "static", group_instance_id="i-2") as again:
                again.subscribe(pattern="static-.*")
                await until(lambda _: sizes(first, again) == [2, 2], first, again)
                assert again.assignment == had

    asyncio.run(main())


def test_the_blocking_consumer_subscribes_too(cluster: Cluster) -> None:
    topic = asyncio.run(fill(cluster, "blocking"))
    config = {
        "bootstrap.servers": cluster.bootstrap,
        "group.id": "blocking",
        "auto.offset.reset": "earliest",
    }
    told: list[str] = []
    listener = RebalanceListener(lambda partitions: told.extend(map(str, partitions)))
    values = []
    with BlockingConsumer(config) as consumer:
        consumer.subscribe([topic], listener=listener)
        for record in consumer:
            values.append(record.value)
            if len(values) == COUNT:
                break
        consumer.unsubscribe()
    assert sorted(values) == sorted(str(number).encode() for number in range(COUNT))
    assert told == [f"{topic}-{index}" for index in range(PARTITIONS)]


def test_ours_and_librdkafkas_are_in_one_group(cluster: Cluster) -> None:
    async def main() -> None:
        topic = await fill(cluster, "mixed")
        foreign = confluent_kafka.Consumer(
            {
                "bootstrap.servers": cluster.bootstrap,
                "group.id": "mixed",
                "group.protocol": "consumer",
                "auto.offset.reset": "earliest",
            }
        )
        foreign.subscribe([topic])
        async with consumer(cluster, "mixed") as ours:
            ours.subscribe([topic])

            def settled(_: list[bytes]) -> bool:
                foreign.poll(0.01)
                return sorted([len(foreign.assignment()), *sizes(ours)]) == [1, 2]

            await until(settled, ours)
            foreign.close()
            await until(lambda _: sizes(ours) == [3], ours)

    asyncio.run(main())

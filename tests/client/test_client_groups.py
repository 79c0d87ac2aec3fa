"""Consumers that share topics, against our broker, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from streamkit.broker.node import Node
from streamkit.broker.settings import settings_for
from streamkit.client.admin import Admin, NewTopic
from streamkit.client.closing import CloseOptions, GroupMembership
from streamkit.client.consumer import Consumer
from streamkit.client.errors import BrokerFatalError
from streamkit.client.offsets import CommittedOffset, ConsumerGroupMetadata
from streamkit.client.producer import Producer
from streamkit.client.shared import RebalanceListener
from streamkit.common.errors import AbortTransactionError, UsageError
from streamkit.common.model import TopicPartition
from streamkit.testing.disk import MemoryDisk
from streamkit.testing.simulation import Simulation

T = TypeVar("T")
PARTITIONS = 3
BROKER = {
    "offsets.topic.num.partitions": "3",
    "group.consumer.assignment.interval.ms": "0",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "3000",
    "group.consumer.min.heartbeat.interval.ms": "100",
    "group.consumer.heartbeat.interval.ms": "500",
}


class World:
    """A broker, and consumers with a log of what their listeners were told."""

    def __init__(self) -> None:
        self.simulation = Simulation(20_849)
        self.seams = self.simulation.seams("client", MemoryDisk())
        self.told: list[str] = []
        self._disk = MemoryDisk()

    def run(self, scenario: Callable[[World], Awaitable[T]]) -> T:
        async def main() -> T:
            async with self.node():
                await self.make("text", PARTITIONS)
                return await scenario(self)

        return self.simulation.run(main())

    def node(self) -> Node:
        settings = settings_for("broker:9092", "/data", BROKER)
        return Node(settings, self.simulation.seams("broker", self._disk))

    async def make(self, topic: str, partitions: int) -> None:
        async with Admin({"bootstrap.servers": "broker:9092"}, seams=self.seams) as admin:
            await admin.create_topics([NewTopic(topic, partitions)])
        async with Producer({"bootstrap.servers": "broker:9092"}, seams=self.seams) as producer:
            for number in range(30):
                await producer.send(topic, str(number).encode(), partition=number % partitions)

    def consumer(self, **config: Any) -> Consumer:
        given = {name.replace("_", "."): value for name, value in config.items()}
        return Consumer(
            {
                "bootstrap.servers": "broker:9092",
                "group.id": "g-5",
                "auto.offset.reset": "earliest",
                **given,
            },
            seams=self.seams,
        )

    def listener(self, name: str) -> RebalanceListener:
        def note(what: str) -> Callable[[Any], None]:
            def callback(partitions: Any) -> None:
                self.told.append(f"{name} {what} {','.join(map(str, partitions))}")

            return callback

        return RebalanceListener(note("+"), note("-"), note("lost"))


@pytest.fixture
def world() -> World:
    return World()


async def until(done: Callable[[], bool], *consumers: Consumer) -> list[bytes]:
    """Poll until something holds; the values that came."""
    values: list[bytes] = []
    async with asyncio.timeout(60):
        while not done():
            for consumer in consumers:
                for batch in await consumer.poll(50):
                    values += [record.value or b"" for record in batch.records()]
    return values


async def read(count: int, *consumers: Consumer) -> list[bytes]:
    values: list[bytes] = []
    while len(values) < count:
        async with asyncio.timeout(60):
            for consumer in consumers:
                for batch in await consumer.poll(50):
                    values += [record.value or b"" for record in batch.records()]
    return values


def sizes(*consumers: Consumer) -> list[int]:
    return sorted(len(each.assignment) for each in consumers)


def test_members_share_a_topic_and_take_over_from_one_that_leaves(world: World) -> None:
    async def scenario(world: World) -> None:
        async with world.consumer() as first:
            first.subscribe(["text"], listener=world.listener("first"))
            await read(30, first)
            async with world.consumer() as second:
                second.subscribe(["text"], listener=world.listener("second"))
                await until(lambda: sizes(first, second) == [1, 2], first, second)
            await until(lambda: sizes(first) == [3], first)

    world.run(scenario)
    assert world.told == [
        "first + text-0,text-1,text-2",
        "first - text-2",
        "second + text-2",
        "second - text-2",
        "first + text-2",
        "first - text-0,text-1,text-2",
    ]


def test_positions_are_committed_when_partitions_go(world: World) -> None:
    async def scenario(world: World) -> list[bytes]:
        async with world.consumer() as first:
            first.subscribe(["text"])
            await read(30, first)
        async with world.consumer() as second:
            second.subscribe(["text"])
            return await until(lambda: sizes(second) == [3], second) + [
                record.value or b""
                for batch in await second.poll(2000)
                for record in batch.records()
            ]

    assert world.run(scenario) == []


def test_positions_are_committed_now_and_then(world: World) -> None:
    async def scenario(world: World) -> dict[TopicPartition, int]:
        async with world.consumer(auto_commit_interval_ms=400) as first:
            first.subscribe(["text"])
            await read(30, first)
            await first.poll(500)
            await first.poll(500)
            async with world.consumer() as other:
                return await other.committed(await other.partitions_of("text"))

    assert set(world.run(scenario).values()) == {10}


def test_without_auto_commit_only_what_the_user_says_is_committed(world: World) -> None:
    async def scenario(world: World) -> dict[TopicPartition, int]:
        async with world.consumer(enable_auto_commit=False) as first:
            first.subscribe(["text"])
            await read(30, first)
            await first.commit({TopicPartition("text", 1): 7})
        async with world.consumer() as other:
            return await other.committed(await other.partitions_of("text"))

    assert world.run(scenario) == {TopicPartition("text", 1): 7}


def test_a_static_member_comes_back_to_its_partitions(world: World) -> None:
    async def scenario(world: World) -> tuple[Any, Any]:
        async with world.consumer(group_instance_id="i-1") as first:
            first.subscribe(["text"])
            second = world.consumer(group_instance_id="i-2")
            async with second:
                second.subscribe(["text"])
                await until(lambda: sizes(first, second) == [1, 2], first, second)
                before = second.assignment
            async with world.consumer(group_instance_id="i-2") as again:
                again.subscribe(["text"])
                await until(lambda: bool(again.assignment), first, again)
                return before, again.assignment

    before, after = world.run(scenario)
    assert before == after


def test_an_instance_that_is_taken_is_an_error_of_poll(world: World) -> None:
    async def scenario(world: World) -> None:
        async with world.consumer(group_instance_id="i-1") as first:
            first.subscribe(["text"])
            await read(30, first)
            async with world.consumer(group_instance_id="i-1") as second:
                second.subscribe(["text"])
                with pytest.raises(BrokerFatalError, match="UNRELEASED_INSTANCE_ID"):
                    await second.poll(5000)

    world.run(scenario)


def test_topics_that_match_a_pattern_are_read(world: World) -> None:
    async def scenario(world: World) -> int:
        await world.make("text-more", 1)
        async with world.consumer() as consumer:
            consumer.subscribe(pattern="text.*")
            values = await read(60, consumer)
            assert sizes(consumer) == [4]
            consumer.subscribe(["text-more"])
            await until(lambda: sizes(consumer) == [1], consumer)
            return len(values)

    assert world.run(scenario) == 60


def test_a_pattern_that_is_none_is_an_error_of_poll(world: World) -> None:
    async def scenario(world: World) -> None:
        async with world.consumer() as consumer:
            consumer.subscribe(pattern="[")
            with pytest.raises(BrokerFatalError, match="INVALID_REGULAR_EXPRESSION"):
                await consumer.poll(5000)

    world.run(scenario)


def test_who_does_not_poll_loses_its_partitions_and_comes_back(world: World) -> None:
    async def scenario(world: World) -> None:
        async with world.consumer(max_poll_interval_ms=2000) as first:
            first.subscribe(["text"], listener=world.listener("first"))
            await read(30, first)
            async with world.consumer() as second:
                second.subscribe(["text"])
                await until(lambda: sizes(second) == [3], second)
                await until(lambda: sizes(first, second) == [1, 2], first, second)

    world.run(scenario)
    assert world.told[:2] == ["first + text-0,text-1,text-2", "first lost text-0,text-1,text-2"]
    assert world.told[2].startswith("first +")


def test_members_go_on_after_a_restart_of_the_broker(world: World) -> None:
    async def main() -> list[bytes]:
        async with world.node():
            await world.make("text", PARTITIONS)
            consumer = world.consumer()
            await consumer.__aenter__()
            consumer.subscribe(["text"], listener=world.listener("c"))
            await read(30, consumer)
        async with world.node():
            async with Producer({"bootstrap.servers": "broker:9092"}, seams=world.seams) as more:
                await more.send("text", b"more", partition=2)
            values = await read(1, consumer)
            await consumer.close()
            await consumer.__aexit__(None, None, None)
            return values

    assert world.simulation.run(main()) == [b"more"]
    assert world.told == ["c + text-0,text-1,text-2", "c - text-0,text-1,text-2"]


def test_leaving_and_staying_are_as_asked_for(world: World) -> None:
    async def scenario(world: World) -> tuple[float, float]:
        async def left_after(membership: GroupMembership) -> float:
            gone = world.consumer()
            async with gone, world.consumer() as stays:
                gone.subscribe(["text"])
                stays.subscribe(["text"])
                await until(lambda: sizes(gone, stays) == [1, 2], gone, stays)
                await gone.close(CloseOptions(membership=membership))
                since = world.seams.clock.monotonic_ms()
                await until(lambda: sizes(stays) == [3], stays)
                return world.seams.clock.monotonic_ms() - since

        return (
            await left_after(GroupMembership.LEAVE),
            await left_after(GroupMembership.REMAIN),
        )

    left_ms, remained_ms = world.run(scenario)
    assert left_ms < 1500
    assert remained_ms > 2000


def test_unsubscribe_gives_everything_back(world: World) -> None:
    async def scenario(world: World) -> None:
        async with world.consumer() as consumer:
            consumer.subscribe(["text"], listener=world.listener("c"))
            await read(30, consumer)
            await consumer.unsubscribe()
            assert consumer.assignment == ()
            consumer.assign([TopicPartition("text", 1)])
            assert consumer.assignment == (TopicPartition("text", 1),)

    world.run(scenario)
    assert world.told == ["c + text-0,text-1,text-2", "c - text-0,text-1,text-2"]


def test_async_listeners_are_awaited(world: World) -> None:
    order: list[str] = []

    async def slowly(_: Any) -> None:
        order.append("asked")
        await asyncio.sleep(1)
        order.append("done")

    async def scenario(world: World) -> None:
        async with world.consumer() as consumer:
            consumer.subscribe(["text"], listener=RebalanceListener(on_assigned=slowly))
            await read(1, consumer)
            order.append("read")

    world.run(scenario)
    assert order == ["asked", "done", "read"]


def test_wrong_use_is_told(world: World) -> None:
    async def scenario(world: World) -> None:
        async with world.consumer(group_id="") as nobody:
            with pytest.raises(UsageError, match="needs group"):
                nobody.subscribe(["text"])
        async with world.consumer() as consumer:
            consumer.assign([TopicPartition("text", 1)])
            with pytest.raises(UsageError, match="by hand"):
                consumer.subscribe(["text"])
            consumer.assign([])
            consumer.subscribe(["text"])
            with pytest.raises(UsageError, match="unsubscribe"):
                consumer.assign([TopicPartition("text", 1)])

    world.run(scenario)


def test_position_waits_for_the_transaction_that_decides_it(world: World) -> None:
    async def scenario(world: World) -> None:
        tp = TopicPartition("text", 2)
        mover = {"bootstrap.servers": "broker:9092", "transactional.id": "mover-7"}
        async with Producer(mover, seams=world.seams) as producer, world.consumer() as consumer:
            await producer.begin()
            await producer.send_offsets({tp: 4}, group="g-5")
            asked = asyncio.create_task(consumer.committed([tp]))
            await asyncio.sleep(3)
            assert not asked.done()
            await producer.commit()
            assert await asked == {tp: 4}

    world.run(scenario)


MOVER = {"bootstrap.servers": "broker:9092", "transactional.id": "mover-7"}
CARTS = TopicPartition("text", 2)


def test_offsets_go_into_a_transaction_for_the_member_that_read_them(world: World) -> None:
    async def scenario(world: World) -> None:
        async with (
            world.consumer(enable_auto_commit=False) as consumer,
            Producer(MOVER, seams=world.seams) as producer,
        ):
            consumer.subscribe(["text"])
            await read(30, consumer)
            who = consumer.group_metadata()
            assert who.group_id == "g-5"
            assert who.member_id
            assert who.member_epoch > 0
            await producer.begin()
            await producer.send_offsets({CARTS: 7}, group=who)
            await producer.commit()
            assert await consumer.committed([CARTS]) == {CARTS: 7}

    world.run(scenario)


def test_offsets_of_a_member_from_before_a_rebalance_are_refused(world: World) -> None:
    async def scenario(world: World) -> None:
        async with (
            world.consumer(enable_auto_commit=False) as first,
            world.consumer(enable_auto_commit=False) as second,
            Producer(MOVER, seams=world.seams) as producer,
        ):
            first.subscribe(["text"])
            await read(30, first)
            before = first.group_metadata()
            second.subscribe(["text"])
            await until(lambda: sizes(first, second) == [1, 2], first, second)
            await until(lambda: first.group_metadata() != before, first, second)
            await producer.begin()
            with pytest.raises(AbortTransactionError, match=r"ILLEGAL_GENERATION|STALE_MEMBER"):
                await producer.send_offsets({CARTS: 7}, group=before)
            await producer.abort()
            await producer.begin()
            await producer.send_offsets({CARTS: 8}, group=first.group_metadata())
            await producer.commit()
            assert await first.committed([CARTS]) == {CARTS: 8}

    world.run(scenario)


def test_offsets_of_a_member_that_left_are_refused(world: World) -> None:
    async def scenario(world: World) -> None:
        async with Producer(MOVER, seams=world.seams) as producer:
            async with world.consumer(enable_auto_commit=False) as gone:
                gone.subscribe(["text"])
                await read(30, gone)
                who = gone.group_metadata()
            await producer.begin()
            with pytest.raises(AbortTransactionError, match="UNKNOWN_MEMBER_ID"):
                await producer.send_offsets({CARTS: 7}, group=who)
            await producer.abort()

    world.run(scenario)


def test_a_member_that_does_not_poll_cannot_commit_with_a_transaction(world: World) -> None:
    async def scenario(world: World) -> None:
        async with (
            world.consumer(enable_auto_commit=False, max_poll_interval_ms=2000) as stuck,
            Producer(MOVER, seams=world.seams) as producer,
        ):
            stuck.subscribe(["text"])
            await read(30, stuck)
            await asyncio.sleep(5)
            await producer.begin()
            with pytest.raises(AbortTransactionError, match="UNKNOWN_MEMBER_ID"):
                await producer.send_offsets({CARTS: 7}, group=stuck.group_metadata())
            await producer.abort()

    world.run(scenario)


def test_group_metadata_without_membership_names_the_group_only(world: World) -> None:
    async def scenario(world: World) -> None:
        async with world.consumer() as consumer:
            assert consumer.group_metadata() == ConsumerGroupMetadata("g-5")
        async with world.consumer(group_id="") as nobody:
            with pytest.raises(UsageError, match=r"group\.id"):
                nobody.group_metadata()
        async with Producer(MOVER, seams=world.seams) as producer:
            await producer.begin()
            with pytest.raises(UsageError, match="leave out id and epoch"):
                await producer.send_offsets(
                    {CARTS: 7}, group=ConsumerGroupMetadata("g-5"), member_id="m-7"
                )

    world.run(scenario)


def test_commits_keep_their_text_and_their_leader_epoch(world: World) -> None:
    async def scenario(world: World) -> None:
        other = TopicPartition("text", 1)
        async with world.consumer() as consumer:
            await consumer.commit({CARTS: CommittedOffset(7, 0, "batch 12"), other: 4})
            found = await consumer.committed_offsets([CARTS, other, TopicPartition("text", 0)])
            assert found == {CARTS: CommittedOffset(7, 0, "batch 12"), other: CommittedOffset(4)}
            assert await consumer.committed([CARTS]) == {CARTS: 7}

    world.run(scenario)


def test_positions_are_committed_with_the_epoch_of_what_was_read(world: World) -> None:
    async def scenario(world: World) -> None:
        async with world.consumer() as consumer:
            consumer.assign([CARTS])
            await read(10, consumer)
            await consumer.commit()
            (found,) = (await consumer.committed_offsets([CARTS])).values()
            assert found.offset == 10
            assert found.leader_epoch >= 0

    world.run(scenario)


def test_commits_that_cannot_be_are_told(world: World) -> None:
    async def scenario(world: World) -> None:
        async with world.consumer() as consumer:
            with pytest.raises(UsageError, match="text-2: OFFSET_METADATA_TOO_LARGE"):
                await consumer.commit({CARTS: CommittedOffset(7, metadata="x" * 5000)})
            with pytest.raises(UsageError, match="cannot commit offset -3"):
                await consumer.commit({CARTS: -3})
            assert await consumer.committed([CARTS]) == {}

    world.run(scenario)

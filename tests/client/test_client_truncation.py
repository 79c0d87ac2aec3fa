"""Logs that were cut off behind a consumer's back (KIP-320): by a broker whose disk lost records,
by leaders that answer as told."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from streamkit.broker.node import Node
from streamkit.broker.settings import settings_for
from streamkit.client.admin import Admin, NewTopic
from streamkit.client.backoff import Backoff
from streamkit.client.consumer import Consumer
from streamkit.client.decode import Fetched, FetchFailed
from streamkit.client.errors import AuthorizationError, LogTruncationError
from streamkit.client.fetch_state import FetchLimits, FetchState
from streamkit.client.metadata import BrokerView, ClusterView, PartitionView, TopicView
from streamkit.client.offsets import CommittedOffset
from streamkit.client.producer import Producer
from streamkit.common.model import TopicPartition
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.messages import nested_types
from streamkit.protocol.versions import canonical_response, fill
from streamkit.records import encode
from streamkit.testing.disk import MemoryDisk
from streamkit.testing.simulation import Simulation

TP = TopicPartition("orders", 2)
WHERE = {"bootstrap.servers": "broker:9092"}


class LosesAll(random.Random):
    """Chance by which a crash keeps nothing that was not flushed."""

    def random(self) -> float:
        return 0.9

    def randrange(self, *_: Any, **__: Any) -> int:
        return 0


class World:
    """A broker on a simulated disk that is stopped, or crashes, and comes back."""

    def __init__(self) -> None:
        self.simulation = Simulation(320)
        self.seams = self.simulation.seams("client", MemoryDisk())
        self._disk = MemoryDisk()
        self._life: asyncio.Task[None] | None = None

    def run(self, scenario: Callable[[World], Awaitable[None]]) -> None:
        async def main() -> None:
            await self.start()
            async with Admin(WHERE, seams=self.seams) as admin:
                await admin.create_topics([NewTopic("orders", 3)])
            await self.write(0, 10)
            await self.stop()
            await self.start()
            async with asyncio.timeout(300):
                await scenario(self)
            await self.stop()

        self.simulation.run(main())

    async def start(self) -> None:
        settings = settings_for("broker:9092", "/data", {})
        node = Node(settings, self.simulation.seams("broker", self._disk))
        is_ready, self._end = asyncio.Event(), asyncio.Event()
        self._is_crashed = False

        async def live() -> None:
            await node.start()
            is_ready.set()
            await self._end.wait()
            await (node.abandon() if self._is_crashed else node.stop())

        self._life = asyncio.create_task(live())
        await is_ready.wait()

    async def stop(self) -> None:
        self._end.set()
        assert self._life is not None
        await self._life

    async def crash(self) -> None:
        self._disk.crash(LosesAll())
        self.simulation.network.crash("broker")
        self._is_crashed = True
        await self.stop()

    async def write(self, start: int, stop: int, text: str = "old") -> None:
        async with Producer(WHERE, seams=self.seams) as producer:
            for number in range(start, stop):
                await producer.send("orders", f"{text}-{number}", partition=TP.partition)

    def consumer(self, reset: str = "earliest") -> Consumer:
        return Consumer(WHERE | {"auto.offset.reset": reset}, seams=self.seams)


@pytest.fixture
def simulated() -> World:
    return World()


async def read(consumer: Consumer, count: int) -> list[str]:
    values: list[str] = []
    while len(values) < count:
        for batch in await consumer.poll(1000):
            values += [(record.value or b"").decode() for record in batch]
    return values


def names(text: str, start: int, stop: int) -> list[str]:
    return [f"{text}-{number}" for number in range(start, stop)]


def test_consumer_goes_back_to_where_the_logs_part(simulated: World) -> None:
    async def scenario(world: World) -> None:
        await world.write(10, 20)
        async with world.consumer() as consumer:
            consumer.assign({TP: 0})
            assert await read(consumer, 20) == names("old", 0, 20)
            await world.crash()
            await world.start()
            await world.write(10, 25, "new")
            assert await read(consumer, 15) == names("new", 10, 25)
            assert await consumer.position(TP) == 25

    simulated.run(scenario)


def test_position_from_before_the_crash_is_checked_before_the_first_fetch(
    simulated: World,
) -> None:
    async def scenario(world: World) -> None:
        await world.write(10, 20)
        async with world.consumer() as consumer:
            consumer.assign({TP: 15})
            await read(consumer, 5)
            epoch = consumer._positions[TP].leader_epoch
        await world.crash()
        await world.start()
        await world.write(10, 25, "new")
        async with world.consumer() as consumer:
            consumer.assign({TP: CommittedOffset(18, epoch)})
            assert await read(consumer, 15) == names("new", 10, 25)
            consumer.seek(TP, CommittedOffset(18, epoch + 50))
            assert await read(consumer, 25) == names("old", 0, 10) + names("new", 10, 25)

    simulated.run(scenario)


def test_without_a_reset_the_user_is_told_where_the_logs_part(simulated: World) -> None:
    async def scenario(world: World) -> None:
        await world.write(10, 20)
        async with world.consumer("none") as consumer:
            consumer.assign({TP: 0})
            await read(consumer, 20)
            await world.crash()
            await world.start()
            await world.write(10, 25, "new")
            with pytest.raises(
                LogTruncationError, match="orders-2 was truncated at offset 10"
            ) as e:
                await read(consumer, 1)
            assert (e.value.tp, e.value.position, e.value.divergent_offset) == (TP, 20, 10)
            assert await consumer.poll(2000) == [], "it waits to be told where to go on"
            consumer.seek(TP, 10)
            assert await read(consumer, 15) == names("new", 10, 25)

    simulated.run(scenario)


def test_restart_without_loss_moves_nobody(simulated: World) -> None:
    async def scenario(world: World) -> None:
        await world.write(10, 20)
        async with world.consumer("none") as consumer:
            consumer.assign({TP: 0})
            await read(consumer, 20)
            before = consumer._client.view.partition(TP)
            await world.stop()
            await world.start()
            await world.write(20, 30)
            assert await read(consumer, 10) == names("old", 20, 30)
            after = consumer._client.view.partition(TP)
            assert before is not None
            assert after is not None
            assert after.leader_epoch > before.leader_epoch
            assert await consumer.poll(2000) == []

    simulated.run(scenario)


# The state by itself.

LIMITS = FetchLimits(
    partition_fetch_bytes_max=100,
    fetch_bytes_max=1_000,
    partition_bytes_max=20_000,
    buffer_bytes_max=35_000,
    preferred_replica_ms=60_000,
    retry_backoff=Backoff(100, 1_000),
)


def led(epoch: int) -> ClusterView:
    partitions = tuple(PartitionView(index, 4, epoch) for index in range(3))
    brokers = {4: BrokerView(4, "h", 9_004), 5: BrokerView(5, "h", 9_005)}
    return ClusterView(brokers=brokers, topics={"orders": TopicView("orders", None, partitions)})


def state_at(position: int, epoch: int) -> FetchState:
    state = FetchState(LIMITS)
    state.assign({TP: position}, {TP: epoch})
    return state


def fetched(state: FetchState, node: int = 4, **values: Any) -> None:
    entity = nested_types(nested_types(canonical_response(ApiKey.FETCH))["responses"])["partitions"]
    answer = fill(entity, {"partition_index": TP.partition} | values)
    state.on_partition(TP, state.partitions[TP].generation, answer, node, 1_000.0)


def told(state: FetchState, view: ClusterView, **values: Any) -> Any:
    entity = nested_types(
        nested_types(canonical_response(ApiKey.OFFSET_FOR_LEADER_EPOCH))["topics"]
    )["partitions"]
    answer = fill(entity, {"partition": TP.partition} | values)
    asked = state.wanted(4, view, 1_000.0).unchecked[TP]
    return state.on_epoch_end(TP, asked, answer, 1_000.0)


def target(state: FetchState, view: ClusterView) -> tuple[int, int, int]:
    found = state.wanted(4, view, 1_000.0).targets[TP]
    return found.offset, found.leader_epoch, state.partitions[TP].last_epoch


def batch_of(epoch: int, count: int) -> bytes:
    batch = bytearray(encode([(None, b"x", 1_700_000_000_007, ())] * count))
    batch[12:16] = epoch.to_bytes(4, "big")
    return bytes(batch)


def failure(state: FetchState) -> LogTruncationError:
    (event,) = state.take()
    assert isinstance(event, FetchFailed)
    assert isinstance(event.error, LogTruncationError)
    return event.error


def test_position_without_an_epoch_is_fetched_at_once() -> None:
    assert target(state_at(40, -1), led(9)) == (40, 9, -1)


def test_records_that_were_read_are_checked_when_the_leader_changes() -> None:
    state = state_at(0, -1)
    target(state, led(9))
    fetched(state, records=batch_of(7, count=1), high_watermark=9)
    assert target(state, led(9)) == (1, 9, 7)
    assert state.wanted(4, led(10), 1_000.0).targets == {}
    assert told(state, led(10), leader_epoch=7, end_offset=3) is None
    assert target(state, led(10)) == (1, 10, 7)
    assert [type(event) for event in state.take()] == [Fetched]


def test_end_of_the_epoch_below_the_position_is_a_truncation() -> None:
    state = state_at(40, 7)
    told(state, led(9), leader_epoch=6, end_offset=33)
    error = failure(state)
    assert (error.position, error.leader_epoch) == (40, 7)
    assert (error.divergent_offset, error.divergent_epoch) == (33, 6)


def test_older_epoch_that_ends_behind_the_position_is_good() -> None:
    state = state_at(40, 7)
    told(state, led(9), leader_epoch=6, end_offset=41)
    assert target(state, led(9)) == (40, 9, 6)


def test_leader_that_knows_no_such_epoch_has_lost_it() -> None:
    state = state_at(40, 7)
    told(state, led(9), leader_epoch=-1, end_offset=-1)
    assert failure(state).divergent_offset is None


def test_check_that_met_another_leader_is_tried_again() -> None:
    state = state_at(40, 7)
    assert told(state, led(9), error_code=74) is not None
    assert state.wanted(4, led(9), 1_010.0).retry_at_ms is not None
    assert TP in state.wanted(4, led(9), 9_000.0).unchecked


def test_check_that_is_not_permitted_is_an_error() -> None:
    state = state_at(40, 7)
    assert told(state, led(9), error_code=29) is None
    (event,) = state.take()
    assert isinstance(event, FetchFailed)
    assert isinstance(event.error, AuthorizationError)


def test_answer_about_a_former_position_is_dropped() -> None:
    state = state_at(40, 7)
    asked = state.wanted(4, led(9), 1_000.0).unchecked[TP]
    state.assign({TP: 50}, {TP: 8})
    state.on_epoch_end(TP, asked, None, 1_000.0)
    assert state.wanted(4, led(9), 1_000.0).unchecked[TP].position == 50


def test_late_answer_of_a_former_leader_changes_no_epoch() -> None:
    state = state_at(0, -1)
    target(state, led(9))
    late = batch_of(7, count=1)
    fetched(state, records=batch_of(9, count=2), high_watermark=9)
    fetched(state, records=late, high_watermark=9)
    assert state.partitions[TP].position == 2
    assert state.partitions[TP].last_epoch == 9


def test_only_the_leader_is_asked_not_the_replica_that_is_read_from() -> None:
    state = state_at(40, 7)
    told(state, led(9), leader_epoch=7, end_offset=60)
    fetched(state, preferred_read_replica=5)
    assert state.nodes(led(9), 2_000.0) == {5}
    assert state.nodes(led(10), 2_000.0) == {4}


# The requests.


def versions_run(world: Any, version_max: dict[ApiKey, int]) -> Any:
    async def scenario(cluster: Any, seams: Any) -> Any:
        cluster.version_max.update(version_max)
        cluster.add_topic("orders", partitions=3)
        partition = cluster.partition(TP)
        for number in range(4):
            partition.append(encode([(None, b"%d" % number, 1_700_000_000_007, ())]))
        config = {"bootstrap.servers": cluster.bootstrap, "auto.offset.reset": "earliest"}
        async with Consumer(config, seams=seams) as consumer:
            consumer.assign({TP: 0})
            assert await read(consumer, 4) == ["0", "1", "2", "3"]
            partition.epoch += 2
            partition.append(encode([(None, b"4", 1_700_000_000_007, ())]))
            cluster.grown.set()
            cluster.grown = asyncio.Event()
            await consumer._client.metadata.refresh(["orders"])
            assert await read(consumer, 1) == ["4"]
            await consumer.poll(2000)
        return cluster

    return world.run(scenario)


def test_new_leader_is_asked_once_whether_it_has_what_was_read(world: Any) -> None:
    assert versions_run(world, {}).count(ApiKey.OFFSET_FOR_LEADER_EPOCH) == 1


@pytest.mark.parametrize("epochs", [2, -1])
def test_brokers_that_cannot_say_where_epochs_end_are_not_asked(world: Any, epochs: int) -> None:
    cluster = versions_run(world, {ApiKey.FETCH: 11, ApiKey.OFFSET_FOR_LEADER_EPOCH: epochs})
    assert cluster.count(ApiKey.OFFSET_FOR_LEADER_EPOCH) == 0


def test_batches_that_came_with_an_error_are_given_before_it(world: Any) -> None:
    async def scenario(cluster: Any, seams: Any) -> None:
        cluster.add_topic("orders", partitions=3)
        lost = TopicPartition("orders", 1)
        cluster.partition(TP).append(encode([(None, b"0", 1_700_000_000_007, ())]))
        config = {"bootstrap.servers": cluster.bootstrap, "auto.offset.reset": "none"}
        async with Consumer(config, seams=seams) as consumer:
            consumer.assign({TP: 0, lost: 40})
            await asyncio.sleep(2)
            assert len(await consumer.poll(1000)) == 1
            with pytest.raises(Exception, match="orders-1 at offset 40"):
                await consumer.poll(1000)
            assert await consumer.poll(1000) == []

    world.run(scenario)

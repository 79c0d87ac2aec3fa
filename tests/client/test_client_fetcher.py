"""The fetcher against a scripted cluster: sessions, faults, back-pressure."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streamkit.client.client import Client
from streamkit.client.decode import Fetched, FetchFailed, decode_fetched
from streamkit.client.errors import AuthorizationError, OffsetOutOfRangeError
from streamkit.client.fetcher import Fetcher
from streamkit.client.settings import ConsumerSettings
from streamkit.common.model import TopicPartition
from streamkit.protocol.apis import ApiKey
from streamkit.records import encode

TP = TopicPartition("orders", 0)
OTHER = TopicPartition("orders", 1)


def fill_log(cluster: Any, tp: TopicPartition, batches: int, size: int = 10) -> list[str]:
    values = []
    for number in range(batches):
        value = f"{tp.partition}:{cluster.partition(tp).end}".ljust(size, ".")
        values.append(value)
        records = [(None, value.encode(), 1_700_000_000_000 + number, ())]
        assert cluster.partition(tp).append(encode(records))[0] == 0
    cluster.grown.set()
    cluster.grown = asyncio.Event()
    return values


def values_of(events: list[Any]) -> list[str]:
    values: list[str] = []
    for event in events:
        assert isinstance(event, Fetched), event
        for batch in decode_fetched(event):
            values += [value.decode() for value in batch.values]
    return values


async def take_values(fetcher: Fetcher, count: int) -> list[str]:
    values: list[str] = []
    async with asyncio.timeout(60):
        while len(values) < count:
            values += values_of(await fetcher.take())
    return values


def run(world: Any, check: Any, *, brokers: int = 1, prepare: Any = None, **more: Any) -> None:
    async def scenario(cluster: Any, seams: Any) -> None:
        if prepare is not None:
            prepare(cluster)
        cluster.add_topic("orders", partitions=3)
        values = {key.replace("_", "."): value for key, value in more.items()}
        settings = ConsumerSettings.from_mapping({"bootstrap.servers": cluster.bootstrap, **values})
        async with Client(settings, seams) as client:
            fetcher = Fetcher(client, settings, buffer_bytes_max=20_000)
            await check(cluster, fetcher)
            fetcher.close()

    world.run(scenario, brokers=brokers)


def test_many_partitions_of_many_brokers_are_fetched_in_order(world: Any) -> None:
    async def check(cluster: Any, fetcher: Fetcher) -> None:
        partitions = [TopicPartition("orders", i) for i in range(3)]
        wanted = [fill_log(cluster, tp, 20 + tp.partition) for tp in partitions]
        fetcher.assign(dict.fromkeys(partitions, 0))
        values = await take_values(fetcher, sum(map(len, wanted)))
        for partition, expected in enumerate(wanted):
            assert [v for v in values if v.startswith(f"{partition}:")] == expected

    run(world, check, brokers=2)


def test_new_records_wake_a_parked_fetch(world: Any) -> None:
    async def check(cluster: Any, fetcher: Fetcher) -> None:
        fetcher.assign({TP: 0})
        await asyncio.sleep(0.7)
        started = asyncio.get_running_loop().time()
        wanted = fill_log(cluster, TP, 3)
        assert await take_values(fetcher, 3) == wanted
        assert asyncio.get_running_loop().time() - started < 0.1

    run(world, check)


def test_partition_assigned_soon_after_another_waits_for_no_parked_fetch(world: Any) -> None:
    async def check(cluster: Any, fetcher: Fetcher) -> None:
        fetcher.assign({TP: 0})
        await asyncio.sleep(0.2)
        wanted = fill_log(cluster, OTHER, 3)
        started = asyncio.get_running_loop().time()
        fetcher.assign({OTHER: 0})
        assert await take_values(fetcher, 3) == wanted
        assert asyncio.get_running_loop().time() - started < 0.1

    run(world, check, fetch_max_wait_ms=5000)


def test_a_fetch_has_no_field_that_the_newest_version_lacks(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To find out whether another version has it, all of them would be imported."""
    monkeypatch.setattr("streamkit.protocol.versions._is_known_elsewhere", _refuse_in_requests)

    async def check(cluster: Any, fetcher: Fetcher) -> None:
        wanted = fill_log(cluster, TP, 3)
        fetcher.assign({TP: 0, OTHER: 0})
        assert await take_values(fetcher, 3) == wanted
        fetcher.unassign([OTHER])
        more = fill_log(cluster, TP, 3)
        assert await take_values(fetcher, 3) == more

    run(world, check)


@pytest.mark.parametrize("newest", [6, 12, 14])
def test_older_brokers_are_told_that_this_is_no_replica(world: Any, newest: int) -> None:
    async def check(cluster: Any, fetcher: Fetcher) -> None:
        wanted = fill_log(cluster, TP, 3)
        fetcher.assign({TP: 0})
        assert await take_values(fetcher, 3) == wanted
        sent = [message for _, api, message in cluster.seen if api == ApiKey.FETCH]
        assert {message.__version__ for message in sent} == {newest}
        assert {int(message.replica_id) for message in sent} == {-1}

    def prepare(cluster: Any) -> None:
        cluster.version_max = {ApiKey.FETCH: newest}

    run(world, check, prepare=prepare)


def _refuse_in_requests(entity: type[Any], name: str) -> bool:
    assert not entity.__module__.endswith(".request"), f"{entity.__name__} has no field {name}"
    return True


def test_idle_partitions_are_sent_once_in_a_session(world: Any) -> None:
    async def check(cluster: Any, fetcher: Fetcher) -> None:
        fetcher.assign({TP: 0, OTHER: 0})
        for _ in range(4):
            wanted = fill_log(cluster, TP, 1)
            assert await take_values(fetcher, 1) == wanted
        sent = [m for _, api, m in cluster.seen if api == ApiKey.FETCH][1:]
        assert sent
        assert all(m.session_epoch > 0 for m in sent)
        assert all(p.partition != OTHER.partition for m in sent for t in m.topics
                   for p in t.partitions)  # fmt: skip

    run(world, check)


@pytest.mark.parametrize("code", [70, 71, 106])
def test_lost_session_is_made_anew(world: Any, fault: Any, code: int) -> None:
    async def check(cluster: Any, fetcher: Fetcher) -> None:
        fetcher.assign({TP: 0})
        wanted = fill_log(cluster, TP, 2)
        assert await take_values(fetcher, 2) == wanted
        cluster.faults.append(fault(ApiKey.FETCH, code=code, times=2))
        wanted = fill_log(cluster, TP, 2)
        assert await take_values(fetcher, 2) == wanted

    run(world, check)


@pytest.mark.parametrize("drop", ["before", "after"])
def test_lost_connection_neither_skips_nor_repeats(world: Any, fault: Any, drop: str) -> None:
    async def check(cluster: Any, fetcher: Fetcher) -> None:
        fetcher.assign({TP: 0})
        for _ in range(5):
            cluster.faults.append(fault(ApiKey.FETCH, drop=drop))
            wanted = fill_log(cluster, TP, 4)
            assert await take_values(fetcher, 4) == wanted

    run(world, check)


@pytest.mark.parametrize("names", [True, False])
def test_new_leader_is_followed(world: Any, names: bool) -> None:
    async def check(cluster: Any, fetcher: Fetcher) -> None:
        cluster.names_new_leaders = names
        fetcher.assign({TP: 0})
        wanted = fill_log(cluster, TP, 4)
        assert await take_values(fetcher, 4) == wanted
        cluster.move(TP, cluster.nodes[1])
        wanted = fill_log(cluster, TP, 4)
        assert await take_values(fetcher, 4) == wanted

    run(world, check, brokers=2)


def test_offset_out_of_range_is_an_event_and_seek_goes_on(world: Any) -> None:
    async def check(cluster: Any, fetcher: Fetcher) -> None:
        wanted = fill_log(cluster, TP, 9)
        cluster.partition(TP).log_start = 6
        fetcher.assign({TP: 2})
        (event,) = await fetcher.take()
        assert isinstance(event, FetchFailed)
        assert isinstance(event.error, OffsetOutOfRangeError)
        assert (event.position, event.log_start_offset) == (2, 6)
        fetcher.seek(TP, 6)
        assert await take_values(fetcher, 3) == wanted[6:]

    run(world, check)


def test_recreated_topic_is_an_event(world: Any) -> None:
    async def check(cluster: Any, fetcher: Fetcher) -> None:
        fetcher.assign({TP: 0})
        fill_log(cluster, TP, 4)
        await take_values(fetcher, 4)
        cluster.add_topic("orders", partitions=3)
        fill_log(cluster, TP, 9)
        (event,) = await fetcher.take()
        assert isinstance(event, FetchFailed)
        assert "made anew" in str(event.error)
        fetcher.seek(TP, 0)
        assert len(await take_values(fetcher, 9)) == 9

    run(world, check)


def test_forbidden_topic_is_an_event(world: Any, fault: Any) -> None:
    async def check(cluster: Any, fetcher: Fetcher) -> None:
        fill_log(cluster, TP, 1)
        cluster.faults.append(fault(ApiKey.FETCH, code=29))
        fetcher.assign({TP: 0})
        (event,) = await fetcher.take()
        assert isinstance(event, FetchFailed)
        assert isinstance(event.error, AuthorizationError)

    run(world, check)


def test_full_buffer_stops_the_fetches(world: Any) -> None:
    async def check(cluster: Any, fetcher: Fetcher) -> None:
        for tp in (TP, OTHER):
            fill_log(cluster, tp, 60, size=1_000)
        fetcher.assign({TP: 0, OTHER: 0})
        await asyncio.sleep(5)
        assert 3_000 < fetcher.held_bytes < 20_000
        assert cluster.count(ApiKey.FETCH) < 300
        assert len(await take_values(fetcher, 120)) == 120

    run(world, check, max_partition_fetch_bytes=4_000)


def test_paused_partition_keeps_what_it_holds_and_others_go_on(world: Any) -> None:
    async def check(cluster: Any, fetcher: Fetcher) -> None:
        held = fill_log(cluster, TP, 3)
        fetcher.assign({TP: 0, OTHER: 0})
        await asyncio.sleep(1)
        fetcher.pause([TP])
        wanted = fill_log(cluster, OTHER, 2)
        assert await take_values(fetcher, 2) == wanted
        assert fetcher.take_nowait() == []
        assert fetcher.position(TP) == 0
        fetcher.resume([TP])
        assert await take_values(fetcher, 3) == held
        assert fetcher.position(TP) == 3

    run(world, check)


@pytest.mark.parametrize("wait_s", [0.1, 1.0])
def test_seek_drops_what_is_held_or_on_its_way(world: Any, fault: Any, wait_s: float) -> None:
    async def check(cluster: Any, fetcher: Fetcher) -> None:
        wanted = fill_log(cluster, TP, 8)
        cluster.faults.append(fault(ApiKey.FETCH, delay_ms=300))
        fetcher.assign({TP: 5})
        await asyncio.sleep(wait_s)
        fetcher.seek(TP, 2)
        assert await take_values(fetcher, 6) == wanted[2:]

    run(world, check)


def test_unassigned_partition_gives_nothing_more(world: Any) -> None:
    async def check(cluster: Any, fetcher: Fetcher) -> None:
        fill_log(cluster, TP, 3)
        fetcher.assign({TP: 0, OTHER: 0})
        await asyncio.sleep(1)
        fetcher.unassign([TP])
        wanted = fill_log(cluster, OTHER, 2)
        assert await take_values(fetcher, 2) == wanted
        assert fetcher.assignment == (OTHER,)

    run(world, check)


def test_leader_that_is_down_for_a_while_is_waited_for(world: Any) -> None:
    async def check(cluster: Any, fetcher: Fetcher) -> None:
        fetcher.assign({TP: 0})
        await asyncio.sleep(1)
        await cluster.stop(cluster.nodes[0])
        await asyncio.sleep(8)
        await cluster.start(cluster.nodes[0])
        wanted = fill_log(cluster, TP, 5)
        assert await take_values(fetcher, 5) == wanted

    run(world, check)


def test_old_broker_without_sessions_and_ids(world: Any) -> None:
    def prepare(cluster: Any) -> None:
        cluster.version_max = {ApiKey.FETCH: 6, ApiKey.METADATA: 5}
        cluster.has_sessions = False

    async def check(cluster: Any, fetcher: Fetcher) -> None:
        wanted = fill_log(cluster, TP, 5)
        fetcher.assign({TP: 0})
        assert await take_values(fetcher, 5) == wanted

    run(world, check, prepare=prepare)

"""Requests, metadata, coordinators and offsets against a scripted cluster."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streamkit.client.client import Client, CoordinatorKind
from streamkit.client.connections import Channel
from streamkit.client.draft import Draft
from streamkit.client.errors import (
    BrokerRejoinError,
    BrokerRetriableError,
    ClosedError,
    StaleMemberEpochError,
    UnknownTopicError,
    UnsupportedByBrokerError,
)
from streamkit.client.offsets import EARLIEST, LATEST, CommittedOffset, Membership, Offsets
from streamkit.client.refresh import Metadata
from streamkit.client.settings import ClientSettings
from streamkit.common.errors import RefreshMetadataError, RetriableError, UsageError
from streamkit.common.model import TopicPartition
from streamkit.net.errors import ConnectionLost
from streamkit.protocol.apis import ApiKey

TP = TopicPartition("orders", 1)


def run(world: Any, check: Any, *, brokers: int = 1, prepare: Any = None, **more: Any) -> None:
    async def scenario(cluster: Any, seams: Any) -> None:
        cluster.add_topic("orders", partitions=3)
        if prepare is not None:
            await prepare(cluster)
        values = {key.replace("_", "."): value for key, value in more.items()}
        values.setdefault("bootstrap.servers", cluster.bootstrap)
        settings = ClientSettings.from_mapping(values)
        async with Client(settings, seams) as client:
            await check(cluster, client)

    world.run(scenario, brokers=brokers)


def test_bootstrap_needs_one_server_of_several(world: Any) -> None:
    async def check(cluster: Any, client: Client) -> None:
        assert sorted(client.view.brokers) == cluster.nodes
        assert client.view.cluster_id == "fake"

    run(world, check, brokers=2, bootstrap_servers="127.0.0.1:1,127.0.0.1:2,127.0.0.1:20002")


def test_no_reachable_server_is_one_clear_line(world: Any) -> None:
    async def check(cluster: Any, client: Client) -> None:
        raise AssertionError("not reached")

    with pytest.raises(ConnectionLost, match=r"bootstrap\.servers are 127\.0\.0\.1:1"):
        run(world, check, bootstrap_servers="127.0.0.1:1", default_api_timeout_ms=2_000)


def test_refused_login_is_raised_and_not_logged_as_well(world: Any, caplog: Any) -> None:
    async def refuse(_: Draft) -> Any:
        raise UsageError("alice is refused")

    async def scenario(cluster: Any, seams: Any) -> None:
        settings = ClientSettings.from_mapping({"bootstrap.servers": cluster.bootstrap})
        metadata = Metadata(settings, seams, refuse, lambda: None)
        async with asyncio.TaskGroup() as group:
            renewal = group.create_task(metadata.run())
            with pytest.raises(UsageError):
                await metadata.refresh()
            renewal.cancel()

    world.run(scenario, brokers=1)
    assert caplog.messages == []


def test_cluster_that_moved_is_found_by_the_bootstrap_list_again(world: Any) -> None:
    async def prepare(cluster: Any) -> None:
        await cluster.stop(cluster.nodes[1])

    async def check(cluster: Any, client: Client) -> None:
        assert list(client.view.brokers) == [cluster.nodes[0]]
        await cluster.start(cluster.nodes[1])
        await cluster.stop(cluster.nodes[0])
        await client.retrying(client.metadata.refresh)
        assert list(client.view.brokers) == [cluster.nodes[1]]

    run(world, check, brokers=2, prepare=prepare)


def test_without_rebootstrap_only_known_brokers_are_asked(world: Any) -> None:
    async def prepare(cluster: Any) -> None:
        await cluster.stop(cluster.nodes[1])

    async def check(cluster: Any, client: Client) -> None:
        await cluster.start(cluster.nodes[1])
        await cluster.stop(cluster.nodes[0])
        with pytest.raises(ConnectionLost):
            await client.retrying(client.metadata.refresh, 5_000)

    run(world, check, brokers=2, prepare=prepare, metadata_recovery_strategy="none")


def test_metadata_is_renewed_when_it_is_old(world: Any) -> None:
    async def check(cluster: Any, client: Client) -> None:
        client.metadata.watch(["orders"])
        await client.metadata.refresh()
        cluster.move(TP, cluster.nodes[1])
        await asyncio.sleep(12)
        assert client.view.leader_of(TP) == cluster.nodes[1]
        assert cluster.count(ApiKey.METADATA) < 8

    run(world, check, brokers=2, metadata_max_age_ms=5_000)


def test_metadata_asks_for_topics_of_interest_only(world: Any) -> None:
    async def check(cluster: Any, client: Client) -> None:
        cluster.add_topic("other")
        client.metadata.watch(["orders", "orders"])
        await client.metadata.refresh()
        assert list(client.view.topics) == ["orders"]
        client.metadata.unwatch(["orders"])
        await client.metadata.refresh()
        assert list(client.view.topics) == ["orders"]
        client.metadata.unwatch(["orders"])
        assert list(client.view.topics) == []
        assert sorted((await client.metadata.refresh(all_topics=True)).topics) == [
            "orders",
            "other",
        ]

    run(world, check)


def test_looking_at_a_topic_does_not_create_it(world: Any) -> None:
    async def check(cluster: Any, client: Client) -> None:
        cluster.auto_create = True
        await client.metadata.refresh(["looked-at"])
        client.metadata.watch(["wanted"])
        await client.metadata.refresh()
        assert sorted(cluster.topics) == ["orders", "wanted"]

    run(world, check)


def test_refreshes_on_error_keep_the_back_off(world: Any) -> None:
    async def check(cluster: Any, client: Client) -> None:
        before = cluster.count(ApiKey.METADATA)
        for _ in range(100):
            client.metadata.request_refresh()
            await asyncio.sleep(0.01)
        assert cluster.count(ApiKey.METADATA) - before < 20

    run(world, check)


def test_concurrent_calls_share_one_connection(world: Any) -> None:
    async def check(cluster: Any, client: Client) -> None:
        node = cluster.nodes[1]
        found = await asyncio.gather(*(client.connection(node, Channel.FETCH) for _ in range(5)))
        assert len({id(connection) for connection in found}) == 1
        assert found[0] is not await client.connection(node, Channel.PRODUCE)

    run(world, check, brokers=2)


def test_unknown_broker_asks_for_metadata(world: Any) -> None:
    async def check(cluster: Any, client: Client) -> None:
        with pytest.raises(RefreshMetadataError, match="broker 99"):
            await client.call(99, Draft(ApiKey.METADATA, {}))

    run(world, check)


def test_api_that_is_missing_or_too_old_is_named(world: Any) -> None:
    async def prepare(cluster: Any) -> None:
        cluster.version_max = {ApiKey.STREAMS_GROUP_HEARTBEAT: -1, ApiKey.OFFSET_COMMIT: 8}

    async def check(cluster: Any, client: Client) -> None:
        with pytest.raises(UnsupportedByBrokerError, match="STREAMS_GROUP_HEARTBEAT"):
            await client.call_any(Draft(ApiKey.STREAMS_GROUP_HEARTBEAT, {}))
        with pytest.raises(UnsupportedByBrokerError, match="up to version 8 only, 9"):
            await Offsets(client).commit(Membership("shop", "m-7", 4), {TP: CommittedOffset(42)})

    run(world, check, prepare=prepare)


def test_retries_end_with_the_last_error(world: Any) -> None:
    async def check(cluster: Any, client: Client) -> None:
        attempts = 0

        async def attempt() -> None:
            nonlocal attempts
            attempts += 1
            raise RetriableError(f"attempt {attempts}")

        with pytest.raises(RetriableError, match="attempt"):
            await client.retrying(attempt, 3_000)
        assert 4 < attempts < 12

    run(world, check)


def test_offsets_are_committed_by_members_and_fetched(world: Any) -> None:
    async def check(cluster: Any, client: Client) -> None:
        offsets = Offsets(client)
        cluster.member_epochs["m-7"] = 4
        member = Membership("shop", "m-7", 4)
        await offsets.commit(member, {TP: CommittedOffset(42, metadata="note")})
        found = await offsets.fetch(member, [TP, TopicPartition("orders", 2)])
        assert found == {TP: CommittedOffset(42, metadata="note")}

    run(world, check)


def test_commit_by_a_stale_or_unknown_member_says_what_to_do(world: Any) -> None:
    async def check(cluster: Any, client: Client) -> None:
        offsets = Offsets(client)
        cluster.member_epochs["m-7"] = 4
        with pytest.raises(StaleMemberEpochError):
            await offsets.commit(Membership("shop", "m-7", 3), {TP: CommittedOffset(42)})
        with pytest.raises(BrokerRejoinError, match="UNKNOWN_MEMBER_ID"):
            await offsets.commit(Membership("shop", "m-8", 3), {TP: CommittedOffset(42)})
        assert cluster.committed == {}

    run(world, check)


def test_coordinator_that_moves_is_found_again(world: Any, fault: Any) -> None:
    async def check(cluster: Any, client: Client) -> None:
        offsets = Offsets(client)
        member = Membership("shop")
        await offsets.commit(member, {TP: CommittedOffset(41)})
        cluster.coordinator = cluster.nodes[1]
        cluster.faults += [
            fault(ApiKey.FIND_COORDINATOR, code=15, times=2),
            fault(ApiKey.OFFSET_COMMIT, code=14, node=cluster.nodes[1], times=2),
        ]
        await offsets.commit(member, {TP: CommittedOffset(42)})
        assert cluster.committed["shop", TP] == (42, "")
        found = await client.coordinator(CoordinatorKind.GROUP, "shop")
        assert found.node_id == cluster.nodes[1]

    run(world, check, brokers=2)


def test_unstable_offsets_are_waited_for(world: Any, fault: Any) -> None:
    async def check(cluster: Any, client: Client) -> None:
        cluster.faults.append(fault(ApiKey.OFFSET_FETCH, code=88, times=3))
        found = await Offsets(client).fetch(Membership("shop"), [TP], require_stable=True)
        assert found == {}

    run(world, check)


@pytest.mark.parametrize("versions", [(8, 7, 3), (9, 9, 6), (2, 1, 0)])
def test_offsets_with_old_brokers(world: Any, versions: tuple[int, int, int]) -> None:
    async def prepare(cluster: Any) -> None:
        apis = (ApiKey.OFFSET_COMMIT, ApiKey.OFFSET_FETCH, ApiKey.FIND_COORDINATOR)
        cluster.version_max = dict(zip(apis, versions, strict=True))

    async def check(cluster: Any, client: Client) -> None:
        offsets = Offsets(client)
        await offsets.commit(Membership("shop"), {TP: CommittedOffset(42)})
        for is_stable in (False, True):
            found = await offsets.fetch(Membership("shop"), [TP], require_stable=is_stable)
            assert {tp: committed.offset for tp, committed in found.items()} == {TP: 42}

    run(world, check, prepare=prepare)


def test_log_ends_are_listed_over_leaders_and_their_moves(world: Any) -> None:
    async def check(cluster: Any, client: Client) -> None:
        partitions = [TopicPartition("orders", i) for i in range(3)]
        for tp in partitions:
            cluster.partition(tp).end = 40 + tp.partition
            cluster.partition(tp).log_start = 5
        offsets = Offsets(client)
        wanted = {tp: 40 + tp.partition for tp in partitions}
        assert await offsets.end_offsets(partitions) == wanted
        cluster.move(TP, cluster.nodes[0])
        listed = await offsets.list_offsets({TP: LATEST, partitions[2]: EARLIEST})
        assert (listed[TP].offset, listed[partitions[2]].offset) == (41, 5)

    run(world, check, brokers=2)


def test_offsets_of_a_missing_topic_are_an_error(world: Any) -> None:
    async def check(cluster: Any, client: Client) -> None:
        with pytest.raises(UnknownTopicError, match="nowhere"):
            await Offsets(client).end_offsets([TopicPartition("nowhere", 0)])

    run(world, check, default_api_timeout_ms=2_000)


def test_coordinator_that_never_loads_ends_the_retries(world: Any, fault: Any) -> None:
    async def check(cluster: Any, client: Client) -> None:
        cluster.faults.append(fault(ApiKey.OFFSET_FETCH, code=14, times=99))
        with pytest.raises(BrokerRetriableError, match="COORDINATOR_LOAD_IN_PROGRESS"):
            await Offsets(client).fetch(Membership("shop"), [TP])

    run(world, check, default_api_timeout_ms=2_000)


def test_closed_client_starts_nothing(world: Any) -> None:
    async def scenario(cluster: Any, seams: Any) -> None:
        settings = ClientSettings.from_mapping({"bootstrap.servers": cluster.bootstrap})
        async with Client(settings, seams) as client:
            pass
        with pytest.raises(ClosedError):
            await client.connection(cluster.nodes[0], Channel.FETCH)

    world.run(scenario)

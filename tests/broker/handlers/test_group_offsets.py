"""Coordinator lookup and committed offsets, in every version's shape."""

from __future__ import annotations

from typing import Any

import pytest

from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ErrorCode


async def find(asker: Any, version: int, group: str) -> Any:
    if version < 4:
        return await asker.ask(ApiKey.FIND_COORDINATOR, version, key=group)
    answer = await asker.ask(ApiKey.FIND_COORDINATOR, version, key_type=0, coordinator_keys=[group])
    return answer.coordinators[0]


@pytest.mark.parametrize("version", range(7))
def test_coordinator_is_found_and_its_topic_made(world: Any, version: int) -> None:
    async def scenario(asker: Any) -> Any:
        found = await find(asker, version, "shop")
        answer = await asker.ask(ApiKey.METADATA, topics=[{"name": "__consumer_offsets"}])
        return found, answer.topics[0]

    found, topic = world.run(scenario)
    assert found.error_code == ErrorCode.none
    assert (found.node_id, found.host, found.port) == (7, "broker", 9092)
    assert len(topic.partitions) == 3


def test_coordinator_of_share_groups_is_refused(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        answer = await asker.ask(ApiKey.FIND_COORDINATOR, key_type=2, coordinator_keys=["shop-0"])
        return answer.coordinators[0]

    assert world.run(scenario).error_code == ErrorCode.invalid_request


def topic_of(version: int, name: str, topic_id: Any, partitions: list[Any], field: str) -> Any:
    named = {"topic_id": topic_id} if version >= 10 else {"name": name}
    return {**named, field: partitions}


async def commit(
    asker: Any, version: int, topic_id: Any, offset: int, index: int = 1, group: str = "shop"
) -> Any:
    committed = {
        "partition_index": index,
        "committed_offset": offset,
        "committed_metadata": "note",
    }
    answer = await asker.ask(
        ApiKey.OFFSET_COMMIT,
        version,
        group_id=group,
        member_id="",
        generation_id_or_member_epoch=-1,
        topics=[topic_of(version, "orders", topic_id, [committed], "partitions")],
    )
    return answer.topics[0].partitions[0].error_code


async def committed(asker: Any, version: int, topic_id: Any, group: str = "shop") -> Any:
    topic = topic_of(version, "orders", topic_id, [1], "partition_indexes")
    asked = {"group_id": group, "topics": [topic]}
    if version < 8:
        answer = await asker.ask(ApiKey.OFFSET_FETCH, version, **asked)
        return answer.topics[0].partitions[0]
    answer = await asker.ask(ApiKey.OFFSET_FETCH, version, groups=[asked])
    return answer.groups[0].topics[0].partitions[0]


@pytest.mark.parametrize("version", range(2, 11))
def test_committed_offset_is_fetched(world: Any, version: int) -> None:
    async def scenario(asker: Any) -> Any:
        topic_id = await asker.create("orders", 2)
        await find(asker, 6, "shop")
        nothing = await committed(asker, version, topic_id)
        code = await commit(asker, version, topic_id, 77)
        return nothing, code, await committed(asker, version, topic_id)

    nothing, code, found = world.run(scenario)
    assert (nothing.committed_offset, nothing.error_code) == (-1, ErrorCode.none)
    assert code == ErrorCode.none
    assert (found.committed_offset, found.metadata) == (77, "note")


def test_empty_group_id_has_offsets(world: Any) -> None:
    """As in Kafka, for clients of long ago."""

    async def scenario(asker: Any) -> Any:
        topic_id = await asker.create("orders", 2)
        await find(asker, 6, "")
        code = await commit(asker, 8, topic_id, 77, group="")
        return code, await committed(asker, 8, topic_id, group="")

    code, found = world.run(scenario)
    assert (code, found.committed_offset) == (ErrorCode.none, 77)


def test_unknown_partition_is_refused_alone(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        topic_id = await asker.create("orders", 2)
        await find(asker, 6, "shop")
        return [await commit(asker, 10, topic_id, 5, index=index) for index in (1, 4)]

    assert world.run(scenario) == [ErrorCode.none, ErrorCode.unknown_topic_or_partition]


def test_all_offsets_of_a_group(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        topic_id = await asker.create("orders", 2)
        await find(asker, 6, "shop")
        await commit(asker, 10, topic_id, 5)
        groups = [{"group_id": "shop", "topics": None}]
        return topic_id, await asker.ask(ApiKey.OFFSET_FETCH, groups=groups)

    topic_id, answer = world.run(scenario)
    (topic,) = answer.groups[0].topics
    assert topic.topic_id == topic_id
    assert [(each.partition_index, each.committed_offset) for each in topic.partitions] == [(1, 5)]


def test_offsets_outlive_a_restart(world: Any) -> None:
    async def main() -> Any:
        async with world.node() as node:
            asker = world.asker(node)
            topic_id = await asker.create("orders", 2)
            await find(asker, 6, "shop")
            await commit(asker, 10, topic_id, 91)
        async with world.node() as node:
            asker = world.asker(node)
            await find(asker, 6, "shop")
            while (found := await committed(asker, 10, topic_id)).error_code:
                assert found.error_code == ErrorCode.coordinator_load_in_progress
            return found

    assert world.simulation.run(main()).committed_offset == 91


def test_streams_member_joins_and_is_described(world: Any) -> None:
    topology = {
        "epoch": 3,
        "subtopologies": [{"subtopology_id": "0", "source_topics": ["orders"]}],
    }

    async def scenario(asker: Any) -> Any:
        await asker.create("orders", 2)
        await find(asker, 6, "shop")
        joined = await asker.ask(
            ApiKey.STREAMS_GROUP_HEARTBEAT,
            group_id="shop",
            member_id="m-5",
            member_epoch=0,
            endpoint_information_epoch=-1,
            rebalance_timeout=60_000,
            process_id="p-3",
            topology=topology,
            active_tasks=[],
            standby_tasks=[],
            warmup_tasks=[],
        )
        described = await asker.ask(ApiKey.STREAMS_GROUP_DESCRIBE, group_ids=["shop", "none"])
        return joined, described.groups

    joined, (shop, none) = world.run(scenario, group_streams_initial_rebalance_delay_ms="0")
    assert joined.error_code == ErrorCode.none
    assert [(task.subtopology_id, task.partitions) for task in joined.active_tasks] == [
        ("0", (0, 1))
    ]
    assert [member.client_host for member in shop.members] == ["/10.0.0.9"]
    assert none.error_code == ErrorCode.group_id_not_found

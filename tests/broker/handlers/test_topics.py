"""Metadata, topics, configurations and offsets by time, as admin clients see them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ErrorCode

TOPIC, BROKER, GROUP = 2, 4, 32


async def metadata(asker: Any, *names: str, **fields: Any) -> list[Any]:
    topics = [{"name": name} for name in names] if names else None
    answer = await asker.ask(ApiKey.METADATA, topics=topics, **fields)
    return list(answer.topics)


async def describe(asker: Any, kind: int, name: str, *keys: str) -> Any:
    answer = await asker.ask(
        ApiKey.DESCRIBE_CONFIGS,
        include_synonyms=True,
        resources=[
            {"resource_type": kind, "resource_name": name, "configuration_keys": keys or None}
        ],
    )
    return answer.results[0]


async def alter(asker: Any, kind: int, name: str, key: str, value: str | None, op: int = 0) -> Any:
    config = {"name": key, "config_operation": op, "value": value}
    answer = await asker.ask(
        ApiKey.INCREMENTAL_ALTER_CONFIGS,
        resources=[{"resource_type": kind, "resource_name": name, "configs": [config]}],
    )
    return answer.responses[0].error_code


def test_metadata_describes_the_broker_and_the_topic(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        topic_id = await asker.create("orders", 3)
        return topic_id, await asker.ask(ApiKey.METADATA, topics=None)

    topic_id, answer = world.run(scenario)
    (broker,) = answer.brokers
    assert (broker.node_id, broker.host, broker.port) == (7, "broker", 9092)
    assert answer.controller_id == 7
    assert len(answer.cluster_id) == 22
    (topic,) = answer.topics
    assert (topic.name, topic.topic_id) == ("orders", topic_id)
    assert [(each.partition_index, each.leader_id) for each in topic.partitions] == [
        (0, 7),
        (1, 7),
        (2, 7),
    ]


def test_metadata_makes_a_missing_topic_when_allowed(world: Any) -> None:
    async def scenario(asker: Any) -> list[Any]:
        refused = await metadata(asker, "absent", allow_auto_topic_creation=False)
        made = await metadata(asker, "made", allow_auto_topic_creation=True)
        bad = await metadata(asker, "no spaces", allow_auto_topic_creation=True)
        return [*refused, *made, *bad]

    refused, made, bad = world.run(scenario, num_partitions="4")
    assert refused.error_code == ErrorCode.unknown_topic_or_partition
    assert made.error_code == ErrorCode.none
    assert len(made.partitions) == 4
    assert bad.error_code == ErrorCode.invalid_topic_exception


def test_metadata_makes_nothing_when_switched_off(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        return await metadata(asker, "absent", allow_auto_topic_creation=True)

    (topic,) = world.run(scenario, auto_create_topics_enable="false")
    assert topic.error_code == ErrorCode.unknown_topic_or_partition


def test_metadata_never_makes_the_topic_of_an_unserved_coordinator(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        return await metadata(asker, "__share_group_state", allow_auto_topic_creation=True)

    (topic,) = world.run(scenario)
    assert topic.error_code == ErrorCode.unknown_topic_or_partition


def test_metadata_by_id(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        topic_id = await asker.create("orders")
        topics = [{"topic_id": topic_id, "name": None}, {"topic_id": UUID(int=5), "name": None}]
        return (await asker.ask(ApiKey.METADATA, topics=topics)).topics

    known, unknown = world.run(scenario)
    assert known.name == "orders"
    assert unknown.error_code == ErrorCode.unknown_topic_id


@pytest.mark.parametrize("version", range(14))
def test_every_metadata_version_lists_all_topics(world: Any, version: int) -> None:
    async def scenario(asker: Any) -> Any:
        await asker.create("orders")
        return await asker.ask(ApiKey.METADATA, version, topics=() if version == 0 else None)

    assert [topic.name for topic in world.run(scenario).topics] == ["orders"]


def test_good_and_bad_topics_of_one_request_are_told_apart(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        await asker.create("there")
        wanted = {"num_partitions": 2, "replication_factor": 1}
        topics = [
            {"name": "there", **wanted},
            {"name": "new", **wanted},
            {"name": "bad name", **wanted},
            {"name": "many", "num_partitions": 1, "replication_factor": 5},
            {
                "name": "odd",
                **wanted,
                "configs": [{"name": "retention.mss", "value": "1"}],
            },
        ]
        return (await asker.ask(ApiKey.CREATE_TOPICS, topics=topics)).topics

    codes = {topic.name: topic.error_code for topic in world.run(scenario)}
    assert codes == {
        "there": ErrorCode.topic_already_exists,
        "new": ErrorCode.none,
        "bad name": ErrorCode.invalid_topic_exception,
        "many": ErrorCode.invalid_replication_factor,
        "odd": ErrorCode.invalid_config,
    }


def test_validate_only_makes_nothing(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        topic = {"name": "tried", "num_partitions": 1, "replication_factor": 1}
        await asker.ask(ApiKey.CREATE_TOPICS, topics=[topic], validate_only=True)
        return await metadata(asker)

    assert world.run(scenario) == []


@pytest.mark.parametrize("version", [5, 6])
def test_deleted_topic_is_gone_with_its_files(world: Any, version: int) -> None:
    async def scenario(asker: Any) -> Any:
        topic_id = await asker.create("doomed")
        await asker.produce(topic_id, "v")
        asked = {"topic_names": ["doomed"]} if version == 5 else {"topics": [{"name": "doomed"}]}
        answer = await asker.ask(ApiKey.DELETE_TOPICS, version, timeout=1, **asked)
        fetched = await asker.fetch(topic_id, 0)
        return answer.responses[0], fetched, await metadata(asker)

    deleted, fetched, left = world.run(scenario)
    assert (deleted.name, deleted.error_code) == ("doomed", ErrorCode.none)
    assert fetched.error_code == ErrorCode.unknown_topic_id
    assert left == []
    assert not world.disk.exists("/data/doomed-0")


def test_topic_made_again_has_another_id_and_no_records(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        first = await asker.create("again")
        await asker.produce(first, "old")
        await asker.ask(ApiKey.DELETE_TOPICS, topics=[{"name": "again"}])
        second = await asker.create("again")
        return first, second, await asker.fetch(second, 0)

    first, second, fetched = world.run(scenario)
    assert first != second
    assert fetched.high_watermark == 0


def test_more_partitions(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        topic_id = await asker.create("growing", 2)
        fewer = await asker.ask(
            ApiKey.CREATE_PARTITIONS, topics=[{"name": "growing", "count": 2, "assignments": None}]
        )
        more = await asker.ask(
            ApiKey.CREATE_PARTITIONS, topics=[{"name": "growing", "count": 5, "assignments": None}]
        )
        produced = await asker.produce(topic_id, "v", partition=4)
        return fewer.results[0], more.results[0], produced

    fewer, more, produced = world.run(scenario)
    assert fewer.error_code == ErrorCode.invalid_partitions
    assert more.error_code == ErrorCode.none
    assert produced.error_code == ErrorCode.none


def test_describe_topic_partitions_goes_page_by_page(world: Any) -> None:
    async def scenario(asker: Any) -> list[Any]:
        await asker.create("a", 3)
        await asker.create("b", 2)
        pages: list[Any] = []
        cursor = None
        while not pages or cursor is not None:
            page = await asker.ask(
                ApiKey.DESCRIBE_TOPIC_PARTITIONS,
                topics=[{"name": "b"}, {"name": "a"}, {"name": "absent"}],
                response_partition_limit=2,
                cursor=cursor,
            )
            pages.append(page)
            cursor = page.next_cursor
        return pages

    seen = [
        [(topic.name, [each.partition_index for each in topic.partitions]) for topic in page.topics]
        for page in world.run(scenario)
    ]
    assert seen == [[("a", [0, 1])], [("a", [2]), ("absent", []), ("b", [0])], [("b", [1])]]


def test_describe_cluster(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        good = await asker.ask(ApiKey.DESCRIBE_CLUSTER)
        return good, await asker.ask(ApiKey.DESCRIBE_CLUSTER, endpoint_type=2)

    good, wrong = world.run(scenario)
    assert [(each.broker_id, each.host) for each in good.brokers] == [(7, "broker")]
    assert wrong.error_code == ErrorCode.mismatched_endpoint_type


def test_topic_configs_are_shown_and_changed(world: Any) -> None:
    async def scenario(asker: Any) -> list[Any]:
        await asker.create("tuned", cleanup_policy="compact")
        codes = [
            await alter(asker, TOPIC, "tuned", "retention.ms", "1234"),
            await alter(asker, TOPIC, "tuned", "retention.ms", "many"),
            await alter(asker, TOPIC, "absent", "retention.ms", "1"),
        ]
        return [codes, await describe(asker, TOPIC, "tuned", "retention.ms", "cleanup.policy")]

    codes, described = world.run(scenario)
    assert codes == [
        ErrorCode.none,
        ErrorCode.invalid_config,
        ErrorCode.unknown_topic_or_partition,
    ]
    shown = {each.name: (each.value, each.config_source) for each in described.configs}
    assert shown == {"retention.ms": ("1234", 1), "cleanup.policy": ("compact", 1)}


def test_changed_topic_config_takes_effect_at_once(world: Any) -> None:
    async def scenario(asker: Any) -> list[int]:
        topic = await asker.create("small")
        codes = [(await asker.produce(topic, "v" * 5000)).error_code]
        await alter(asker, TOPIC, "small", "max.message.bytes", "1000")
        codes.append((await asker.produce(topic, "v" * 5000)).error_code)
        await alter(asker, TOPIC, "small", "max.message.bytes", None, op=1)
        await alter(asker, BROKER, "", "message.max.bytes", "2000")
        codes.append((await asker.produce(topic, "v" * 5000)).error_code)
        return codes

    assert world.run(scenario) == [
        ErrorCode.none,
        ErrorCode.message_too_large,
        ErrorCode.message_too_large,
    ]


def test_standby_replicas_of_a_group_are_set(world: Any) -> None:
    async def scenario(asker: Any) -> list[Any]:
        key = "streams.num.standby.replicas"
        return [
            await alter(asker, GROUP, "shop", key, "1"),
            await alter(asker, GROUP, "shop", key, "99"),
            (await describe(asker, GROUP, "shop", key)).configs[0],
        ]

    good, bad, shown = world.run(scenario)
    assert (good, bad) == (ErrorCode.none, ErrorCode.invalid_config)
    assert (shown.value, shown.config_source) == ("1", 8)


def test_broker_configs_are_this_brokers_only(world: Any) -> None:
    async def scenario(asker: Any) -> list[Any]:
        return [await describe(asker, BROKER, "7", "node.id"), await describe(asker, BROKER, "8")]

    own, other = world.run(scenario)
    assert (own.configs[0].value, own.configs[0].config_source) == ("7", 4)
    assert other.error_code == ErrorCode.invalid_request


async def list_offset(asker: Any, timestamp: int, version: int = 11) -> Any:
    partition = {"partition_index": 0, "current_leader_epoch": -1, "timestamp": timestamp}
    answer = await asker.ask(
        ApiKey.LIST_OFFSETS,
        version,
        replica_id=-1,
        isolation_level=0,
        topics=[{"name": "timed", "partitions": [partition]}],
    )
    return answer.topics[0].partitions[0]


@pytest.mark.parametrize(
    ("timestamp", "offset", "found"),
    [
        (-1, 4, -1),
        (-2, 0, -1),
        (-3, 3, 1_699_999_000_003),
        (-4, 0, -1),
        (-5, -1, -1),
        (1_699_999_000_002, 2, 1_699_999_000_002),
        (1_699_999_999_999, -1, -1),
    ],
)
def test_offsets_by_time_and_by_place(world: Any, timestamp: int, offset: int, found: int) -> None:
    async def scenario(asker: Any) -> Any:
        topic = await asker.create("timed")
        await asker.produce(topic, "a", "b", "c", "d")
        return await list_offset(asker, timestamp)

    answer = world.run(scenario)
    assert (answer.offset, answer.timestamp) == (offset, found)


def test_special_timestamp_is_refused_in_a_version_before_it(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        await asker.create("timed")
        return await list_offset(asker, -3, version=6)

    assert world.run(scenario).error_code == ErrorCode.unsupported_version


def test_deleted_records_move_the_log_start(world: Any) -> None:
    async def scenario(asker: Any) -> list[Any]:
        topic = await asker.create("timed")
        await asker.produce(topic, "a", "b", "c")

        async def delete(offset: int) -> Any:
            partition = {"partition_index": 0, "offset": offset}
            answer = await asker.ask(
                ApiKey.DELETE_RECORDS,
                timeout=1,
                topics=[{"name": "timed", "partitions": [partition]}],
            )
            return answer.topics[0].partitions[0]

        first = await delete(2)
        beyond = await delete(9)
        below = (await asker.fetch(topic, 1)).error_code
        return [first, beyond, below, (await list_offset(asker, -2)).offset, await delete(-1)]

    first, beyond, below, start, last = world.run(scenario)
    assert (first.error_code, first.low_watermark) == (ErrorCode.none, 2)
    assert beyond.error_code == ErrorCode.offset_out_of_range
    assert below == ErrorCode.offset_out_of_range
    assert start == 2
    assert last.low_watermark == 3


def test_epoch_end_is_told(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        topic = await asker.create("timed")
        await asker.produce(topic, "a", "b")
        partition = {"partition": 0, "current_leader_epoch": -1, "leader_epoch": 0}
        answer = await asker.ask(
            ApiKey.OFFSET_FOR_LEADER_EPOCH,
            topics=[{"topic": "timed", "partitions": [partition]}],
        )
        return answer.topics[0].partitions[0]

    answer = world.run(scenario)
    assert (answer.leader_epoch, answer.end_offset) == (0, 2)

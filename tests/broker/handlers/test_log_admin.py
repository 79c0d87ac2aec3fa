"""Administration of logs and configurations: directories, resources, features, the quorum."""

from __future__ import annotations

from typing import Any

from streamkit.broker.kraft.image import GROUP_RESOURCE, TOPIC_RESOURCE
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ErrorCode


def test_log_directories_show_sizes(world: Any) -> None:
    async def scenario(asker: Any) -> None:
        topic_id = await asker.create("orders", 2)
        await asker.produce(topic_id, "a", "b", partition=1)
        answer = await asker.ask(ApiKey.DESCRIBE_LOG_DIRS, topics=None)
        (found,) = answer.results
        assert (found.error_code, found.log_dir) == (ErrorCode.none, "/data")
        assert found.total_bytes > found.usable_bytes > 0
        sizes = {
            (topic.name, each.partition_index): each.partition_size
            for topic in found.topics
            for each in topic.partitions
        }
        assert sizes["orders", 0] == 0
        assert sizes["orders", 1] > 61
        asked = [{"topic": "orders", "partitions": [1, 5]}]
        answer = await asker.ask(ApiKey.DESCRIBE_LOG_DIRS, topics=asked)
        (topic,) = answer.results[0].topics
        assert [each.partition_index for each in topic.partitions] == [1]

    world.run(scenario)


def test_resources_with_configurations_are_listed(world: Any) -> None:
    async def scenario(asker: Any) -> None:
        await asker.create("orders")
        change = {"name": "streams.num.standby.replicas", "value": "1", "config_operation": 0}
        resource = {"resource_type": 32, "resource_name": "app-7", "configs": [change]}
        await asker.ask(ApiKey.INCREMENTAL_ALTER_CONFIGS, resources=[resource])
        answer = await asker.ask(ApiKey.LIST_CONFIG_RESOURCES)
        found = {(each.resource_type, each.resource_name) for each in answer.config_resources}
        assert {(TOPIC_RESOURCE, "orders"), (GROUP_RESOURCE, "app-7"), (4, "7")} <= found
        answer = await asker.ask(ApiKey.LIST_CONFIG_RESOURCES, resource_types=[32])
        assert [each.resource_name for each in answer.config_resources] == ["app-7"]
        answer = await asker.ask(ApiKey.LIST_CONFIG_RESOURCES, resource_types=[99])
        assert answer.error_code == ErrorCode.unsupported_version
        answer = await asker.ask(ApiKey.LIST_CONFIG_RESOURCES, 0)
        assert answer.config_resources == ()

    world.run(scenario)


def test_old_alter_configs_puts_back_what_it_does_not_name(world: Any) -> None:
    async def scenario(asker: Any) -> None:
        await asker.create("orders", retention_ms="7000", segment_ms="9000")
        wanted = {
            "resource_type": 2,
            "resource_name": "orders",
            "configs": [{"name": "retention.ms", "value": "8000"}],
        }
        answer = await asker.ask(ApiKey.ALTER_CONFIGS, resources=[wanted])
        assert answer.responses[0].error_code == ErrorCode.none
        asked = {"resource_type": 2, "resource_name": "orders", "configuration_keys": None}
        answer = await asker.ask(ApiKey.DESCRIBE_CONFIGS, resources=[asked])
        values = {each.name: (each.value, each.config_source) for each in answer.results[0].configs}
        assert values["retention.ms"] == ("8000", 1)
        assert values["segment.ms"] == ("604800000", 5)

    world.run(scenario)


def test_features_change_by_request(world: Any) -> None:
    async def scenario(asker: Any) -> None:
        update = {"feature": "streams.version", "max_version_level": 0, "upgrade_type": 2}
        answer = await asker.ask(ApiKey.UPDATE_FEATURES, feature_updates=[update])
        assert answer.error_code == ErrorCode.none
        versions = await asker.ask(ApiKey.API_VERSIONS, client_software_name="a",
                                   client_software_version="1")  # fmt: skip
        assert "streams.version" not in [each.name for each in versions.finalized_features]
        update = {"feature": "streams.version", "max_version_level": 9, "upgrade_type": 1}
        answer = await asker.ask(ApiKey.UPDATE_FEATURES, feature_updates=[update])
        assert answer.error_code == ErrorCode.invalid_update_version

    world.run(scenario)


def test_the_quorum_is_described(world: Any) -> None:
    async def scenario(asker: Any) -> None:
        topics = [
            {"topic_name": "__cluster_metadata", "partitions": [{"partition_index": 0}]},
            {"topic_name": "orders", "partitions": [{"partition_index": 3}]},
        ]
        answer = await asker.ask(ApiKey.DESCRIBE_QUORUM, topics=topics)
        metadata, other = (topic.partitions[0] for topic in answer.topics)
        assert (metadata.leader_id, metadata.leader_epoch) == (7, 1)
        (voter,) = metadata.current_voters
        assert voter.replica_id == 7
        assert voter.replica_directory_id is not None
        assert voter.log_end_offset == metadata.high_watermark > 5
        assert other.error_code == ErrorCode.unknown_topic_or_partition
        assert answer.nodes[0].listeners[0].port == 9092

    world.run(scenario)


def test_the_cleaner_obeys_configs_that_change_while_it_runs(world: Any) -> None:
    async def scenario(asker: Any) -> None:
        for value, code in (("700", ErrorCode.none), ("-3", ErrorCode.invalid_request)):
            change = {"name": "log.cleaner.backoff.ms", "value": value, "config_operation": 0}
            resource = {"resource_type": 4, "resource_name": "", "configs": [change]}
            answer = await asker.ask(ApiKey.INCREMENTAL_ALTER_CONFIGS, resources=[resource])
            assert answer.responses[0].error_code == code
        parts = asker.node.dispatcher._parts
        assert parts.metadata.live_number("log.cleaner.backoff.ms") == 700
        assert parts.metadata.live_number("log.cleaner.dedupe.buffer.size") == 134217728

    world.run(scenario)

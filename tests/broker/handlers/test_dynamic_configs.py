"""Broker configurations that change while the broker runs: what follows them, and who is asked."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from streamkit.broker.config_view import ConfigSource
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ErrorCode

BROKER = 4
SET, DELETE = 0, 1
NODE = "7"


async def alter(asker: Any, name: str, value: str | None, broker: str = "") -> ErrorCode:
    """Change one configuration of a broker, or of all."""
    operation = DELETE if value is None else SET
    change = {"name": name, "value": value, "config_operation": operation}
    resource = {"resource_type": BROKER, "resource_name": broker, "configs": [change]}
    answer = await asker.ask(ApiKey.INCREMENTAL_ALTER_CONFIGS, resources=[resource])
    return ErrorCode(answer.responses[0].error_code)


async def describe(asker: Any, name: str) -> Any:
    """One configuration of the broker."""
    resource = {"resource_type": BROKER, "resource_name": NODE, "configuration_keys": [name]}
    answer = await asker.ask(ApiKey.DESCRIBE_CONFIGS, resources=[resource], include_synonyms=True)
    return answer.results[0].configs[0]


def live(asker: Any, name: str) -> Any:
    return getattr(asker.node.dispatcher._parts.metadata.live_settings(), name)


def test_a_broker_s_own_value_stands_before_that_of_all_and_the_file(world: Any) -> None:
    name = "producer.id.expiration.ms"

    async def scenario(asker: Any) -> list[int]:
        seen = [live(asker, "producer_id_expiration_ms")]
        for value, broker in (("700", ""), ("800", NODE), (None, NODE), (None, "")):
            assert await alter(asker, name, value, broker) is ErrorCode.none
            seen.append(live(asker, "producer_id_expiration_ms"))
        return seen

    assert world.run(scenario, producer_id_expiration_ms="600") == [600, 700, 800, 700, 600]


def test_all_places_of_a_value_are_told(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        await alter(asker, "log.retention.ms", "77777777")
        await alter(asker, "log.retention.ms", "88888888", NODE)
        return await describe(asker, "log.retention.ms")

    found = world.run(scenario, log_retention_ms="66666666")
    assert (found.value, found.config_source) == ("88888888", ConfigSource.DYNAMIC_BROKER)
    assert [(each.name, each.value, ConfigSource(each.source)) for each in found.synonyms] == [
        ("log.retention.ms", "88888888", ConfigSource.DYNAMIC_BROKER),
        ("log.retention.ms", "77777777", ConfigSource.DYNAMIC_DEFAULT),
        ("log.retention.ms", "66666666", ConfigSource.STATIC),
        ("log.retention.hours", "168", ConfigSource.DEFAULT),
    ]


def test_a_topic_follows_the_broker_s_values(world: Any) -> None:
    async def scenario(asker: Any) -> list[int]:
        topic = await asker.create("orders")
        settings = []
        for value in ("5555555", None):
            await alter(asker, "message.max.bytes", value)
            log = asker.node.dispatcher._parts.replicas.find(topic, 0).log
            settings.append(log.settings.message_bytes_max)
        return settings

    assert world.run(scenario) == [5_555_555, 1_048_588]


def test_groups_follow_the_broker_s_values_below_their_own(world: Any) -> None:
    async def scenario(asker: Any) -> tuple[Any, Any]:
        metadata = asker.node.dispatcher._parts.metadata
        await alter(asker, "group.streams.assignment.interval.ms", "2345")
        change = {"name": "streams.assignment.interval.ms", "value": "3456", "config_operation": 0}
        resource = {"resource_type": 32, "resource_name": "own", "configs": [change]}
        await asker.ask(ApiKey.INCREMENTAL_ALTER_CONFIGS, resources=[resource])
        return metadata.group_configs("other"), metadata.group_configs("own")

    other, own = world.run(scenario)
    assert other == {"streams.assignment.interval.ms": "2345"}
    assert own == {"streams.assignment.interval.ms": "3456"}


def test_connections_by_address_follow(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        name = "max.connections.per.ip.overrides"
        assert await alter(asker, name, "10.0.0.9:3", NODE) is ErrorCode.none
        assert await alter(asker, name, "nowhere", NODE) is ErrorCode.invalid_request
        return asker.node._server.limits.connections_of_host_max

    assert world.run(scenario) == {"10.0.0.9": 3}


def test_what_fits_alone_but_not_beside_the_file_is_not_followed(
    world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    name = "group.consumer.assignment.interval.ms"

    async def scenario(asker: Any) -> tuple[Any, Any]:
        with caplog.at_level(logging.ERROR):
            await alter(asker, name, "9000")
            refused = live(asker, "group_consumer_assignment_interval_ms")
        await alter(asker, name, "4000")
        return refused, live(asker, "group_consumer_assignment_interval_ms")

    maximum = {"group_consumer_max_assignment_interval_ms": "5000"}
    assert world.run(scenario, **maximum) == (1000, 4000)
    assert "is not followed" in caplog.text


@pytest.mark.parametrize("name", ["num.partitions", "log.retention.hours", "listeners"])
def test_what_is_read_once_cannot_be_changed(world: Any, name: str) -> None:
    async def scenario(asker: Any) -> Any:
        return await alter(asker, name, "3", NODE), (await describe(asker, name)).read_only

    assert world.run(scenario) == (ErrorCode.invalid_request, True)


def test_changes_outlive_a_restart(world: Any) -> None:
    async def main() -> Any:
        async with world.node() as node:
            asker = world.asker(node)
            await alter(asker, "transaction.partition.verification.enable", "false")
        async with world.node() as node:
            return live(world.asker(node), "transaction_partition_verification_enable")

    assert world.simulation.run(main()) is False

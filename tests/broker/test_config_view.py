"""Configurations as they are shown: which place wins, and in which unit."""

from __future__ import annotations

import pytest

from streamkit.broker.config_view import (
    BrokerLayers,
    ConfigEntry,
    ConfigSource,
    broker_entries,
    group_entries,
    topic_entries,
)

LAYERS = BrokerLayers(
    dynamic={"log.segment.bytes": "3000000"},
    dynamic_default={"log.segment.bytes": "2500000", "message.max.bytes": "77000"},
    static={"log.segment.bytes": "2000000", "log.retention.hours": "5", "num.partitions": "9"},
)


def named(entries: list[ConfigEntry], name: str) -> ConfigEntry:
    return next(entry for entry in entries if entry.key.name == name)


@pytest.mark.parametrize(
    ("name", "own", "value", "source"),
    [
        ("segment.bytes", {"segment.bytes": "4000000"}, "4000000", ConfigSource.TOPIC),
        ("segment.bytes", {}, "3000000", ConfigSource.DYNAMIC_BROKER),
        ("max.message.bytes", {}, "77000", ConfigSource.DYNAMIC_DEFAULT),
        ("retention.ms", {}, str(5 * 3_600_000), ConfigSource.STATIC),
        ("cleanup.policy", {}, "delete", ConfigSource.DEFAULT),
    ],
)
def test_strongest_place_of_a_topic_config_wins(
    name: str, own: dict[str, str], value: str, source: ConfigSource
) -> None:
    entry = named(topic_entries(own, LAYERS), name)
    assert (entry.value, entry.source) == (value, source)


def test_synonyms_are_all_places_strongest_first() -> None:
    entry = named(topic_entries({"segment.bytes": "4000000"}, LAYERS), "segment.bytes")
    assert [(each.value, each.source) for each in entry.synonyms] == [
        ("4000000", ConfigSource.TOPIC),
        ("3000000", ConfigSource.DYNAMIC_BROKER),
        ("2500000", ConfigSource.DYNAMIC_DEFAULT),
        ("2000000", ConfigSource.STATIC),
        ("1073741824", ConfigSource.DEFAULT),
    ]


@pytest.mark.parametrize(
    ("name", "own", "told"),
    [
        # Kafka begins with the key's first broker name, so hours alone are not told.
        ("retention.ms", {}, []),
        ("retention.ms", {"retention.ms": "77"}, [("retention.ms", ConfigSource.TOPIC)]),
        ("segment.jitter.ms", {}, []),
        ("follower.replication.throttled.replicas", {}, []),
        (
            "segment.ms",
            {},
            [("log.roll.ms", ConfigSource.STATIC), ("log.roll.hours", ConfigSource.DEFAULT)],
        ),
    ],
)
def test_synonyms_are_told_as_kafka_does(
    name: str, own: dict[str, str], told: list[tuple[str, ConfigSource]]
) -> None:
    layers = BrokerLayers({}, {}, {"log.retention.hours": "5", "log.roll.ms": "7000"})
    entry = named(topic_entries(own, layers), name)
    assert [(each.name, each.source) for each in entry.synonyms] == told
    assert entry.told_source == (told[0][1] if told else ConfigSource.DEFAULT)


def test_broker_config_tells_its_siblings_behind_it() -> None:
    layers = BrokerLayers({}, {}, {"log.retention.ms": "7000"})
    entries = broker_entries(layers)
    assert [each.name for each in named(entries, "log.retention.ms").synonyms] == [
        "log.retention.ms",
        "log.retention.hours",
    ]
    assert [each.name for each in named(entries, "log.retention.hours").synonyms] == [
        "log.retention.hours"
    ]
    assert named(entries, "log.retention.hours").value == "168"


def test_hidden_topic_config_is_shown_only_when_set() -> None:
    name = "internal.segment.bytes"
    assert name not in [entry.key.name for entry in topic_entries({}, LAYERS)]
    assert named(topic_entries({name: "512"}, LAYERS), name).value == "512"


def test_hidden_broker_config_is_shown_only_when_set() -> None:
    name = "log.initial.task.delay.ms"
    assert name not in [entry.key.name for entry in broker_entries(LAYERS)]
    assert named(broker_entries(BrokerLayers({}, {}, {name: "7"})), name).value == "7"


def test_group_config_falls_back_to_the_broker() -> None:
    layers = BrokerLayers({}, {}, {"group.streams.num.standby.replicas": "2"})
    entry = named(group_entries({}, layers), "streams.num.standby.replicas")
    assert (entry.value, entry.source) == ("2", ConfigSource.STATIC)


def test_broker_configs_say_which_can_be_changed() -> None:
    entries = broker_entries(LAYERS)
    assert named(entries, "num.partitions").value == "9"
    assert named(entries, "num.partitions").is_read_only
    assert not named(entries, "log.segment.bytes").is_read_only

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


def test_hidden_topic_config_is_shown_only_when_set() -> None:
    name = "internal.segment.bytes"
    assert name not in [entry.key.name for entry in topic_entries({}, LAYERS)]
    assert named(topic_entries({name: "512"}, LAYERS), name).value == "512"


def test_group_config_falls_back_to_the_broker() -> None:
    layers = BrokerLayers({}, {}, {"group.streams.num.standby.replicas": "2"})
    entry = named(group_entries({}, layers), "streams.num.standby.replicas")
    assert (entry.value, entry.source) == ("2", ConfigSource.STATIC)


def test_broker_configs_say_which_can_be_changed() -> None:
    entries = broker_entries(LAYERS)
    assert named(entries, "num.partitions").value == "9"
    assert named(entries, "num.partitions").is_read_only
    assert not named(entries, "log.segment.bytes").is_read_only

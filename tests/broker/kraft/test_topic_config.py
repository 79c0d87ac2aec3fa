"""Configuration keys: types, checks, and where an effective value comes from."""

from __future__ import annotations

import pytest

from streamkit.broker.kraft.broker_config import (
    BROKER_CONFIGS,
    DYNAMIC_CONFIGS,
    LIVE_CONFIGS,
    static_layer,
)
from streamkit.broker.kraft.config_def import ConfigType
from streamkit.broker.kraft.topic_config import (
    BROKER_SYNONYMS,
    TOPIC_CONFIGS,
    effective_topic_values,
    validate_topic_configs,
)
from streamkit.broker.log.settings import LogSettings
from streamkit.broker.settings import BrokerSettings
from streamkit.common.errors import ConfigError


def effective(own: dict[str, str], *layers: dict[str, str]) -> dict[str, object]:
    return dict(effective_topic_values(own, layers))


def test_every_default_passes_its_own_check() -> None:
    for key in (*TOPIC_CONFIGS.values(), *BROKER_CONFIGS.values()):
        if key.default is not None:
            key.parse(key.default)


def test_broker_synonyms_are_broker_configs_with_the_same_defaults() -> None:
    assert set(BROKER_CONFIGS) >= BROKER_SYNONYMS
    assert BROKER_SYNONYMS | LIVE_CONFIGS >= DYNAMIC_CONFIGS
    for key in TOPIC_CONFIGS.values():
        if key.synonyms and key.synonyms[-1][1] == 1:
            backing = BROKER_CONFIGS[key.synonyms[-1][0]]
            assert backing.default_value == key.default_value, key.name


def test_log_settings_without_any_configuration_are_the_logs_own_defaults() -> None:
    assert LogSettings.from_configs(effective({})) == LogSettings()


def test_topic_value_stands_before_every_broker_layer() -> None:
    layers = ({"log.retention.ms": "5"}, {"log.retention.ms": "6"})
    assert effective({"retention.ms": "7"}, *layers)["retention.ms"] == 7
    assert effective({}, *layers)["retention.ms"] == 5
    assert effective({}, {}, layers[1])["retention.ms"] == 6


def test_finer_synonym_of_a_weaker_layer_stands_before_a_coarser_one() -> None:
    dynamic, static = {"log.retention.hours": "2"}, {"log.retention.ms": "9"}
    assert effective({}, dynamic, static)["retention.ms"] == 9
    assert effective({}, dynamic)["retention.ms"] == 7_200_000
    assert effective({}, {"log.retention.hours": "-1"})["retention.ms"] == -1


def test_small_segments_of_the_broker_are_not_held_to_the_topics_bound() -> None:
    assert effective({}, {"log.segment.bytes": "4096"})["segment.bytes"] == 4096


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("nonsense", "1", "unknown topic config name: nonsense"),
        ("retention.ms", "1.5", "retention.ms: not a long"),
        ("segment.bytes", str(2**31), "segment.bytes: not a int"),
        ("preallocate", "yes", "preallocate: not a boolean"),
        ("cleanup.policy", "delete,delete", "must be one of"),
        ("cleanup.policy", "shred", "must be one of"),
        ("compression.type", "brotli", "must be one of"),
        ("compression.gzip.level", "0", "between 1 and 9, or"),
        ("min.cleanable.dirty.ratio", "1.5", "between 0 and 1"),
        ("follower.replication.throttled.replicas", "1-2", "partition:broker"),
        ("remote.storage.enable", "true", "no remote storage"),
    ],
)
def test_bad_value_is_refused_with_its_reason(name: str, text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        validate_topic_configs({name: text})


def test_values_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"min\.compaction\.lag\.ms \(9\)"):
        validate_topic_configs({"min.compaction.lag.ms": "9", "max.compaction.lag.ms": "8"})


def test_empty_cleanup_policy_keeps_for_ever() -> None:
    assert validate_topic_configs({"cleanup.policy": ""}) == {"cleanup.policy": ()}
    settings = LogSettings.from_configs(effective({"cleanup.policy": ""}))
    assert not settings.is_deleted
    assert not settings.is_compacted


def test_static_layer_holds_only_what_was_set() -> None:
    settings = BrokerSettings.from_mapping(
        {"node.id": 7, "log.retention.ms": 77, "auto.create.topics.enable": "false"}
    )
    assert static_layer(settings) == {
        "auto.create.topics.enable": "false",
        "log.retention.ms": "77",
        "node.id": "7",
    }


def test_types_are_those_that_kafka_tells() -> None:
    types = {name: BROKER_CONFIGS[name].type for name in BROKER_CONFIGS}
    assert types["log.retention.ms"] is ConfigType.LONG
    assert types["log.retention.hours"] is ConfigType.INT
    assert types["group.streams.session.timeout.ms"] is ConfigType.INT
    assert types["connections.max.idle.ms"] is ConfigType.LONG
    assert types["log.cleanup.policy"] is ConfigType.LIST

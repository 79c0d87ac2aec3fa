"""The configurations of brokers, derived from the broker's settings.

Type and default come from `BrokerSettings`, so a key is declared once. Those that back topic
configurations are dynamic: they may be changed for one broker or for all while they run, since
a topic's effective values are looked up through the image.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from streamkit.broker.kraft.config_def import Check, ConfigKey, ConfigType
from streamkit.broker.kraft.topic_config import BROKER_SYNONYMS, TOPIC_CONFIGS
from streamkit.broker.settings import BrokerSettings
from streamkit.common.errors import ConfigError

LIVE_CONFIGS = frozenset(
    {
        "group.consumer.assignment.interval.ms",
        "group.streams.assignment.interval.ms",
        "log.cleaner.backoff.ms",
        "log.cleaner.dedupe.buffer.size",
        "max.connections",
        "max.connections.per.ip",
        "max.connections.per.ip.overrides",
        "producer.id.expiration.ms",
        "transaction.partition.verification.enable",
    }
)
"""The keys of its own that the broker looks up whenever it needs them."""

DYNAMIC_CONFIGS = LIVE_CONFIGS | BROKER_SYNONYMS - {
    # Read once at the start, in units that a change could not be told from.
    "log.retention.hours",
    "log.retention.minutes",
    "log.roll.hours",
    "log.roll.jitter.hours",
    "log.flush.scheduler.interval.ms",
}
"""The keys that can be changed while the broker runs (DynamicBrokerConfig)."""

_INTERNAL = frozenset(
    {
        "group.consumer.regex.refresh.interval.ms",
        "log.initial.task.delay.ms",
        "producer.id.expiration.check.interval.ms",
    }
)
"""The keys that Kafka defines as internal: they are shown only when they were set."""

_INTS = frozenset({"fetch.max.bytes", "socket.request.max.bytes"})

_DOCS = {
    "auto.create.topics.enable": "Whether a metadata request makes the topics it asks for.",
    "default.replication.factor": "Replicas of a topic whose creator does not say.",
    "delete.topic.enable": "Whether topics may be deleted.",
    "listeners": "Where this broker listens.",
    "log.dirs": "Where this broker keeps its data.",
    "node.id": "This node's number in the cluster.",
    "num.partitions": "Partitions of a topic whose creator does not say.",
}

_TYPES: Mapping[Any, ConfigType] = {
    bool: ConfigType.BOOLEAN,
    int: ConfigType.LONG,
    float: ConfigType.DOUBLE,
    str: ConfigType.STRING,
    tuple: ConfigType.LIST,
}


def _broker_key(field_name: str, annotation: Any, default: Any) -> ConfigKey:
    name = field_name.replace("_", ".")
    backed = next(
        (key for key in TOPIC_CONFIGS.values() if any(name == each for each, _ in key.synonyms)),
        None,
    )
    doc = _DOCS.get(name) or (f"The default of topics' {backed.name}." if backed else "")
    kind = backed.type if backed is not None else _type_of(annotation)
    if kind is ConfigType.LONG and _is_small(name):
        kind = ConfigType.INT
    return ConfigKey(
        name, kind, config_text(default), doc, _check_of(backed), is_internal=name in _INTERNAL
    )


def _is_small(name: str) -> bool:
    """Kafka keeps times in milliseconds as longs, but for those of groups, and the rest as ints."""
    is_time = name.endswith((".ms", ".bytes", ".messages"))
    return name in _INTS or name.startswith(("group.", "offset")) or not is_time


def _check_of(backed: ConfigKey | None) -> Check | None:
    return None if backed is None else backed.check


def _type_of(annotation: Any) -> ConfigType:
    if typing.get_origin(annotation) is types.UnionType:
        annotation = next(
            each for each in typing.get_args(annotation) if each is not types.NoneType
        )
    return _TYPES[typing.get_origin(annotation) or annotation]


def config_text(value: object) -> str | None:
    """A setting's value as Kafka writes it."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(str(each) for each in value)
    return str(value)


BROKER_CONFIGS: Mapping[str, ConfigKey] = MappingProxyType(
    {
        key.name: key
        for key in (
            _broker_key(name, info.annotation, info.default)
            for name, info in sorted(BrokerSettings.model_fields.items())
            if name != "prefixed"
        )
    }
)
"""Every broker configuration by name."""


def static_layer(settings: BrokerSettings) -> dict[str, str]:
    """The keys that the configuration file or the command line set, as text."""
    layer: dict[str, str] = {}
    for name in sorted(settings.model_fields_set - {"prefixed"}):
        text = config_text(getattr(settings, name))
        if text is not None:
            layer[name.replace("_", ".")] = text
    return layer


def validate_broker_configs(values: Mapping[str, str]) -> None:
    """Check dynamic broker configurations. Raises ConfigError for one that does not fit."""
    for name, text in values.items():
        key = BROKER_CONFIGS.get(name)
        if key is None:
            raise ConfigError(f"unknown broker config name: {name}")
        key.parse(text)
    BrokerSettings.from_mapping(values)

"""The configurations of topics: keys, types, defaults, checks, and which broker keys back them.

The effective value of a key is the topic's own, else the first that is set among its broker
synonyms (dynamic for the broker, dynamic for all brokers, from the configuration file), else the
built-in default (Kafka's LogConfig and ServerTopicConfigSynonyms).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from streamkit.broker.kraft.config_def import (
    LONG_MAX,
    ConfigKey,
    ConfigType,
    ConfigValue,
    any_of,
    at_least,
    between,
    one_of,
)
from streamkit.common.errors import ConfigError

HOUR_MS = 3_600_000
MINUTE_MS = 60_000
SEGMENT_BYTES_MIN = 1024 * 1024
"""The smallest segment.bytes that a user may ask for (KIP-1030)."""

_COMPRESSIONS = ("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer")
_THROTTLED = re.compile(r"\*|[0-9]+:[0-9]+")

_BOOL, _INT, _LONG = ConfigType.BOOLEAN, ConfigType.INT, ConfigType.LONG
_STRING, _LIST, _DOUBLE = ConfigType.STRING, ConfigType.LIST, ConfigType.DOUBLE


def _same(*names: str) -> tuple[tuple[str, int], ...]:
    return tuple((name, 1) for name in names)


def _check_throttled(value: ConfigValue) -> str | None:
    assert isinstance(value, tuple), f"{value!r} is not a list"
    is_good = all(_THROTTLED.fullmatch(each) for each in value)
    return (
        None
        if is_good and ("*" not in value or len(value) == 1)
        else ("it must be * or a list of partition:broker")
    )


_KEYS = (
    ConfigKey(
        "cleanup.policy",
        _LIST,
        "delete",
        "What happens to old segments: delete them, compact them, both, or neither.",
        one_of(("compact", "delete")),
        _same("log.cleanup.policy"),
    ),
    ConfigKey(
        "compression.gzip.level",
        _INT,
        "-1",
        "The level of gzip when the broker compresses.",
        any_of(between(1, 9), between(-1, -1)),
        _same("compression.gzip.level"),
    ),
    ConfigKey(
        "compression.lz4.level",
        _INT,
        "9",
        "The level of lz4 when the broker compresses.",
        between(1, 17),
        _same("compression.lz4.level"),
    ),
    ConfigKey(
        "compression.type",
        _STRING,
        "producer",
        "How batches are kept: as the producer sent them, or recompressed.",
        one_of(_COMPRESSIONS),
        _same("compression.type"),
    ),
    ConfigKey(
        "compression.zstd.level",
        _INT,
        "3",
        "The level of zstd when the broker compresses.",
        between(-131072, 22),
        _same("compression.zstd.level"),
    ),
    ConfigKey(
        "delete.retention.ms",
        _LONG,
        "86400000",
        "How long a compacted topic keeps tombstones.",
        at_least(0),
        _same("log.cleaner.delete.retention.ms"),
    ),
    ConfigKey(
        "file.delete.delay.ms",
        _LONG,
        "60000",
        "The wait between renaming a deleted segment and removing its file.",
        at_least(0),
        _same("log.segment.delete.delay.ms"),
    ),
    ConfigKey(
        "flush.messages",
        _LONG,
        str(LONG_MAX),
        "Records after which the log is flushed to disk.",
        at_least(1),
        _same("log.flush.interval.messages"),
    ),
    ConfigKey(
        "flush.ms",
        _LONG,
        str(LONG_MAX),
        "Time after which the log is flushed to disk.",
        at_least(0),
        _same("log.flush.interval.ms", "log.flush.scheduler.interval.ms"),
    ),
    ConfigKey(
        "follower.replication.throttled.replicas",
        _LIST,
        "",
        "Replicas whose follower side is throttled, as partition:broker, or *.",
        _check_throttled,
    ),
    ConfigKey(
        "index.interval.bytes",
        _INT,
        "4096",
        "Bytes of log between two entries of the offset index.",
        at_least(0),
        _same("log.index.interval.bytes"),
    ),
    ConfigKey(
        "leader.replication.throttled.replicas",
        _LIST,
        "",
        "Replicas whose leader side is throttled, as partition:broker, or *.",
        _check_throttled,
    ),
    ConfigKey(
        "local.retention.bytes",
        _LONG,
        "-2",
        "Bytes kept on local disk with remote storage; -2 means retention.bytes.",
        at_least(-2),
    ),
    ConfigKey(
        "local.retention.ms",
        _LONG,
        "-2",
        "Time kept on local disk with remote storage; -2 means retention.ms.",
        at_least(-2),
    ),
    ConfigKey(
        "max.compaction.lag.ms",
        _LONG,
        str(LONG_MAX),
        "The longest that a record stays uncompacted.",
        at_least(1),
        _same("log.cleaner.max.compaction.lag.ms"),
    ),
    ConfigKey(
        "max.message.bytes",
        _INT,
        "1048588",
        "The largest batch that is accepted, after compression.",
        at_least(0),
        _same("message.max.bytes"),
    ),
    ConfigKey(
        "message.timestamp.after.max.ms",
        _LONG,
        "3600000",
        "How far a record's timestamp may be ahead of the broker's clock.",
        at_least(0),
        _same("log.message.timestamp.after.max.ms"),
    ),
    ConfigKey(
        "message.timestamp.before.max.ms",
        _LONG,
        str(LONG_MAX),
        "How far a record's timestamp may be behind the broker's clock.",
        at_least(0),
        _same("log.message.timestamp.before.max.ms"),
    ),
    ConfigKey(
        "message.timestamp.type",
        _STRING,
        "CreateTime",
        "Whose clock stamps records: the producer's or the broker's.",
        one_of(("CreateTime", "LogAppendTime")),
        _same("log.message.timestamp.type"),
    ),
    ConfigKey(
        "min.cleanable.dirty.ratio",
        _DOUBLE,
        "0.5",
        "The share of uncompacted bytes at which compaction runs.",
        between(0, 1),
        _same("log.cleaner.min.cleanable.ratio"),
    ),
    ConfigKey(
        "min.compaction.lag.ms",
        _LONG,
        "0",
        "The shortest that a record stays uncompacted.",
        at_least(0),
        _same("log.cleaner.min.compaction.lag.ms"),
    ),
    ConfigKey(
        "min.insync.replicas",
        _INT,
        "1",
        "In-sync replicas that a write with acks=all needs.",
        at_least(1),
        _same("min.insync.replicas"),
    ),
    ConfigKey(
        "preallocate",
        _BOOL,
        "false",
        "Whether a new segment's file is made at its full size.",
        None,
        _same("log.preallocate"),
    ),
    ConfigKey(
        "remote.log.copy.disable",
        _BOOL,
        "false",
        "Whether tiered data becomes read-only.",
    ),
    ConfigKey(
        "remote.log.delete.on.disable",
        _BOOL,
        "false",
        "Whether tiered data is deleted when tiering is switched off.",
    ),
    ConfigKey(
        "remote.storage.enable",
        _BOOL,
        "false",
        "Whether segments move to remote storage; this broker has none.",
    ),
    ConfigKey(
        "retention.bytes",
        _LONG,
        "-1",
        "The size above which old segments are deleted; -1 for no limit.",
        None,
        _same("log.retention.bytes"),
    ),
    ConfigKey(
        "retention.ms",
        _LONG,
        "604800000",
        "The age above which segments are deleted; -1 for no limit.",
        at_least(-1),
        (
            ("log.retention.ms", 1),
            ("log.retention.minutes", MINUTE_MS),
            ("log.retention.hours", HOUR_MS),
        ),
    ),
    ConfigKey(
        "segment.bytes",
        _INT,
        "1073741824",
        "The size at which a new segment begins.",
        at_least(SEGMENT_BYTES_MIN),
        _same("log.segment.bytes"),
    ),
    ConfigKey(
        "internal.segment.bytes",
        _INT,
        None,
        "Stands before segment.bytes, without its lower bound: for tests.",
        at_least(1),
        is_internal=True,
    ),
    ConfigKey(
        "segment.index.bytes",
        _INT,
        "10485760",
        "The size of an index file at which a new segment begins.",
        at_least(4),
        _same("log.index.size.max.bytes"),
    ),
    ConfigKey(
        "segment.jitter.ms",
        _LONG,
        "0",
        "The most that segment.ms is shortened by chance.",
        at_least(0),
        (("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", HOUR_MS)),
    ),
    ConfigKey(
        "segment.ms",
        _LONG,
        "604800000",
        "The age at which a new segment begins.",
        at_least(1),
        (("log.roll.ms", 1), ("log.roll.hours", HOUR_MS)),
    ),
    ConfigKey(
        "unclean.leader.election.enable",
        _BOOL,
        "false",
        "Whether a replica that is not in sync may lead, at the price of lost records.",
        None,
        _same("unclean.leader.election.enable"),
    ),
)

TOPIC_CONFIGS: Mapping[str, ConfigKey] = MappingProxyType({key.name: key for key in _KEYS})
"""Every topic configuration by name."""

BROKER_SYNONYMS: frozenset[str] = frozenset(name for key in _KEYS for name, _ in key.synonyms)
"""The broker keys that give topics their defaults."""


def validate_topic_configs(values: Mapping[str, str]) -> dict[str, ConfigValue]:
    """The typed values of a topic's own configuration.

    Raises ConfigError for a key that is unknown, a value that does not fit, and values that
    contradict each other.
    """
    typed: dict[str, ConfigValue] = {}
    for name, text in values.items():
        key = TOPIC_CONFIGS.get(name)
        if key is None:
            raise ConfigError(f"unknown topic config name: {name}")
        typed[name] = key.parse(text)
    _check_lags(typed)
    if typed.get("remote.storage.enable"):
        raise ConfigError("remote.storage.enable: this broker has no remote storage")
    return typed


def _check_lags(typed: Mapping[str, ConfigValue]) -> None:
    low = typed.get("min.compaction.lag.ms", 0)
    high = typed.get("max.compaction.lag.ms", LONG_MAX)
    assert isinstance(low, int), f"min.compaction.lag.ms is {low!r}"
    assert isinstance(high, int), f"max.compaction.lag.ms is {high!r}"
    if low > high:
        raise ConfigError(
            f"min.compaction.lag.ms ({low}) must not be above max.compaction.lag.ms ({high})"
        )


def effective_topic_values(
    own: Mapping[str, str], broker_layers: Iterable[Mapping[str, str]]
) -> dict[str, ConfigValue]:
    """The typed value of every topic key.

    `own` is what was set on the topic; `broker_layers` are broker configurations, strongest
    first (this broker's dynamic ones, the cluster's, the configuration file).
    """
    layers = tuple(broker_layers)
    return {key.name: _effective(key, own, layers) for key in _KEYS}


def _effective(
    key: ConfigKey, own: Mapping[str, str], layers: tuple[Mapping[str, str], ...]
) -> ConfigValue:
    text = own.get(key.name)
    if text is not None:
        return key.parse(text)
    inherited = broker_value(key, layers)
    return inherited if inherited is not None else key.default_value


def broker_value(key: ConfigKey, layers: tuple[Mapping[str, str], ...]) -> ConfigValue:
    """The value that the broker's layers give to a topic key; None when they are silent.

    A stronger synonym in a weaker layer wins over a weaker synonym in a stronger layer, as in
    Kafka, where layers are merged before log.retention.ms is looked for before .minutes.
    """
    for name, factor in key.synonyms:
        for layer in layers:
            text = layer.get(name)
            if text is not None:
                return scaled(key, text, factor)
    return None


def scaled(key: ConfigKey, text: str, factor: int) -> ConfigValue:
    """A synonym's text as a value of `key`, in its unit; a negative time stays 'no limit'.

    The key's own check is left out: broker keys have their own bounds (log.segment.bytes may be
    as small as 1024 in tests), which were checked when they were set.
    """
    if factor == 1:
        return ConfigKey(key.name, key.type, key.default, key.doc).parse(text)
    number = int(text)
    return number * factor if number >= 0 else -1

"""The configurations of groups: those of consumer and streams groups, within the broker's bounds.

A group's own value stands before the broker's `group.consumer.*` and `group.streams.*`
(GroupConfig, KIP-848, KIP-1071). Those in `_OURS` are not in Apache Kafka 4.3; where a later
release has one, it bears that name.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from streamkit.broker.kraft.config_def import ConfigKey, ConfigType, ConfigValue, at_least, between
from streamkit.common.errors import ConfigError
from streamkit.rebalance.costs import weights_problem

_KEYS = tuple(
    ConfigKey(name, ConfigType.INT, default, doc, at_least(minimum), ((f"group.{name}", 1),))
    for name, default, minimum, doc in (
        ("consumer.session.timeout.ms", "45000", 1, "How long a member may stay silent."),
        ("consumer.heartbeat.interval.ms", "5000", 1, "How often a member sends heartbeats."),
        ("consumer.assignment.interval.ms", "1000", 0, "The least time between two assignments."),
        ("streams.session.timeout.ms", "45000", 1, "How long a member may stay silent."),
        ("streams.heartbeat.interval.ms", "5000", 1, "How often a member sends heartbeats."),
        ("streams.num.standby.replicas", "0", 0, "Standby copies of each stateful task."),
        ("streams.initial.rebalance.delay.ms", "3000", 0, "A new group's wait for more members."),
        ("streams.assignment.interval.ms", "1000", 0, "The least time between two assignments."),
    )
)


def _check_weights(value: ConfigValue) -> str | None:
    assert isinstance(value, str), f"{value!r} is no text"
    return weights_problem(value)


_OURS = (
    ConfigKey(
        "streams.num.warmup.replicas",
        ConfigType.INT,
        "2",
        "Tasks that may warm up elsewhere at once before they move; 0: tasks move at once.",
        between(0, 20),
        (("group.streams.num.warmup.replicas", 1),),
    ),
    ConfigKey(
        "streams.acceptable.recovery.lag",
        ConfigType.INT,
        "10000",
        "How many changelog offsets a task's new owner may be behind when it takes it over.",
        at_least(0),
        (("group.streams.acceptable.recovery.lag", 1),),
    ),
    ConfigKey(
        "streams.task.offset.interval.ms",
        ConfigType.INT,
        "5000",
        "How often a member reports the offsets of its tasks, at most.",
        at_least(100),
        (("group.streams.task.offset.interval.ms", 1),),
    ),
    ConfigKey(
        "streams.warmup.timeout.ms",
        ConfigType.INT,
        "600000",
        "A warm-up that came no nearer for so long is waited for no more.",
        at_least(1),
        (("group.streams.warmup.timeout.ms", 1),),
    ),
    ConfigKey(
        "streams.rack.aware.assignment.tags",
        ConfigType.LIST,
        "rack",
        "The client tags, or rack, by which a task's copies are kept apart.",
        None,
        (("group.streams.standby.spread", 1),),
    ),
    ConfigKey(
        "streams.task.weights",
        ConfigType.STRING,
        "",
        "By what active tasks are spread: 0:1,2:7.5 by sub-topology, or measured; empty: number.",
        _check_weights,
        (("group.streams.task.weights", 1),),
    ),
    ConfigKey(
        "streams.balance.by.lag",
        ConfigType.BOOLEAN,
        "false",
        "Whether records that wait to be read count as much as weights.",
        None,
        (("group.streams.balance.by.lag", 1),),
    ),
    ConfigKey(
        "streams.balance.interval.ms",
        ConfigType.INT,
        "600000",
        "How often measured weights and lags are looked at, when nothing else happens.",
        at_least(1),
        (("group.streams.balance.interval.ms", 1),),
    ),
)

GROUP_CONFIGS: Mapping[str, ConfigKey] = MappingProxyType(
    {key.name: key for key in (*_KEYS, *_OURS)}
)
"""Every group configuration by name."""

_BOUNDS = (
    *(
        (f"{kind}.{name}", f"group.{kind}.min.{name}", f"group.{kind}.max.{name}")
        for kind, name in (
            ("consumer", "session.timeout.ms"),
            ("consumer", "heartbeat.interval.ms"),
            ("consumer", "assignment.interval.ms"),
            ("streams", "session.timeout.ms"),
            ("streams", "heartbeat.interval.ms"),
        )
    ),
    ("streams.num.standby.replicas", None, "group.streams.max.standby.replicas"),
)


def validate_group_configs(values: Mapping[str, str], broker: Mapping[str, object]) -> None:
    """Check a group's own configuration against the broker's bounds, given by key.

    Raises ConfigError for a key that is unknown or a value that does not fit.
    """
    typed: dict[str, int] = {}
    for name, text in values.items():
        key = GROUP_CONFIGS.get(name)
        if key is None:
            raise ConfigError(f"unknown group config name: {name}")
        value = key.parse(text)
        if isinstance(value, int):
            typed[name] = value
    for name, low, high in _BOUNDS:
        if name in typed:
            _check_bounds(name, typed[name], low, high, broker)
    for kind in ("consumer", "streams"):
        _check_interval(kind, typed, broker)


def _check_bounds(
    name: str, value: int, low: str | None, high: str, broker: Mapping[str, object]
) -> None:
    if low is not None and value < _number(broker, low):
        raise ConfigError(f"{name} must be at least {low} ({_number(broker, low)})")
    if value > _number(broker, high):
        raise ConfigError(f"{name} must be at most {high} ({_number(broker, high)})")


def _check_interval(kind: str, typed: Mapping[str, int], broker: Mapping[str, object]) -> None:
    names = (f"{kind}.session.timeout.ms", f"{kind}.heartbeat.interval.ms")
    session, heartbeat = (
        typed[name] if name in typed else _number(broker, f"group.{name}") for name in names
    )
    if not typed.keys().isdisjoint(names) and session <= heartbeat:
        raise ConfigError(f"{names[0]} ({session}) must be above {names[1]} ({heartbeat})")


def _number(broker: Mapping[str, object], key: str) -> int:
    value = broker[key]
    assert isinstance(value, int), f"{key} is {value!r}"
    return value

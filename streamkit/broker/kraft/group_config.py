"""The configurations of groups: those of consumer and streams groups, within the broker's bounds.

A group's own value stands before the broker's `group.consumer.*` and `group.streams.*`
(GroupConfig, KIP-848, KIP-1071).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from streamkit.broker.kraft.config_def import ConfigKey, ConfigType, at_least
from streamkit.common.errors import ConfigError

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

GROUP_CONFIGS: Mapping[str, ConfigKey] = MappingProxyType({key.name: key for key in _KEYS})
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
        assert isinstance(value, int), f"{name} is {value!r}"
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

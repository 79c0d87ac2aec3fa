"""A consumer group's settings: the broker's, and the group's own `consumer.*` within the bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from streamkit.broker.settings import BrokerSettings


class MigrationPolicy(Enum):
    """Which conversions of a group with members are allowed."""

    BIDIRECTIONAL = "bidirectional"
    UPGRADE = "upgrade"
    DOWNGRADE = "downgrade"
    DISABLED = "disabled"

    @property
    def may_upgrade(self) -> bool:
        return self in (MigrationPolicy.BIDIRECTIONAL, MigrationPolicy.UPGRADE)

    @property
    def may_downgrade(self) -> bool:
        return self in (MigrationPolicy.BIDIRECTIONAL, MigrationPolicy.DOWNGRADE)


@dataclass(frozen=True, slots=True)
class ConsumerConfig:
    """What holds for one group now."""

    session_timeout_ms: int
    heartbeat_interval_ms: int
    assignment_interval_ms: int
    size_max: int
    assignors: tuple[str, ...]
    """The first one is for groups whose members name none."""
    migration: MigrationPolicy
    regex_refresh_interval_ms: int
    classic_size_max: int


def consumer_config(settings: BrokerSettings, own: Mapping[str, str]) -> ConsumerConfig:
    """The settings of a group whose dynamic configs are `own`."""

    def value(key: str) -> int:
        """The group's own value, within bounds that may have changed since it was set."""
        name = key.replace(".", "_")
        text = own.get(f"consumer.{key}")
        if text is None:
            default: int = getattr(settings, f"group_consumer_{name}")
            return default
        low: int = getattr(settings, f"group_consumer_min_{name}")
        high: int = getattr(settings, f"group_consumer_max_{name}")
        return min(max(int(text), low), high)

    return ConsumerConfig(
        session_timeout_ms=value("session.timeout.ms"),
        heartbeat_interval_ms=value("heartbeat.interval.ms"),
        assignment_interval_ms=value("assignment.interval.ms"),
        size_max=settings.group_consumer_max_size,
        assignors=settings.group_consumer_assignors,
        migration=MigrationPolicy(settings.group_consumer_migration_policy.lower()),
        regex_refresh_interval_ms=settings.group_consumer_regex_refresh_interval_ms,
        classic_size_max=settings.group_max_size,
    )

"""A streams group's settings: the broker's, and the group's own `streams.*` within the bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from streamkit.broker.settings import BrokerSettings

ASSIGNMENT_INTERVAL_MAX_MS = 15_000


@dataclass(frozen=True, slots=True)
class StreamsConfig:
    """What holds for one group now."""

    session_timeout_ms: int
    heartbeat_interval_ms: int
    standby_replicas: int
    initial_delay_ms: int
    assignment_interval_ms: int
    size_max: int
    unsettled_interval_ms: int = 0
    """The heartbeat interval of a member that waits for others or for topics; 0: the usual one."""
    takes_topology_updates: bool = False
    """Whether a compatible topology of a higher epoch replaces the group's."""
    spread_by: tuple[str, ...] = ()
    """The names of client tags, or `rack`, by which a task's copies are kept apart."""
    tells_reasons: bool = True
    """Whether the causes of rebalances are logged and described."""

    @property
    def assignment_configs(self) -> Mapping[str, str]:
        """What the target depends on, as the group's record keeps it."""
        return {"num.standby.replicas": str(self.standby_replicas)}


def streams_config(settings: BrokerSettings, own: Mapping[str, str]) -> StreamsConfig:
    """The settings of a group whose dynamic configs are `own`."""

    def value(key: str, default: int, low: int, high: int) -> int:
        text = own.get(f"streams.{key}")
        return default if text is None else min(max(int(text), low), high)

    return StreamsConfig(
        session_timeout_ms=value(
            "session.timeout.ms",
            settings.group_streams_session_timeout_ms,
            settings.group_streams_min_session_timeout_ms,
            settings.group_streams_max_session_timeout_ms,
        ),
        heartbeat_interval_ms=value(
            "heartbeat.interval.ms",
            settings.group_streams_heartbeat_interval_ms,
            settings.group_streams_min_heartbeat_interval_ms,
            settings.group_streams_max_heartbeat_interval_ms,
        ),
        standby_replicas=value(
            "num.standby.replicas",
            settings.group_streams_num_standby_replicas,
            0,
            settings.group_streams_max_standby_replicas,
        ),
        initial_delay_ms=value(
            "initial.rebalance.delay.ms",
            settings.group_streams_initial_rebalance_delay_ms,
            0,
            2**31 - 1,
        ),
        assignment_interval_ms=value(
            "assignment.interval.ms",
            settings.group_streams_assignment_interval_ms,
            0,
            ASSIGNMENT_INTERVAL_MAX_MS,
        ),
        size_max=settings.group_streams_max_size,
        takes_topology_updates=settings.group_streams_topology_updates,
        spread_by=settings.group_streams_standby_spread,
        tells_reasons=settings.group_streams_rebalance_reasons,
        unsettled_interval_ms=settings.group_streams_unsettled_heartbeat_interval_ms,
    )

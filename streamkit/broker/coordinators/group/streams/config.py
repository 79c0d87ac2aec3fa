"""A streams group's settings: the broker's, and the group's own `streams.*` within the bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from streamkit.broker.kraft.config_def import parse_list
from streamkit.broker.settings import BrokerSettings
from streamkit.rebalance.costs import MEASURED

ASSIGNMENT_INTERVAL_MAX_MS = 15_000
TASK_OFFSET_INTERVAL_MIN_MS = 100
WARMUP_REPLICAS_MAX = 20
INT_MAX = 2**31 - 1
DEFAULT_TAGS = ("rack",)


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
    takes_task_offsets: bool = False
    """Whether members may say how far their tasks are; warm-ups go to those who do."""
    task_offset_interval_ms: int = 5_000
    warmup_replicas: int = 0
    recovery_lag_max: int = 10_000
    warmup_timeout_ms: int = 600_000
    promotes_in_place: bool = True
    """Whether those who report keep their copies of tasks until they are given them."""
    task_weights: str = ""
    """`0:1,2:7.5` by sub-topology, or `measured`; empty: all alike."""
    is_balanced_by_lag: bool = False
    balance_interval_ms: int = 600_000

    @property
    def assignment_configs(self) -> Mapping[str, str]:
        """What the target depends on, as the group's record keeps it; ours where they are used."""
        ours = {
            "task.weights": self.task_weights,
            "balance.by.lag": "true" if self.is_balanced_by_lag else "",
            "rack.aware.assignment.tags": ",".join(self.spread_by)
            if self.spread_by not in ((), DEFAULT_TAGS)
            else "",
        }
        standbys = {"num.standby.replicas": str(self.standby_replicas)}
        return standbys | {key: value for key, value in ours.items() if value}

    @property
    def is_measured(self) -> bool:
        """Whether the target depends on what members report, so that it is looked at again."""
        return self.is_balanced_by_lag or self.task_weights == MEASURED


def streams_config(settings: BrokerSettings, own: Mapping[str, str]) -> StreamsConfig:
    """The settings of a group whose dynamic configs are `own`."""
    value = _reader(own)
    config = StreamsConfig(
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
            "initial.rebalance.delay.ms", settings.group_streams_initial_rebalance_delay_ms
        ),
        assignment_interval_ms=value(
            "assignment.interval.ms",
            settings.group_streams_assignment_interval_ms,
            0,
            ASSIGNMENT_INTERVAL_MAX_MS,
        ),
        size_max=settings.group_streams_max_size,
    )
    return _with_extensions(config, settings, own)


def _with_extensions(
    config: StreamsConfig, settings: BrokerSettings, own: Mapping[str, str]
) -> StreamsConfig:
    """What Apache Kafka 4.3 does not have."""
    value = _reader(own)
    tags = own.get("streams.rack.aware.assignment.tags")
    by_lag = own.get("streams.balance.by.lag", str(settings.group_streams_balance_by_lag))
    return replace(
        config,
        takes_topology_updates=settings.group_streams_topology_updates,
        spread_by=settings.group_streams_standby_spread if tags is None else parse_list(tags),
        tells_reasons=settings.group_streams_rebalance_reasons,
        unsettled_interval_ms=settings.group_streams_unsettled_heartbeat_interval_ms,
        takes_task_offsets=settings.group_streams_task_offsets,
        task_offset_interval_ms=value(
            "task.offset.interval.ms",
            settings.group_streams_task_offset_interval_ms,
            TASK_OFFSET_INTERVAL_MIN_MS,
        ),
        warmup_replicas=value(
            "num.warmup.replicas",
            settings.group_streams_num_warmup_replicas,
            0,
            WARMUP_REPLICAS_MAX,
        ),
        recovery_lag_max=value(
            "acceptable.recovery.lag", settings.group_streams_acceptable_recovery_lag
        ),
        warmup_timeout_ms=value("warmup.timeout.ms", settings.group_streams_warmup_timeout_ms, 1),
        promotes_in_place=settings.group_streams_promotion_in_place,
        task_weights=own.get("streams.task.weights", settings.group_streams_task_weights),
        is_balanced_by_lag=by_lag.lower() == "true",
        balance_interval_ms=value(
            "balance.interval.ms", settings.group_streams_balance_interval_ms, 1
        ),
    )


def _reader(own: Mapping[str, str]) -> Callable[..., int]:
    """Reads a number among a group's own configs, within bounds; else gives the default."""

    def value(key: str, default: int, low: int = 0, high: int = INT_MAX) -> int:
        text = own.get(f"streams.{key}")
        return default if text is None else min(max(int(text), low), high)

    return value

"""The broker's settings, by Kafka's keys.

Kafka's defaults, but for `listeners` (this machine only) and `log.dirs`. The settings that are
also topic defaults keep their broker-wide names (`log.segment.bytes`); `kraft/topic_config.py`
says which topic config each one is the default of.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from pydantic import Field, field_validator, model_validator

from streamkit.common.errors import ConfigError
from streamkit.common.settings import CommaList, Settings

INT_MAX = 2**31 - 1
PORT_MAX = 65_535
LONG_MAX = 2**63 - 1

_BOUNDED_GROUP_SETTINGS = (
    "consumer_session_timeout",
    "consumer_heartbeat_interval",
    "consumer_assignment_interval",
    "streams_session_timeout",
    "streams_heartbeat_interval",
)
_ASSIGNORS = frozenset({"range", "uniform"})
_MIGRATION_POLICIES = ("bidirectional", "upgrade", "downgrade", "disabled")


class BrokerSettings(Settings):
    """Everything a node is told from outside."""

    # Who and where.
    node_id: int = Field(1, ge=0)
    cluster_id: str | None = None
    broker_rack: str | None = None
    listeners: CommaList = ("PLAINTEXT://127.0.0.1:9092",)
    advertised_listeners: CommaList = ()
    log_dirs: CommaList = ("streamkit-data",)

    # Connections.
    socket_request_max_bytes: int = Field(104857600, ge=1)
    connections_max_idle_ms: int = 600000
    max_connections: int = Field(INT_MAX, ge=0)
    max_connections_per_ip: int = Field(INT_MAX, ge=0)
    max_connections_per_ip_overrides: str = ""

    # Operators. This key is our own: where metrics, health and readiness are asked for.
    metrics_listener: str | None = None

    # Topics.
    auto_create_topics_enable: bool = True
    delete_topic_enable: bool = True
    num_partitions: int = Field(1, ge=1)
    default_replication_factor: int = Field(1, ge=1)
    min_insync_replicas: int = Field(1, ge=1)
    unclean_leader_election_enable: bool = False
    message_max_bytes: int = Field(1048588, ge=0)
    compression_type: str = "producer"
    compression_gzip_level: int = -1
    compression_lz4_level: int = 9
    compression_zstd_level: int = 3

    # The log.
    log_segment_bytes: int = Field(1073741824, ge=1024)
    log_roll_ms: int | None = Field(None, ge=1)
    log_roll_hours: int = Field(168, ge=1)
    log_roll_jitter_ms: int | None = Field(None, ge=0)
    log_roll_jitter_hours: int = Field(0, ge=0)
    log_index_size_max_bytes: int = Field(10485760, ge=12)
    log_index_interval_bytes: int = Field(4096, ge=0)
    log_flush_interval_messages: int = Field(LONG_MAX, ge=1)
    log_flush_interval_ms: int | None = Field(None, ge=0)
    log_flush_scheduler_interval_ms: int = LONG_MAX
    log_flush_offset_checkpoint_interval_ms: int = Field(60000, ge=0)
    log_flush_start_offset_checkpoint_interval_ms: int = Field(60000, ge=0)
    replica_high_watermark_checkpoint_interval_ms: int = Field(5000, ge=1)
    log_retention_ms: int | None = None
    log_retention_minutes: int | None = None
    log_retention_hours: int = 168
    log_retention_bytes: int = -1
    log_retention_check_interval_ms: int = Field(300000, ge=1)
    log_cleanup_policy: CommaList = ("delete",)
    log_segment_delete_delay_ms: int = Field(60000, ge=0)
    log_message_timestamp_type: str = "CreateTime"
    log_message_timestamp_before_max_ms: int = Field(LONG_MAX, ge=0)
    log_message_timestamp_after_max_ms: int = Field(3600000, ge=0)
    log_preallocate: bool = False
    log_cleaner_enable: bool = True
    log_cleaner_backoff_ms: int = Field(15000, ge=0)
    log_cleaner_dedupe_buffer_size: int = Field(134217728, ge=1)
    log_cleaner_delete_retention_ms: int = Field(86400000, ge=0)
    log_cleaner_min_compaction_lag_ms: int = Field(0, ge=0)
    log_cleaner_max_compaction_lag_ms: int = Field(LONG_MAX, ge=1)
    log_cleaner_min_cleanable_ratio: float = Field(0.5, ge=0, le=1)
    log_initial_task_delay_ms: int = Field(30000, ge=0)
    producer_id_expiration_ms: int = Field(86400000, ge=1)
    producer_id_expiration_check_interval_ms: int = Field(600000, ge=1)

    # Fetching.
    fetch_max_bytes: int = Field(57671680, ge=1024)
    max_incremental_fetch_session_cache_slots: int = Field(1000, ge=0)
    max_request_partition_size_limit: int = Field(2000, ge=1)

    # Offsets and groups.
    offsets_topic_num_partitions: int = Field(50, ge=1)
    offsets_topic_replication_factor: int = Field(1, ge=1)
    offsets_topic_segment_bytes: int = Field(104857600, ge=1024)
    offset_metadata_max_bytes: int = 4096
    offsets_commit_timeout_ms: int = Field(5000, ge=1)
    offsets_retention_minutes: int = Field(10080, ge=1)
    offsets_retention_check_interval_ms: int = Field(600000, ge=1)
    group_coordinator_append_linger_ms: int = Field(0, ge=-1)
    group_initial_rebalance_delay_ms: int = Field(3000, ge=0)
    group_min_session_timeout_ms: int = Field(6000, ge=0)
    group_max_session_timeout_ms: int = Field(1800000, ge=0)
    group_max_size: int = Field(INT_MAX, ge=1)
    group_consumer_session_timeout_ms: int = Field(45000, ge=1)
    group_consumer_min_session_timeout_ms: int = Field(45000, ge=1)
    group_consumer_max_session_timeout_ms: int = Field(60000, ge=1)
    group_consumer_heartbeat_interval_ms: int = Field(5000, ge=1)
    group_consumer_min_heartbeat_interval_ms: int = Field(5000, ge=1)
    group_consumer_max_heartbeat_interval_ms: int = Field(15000, ge=1)
    group_consumer_assignment_interval_ms: int = Field(1000, ge=0)
    group_consumer_min_assignment_interval_ms: int = Field(0, ge=0)
    group_consumer_max_assignment_interval_ms: int = Field(15000, ge=0)
    group_consumer_regex_refresh_interval_ms: int = Field(600000, ge=10000)
    group_consumer_max_size: int = Field(INT_MAX, ge=1)
    group_consumer_assignors: CommaList = ("uniform", "range")
    group_consumer_migration_policy: str = "bidirectional"
    group_streams_session_timeout_ms: int = Field(45000, ge=1)
    group_streams_min_session_timeout_ms: int = Field(45000, ge=1)
    group_streams_max_session_timeout_ms: int = Field(60000, ge=1)
    group_streams_heartbeat_interval_ms: int = Field(5000, ge=1)
    group_streams_min_heartbeat_interval_ms: int = Field(5000, ge=1)
    group_streams_max_heartbeat_interval_ms: int = Field(15000, ge=1)
    group_streams_max_size: int = Field(INT_MAX, ge=1)
    group_streams_num_standby_replicas: int = Field(0, ge=0)
    group_streams_max_standby_replicas: int = Field(2, ge=0)
    group_streams_initial_rebalance_delay_ms: int = Field(3000, ge=0)
    group_streams_assignment_interval_ms: int = Field(1000, ge=0)
    group_streams_unsettled_heartbeat_interval_ms: int = Field(500, ge=0)
    """Ours: what a member that waits is told instead of its heartbeat interval; 0: never."""
    group_streams_standby_spread: CommaList = ("rack",)
    """Ours: by which client tags, or `rack`, a task's copies are kept apart; empty: by none."""
    group_streams_topology_updates: bool = True
    """Ours: a compatible topology of a higher epoch replaces the group's while it runs."""
    group_streams_rebalance_reasons: bool = True
    """Ours: the log and StreamsGroupDescribe say why a group was rebalanced."""
    group_streams_task_offsets: bool = True
    """Ours: members may report offsets and more of their tasks; without it, none of the next."""
    group_streams_task_offset_interval_ms: int = Field(5000, ge=100)
    """How often a member reports, at most; it does so with its heartbeats."""
    group_streams_num_warmup_replicas: int = Field(2, ge=0, le=20)
    """Tasks of a group that may warm up before they move; 0: they move at once, as in Kafka 4.3."""
    group_streams_acceptable_recovery_lag: int = Field(10000, ge=0)
    """How many changelog offsets a task's new owner may be behind when it takes it over."""
    group_streams_warmup_timeout_ms: int = Field(600000, ge=1)
    """Ours: a warm-up that came no nearer for so long is waited for no more."""
    group_streams_promotion_in_place: bool = True
    """Ours: who reports keeps its copy of a task until it is given the task."""
    group_streams_task_weights: str = ""
    """Ours: by what active tasks are spread: `0=1,2=7.5` by sub-topology, or `measured`."""
    group_streams_balance_by_lag: bool = False
    """Ours: records that wait to be read count as much as weights."""
    group_streams_balance_interval_ms: int = Field(600000, ge=1)
    """Ours: how often measured weights and lags are looked at, when nothing else happens."""

    # Transactions.
    transaction_state_log_num_partitions: int = Field(50, ge=1)
    transaction_state_log_replication_factor: int = Field(1, ge=1)
    transaction_state_log_min_isr: int = Field(1, ge=1)
    transaction_state_log_segment_bytes: int = Field(104857600, ge=1024)
    transaction_max_timeout_ms: int = Field(900000, ge=1)
    transaction_partition_verification_enable: bool = True
    transaction_abort_timed_out_transaction_cleanup_interval_ms: int = Field(10000, ge=1)
    transaction_remove_expired_transaction_cleanup_interval_ms: int = Field(3600000, ge=1)
    transactional_id_expiration_ms: int = Field(604800000, ge=1)
    add_partitions_to_txn_retry_backoff_ms: int = Field(20, ge=1)
    add_partitions_to_txn_retry_backoff_max_ms: int = Field(100, ge=0)

    @field_validator("listeners", "advertised_listeners")
    @classmethod
    def _check_listeners(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            Endpoint.parse(value)
        return values

    @field_validator("group_streams_task_weights")
    @classmethod
    def _check_weights(cls, value: str) -> str:
        from streamkit.rebalance.costs import weights_problem

        problem = weights_problem(value)
        if problem is not None:
            raise ValueError(problem)
        return value

    @field_validator("metrics_listener")
    @classmethod
    def _check_address(cls, value: str | None) -> str | None:
        if value is not None:
            from streamkit.common.http import parse_address

            parse_address(value)
        return value

    @field_validator("log_dirs")
    @classmethod
    def _check_log_dirs(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        if len(values) != 1:
            raise ValueError("exactly one directory is needed")
        return values

    @field_validator("group_consumer_assignors")
    @classmethod
    def _check_assignors(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        if not values or len(set(values)) < len(values) or not _ASSIGNORS.issuperset(values):
            raise ValueError(f"some of {', '.join(sorted(_ASSIGNORS))}, each once")
        return values

    @field_validator("group_consumer_migration_policy")
    @classmethod
    def _check_migration_policy(cls, value: str) -> str:
        if value.lower() not in _MIGRATION_POLICIES:
            raise ValueError(f"one of {', '.join(_MIGRATION_POLICIES)}")
        return value

    @field_validator("max_connections_per_ip_overrides")
    @classmethod
    def _check_overrides(cls, value: str) -> str:
        connections_of_host(value)
        return value

    @model_validator(mode="after")
    def _check_connections(self) -> BrokerSettings:
        if self.max_connections_per_ip == 0 and not self.max_connections_per_ip_overrides:
            raise ValueError(
                "max.connections.per.ip may be 0 only beside max.connections.per.ip.overrides"
            )
        return self

    @model_validator(mode="after")
    def _check_group_bounds(self) -> BrokerSettings:
        for name in _BOUNDED_GROUP_SETTINGS:
            kind, _, what = name.partition("_")
            low = getattr(self, f"group_{kind}_min_{what}_ms")
            value = getattr(self, f"group_{name}_ms")
            high = getattr(self, f"group_{kind}_max_{what}_ms")
            if not low <= value <= high:
                key = f"group.{name.replace('_', '.')}.ms"
                raise ValueError(f"{key} must lie between its min ({low}) and max ({high})")
        return self

    @property
    def data_dir(self) -> str:
        """The one directory that holds everything."""
        return self.log_dirs[0]

    @property
    def listener(self) -> Endpoint:
        """Where the node listens."""
        return Endpoint.parse(self.listeners[0])

    def advertised(self, port: int) -> Endpoint:
        """What clients are told to connect to; `port` is the one the node listens on."""
        if self.advertised_listeners:
            return Endpoint.parse(self.advertised_listeners[0])
        listener = self.listener
        # A wildcard address means nothing to a client on another machine.
        host = "localhost" if listener.host in {"", "0.0.0.0", "::"} else listener.host
        return Endpoint(listener.name, host, port)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One listener: `NAME://host:port`; port 0 takes a free one."""

    name: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Read `PLAINTEXT://host:port`. Raises ValueError, with the form that is wanted."""
        name, separator, address = text.partition("://")
        host, colon, port = address.rpartition(":")
        if not separator or not colon or not port.isdigit() or not name:
            raise ValueError(f"a listener is written PLAINTEXT://host:port, not {text!r}")
        if int(port) > PORT_MAX:
            raise ValueError(f"the port of {text!r} is above {PORT_MAX}")
        return cls(name.upper(), host.strip("[]"), int(port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.name}://{host}:{self.port}"


def connections_of_host(text: str) -> dict[str, int]:
    """Read `address:count,address:count`. Raises ValueError, with the form that is wanted."""
    found: dict[str, int] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        host, colon, count = part.rpartition(":")
        try:
            address = str(ip_address(host.strip("[]")))
        except ValueError:
            address = ""
        if not colon or not count.isdigit() or not address:
            raise ValueError(f"an override is written ADDRESS:COUNT, not {part!r}")
        found[address] = int(count)
    return found


def settings_for(listen: str, data_dir: str, values: dict[str, str]) -> BrokerSettings:
    """The settings of a broker that listens on `host:port` over `data_dir`; `values` win.

    Raises ConfigError when a key is unknown or a value does not fit.
    """
    if ":" not in listen:
        raise ConfigError(f"--listen wants host:port, not {listen!r}")
    base = {"listeners": f"PLAINTEXT://{listen}", "log.dirs": data_dir}
    return BrokerSettings.from_mapping({**base, **values})

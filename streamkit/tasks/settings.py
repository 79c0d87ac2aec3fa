"""The settings of a streams application: Kafka Streams' keys and defaults.

Keys that begin with `producer.`, `consumer.`, `main.consumer.`, `restore.consumer.`, `admin.` or
`topic.` go to the clients and to the internal topics; the clients' own keys may also stand
without a prefix, as in Kafka Streams. `client.tag.NAME` says where this worker runs.
`tracing.enable` is our own: OpenTelemetry's traces.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self

from pydantic import Field

from streamkit.client.settings import (
    INT32_MAX,
    ClientSettings,
    ConsumerSettings,
    ProducerSettings,
)
from streamkit.common.errors import ConfigError
from streamkit.common.settings import CommaList
from streamkit.topology.failures import Policies, policies_with

if TYPE_CHECKING:
    from streamkit.tasks.tracing import Tracing

PRODUCER_DEFAULTS = {"linger.ms": "100", "batch.size": "131072"}
"""Linger as Kafka Streams has it; larger batches, since here a batch costs, not a record."""

EXACTLY_ONCE: Final = "exactly_once_v2"
AT_LEAST_ONCE_COMMIT_INTERVAL_MS = 30_000
EXACTLY_ONCE_COMMIT_INTERVAL_MS = 100

EXACTLY_ONCE_PRODUCER_DEFAULTS = {
    "transaction.timeout.ms": "10000",
    "delivery.timeout.ms": str(INT32_MAX),
}
"""A batch is tried until its transaction is over; others wait for that no longer than this."""

EXACTLY_ONCE_PRODUCER_CONTROLLED = ("transactional.id", "enable.idempotence", "acks")
"""Producer keys that the engine sets itself when each record counts once."""

CONSUMER_DEFAULTS = {"auto.offset.reset": "earliest"}

CONTROLLED_BY_STREAMS = ("enable.auto.commit", "group.id", "group.protocol", "isolation.level")
"""Consumer keys that the engine sets itself."""


CLIENT_TAG: Final = "client.tag."
CLIENT_TAGS_MAX = 5
CLIENT_TAG_NAME_MAX = 20
CLIENT_TAG_VALUE_MAX = 30
"""Kafka Streams' limits (StreamsConfig)."""


RENAMED = {
    "cache.max.bytes.buffering": "statestore.cache.max.bytes",
    "default.deserialization.exception.handler": "deserialization.exception.handler",
    "default.production.exception.handler": "production.exception.handler",
}
"""Keys that Kafka Streams still takes under older names."""


class StreamsSettings(ClientSettings):
    """What a worker needs; `from_mapping` refuses unknown keys by name."""

    prefixes: ClassVar[tuple[str, ...]] = (
        "producer.", "consumer.", "main.consumer.", "restore.consumer.", "admin.", "topic.",
        CLIENT_TAG,
    )  # fmt: skip

    application_id: str = ""
    application_server: str = ""
    web_listener: str = ""
    state_dir: str = ""
    processing_guarantee: Literal["at_least_once", "exactly_once_v2"] = EXACTLY_ONCE
    commit_interval_ms: int = Field(default=EXACTLY_ONCE_COMMIT_INTERVAL_MS, ge=0)
    statestore_cache_max_bytes: int = Field(default=10_485_760, ge=0)
    statestore_uncommitted_max_bytes: int = Field(default=67_108_864, ge=-1)
    memory_max_bytes: int = Field(default=268_435_456, ge=-1)
    state_cleanup_delay_ms: int = Field(default=600_000, ge=0)
    state_cleanup_dir_max_age_ms: int = Field(default=-1, ge=-1)
    buffered_records_per_partition: int = Field(default=1000, gt=0)
    max_task_idle_ms: int = Field(default=0, ge=-1)
    stream_time_idle_ms: int = Field(default=-1, ge=-1)
    max_poll_interval_ms: int = Field(default=300_000, gt=0)
    poll_ms: int = Field(default=100, ge=0)
    task_timeout_ms: int = Field(default=300_000, ge=0)
    repartition_purge_interval_ms: int = Field(default=30_000, gt=0)
    replication_factor: int = Field(default=-1, ge=-1)
    num_standby_replicas: int = Field(default=0, ge=0)
    acceptable_recovery_lag: int = Field(default=10_000, ge=0)
    max_warmup_replicas: int = Field(default=2, ge=1)
    rack_aware_assignment_tags: CommaList = ()
    topology_optimization: str = "none"
    tracing_enable: bool = False
    request_timeout_ms: int = Field(default=40_000, gt=0)
    dsl_store_suppliers_class: str | None = None
    dsl_store_format: str = "DEFAULT"
    metrics_recording_level: Literal["INFO", "DEBUG", "TRACE"] = "INFO"
    default_dsl_store: str | None = None
    default_timestamp_extractor: Any = None
    ensure_explicit_internal_resource_naming: bool = False
    windowstore_changelog_additional_retention_ms: int = Field(default=86_400_000, ge=0)
    processing_exception_handler_global_enabled: bool = False
    group_protocol: Literal["streams"] = "streams"
    default_key_serde: Any = None
    default_value_serde: Any = None
    deserialization_exception_handler: Any = None
    processing_exception_handler: Any = None
    production_exception_handler: Any = None
    errors_dead_letter_queue_topic_name: str | None = None
    processor_wrapper_class: Any = None

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], *, where: str = "") -> Self:
        """Check `values` and fill in the defaults. Raises ConfigError naming the key."""
        renamed = {RENAMED[key]: value for key, value in values.items() if key in RENAMED}
        values = renamed | {key: value for key, value in values.items() if key not in RENAMED}
        settings = super().from_mapping(values, where=where)
        if not settings.is_exactly_once and "commit_interval_ms" not in settings.model_fields_set:
            return cls.from_mapping(
                {**values, "commit.interval.ms": AT_LEAST_ONCE_COMMIT_INTERVAL_MS}, where=where
            )
        timeout_ms = settings.producer().transaction_timeout_ms
        if settings.is_exactly_once and timeout_ms < settings.commit_interval_ms:
            raise ConfigError(
                f"producer.transaction.timeout.ms={timeout_ms} must not be below "
                f"commit.interval.ms={settings.commit_interval_ms}"
            )
        if settings.tracing_enable and find_spec("opentelemetry") is None:
            raise ConfigError(
                "tracing.enable=true needs the library opentelemetry: pip install 'streamkit[otel]'"
            )
        settings.consumer()
        settings.restore_consumer()
        settings._check_tags()
        return settings

    def tracing(self) -> Tracing | None:
        """OpenTelemetry's traces, where `tracing.enable` is set."""
        if not self.tracing_enable:
            return None
        from streamkit.tasks.tracing import Tracing

        return Tracing(self.application_id)

    @property
    def is_exactly_once(self) -> bool:
        """Whether each record counts exactly once."""
        return self.processing_guarantee == EXACTLY_ONCE

    def client(self) -> ClientSettings:
        """The settings of the worker's one client."""
        return ClientSettings.from_mapping(self._shared() | self.with_prefix("admin."))

    def producer(self) -> ProducerSettings:
        """The settings of the worker's one producer. Raises ConfigError."""
        given = self.with_prefix("producer.")
        defaults = PRODUCER_DEFAULTS
        if self.is_exactly_once:
            _refuse(given, EXACTLY_ONCE_PRODUCER_CONTROLLED, "producer")
            defaults = defaults | EXACTLY_ONCE_PRODUCER_DEFAULTS
        own = defaults | self._shared() | given
        return ProducerSettings.from_mapping(own, where="producer.*")

    def consumer(self) -> ConsumerSettings:
        """The settings of the fetcher. Raises ConfigError."""
        given = self.with_prefix("consumer.", "main.consumer.")
        _refuse(given, CONTROLLED_BY_STREAMS, "consumer")
        given.pop("max.poll.interval.ms", None)
        own = CONSUMER_DEFAULTS | self._shared() | given
        if self.is_exactly_once:
            own["isolation.level"] = "read_committed"
        return ConsumerSettings.from_mapping(own, where="consumer.*")

    def restore_consumer(self) -> ConsumerSettings:
        """The settings of the fetcher of changelogs. Raises ConfigError."""
        given = self.with_prefix("consumer.") | self.with_prefix("restore.consumer.")
        _refuse(given, CONTROLLED_BY_STREAMS, "restore.consumer")
        given.pop("max.poll.interval.ms", None)
        own = CONSUMER_DEFAULTS | self._shared() | given
        return ConsumerSettings.from_mapping(
            own | {"isolation.level": "read_committed"}, where="restore.consumer.*"
        )

    @property
    def poll_interval_max_ms(self) -> int:
        """`max.poll.interval.ms`, plain or as a consumer's setting."""
        given = self.with_prefix("consumer.", "main.consumer.")
        return int(given.get("max.poll.interval.ms", self.max_poll_interval_ms))

    def policies(self, own: Policies) -> Policies:
        """The program's error policies over those of the handlers. Raises ConfigError."""
        handlers = {
            "deserialization": self.deserialization_exception_handler,
            "processing": self.processing_exception_handler,
            "production": self.production_exception_handler,
        }
        return policies_with(own, handlers, self.errors_dead_letter_queue_topic_name)

    def client_tags(self) -> tuple[tuple[str, str], ...]:
        """The `client.tag.` settings by name."""
        return tuple(sorted(self.with_prefix(CLIENT_TAG).items()))

    def _check_tags(self) -> None:
        tags = dict(self.client_tags())
        if len(tags) > CLIENT_TAGS_MAX:
            raise ConfigError(f"{CLIENT_TAG}*: at most {CLIENT_TAGS_MAX} tags, not {len(tags)}")
        for name, value in tags.items():
            if (
                not 0 < len(name) <= CLIENT_TAG_NAME_MAX
                or not 0 < len(value) <= CLIENT_TAG_VALUE_MAX
            ):
                raise ConfigError(
                    f"{CLIENT_TAG}{name}={value}: a name has 1 to {CLIENT_TAG_NAME_MAX} "
                    f"characters, a value 1 to {CLIENT_TAG_VALUE_MAX}"
                )
        for name in self.rack_aware_assignment_tags:
            if name not in tags:
                raise ConfigError(
                    f"rack.aware.assignment.tags names {name!r}, but {CLIENT_TAG}{name} is not set"
                )

    def topic_configs(self) -> dict[str, str]:
        """The `topic.` settings: configs of every internal topic."""
        return self.with_prefix("topic.")

    def _shared(self) -> dict[str, Any]:
        """The clients' own keys as given, without a prefix."""
        given = self.model_fields_set
        return {
            name.replace("_", "."): getattr(self, name)
            for name in ClientSettings.model_fields
            if name in given and name != "prefixed"
        } | {"request.timeout.ms": self.request_timeout_ms}


def _refuse(given: Mapping[str, str], keys: tuple[str, ...], client: str) -> None:
    for key in keys:
        if key in given:
            raise ConfigError(f"{client}.{key} is set by streamkit and cannot be changed")

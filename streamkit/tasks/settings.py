"""The settings of a streams application: Kafka Streams' keys and defaults.

Keys that begin with `producer.`, `consumer.`, `main.consumer.`, `restore.consumer.`, `admin.` or
`topic.` go to the clients and to the internal topics; the clients' own keys may also stand
without a prefix, as in Kafka Streams.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from streamkit.client.settings import ClientSettings, ConsumerSettings, ProducerSettings
from streamkit.common.errors import ConfigError

EXACTLY_ONCE_REFUSED = (
    "processing.guarantee=exactly_once_v2 is not there yet; use at_least_once, the default"
)

PRODUCER_DEFAULTS = {"linger.ms": "100", "batch.size": "131072"}
"""Linger as Kafka Streams has it; larger batches, since here a batch costs, not a record."""

CONSUMER_DEFAULTS = {"auto.offset.reset": "earliest"}

CONTROLLED_BY_STREAMS = ("enable.auto.commit", "group.id", "group.protocol", "isolation.level")
"""Consumer keys that the engine sets itself."""


class StreamsSettings(ClientSettings):
    """What a worker needs; `from_mapping` refuses unknown keys by name."""

    prefixes: ClassVar[tuple[str, ...]] = (
        "producer.", "consumer.", "main.consumer.", "restore.consumer.", "admin.", "topic.",
    )  # fmt: skip

    application_id: str = ""
    application_server: str = ""
    state_dir: str = ""
    processing_guarantee: Literal["at_least_once", "exactly_once_v2"] = "at_least_once"
    commit_interval_ms: int = Field(default=30_000, ge=0)
    statestore_cache_max_bytes: int = Field(default=10_485_760, ge=0)
    statestore_uncommitted_max_bytes: int = Field(default=67_108_864, ge=-1)
    state_cleanup_delay_ms: int = Field(default=600_000, ge=0)
    buffered_records_per_partition: int = Field(default=1000, gt=0)
    max_task_idle_ms: int = Field(default=0, ge=-1)
    max_poll_interval_ms: int = Field(default=300_000, gt=0)
    poll_ms: int = Field(default=100, ge=0)
    task_timeout_ms: int = Field(default=300_000, ge=0)
    repartition_purge_interval_ms: int = Field(default=30_000, gt=0)
    replication_factor: int = Field(default=-1, ge=-1)
    num_standby_replicas: int = Field(default=0, ge=0)
    topology_optimization: str = "none"
    request_timeout_ms: int = Field(default=40_000, gt=0)
    default_key_serde: Any = None
    default_value_serde: Any = None

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], *, where: str = "") -> Self:
        """Check `values` and fill in the defaults. Raises ConfigError naming the key."""
        settings = super().from_mapping(values, where=where)
        if settings.processing_guarantee == "exactly_once_v2":
            raise ConfigError(EXACTLY_ONCE_REFUSED)
        settings.producer()
        settings.consumer()
        return settings

    def client(self) -> ClientSettings:
        """The settings of the worker's one client."""
        return ClientSettings.from_mapping(self._shared() | self.with_prefix("admin."))

    def producer(self) -> ProducerSettings:
        """The settings of the worker's one producer. Raises ConfigError."""
        own = PRODUCER_DEFAULTS | self._shared() | self.with_prefix("producer.")
        return ProducerSettings.from_mapping(own, where="producer.*")

    def consumer(self) -> ConsumerSettings:
        """The settings of the fetcher. Raises ConfigError."""
        given = self.with_prefix("consumer.", "main.consumer.")
        for key in CONTROLLED_BY_STREAMS:
            if key in given:
                raise ConfigError(f"consumer.{key} is set by streamkit and cannot be changed")
        given.pop("max.poll.interval.ms", None)
        own = CONSUMER_DEFAULTS | self._shared() | given
        return ConsumerSettings.from_mapping(own, where="consumer.*")

    @property
    def poll_interval_max_ms(self) -> int:
        """`max.poll.interval.ms`, plain or as a consumer's setting."""
        given = self.with_prefix("consumer.", "main.consumer.")
        return int(given.get("max.poll.interval.ms", self.max_poll_interval_ms))

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

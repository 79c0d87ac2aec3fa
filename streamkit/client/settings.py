"""The client's settings: Kafka's keys and defaults (those of the Java clients)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import Field, field_validator, model_validator

from streamkit.client.backoff import Backoff
from streamkit.client.jaas import credentials_of
from streamkit.common.errors import ConfigError
from streamkit.common.settings import CommaList, Settings

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Address = tuple[str, int]
S = TypeVar("S", bound="ClientSettings")

INT32_MAX = 2**31 - 1


class ClientSettings(Settings):
    """What every client needs: where the cluster is, how to log in, how long to wait."""

    bootstrap_servers: CommaList = ()
    client_id: str = ""
    client_rack: str = ""

    request_timeout_ms: int = Field(default=30_000, gt=0)
    default_api_timeout_ms: int = Field(default=60_000, gt=0)
    metadata_max_age_ms: int = Field(default=300_000, gt=0)
    metadata_recovery_strategy: Literal["rebootstrap", "none"] = "rebootstrap"
    metadata_recovery_rebootstrap_trigger_ms: int = Field(default=300_000, ge=0)
    retry_backoff_ms: int = Field(default=100, ge=0)
    retry_backoff_max_ms: int = Field(default=1_000, ge=0)
    reconnect_backoff_ms: int = Field(default=50, ge=0)
    reconnect_backoff_max_ms: int = Field(default=1_000, ge=0)
    socket_connection_setup_timeout_ms: int = Field(default=10_000, gt=0)
    allow_auto_create_topics: bool = True

    security_protocol: SecurityProtocol = "PLAINTEXT"
    sasl_mechanism: str = ""
    sasl_username: str = ""
    sasl_password: str = ""
    sasl_jaas_config: str = ""
    ssl_truststore_location: str = ""
    ssl_truststore_type: Literal["PEM"] = "PEM"
    ssl_ca_location: str = ""
    ssl_keystore_location: str = ""
    ssl_keystore_type: Literal["PEM"] = "PEM"
    ssl_key_password: str = ""
    ssl_endpoint_identification_algorithm: Literal["https", ""] = "https"

    @field_validator("bootstrap_servers")
    @classmethod
    def _check_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            parse_address(address)
        return value

    @model_validator(mode="after")
    def _check_security(self) -> ClientSettings:
        if self.uses_sasl and not self.credentials[0] and self.sasl_mechanism:
            raise ValueError(
                f"sasl.mechanism={self.sasl_mechanism} needs sasl.username and sasl.password, "
                "or sasl.jaas.config"
            )
        if self.uses_sasl and not self.sasl_mechanism:
            raise ValueError(
                f"security.protocol={self.security_protocol} needs sasl.mechanism "
                "(PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512)"
            )
        return self

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The bootstrap servers as (host, port)."""
        return tuple(parse_address(address) for address in self.bootstrap_servers)

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.security_protocol in ("SSL", "SASL_SSL")

    @property
    def uses_sasl(self) -> bool:
        """Whether connections log in by SASL."""
        return self.security_protocol in ("SASL_PLAINTEXT", "SASL_SSL")

    @property
    def credentials(self) -> tuple[str, str]:
        """User name and password, said directly or in `sasl.jaas.config`."""
        if self.sasl_username or not self.sasl_jaas_config:
            return self.sasl_username, self.sasl_password
        return credentials_of(self.sasl_jaas_config)

    @property
    def retry_backoff(self) -> Backoff:
        """The wait between attempts of one request."""
        return Backoff(self.retry_backoff_ms, self.retry_backoff_max_ms)

    @property
    def reconnect_backoff(self) -> Backoff:
        """The wait between attempts to connect to one broker."""
        return Backoff(self.reconnect_backoff_ms, self.reconnect_backoff_max_ms)


class ProducerSettings(ClientSettings):
    """What a producer needs on top."""

    acks: Literal["all", "-1", "0", "1"] = "all"
    enable_idempotence: bool | None = None
    linger_ms: int = Field(default=5, ge=0)
    batch_size: int = Field(default=16_384, ge=0)
    buffer_memory: int = Field(default=33_554_432, gt=0)
    compression_type: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "none"
    delivery_timeout_ms: int = Field(default=120_000, gt=0)
    max_block_ms: int = Field(default=60_000, ge=0)
    max_in_flight_requests_per_connection: int = Field(default=5, ge=1)
    max_request_size: int = Field(default=1_048_576, gt=0)
    retries: int = Field(default=INT32_MAX, ge=0)
    transactional_id: str = ""
    transaction_timeout_ms: int = Field(default=60_000, gt=0)

    @field_validator("acks", mode="before")
    @classmethod
    def _acks_as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, int) else value

    @model_validator(mode="after")
    def _check_idempotence(self) -> ProducerSettings:
        if self.delivery_timeout_ms < self.linger_ms + self.request_timeout_ms:
            raise ValueError(
                "delivery.timeout.ms must be at least linger.ms + request.timeout.ms "
                f"({self.linger_ms + self.request_timeout_ms})"
            )
        if self.enable_idempotence and not self._may_be_idempotent:
            raise ValueError(
                "enable.idempotence=true needs acks=all, retries above 0 and "
                "max.in.flight.requests.per.connection of at most 5"
            )
        if self.transactional_id and not self.is_idempotent:
            raise ValueError(
                "transactional.id needs enable.idempotence=true, acks=all and retries above 0"
            )
        return self

    @property
    def _may_be_idempotent(self) -> bool:
        return (
            self.acks_number == -1
            and self.retries > 0
            and self.max_in_flight_requests_per_connection <= 5
        )

    @property
    def acks_number(self) -> int:
        """0, 1, or -1 for all."""
        return -1 if self.acks in ("all", "-1") else int(self.acks)

    @property
    def is_idempotent(self) -> bool:
        """Whether batches carry a producer id; the default wherever the rest allows it."""
        if self.enable_idempotence is None:
            return self._may_be_idempotent
        return self.enable_idempotence


class ConsumerSettings(ClientSettings):
    """What a consumer needs on top."""

    group_id: str = ""
    group_instance_id: str = ""
    group_protocol: Literal["consumer"] = "consumer"
    group_remote_assignor: str = ""
    max_poll_interval_ms: int = Field(default=300_000, gt=0)
    enable_auto_commit: bool = True
    auto_commit_interval_ms: int = Field(default=5_000, ge=0)
    auto_offset_reset: Literal["latest", "earliest", "none"] = "latest"
    isolation_level: Literal["read_uncommitted", "read_committed"] = "read_uncommitted"
    fetch_min_bytes: int = Field(default=1, ge=0)
    fetch_max_bytes: int = Field(default=52_428_800, gt=0)
    fetch_max_wait_ms: int = Field(default=500, ge=0)
    max_partition_fetch_bytes: int = Field(default=1_048_576, gt=0)
    check_crcs: bool = True

    @property
    def is_read_committed(self) -> bool:
        """Whether records of open and aborted transactions are held back."""
        return self.isolation_level == "read_committed"


class AdminSettings(ClientSettings):
    """What an admin client needs; nothing on top."""


def parse_address(text: str) -> Address:
    """Read `HOST:PORT`, `[IPv6]:PORT` or `PROTOCOL://HOST:PORT`. Raises ValueError."""
    _, _, address = text.rpartition("://")
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise ValueError(f"{text!r} is not of the form HOST:PORT")
    return host, int(port)


def settings_of(kind: type[S], config: Mapping[str, Any] | S) -> S:
    """Settings from a mapping by Kafka's keys. Raises ConfigError, also without servers."""
    settings = config if isinstance(config, kind) else kind.from_mapping(dict(config))
    if not settings.bootstrap_servers:
        raise ConfigError("bootstrap.servers is missing: give it HOST:PORT of one broker or more")
    return settings

"""The keys of a schema registry's configuration, as confluent-kafka's client has them."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, field_validator

from streamkit.common.settings import Settings


class RegistrySettings(Settings):
    """Checks keys and values; the client fills in its own defaults."""

    prefixes: ClassVar[tuple[str, ...]] = ("bearer.auth.",)

    url: str
    basic_auth_user_info: str | None = None
    ssl_ca_location: str | bool | None = None
    ssl_key_location: str | None = None
    ssl_key_password: str | None = None
    ssl_certificate_location: str | None = None
    proxy: str | None = None
    timeout: float | None = Field(default=None, gt=0)
    cache_capacity: int = Field(default=1000, gt=0)
    cache_latest_ttl_sec: float | None = Field(default=None, ge=0)
    max_retries: int = Field(default=3, ge=0)
    retries_wait_ms: int = Field(default=1000, ge=0)
    retries_max_wait_ms: int = Field(default=20_000, ge=0)

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        if not all(
            part.strip().startswith(("http://", "https://", "mock://")) for part in url.split(",")
        ):
            raise ValueError("an address begins with http://, https:// or mock://")
        return url

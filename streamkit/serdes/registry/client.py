"""`SchemaRegistry`: where schemas are kept, and how it is spoken to.

Making one makes no connection. All with the same configuration share a client and its cache, so a
`mock://` registry is the same one everywhere in a process, as users of Kafka know it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from streamkit.common.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import SchemaRegistryClient

TIMEOUT_S = 10.0
"""How long one request may take; the library's own default is for ever."""

_CREDENTIALS = re.compile(r"//[^/@,]*@")

_CLIENTS: dict[tuple[tuple[str, Any], ...], SchemaRegistryClient] = {}


class SchemaRegistry:
    """A schema registry by its address; several may be given, with commas.

    `config` has the keys of confluent-kafka's SchemaRegistryClient: `basic.auth.user.info`,
    `bearer.auth.*`, `ssl.*`, `timeout` in seconds, `max.retries`, `cache.capacity` and others.
    `mock://NAME` is one in memory, for tests. Raises ConfigError for an unknown key.

    A schema is asked for once, when it is first used, and processing waits for the answer, while
    heartbeats go on. A record that cannot be read since the registry is out of reach is read again
    until `task.timeout.ms` has passed; only then is `on_deserialization_error` asked.

    >>> SchemaRegistry("http://localhost:8081", config={"timeout": 5}).url
    'http://localhost:8081'
    """

    __slots__ = ("_config",)

    def __init__(self, url: str, *, config: Mapping[str, object] | None = None) -> None:
        from streamkit.serdes.registry.settings import RegistrySettings

        given = {"url": url, **(config or {})}
        RegistrySettings.from_mapping(given, where="the schema registry's config")
        self._config: dict[str, Any] = {"timeout": TIMEOUT_S, **given}

    @property
    def url(self) -> str:
        """Its address, as it was given."""
        return str(self._config["url"])

    def __str__(self) -> str:
        return _CREDENTIALS.sub("//", self.url)

    def __repr__(self) -> str:
        return f"SchemaRegistry({str(self)!r})"

    @property
    def client(self) -> SchemaRegistryClient:
        """Confluent's client of it, to look schemas up or to register them by hand."""
        key = tuple(sorted(self._config.items()))
        found = _CLIENTS.get(key)
        if found is None:
            from confluent_kafka.schema_registry import SchemaRegistryClient

            try:
                made = SchemaRegistryClient.new_client(self._config)
            except (ValueError, TypeError, OSError) as error:
                raise ConfigError(f"schema registry {self}: {error}") from error
            found = _CLIENTS.setdefault(key, made)
        return found


def registry_of(choice: SchemaRegistry | str) -> SchemaRegistry:
    """What `registry=` means: a registry or its address."""
    if isinstance(choice, SchemaRegistry):
        return choice
    if not isinstance(choice, str):
        raise UsageError(
            f"registry={choice!r}: give an address, as in 'http://localhost:8081', or a "
            "streamkit.serdes.SchemaRegistry"
        )
    return SchemaRegistry(choice)


def require(extra: str, *modules: str) -> None:
    """Raise UsageError, saying what to install, when a library of an extra is missing."""
    for module in ("confluent_kafka", "authlib", "cachetools", *modules):
        if not _is_installed(module):
            raise UsageError(
                f"serdes.{extra.replace('-', '_')}() needs the library {module}: "
                f"pip install 'streamkit[{extra}]'"
            )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False

"""A worker's HTTP endpoint: metrics, health, readiness and interactive queries.

`web.listener` says where; slot number i of a host listens i ports higher. What other workers are
told (`application.server`) is moved in the same way, and is the listener itself when that names a
host.
"""

from __future__ import annotations

from streamkit.common.errors import ConfigError, UsageError
from streamkit.common.http import Check, Handler, HttpServer, operator_routes, parse_address
from streamkit.common.metrics import Registry
from streamkit.common.seams import Network
from streamkit.tasks.settings import StreamsSettings

ANY_HOST = ("", "0.0.0.0", "::", "*")
"""Addresses to listen at that nobody can be sent to."""

Address = tuple[str, int]


def listener_of(settings: StreamsSettings, slot: int) -> Address | None:
    """Where this slot listens; None when it does not. Raises ConfigError."""
    if not settings.web_listener:
        return None
    host, port = _parse("web.listener", settings.web_listener)
    return host, port + slot if port else 0


def advertised_of(settings: StreamsSettings, slot: int) -> Address | None:
    """Where other workers reach this slot; None when they cannot. Raises ConfigError."""
    if settings.application_server:
        host, port = _parse("application.server", settings.application_server)
        return host, port + slot if settings.web_listener else port
    listener = listener_of(settings, slot)
    if listener is None or listener[0] in ANY_HOST or not listener[1]:
        return None
    return listener


def _parse(key: str, text: str) -> Address:
    try:
        host, port = parse_address(text)
    except ValueError:
        raise ConfigError(f"{key}: must be HOST:PORT, but it is {text!r}") from None
    if key == "application.server" and not host:
        raise ConfigError(f"{key}: must be HOST:PORT, but it is {text!r}")
    return host, port


class WorkerEndpoint:
    """The HTTP server of one worker."""

    def __init__(
        self,
        address: Address,
        network: Network,
        registry: Registry,
        health: Check,
        readiness: Check,
        handler: Handler,
    ) -> None:
        self._address = address
        routes = operator_routes(registry, health, readiness)
        self._server = HttpServer(network, routes, handler)

    @property
    def port(self) -> int:
        """The port that it listens at."""
        return self._server.port

    async def start(self) -> None:
        """Listen. Raises UsageError when that cannot be."""
        host, port = self._address
        try:
            await self._server.start(host or "0.0.0.0", port)
        except OSError as error:
            raise UsageError(
                f"web.listener cannot listen on {host}:{port}: {error.strerror or error}"
            ) from None

    async def close(self) -> None:
        """Stop listening."""
        await self._server.close()

"""How many connections the listener takes, by the settings and by what was changed since."""

from __future__ import annotations

from collections.abc import Callable

from streamkit.broker.kraft.image import BROKER_RESOURCE, MetadataDelta, MetadataImage
from streamkit.broker.settings import BrokerSettings, connections_of_host
from streamkit.net.server import FrameServer, ServerLimits


def limits_at_start(settings: BrokerSettings) -> ServerLimits:
    """The limits before any metadata are known."""
    return ServerLimits(
        frame_bytes_max=settings.socket_request_max_bytes,
        connections_max=settings.max_connections,
        connections_per_host_max=settings.max_connections_per_ip,
        connections_of_host_max=connections_of_host(settings.max_connections_per_ip_overrides),
        idle_ms=settings.connections_max_idle_ms,
    )


class ConnectionLimits:
    """Keeps a server's limits at what the configuration is now."""

    def __init__(self, server: FrameServer, live_settings: Callable[[], BrokerSettings]) -> None:
        self._server = server
        self._live_settings = live_settings

    def on_image(self, _image: MetadataImage, delta: MetadataDelta) -> None:
        """Follow a change of the broker's configuration."""
        if any(resource.type == BROKER_RESOURCE for resource in delta.configs):
            self._server.update_limits(limits_at_start(self._live_settings()))

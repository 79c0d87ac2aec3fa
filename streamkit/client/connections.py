"""Connections to brokers: one per address and channel, opened on first use.

A parked Fetch blocks whatever is behind it on its connection, so fetches, produces and
coordinator requests each have a channel of their own. Attempts to connect are single-flight, with
back-off per address.
"""

from __future__ import annotations

import asyncio
from enum import Enum

from streamkit.client.background import Background
from streamkit.client.errors import ClosedError
from streamkit.client.security import security_of
from streamkit.client.settings import Address, ClientSettings
from streamkit.common.errors import StreamkitError
from streamkit.common.seams import Seams
from streamkit.net.dial import Connection
from streamkit.net.errors import ConnectionLost


class Channel(Enum):
    """What a connection is for."""

    REQUEST = "request"
    FETCH = "fetch"
    RESTORE = "restore"
    PRODUCE = "produce"
    COORDINATOR = "coordinator"


_Key = tuple[Address, Channel]


class Connections:
    """The open connections of one client."""

    def __init__(self, settings: ClientSettings, seams: Seams, background: Background) -> None:
        self._settings = settings
        self._seams = seams
        self._background = background
        self._security = security_of(settings)
        self._open: dict[_Key, Connection] = {}
        self._opening: dict[_Key, asyncio.Future[Connection]] = {}
        self._failures: dict[Address, int] = {}
        self._not_before_ms: dict[Address, float] = {}

    def ready(self, address: Address, channel: Channel) -> Connection | None:
        """The open connection, if there is one."""
        connection = self._open.get((address, channel))
        if connection is not None and connection.is_closed:
            del self._open[address, channel]
            return None
        return connection

    def is_backing_off(self, address: Address) -> bool:
        """Whether the last attempt to connect failed a moment ago."""
        return self._not_before_ms.get(address, 0.0) > self._seams.clock.monotonic_ms()

    async def get(self, address: Address, channel: Channel) -> Connection:
        """The connection, opened when needed, after the back-off of an earlier failure.

        Raises ConnectionLost, or UsageError for a login or certificate that is refused.
        """
        connection = self.ready(address, channel)
        if connection is not None:
            return connection
        key = (address, channel)
        pending = self._opening.get(key)
        if pending is None:
            pending = asyncio.get_running_loop().create_future()
            self._background.spawn(
                self._connect(key, pending), f"connect {address[0]}:{address[1]} {channel.value}"
            )
            self._opening[key] = pending
        # A caller that is cancelled must not take the attempt away from the others.
        return await asyncio.shield(pending)

    def close(self) -> None:
        """Close all connections."""
        for connection in self._open.values():
            connection.close()
        self._open.clear()

    async def _connect(self, key: _Key, pending: asyncio.Future[Connection]) -> None:
        address, _ = key
        try:
            await self._wait_backoff(address)
            connection = await self._dial(address)
        except StreamkitError as error:
            self._on_failure(address)
            if not pending.cancelled():
                pending.set_exception(error)
                pending.exception()  # its waiters may be gone; that is no news to log
        else:
            self._failures.pop(address, None)
            self._not_before_ms.pop(address, None)
            self._open[key] = connection
            if not pending.cancelled():
                pending.set_result(connection)
        finally:
            del self._opening[key]
            if not pending.done():
                pending.set_exception(ClosedError("the client was closed while it connected"))
                pending.exception()

    async def _dial(self, address: Address) -> Connection:
        setup_ms = self._settings.socket_connection_setup_timeout_ms
        try:
            async with asyncio.timeout(setup_ms / 1000):
                return await Connection.open(
                    self._seams,
                    *address,
                    self._security,
                    self._settings.client_id,
                    self._settings.request_timeout_ms,
                )
        except TimeoutError:
            raise ConnectionLost(
                f"{address[0]}:{address[1]} was not ready for requests within "
                f"socket.connection.setup.timeout.ms={setup_ms}"
            ) from None

    async def _wait_backoff(self, address: Address) -> None:
        wait_ms = self._not_before_ms.get(address, 0.0) - self._seams.clock.monotonic_ms()
        if wait_ms > 0:
            await asyncio.sleep(wait_ms / 1000)

    def _on_failure(self, address: Address) -> None:
        failures = self._failures.get(address, 0) + 1
        self._failures[address] = failures
        delay = self._settings.reconnect_backoff.delay_ms(failures, self._seams.random.random())
        self._not_before_ms[address] = self._seams.clock.monotonic_ms() + delay

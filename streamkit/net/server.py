"""A server of frames: one request at a time on each connection, in order, with back-pressure.

Bytes that arrive while a request is handled, or while its peer does not take the answer, are the
last that are read before the request is done. So a connection never holds more than two reads'
worth of bytes and one answer, and a peer that waits for its answer is not paused at all: its
going away is noticed, though as in Kafka its request is handled to the end.

As in Kafka (ConnectionQuotas) a connection too many from one host is closed, and one too many in
all waits, read once at most, until another one is closed.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from streamkit.common.errors import StorageError
from streamkit.common.seams import Listener, Piece, Seams, Sender
from streamkit.net.errors import CloseConnection
from streamkit.protocol.errors import MalformedMessage, UnsupportedVersionError
from streamkit.protocol.frames import FRAME_BYTES_MAX, FrameBuffer, frame

_log = logging.getLogger(__name__)

IDLE_SWEEPS: Final = 4
"""How many times within `idle_ms` the server looks for idle connections."""

WAITING_MAX: Final = 50
"""So many connections wait for another one to be closed; more are refused."""

COUNT_MAX: Final = 2_147_483_647

Frame = memoryview
"""One request: its header and body, without the size."""


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """Who is at the other end; `id` is unique within the server."""

    id: int
    host: str
    port: int
    is_tls: bool


Handler = Callable[[Frame, ConnectionInfo], Awaitable[Sequence[Piece] | None]]
"""Answers a request; None means no answer. May raise CloseConnection."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What one server takes on; the defaults are Kafka's."""

    frame_bytes_max: int = FRAME_BYTES_MAX
    connections_max: int = COUNT_MAX
    connections_per_host_max: int = COUNT_MAX
    connections_of_host_max: Mapping[str, int] = field(default_factory=dict)
    """The limit of single hosts, in place of the one above."""

    idle_ms: int = 600_000
    write_bytes_high: int = 1 << 20


class FrameServer:
    """Listens at one address and hands each frame to the handler."""

    def __init__(
        self,
        seams: Seams,
        handler: Handler,
        group: asyncio.TaskGroup,
        limits: ServerLimits | None = None,
        on_closed: Callable[[ConnectionInfo], None] | None = None,
    ) -> None:
        self.limits = limits or ServerLimits()
        self.handler = handler
        self.clock = seams.clock
        self.network = seams.network
        self._group = group
        self._on_closed = on_closed
        self._connections: dict[int, ServerConnection] = {}
        self.unsent_bytes = 0
        """What peers did not take yet, of those that the server waits for."""

        self._of_host: Counter[str] = Counter()
        self._queue: deque[ServerConnection] = deque()
        self._listener: Listener | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._next_id = 1

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Listen. Raises OSError when the port is taken."""
        self._listener = await self.network.listen(self._accept, host, port, tls)
        self._schedule_sweep()

    @property
    def port(self) -> int:
        """The port that it listens at."""
        assert self._listener is not None, "the server was not started"
        return self._listener.port

    @property
    def connection_count(self) -> int:
        """How many connections are served."""
        return len(self._connections)

    def update_limits(self, limits: ServerLimits) -> None:
        """Take on more or fewer connections from now on; those that are open stay."""
        self.limits = limits
        self._admit_waiting()

    async def close(self) -> None:
        """Stop listening, close all connections and cancel what they do."""
        if self._sweep is not None:
            self._sweep.cancel()
        if self._listener is not None:
            await self._listener.close()
        for connection in [*self._queue, *self._connections.values()]:
            connection.abort()
        self._queue.clear()

    def _accept(self) -> asyncio.Protocol:
        connection = ServerConnection(self, self._next_id)
        self._next_id += 1
        return connection

    def admit(self, connection: ServerConnection) -> None:
        """Take the connection in, let it wait for a place, or refuse it."""
        if self._has_place():
            self._take_in(connection)
        elif len(self._queue) < WAITING_MAX:
            _log.warning("%d connections are open: the next ones wait", len(self._connections))
            self._queue.append(connection)
        else:
            self._refuse(connection, "too many wait for a place")

    def forget(self, connection: ServerConnection) -> None:
        """The connection is closed."""
        if connection in self._queue:
            self._queue.remove(connection)
        if self._connections.pop(connection.id, None) is None:
            return
        host = connection.info.host
        self._of_host[host] -= 1
        if self._of_host[host] == 0:
            del self._of_host[host]
        if self._on_closed is not None:
            self._on_closed(connection.info)
        self._admit_waiting()

    def _has_place(self) -> bool:
        return len(self._connections) < self.limits.connections_max

    def _admit_waiting(self) -> None:
        while self._queue and self._has_place():
            self._take_in(self._queue.popleft())

    def _take_in(self, connection: ServerConnection) -> None:
        host, limits = connection.info.host, self.limits
        host_max = limits.connections_of_host_max.get(host, limits.connections_per_host_max)
        if self._of_host[host] >= host_max:
            self._refuse(connection, f"its host has {host_max}, as many as it may have")
            return
        self._of_host[host] += 1
        self._connections[connection.id] = connection
        connection.task = self._group.create_task(
            connection.serve(), name=f"connection-{connection.id}"
        )

    def _refuse(self, connection: ServerConnection, why: str) -> None:
        _log.info("connection from %s refused: %s", connection.info.host, why)
        connection.close()

    def _schedule_sweep(self) -> None:
        delay_s = self.limits.idle_ms / IDLE_SWEEPS / 1000
        self._sweep = asyncio.get_running_loop().call_later(delay_s, self._close_idle)

    def _close_idle(self) -> None:
        oldest_ms = self.clock.monotonic_ms() - self.limits.idle_ms
        for connection in list(self._connections.values()):
            connection.close_if_idle(oldest_ms)
        self._schedule_sweep()


class ServerConnection(asyncio.Protocol):
    """One connection: frames wait here while the one before them is handled."""

    info: ConnectionInfo
    task: asyncio.Task[None] | None = None
    _transport: asyncio.Transport
    _sender: Sender

    def __init__(self, server: FrameServer, connection_id: int) -> None:
        self.id = connection_id
        self._server = server
        self._frames = FrameBuffer(server.limits.frame_bytes_max)
        self._waiting: deque[Frame] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._is_handling = False
        self._is_closed = False
        self._is_paused = False
        self._unsent_bytes = 0
        self._monotonic_ms = server.clock.monotonic_ms
        self._active_ms = self._monotonic_ms()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the peer is there."""
        self._transport = cast(asyncio.Transport, transport)
        self._sender = self._server.network.sender(self._transport)
        peer = transport.get_extra_info("peername") or ("", 0)
        is_tls = transport.get_extra_info("ssl_object") is not None
        self.info = ConnectionInfo(self.id, str(peer[0]), int(peer[1]), is_tls)
        self._transport.set_write_buffer_limits(self._server.limits.write_bytes_high)
        self._server.admit(self)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes came."""
        self._active_ms = self._monotonic_ms()
        if self._is_closed:
            return
        if self._is_handling or self._waiting or self.task is None:
            self._pause_reading()
        try:
            frames = self._frames.feed(data)
        except MalformedMessage as error:
            _log.warning("closing connection from %s: %s", self.info.host, error)
            self.close()
            return
        if frames:
            self._waiting.extend(frames)
            self._wake_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the connection is gone."""
        self._is_closed = True
        self._sender.close()
        self._waiting.clear()
        self._server.forget(self)
        self.resume_writing()
        self._wake_up()

    def pause_writing(self) -> None:
        """asyncio: the peer does not take what was written."""
        self._active_ms = self._server.clock.monotonic_ms()
        if self._writable is None:
            self._writable = asyncio.get_running_loop().create_future()
            self._unsent_bytes = self._transport.get_write_buffer_size()
            self._server.unsent_bytes += self._unsent_bytes

    def resume_writing(self) -> None:
        """asyncio: the peer has taken enough."""
        self._active_ms = self._server.clock.monotonic_ms()
        self._server.unsent_bytes -= self._unsent_bytes
        self._unsent_bytes = 0
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    async def serve(self) -> None:
        """Handle the frames one after the other until the connection ends."""
        try:
            while not self._is_closed:
                self._is_handling = True
                while self._waiting and not self._is_closed:
                    await self._serve_one(self._waiting.popleft())
                self._is_handling = False
                self._active_ms = self._monotonic_ms()
                if not self._is_closed:
                    self._resume_reading()
                    if not self._waiting:
                        self._wake = asyncio.get_running_loop().create_future()
                        await self._wake
                        self._wake = None
        finally:
            self.close()

    def close(self) -> None:
        """Send what is written, then close."""
        self._is_closed = True
        self._transport.close()
        self._wake_up()

    def abort(self) -> None:
        """Close at once and cancel what is being handled."""
        self.close()
        if self.task is not None:
            self.task.cancel()

    def close_if_idle(self, oldest_ms: float) -> None:
        """Close when nothing came or was taken since then and nothing is being handled.

        What the peer did not take in all that time is dropped: it would keep the connection.
        """
        if self._active_ms > oldest_ms:
            return
        if self._writable is not None or self._is_closed:
            self._transport.abort()
        elif not self._is_handling:
            if self._transport.get_write_buffer_size():
                self._transport.abort()
            self.close()

    async def _serve_one(self, request: Frame) -> None:
        try:
            chunks = await self._server.handler(request, self.info)
        except (CloseConnection, MalformedMessage, UnsupportedVersionError) as error:
            _log.info("closing connection from %s: %s", self.info.host, error)
            chunks = getattr(error, "chunks", None)
            self._answer(chunks)
            self.close()
            return
        except Exception:  # the edge of a request: it ends the connection, not the server
            _log.exception("closing connection from %s: its request failed", self.info.host)
            self.close()
            return
        self._answer(chunks)
        if self._writable is not None:
            await self._writable

    def _answer(self, chunks: Sequence[Piece] | None) -> None:
        if chunks is None or self._is_closed:
            return
        try:
            self._sender.send(frame(chunks))
        except StorageError as error:
            # Part of the answer may be gone already: there is no other way to say so.
            _log.error("closing connection from %s: %s", self.info.host, error)
            self.close()

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _pause_reading(self) -> None:
        if not self._is_paused and not self._transport.is_closing():
            self._is_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._is_paused and not self._transport.is_closing():
            self._is_paused = False
            self._transport.resume_reading()

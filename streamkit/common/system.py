"""The adapters of the seams to the real machine.

This and its siblings `files.py` and `processes.py` are the only modules that read the clock,
draw chance, open files and sockets, or start threads and processes.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, TypeVar, cast

import uvloop

from streamkit.common.files import SystemDisk, SystemFile
from streamkit.common.processes import start_child
from streamkit.common.seams import Bytes, Child, FileSlice, Piece, Seams, Sender, Thread

T = TypeVar("T")


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> float:
        return time.monotonic_ns() / 1e6


class SystemRandom:
    """The machine's chance."""

    def __init__(self) -> None:
        self._random = random.Random()

    def random(self) -> float:
        return self._random.random()

    def randrange(self, stop: int) -> int:
        return self._random.randrange(stop)

    def uuid4(self) -> uuid.UUID:
        return uuid.uuid4()


class _Listener:
    """A listening asyncio server."""

    def __init__(self, server: asyncio.Server) -> None:
        self._server = server
        self._port = int(server.sockets[0].getsockname()[1])

    @property
    def port(self) -> int:
        return self._port

    async def close(self) -> None:
        # From 3.12 on `wait_closed` waits for every open connection; their owner closes those.
        self._server.close()


CONGESTION: int | None = getattr(socket, "TCP_CONGESTION", None)


def _send_unpaced(listening: socket.socket) -> None:
    """Let a socket that only this machine reaches send when it can.

    Where BBR is the system's congestion control it paces by timers, also where there is no
    network: that is half of the CPU that a large answer takes. What is accepted inherits this one,
    which every Linux has.
    """
    if CONGESTION is not None:
        with suppress(OSError):
            listening.setsockopt(socket.IPPROTO_TCP, CONGESTION, b"reno")


class SystemNetwork:
    """TCP, with TLS when a context is given."""

    async def listen(
        self,
        factory: Callable[[], asyncio.Protocol],
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
    ) -> _Listener:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(factory, host, port, ssl=tls, backlog=50)
        for listening in server.sockets:
            # What is accepted inherits it, so that peers which are gone are noticed in the end.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if ip_address(listening.getsockname()[0]).is_loopback:
                _send_unpaced(listening)
        return _Listener(server)

    async def dial(
        self,
        factory: Callable[[], asyncio.Protocol],
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> asyncio.Transport:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(
            factory, host, port, ssl=tls, server_hostname=server_hostname if tls else None
        )
        return transport

    def sender(self, transport: asyncio.Transport) -> Sender:
        return _SocketSender(transport)


CORK: int | None = getattr(socket, "TCP_CORK", None)
"""Linux: a packet that is not full waits for what follows."""


class _SocketSender:
    """Writes to one transport, and keeps its socket at hand for the slices among the pieces."""

    __slots__ = ("_is_tls", "_socket", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._is_tls = transport.get_extra_info("sslcontext") is not None
        self._socket: socket.socket | None = None

    def send(self, pieces: Sequence[Piece]) -> None:
        for each in pieces:
            if isinstance(each, FileSlice):
                self._send_slices(pieces)
                return
        self._transport.writelines(cast(Sequence[Bytes], pieces))

    def _send_slices(self, pieces: Sequence[Piece]) -> None:
        if self._is_tls:
            self._transport.writelines(_as_bytes(pieces))
        elif not self._transport.is_closing():
            self._send_corked(pieces)

    def close(self) -> None:
        if self._socket is not None:
            # The transport closes it.
            self._socket.detach()
            self._socket = None

    def __del__(self) -> None:
        # A loop that ends tells nobody; the number may be another file's by now.
        self.close()

    def _send_corked(self, pieces: Sequence[Piece]) -> None:
        transport, peer = self._transport, self._socket
        if peer is None:
            peer = self._socket = _socket_of(transport)
        if CORK is not None:
            peer.setsockopt(socket.IPPROTO_TCP, CORK, 1)
        try:
            for piece in pieces:
                if isinstance(piece, FileSlice):
                    transport.write(_unsent(transport, peer.fileno(), piece))
                else:
                    transport.write(piece)
        finally:
            if CORK is not None and not transport.is_closing():
                peer.setsockopt(socket.IPPROTO_TCP, CORK, 0)


def _socket_of(transport: asyncio.Transport) -> socket.socket:
    """A transport's socket itself: what the transport shows of it is slow to ask for anything."""
    shown = transport.get_extra_info("socket")
    return socket.socket(shown.family, shown.type, shown.proto, fileno=shown.fileno())


def _as_bytes(pieces: Sequence[Piece]) -> list[Bytes]:
    return [each.read() if isinstance(each, FileSlice) else each for each in pieces]


def _unsent(transport: asyncio.Transport, descriptor: int, piece: FileSlice) -> Bytes:
    """What is left of a slice when the socket took what it could, as it is behind what waits."""
    file, position, size = piece.file, piece.position, piece.size
    assert isinstance(file, SystemFile), "a slice is of a file of this machine"
    try:
        while size and not transport.get_write_buffer_size() and not transport.is_closing():
            sent = file.send_to(descriptor, position, size)
            position += sent
            size -= sent
    except OSError:
        # The socket is full, or broken, which the transport finds out; or the disk is.
        pass
    return file.read_at(position, size) if size else b""


class SystemSpawn:
    """Threads of this process, and child processes."""

    def thread(self, target: Callable[[], None], name: str) -> Thread:
        thread = threading.Thread(target=target, name=name, daemon=True)
        thread.start()
        return thread

    def in_thread(self, work: Callable[[], T]) -> Awaitable[T]:
        return asyncio.to_thread(work)

    def process(self, argv: Sequence[str], *, new_session: bool = False) -> Child:
        return start_child(argv, new_session=new_session)


def system_seams() -> Seams:
    """The seams of the real machine."""
    return Seams(SystemClock(), SystemRandom(), SystemDisk(), SystemNetwork(), SystemSpawn())


def pause(seconds: float) -> None:
    """Let the calling thread wait."""
    time.sleep(seconds)


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on an uvloop event loop of this thread until it is done."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)

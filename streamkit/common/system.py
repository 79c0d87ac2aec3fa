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
from typing import Any, TypeVar

import uvloop

from streamkit.common.files import SystemDisk, SystemFile
from streamkit.common.processes import start_child
from streamkit.common.seams import Bytes, Child, FileSlice, Piece, Seams, Thread

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

    def send(self, transport: asyncio.Transport, pieces: Sequence[Piece]) -> None:
        slices = [each for each in pieces if isinstance(each, FileSlice)]
        if not slices or transport.get_extra_info("sslcontext") is not None:
            transport.writelines(_as_bytes(pieces))
        elif not transport.is_closing():
            _send_corked(transport, pieces)


CORK: int | None = getattr(socket, "TCP_CORK", None)
"""Linux: a packet that is not full waits for what follows."""


def _as_bytes(pieces: Sequence[Piece]) -> list[Bytes]:
    return [each.read() if isinstance(each, FileSlice) else each for each in pieces]


def _send_corked(transport: asyncio.Transport, pieces: Sequence[Piece]) -> None:
    peer = transport.get_extra_info("socket")
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

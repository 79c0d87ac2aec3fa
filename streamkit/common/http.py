"""A small HTTP server for what operators and programs ask: metrics, health, readiness, queries.

GET and HEAD, one request a connection. Fixed paths are answered at once by a function without
arguments; all others may go to a handler, which may wait. Requests have a largest size and a
longest time, connections a largest number, so that nobody who reaches the port can make the process
keep anything.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import parse_qsl, unquote

from streamkit.common.metrics import CONTENT_TYPE, Registry
from streamkit.common.seams import Listener, Network

_log = logging.getLogger(__name__)

REQUEST_BYTES_MAX: Final = 8192
REQUEST_S_MAX: Final = 10.0
"""How long a peer may take to ask and to read the answer."""
CONNECTIONS_MAX: Final = 64
PLAIN: Final = "text/plain; charset=utf-8"
END_OF_HEAD: Final = b"\r\n\r\n"

_REASONS = {
    200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed",
    431: "Request Header Fields Too Large", 500: "Internal Server Error",
    503: "Service Unavailable",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """What a path gives; `pieces` in place of a text are made and sent one by one."""

    status: int
    text: str
    content_type: str = PLAIN
    pieces: Iterator[str] | None = None


Route = Callable[[], Answer]


@dataclass(frozen=True, slots=True)
class Request:
    """A path's parts and the query's fields, both decoded; of a repeated field the last."""

    path: tuple[str, ...]
    fields: Mapping[str, str]


Handler = Callable[[Request], Awaitable[Answer]]
"""Answers the paths that are not fixed."""

Check = Callable[[], str | None]
"""Says why something is not well, or None."""


def operator_routes(registry: Registry, health: Check, readiness: Check) -> dict[str, Route]:
    """`/metrics`; `/healthz`, 200 unless a restart is due; `/readyz`, 200 while it serves."""
    return {
        "/metrics": lambda: Answer(200, "", CONTENT_TYPE, registry.pieces()),
        "/healthz": lambda: _verdict(health()),
        "/readyz": lambda: _verdict(readiness()),
    }


def _verdict(problem: str | None) -> Answer:
    return Answer(200, "ok\n") if problem is None else Answer(503, f"{problem}\n")


class HttpServer:
    """Listens at one address and answers the given paths."""

    def __init__(
        self, network: Network, routes: Mapping[str, Route], handler: Handler | None = None
    ) -> None:
        self.routes = routes
        self.handler = handler
        self._network = network
        self._listener: Listener | None = None
        self._connections: set[_Connection] = set()

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises OSError when the port is taken."""
        self._listener = await self._network.listen(lambda: _Connection(self), host, port)

    @property
    def port(self) -> int:
        """The port that it listens at."""
        assert self._listener is not None, "the server was not started"
        return self._listener.port

    async def close(self) -> None:
        """Stop listening and close the connections."""
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.close()
        for connection in list(self._connections):
            connection.abort()

    def admit(self, connection: _Connection) -> bool:
        """Take the connection in unless there are too many."""
        if len(self._connections) >= CONNECTIONS_MAX:
            return False
        self._connections.add(connection)
        return True

    def forget(self, connection: _Connection) -> None:
        """The connection is closed."""
        self._connections.discard(connection)

    async def handle(self, target: str) -> Answer:
        """What the handler gives; its failure is a 500."""
        assert self.handler is not None, "there is no handler"
        try:
            return await self.handler(parse_target(target))
        except Exception:  # the edge of a request: the process goes on
            _log.exception("the answer to %s failed", target)
            return Answer(500, "the answer failed; the log says why\n")

    def answer(self, path: str) -> Answer:
        """What a path gives; a failure of its function is a 500."""
        route = self.routes.get(path)
        if route is None:
            return Answer(404, f"there is {', '.join(self.routes)}\n")
        try:
            return route()
        except Exception:  # the edge of a request: the process goes on
            _log.exception("the answer to %s failed", path)
            return Answer(500, "the answer failed; the log says why\n")


class _Connection(asyncio.Protocol):
    """One request and its answer."""

    _transport: asyncio.Transport
    _deadline: asyncio.TimerHandle | None = None

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._received = b""
        self._is_answered = False
        self._handling: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the peer is there."""
        self._transport = cast(asyncio.Transport, transport)
        if not self._server.admit(self):
            self._is_answered = True
            self._transport.abort()
            return
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(REQUEST_S_MAX, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes came."""
        if self._is_answered:
            return
        self._received += data
        head, found, _ = self._received.partition(END_OF_HEAD)
        if found:
            self._respond(head)
        elif len(self._received) > REQUEST_BYTES_MAX:
            self._send(Answer(431, "the request is too long\n"))

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the connection is gone."""
        if self._deadline is not None:
            self._deadline.cancel()
        if self._handling is not None:
            self._handling.cancel()
        self._server.forget(self)

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _respond(self, head: bytes) -> None:
        words = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            self._send(Answer(400, "not a request of HTTP/1\n"))
            return
        method, target, _ = words
        if method not in {"GET", "HEAD"}:
            self._send(Answer(405, "only GET and HEAD\n"), "Allow: GET, HEAD\r\n")
            return
        path = target.partition("?")[0]
        if self._server.handler is not None and path not in self._server.routes:
            self._is_answered = True
            handling = self._handle(target, has_body=method == "GET")
            self._handling = asyncio.get_running_loop().create_task(handling)
            return
        self._send(self._server.answer(path), has_body=method == "GET")

    async def _handle(self, target: str, *, has_body: bool) -> None:
        answer = await self._server.handle(target)
        self._handling = None
        self._send(answer, has_body=has_body)

    def _send(self, answer: Answer, header: str = "", *, has_body: bool = True) -> None:
        self._is_answered = True
        self._received = b""
        head = f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\n{header}"
        head += f"Content-Type: {answer.content_type}\r\nConnection: close\r\n"
        if answer.pieces is None:
            body = answer.text.encode()
            head += f"Content-Length: {len(body)}\r\n\r\n"
            self._transport.write(head.encode("latin-1") + (body if has_body else b""))
            self._transport.close()
            return
        # Its length is not known: it ends with the connection.
        self._transport.write(f"{head}\r\n".encode("latin-1"))
        self._send_pieces(answer.pieces if has_body else iter(()))

    def _send_pieces(self, pieces: Iterator[str]) -> None:
        """Send one piece, and the next when the event loop has looked at everything else."""
        if self._transport.is_closing():
            return
        try:
            piece = next(pieces, None)
        except Exception:  # the edge of a request: the process goes on
            _log.exception("an answer failed in its middle")
            self._transport.abort()
            return
        if piece is None:
            self._transport.close()
            return
        self._transport.write(piece.encode())
        asyncio.get_running_loop().call_soon(self._send_pieces, pieces)


def parse_target(target: str) -> Request:
    """A request's target, decoded."""
    path, _, query = target.partition("?")
    parts = tuple(unquote(part) for part in path.split("/") if part)
    return Request(parts, dict(parse_qsl(query, keep_blank_values=True)))


def parse_address(text: str) -> tuple[str, int]:
    """The host and port of `HOST:PORT` or `[HOST]:PORT`. Raises ValueError with the wanted form."""
    host, colon, port = text.strip().rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65_535:
        raise ValueError(f"an address is written HOST:PORT, not {text!r}")
    return host.strip("[]"), int(port)

"""One HTTP GET, for asking another process of the same application."""

from __future__ import annotations

import asyncio
from typing import Final, cast

from streamkit.common.http import END_OF_HEAD
from streamkit.common.seams import Network

BODY_BYTES_MAX: Final = 64 * 1024 * 1024


class HttpError(Exception):
    """No answer, or none that could be read; asking again may help."""


async def http_get(
    network: Network, host: str, port: int, target: str, timeout_s: float
) -> tuple[int, bytes]:
    """The status and the body. Raises HttpError."""
    done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    transport: asyncio.Transport | None = None
    try:
        async with asyncio.timeout(timeout_s):
            transport = await network.dial(lambda: _Getting(done, host, target), host, port)
            return _parse(await done)
    except (TimeoutError, OSError) as error:
        what = f"no answer within {timeout_s:g} s" if isinstance(error, TimeoutError) else error
        raise HttpError(f"{host}:{port}: {what}") from None
    finally:
        if transport is not None:
            transport.abort()


class _Getting(asyncio.Protocol):
    """Sends the request, and gathers what comes until the peer closes."""

    def __init__(self, done: asyncio.Future[bytes], host: str, target: str) -> None:
        self._done = done
        self._request = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        self._pieces: list[bytes] = []
        self._size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the peer is there."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request.encode("ascii"))

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes came."""
        self._pieces.append(data)
        self._size += len(data)
        if self._size > BODY_BYTES_MAX:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the peer has said everything."""
        if not self._done.done():
            self._done.set_result(b"".join(self._pieces))


def _parse(answer: bytes) -> tuple[int, bytes]:
    head, found, body = answer.partition(END_OF_HEAD)
    words = head.split(b" ", 2)
    if not found or len(words) < 2 or not words[1].isdigit():
        raise OSError("the connection was closed before an answer came")
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length" and len(body) < int(value):
            raise OSError("the connection was closed within an answer")
    return int(words[1]), body

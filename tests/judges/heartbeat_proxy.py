"""A TCP proxy before a broker that writes down the heartbeats of streams groups.

The broker must advertise the proxy's address, so that every connection comes through it.
"""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass, field
from typing import Any

from streamkit.protocol.apis import ApiKey
from streamkit.protocol.messages import decode_request, decode_response

BUFFER_BYTES = 1 << 16
_HEARTBEAT = int(ApiKey.STREAMS_GROUP_HEARTBEAT)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One heartbeat and its answer."""

    request: Any
    response: Any


@dataclass
class HeartbeatProxy:
    """Forwards bytes both ways as they come; `exchanges` is in order of the answers."""

    port: int
    broker_port: int
    exchanges: list[Exchange] = field(default_factory=list)

    def __enter__(self) -> HeartbeatProxy:
        self._server = socket.create_server(("127.0.0.1", self.port))
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Closing alone does not wake the thread that accepts.
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._accepting.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(("127.0.0.1", self.broker_port))
            except OSError:
                client.close()
                continue
            waiting: dict[int, Any] = {}
            for source, sink, seen in (
                (client, broker, _Requests(waiting)),
                (broker, client, _Responses(waiting, self.exchanges)),
            ):
                threading.Thread(target=_pump, args=(source, sink, seen), daemon=True).start()


class _Frames:
    """Bytes in, whole frames out."""

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes) -> None:
        self._pending += data
        while len(self._pending) >= 4:
            end = 4 + int.from_bytes(self._pending[:4], "big")
            if len(self._pending) < end:
                return
            frame, self._pending = self._pending[4:end], self._pending[end:]
            self.on_frame(frame)

    def on_frame(self, frame: bytes) -> None:
        raise NotImplementedError


class _Requests(_Frames):
    def __init__(self, waiting: dict[int, Any]) -> None:
        super().__init__()
        self._waiting = waiting

    def on_frame(self, frame: bytes) -> None:
        if int.from_bytes(frame[:2], "big") == _HEARTBEAT:
            self._waiting[int.from_bytes(frame[4:8], "big")] = decode_request(frame).message


class _Responses(_Frames):
    def __init__(self, waiting: dict[int, Any], exchanges: list[Exchange]) -> None:
        super().__init__()
        self._waiting = waiting
        self._exchanges = exchanges

    def on_frame(self, frame: bytes) -> None:
        request = self._waiting.pop(int.from_bytes(frame[:4], "big"), None)
        if request is not None:
            _, response = decode_response(_HEARTBEAT, request.__version__, frame)
            self._exchanges.append(Exchange(request, response))


def _pump(source: socket.socket, sink: socket.socket, seen: _Frames) -> None:
    """Frames are looked at before they go on, so a response finds its request."""
    try:
        while data := source.recv(BUFFER_BYTES):
            seen.feed(data)
            sink.sendall(data)
    except OSError:
        pass
    finally:
        for each in (source, sink):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

"""The operators' HTTP server: metrics, health, readiness, and peers who behave badly."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from streamkit.common.http import (
    CONNECTIONS_MAX,
    REQUEST_BYTES_MAX,
    REQUEST_S_MAX,
    Answer,
    HttpServer,
    operator_routes,
    parse_address,
)
from streamkit.common.metrics import CONTENT_TYPE, Registry
from streamkit.common.seams import Seams
from streamkit.common.system import run_loop, system_seams
from streamkit.testing.disk import MemoryDisk
from streamkit.testing.simulation import Simulation, until

Client = Callable[[Seams, HttpServer], Coroutine[Any, Any, Any]]


class Peer(asyncio.Protocol):
    """A client that keeps what it gets."""

    def __init__(self) -> None:
        self.received = b""
        self.is_lost = False
        self.error: Exception | None = None

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self.error = exc


async def ask(seams: Seams, port: int, request: bytes) -> bytes:
    """Send bytes, wait until the server closes."""
    peer = Peer()
    transport = await seams.network.dial(lambda: peer, "127.0.0.1", port)
    transport.write(request)
    await until(lambda: peer.is_lost, 0.001)
    return peer.received


def simulated(client: Client, problems: list[str | None] | None = None) -> Any:
    """Run a client against a server on virtual time; `problems` are of health and readiness."""
    registry = Registry()
    registry.counter("asked_total", "Questions.").add(5)
    found = problems or [None, None]

    async def main(seams: Seams) -> Any:
        routes = operator_routes(registry, lambda: found[0], lambda: found[1])
        routes["/broken"] = lambda: Answer(200, str(1 // 0))
        routes["/breaks"] = lambda: Answer(200, "", pieces=(str(1 // each) for each in (1, 0)))
        server = HttpServer(seams.network, routes)
        await server.start("127.0.0.1", 0)
        try:
            return await client(seams, server)
        finally:
            await server.close()

    simulation = Simulation(seed=11)
    return simulation.run(main(simulation.seams("", MemoryDisk())))


def test_a_foreign_client_reads_metrics_health_and_readiness() -> None:
    registry = Registry()
    registry.counter("asked_total", "Questions.").add(5)
    readiness: list[str | None] = ["the logs are being recovered"]

    def get(port: int, path: str) -> tuple[int, str, str | None]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode(), response.getheader("Content-Type")

    async def main() -> None:
        seams = system_seams()
        server = HttpServer(
            seams.network, operator_routes(registry, lambda: None, lambda: readiness[0])
        )
        await server.start("127.0.0.1", 0)
        metrics = await asyncio.to_thread(get, server.port, "/metrics?name=all")
        unready = await asyncio.to_thread(get, server.port, "/readyz")
        readiness[0] = None
        ready = await asyncio.to_thread(get, server.port, "/readyz")
        health = await asyncio.to_thread(get, server.port, "/healthz")
        missing = await asyncio.to_thread(get, server.port, "/metric")
        await server.close()
        text = "# HELP asked_total Questions.\n# TYPE asked_total counter\nasked_total 5\n"
        assert metrics == (200, text, CONTENT_TYPE)
        assert unready[:2] == (503, "the logs are being recovered\n")
        assert ready[:2] == health[:2] == (200, "ok\n")
        assert missing[:2] == (404, "there is /metrics, /healthz, /readyz\n")

    run_loop(main())


@pytest.mark.parametrize(
    ("request_bytes", "start"),
    [
        (b"GET /healthz HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 OK\r\n"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"HTTP/1.1 405 Method Not Allowed\r\nAllow: GET"),
        (b"\x00\x00\x00\x10kafka?\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
        (b"GET /broken HTTP/1.1\r\n\r\n", b"HTTP/1.1 500 Internal Server Error\r\n"),
        (b"x" * (REQUEST_BYTES_MAX + 1), b"HTTP/1.1 431 "),
    ],
)
def test_status_of_a_request(request_bytes: bytes, start: bytes) -> None:
    answer = simulated(lambda seams, server: ask(seams, server.port, request_bytes))
    assert answer.startswith(start)


def test_an_answer_that_fails_in_its_middle_is_not_ended_as_if_it_were_whole() -> None:
    async def client(seams: Seams, server: HttpServer) -> Exception | None:
        peer = Peer()
        transport = await seams.network.dial(lambda: peer, "127.0.0.1", server.port)
        transport.write(b"GET /breaks HTTP/1.1\r\n\r\n")
        await until(lambda: peer.is_lost, 0.001)
        return peer.error

    assert isinstance(simulated(client), ConnectionResetError)


def test_others_get_their_turn_between_the_pieces_of_an_answer() -> None:
    turns: list[str] = []

    def pieces() -> Iterator[str]:
        for name in ("one", "two", "three"):
            asyncio.get_running_loop().call_soon(turns.append, f"behind {name}")
            turns.append(name)
            yield name

    async def client(seams: Seams, server: HttpServer) -> bytes:
        server.routes = {"/": lambda: Answer(200, "", pieces=pieces())}
        return await ask(seams, server.port, b"GET / HTTP/1.1\r\n\r\n")

    assert simulated(client).endswith(b"\r\n\r\nonetwothree")
    assert turns == ["one", "behind one", "two", "behind two", "three", "behind three"]


def test_head_has_the_length_but_no_body() -> None:
    request = b"HEAD /healthz HTTP/1.1\r\nHost: here\r\n\r\n"
    answer = simulated(lambda seams, server: ask(seams, server.port, request))
    assert b"Content-Length: 3\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_unhealthy_says_why() -> None:
    request = b"GET /healthz HTTP/1.1\r\n\r\n"
    answer = simulated(
        lambda seams, server: ask(seams, server.port, request), ["2 logs are offline", None]
    )
    assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert answer.endswith(b"2 logs are offline\n")


def test_a_peer_that_does_not_finish_its_request_is_sent_away() -> None:
    async def client(seams: Seams, server: HttpServer) -> float:
        started = seams.clock.monotonic_ms()
        assert await ask(seams, server.port, b"GET /metrics HT") == b""
        return seams.clock.monotonic_ms() - started

    waited_ms = simulated(client)
    assert REQUEST_S_MAX * 1000 <= waited_ms < REQUEST_S_MAX * 1000 + 100


def test_connections_above_the_limit_are_closed_until_others_end() -> None:
    async def client(seams: Seams, server: HttpServer) -> None:
        idle = [Peer() for _ in range(CONNECTIONS_MAX)]
        for peer in idle:
            await seams.network.dial(lambda peer=peer: peer, "127.0.0.1", server.port)
        await asyncio.sleep(0.1)
        request = b"GET /healthz HTTP/1.1\r\n\r\n"
        assert await ask(seams, server.port, request) == b""
        assert not any(peer.is_lost for peer in idle)
        await until(lambda: all(peer.is_lost for peer in idle), 1)
        assert (await ask(seams, server.port, request)).startswith(b"HTTP/1.1 200")

    simulated(client)


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:9404", ("127.0.0.1", 9404)), ("[::1]:80", ("::1", 80)), (":9404", ("", 9404))],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["9404", "host:", "host:http", "host:65536"])
def test_what_is_no_address_says_what_is_wanted(text: str) -> None:
    with pytest.raises(ValueError, match="written HOST:PORT"):
        parse_address(text)

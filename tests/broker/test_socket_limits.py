"""The limits of a broker's connections, through its real socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from streamkit.protocol.apis import ApiKey
from streamkit.protocol.messages import encode_request, request_type
from streamkit.protocol.versions import fill
from tests.broker.fuzzing.attack import Connection, connected
from tests.broker.fuzzing.mutations import SIZE
from tests.broker.process import BrokerProcess, broker_process

FRAME_BYTES_MAX = 5_000
PER_IP = 8
LIMITS = {
    "socket.request.max.bytes": str(FRAME_BYTES_MAX),
    "max.connections.per.ip": str(PER_IP),
    "connections.max.idle.ms": "2000",
}
BROKER = 4
REQUESTS = 1_000_000
GROWTH_BYTES_MAX = 30 << 20


@pytest.fixture(scope="module")
def broker() -> Iterator[BrokerProcess]:
    with broker_process(LIMITS) as running:
        yield running


def versions_request(name_bytes: int = 0) -> bytes:
    request = fill(request_type(ApiKey.API_VERSIONS, 0), {})
    frame = encode_request(7, "n" * name_bytes, request)
    return SIZE.pack(len(frame)) + frame


async def wait_closed(connection: Connection) -> None:
    """Read on until the broker closes the connection."""
    async with asyncio.timeout(20):
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await connection.frame()


def test_frame_of_the_limit_passes_and_a_larger_one_does_not(broker: BrokerProcess) -> None:
    async def scenario() -> None:
        overhead = len(versions_request()) - SIZE.size
        async with connected(broker.port) as connection:
            connection.write(versions_request(FRAME_BYTES_MAX - overhead))
            await connection.frame()
            connection.write(versions_request(FRAME_BYTES_MAX - overhead + 1))
            await wait_closed(connection)

    asyncio.run(scenario())


def test_host_gets_as_many_connections_as_it_may(broker: BrokerProcess) -> None:
    async def scenario() -> None:
        pairs = [await asyncio.open_connection("127.0.0.1", broker.port) for _ in range(PER_IP)]
        async with connected(broker.port) as connection:
            await wait_closed(connection)
        for reader, writer in pairs:
            writer.write(versions_request())
            await Connection(reader, writer).frame()
            writer.close()

    asyncio.run(scenario())


def test_idle_connection_is_closed(broker: BrokerProcess) -> None:
    async def scenario() -> None:
        async with connected(broker.port) as connection:
            await wait_closed(connection)

    asyncio.run(scenario())


def test_peer_that_takes_no_answers_costs_little_and_is_dropped(broker: BrokerProcess) -> None:
    every = {"resource_type": BROKER, "resource_name": "1", "configuration_keys": None}
    request = fill(request_type(ApiKey.DESCRIBE_CONFIGS, 4), {"resources": [every]})
    frame = encode_request(7, "deaf", request)
    before = broker.rss_bytes_most()

    async def scenario() -> None:
        with socket.socket() as deaf:
            # The system keeps little for it, so the broker finds out soon.
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", broker.port))
            deaf.setblocking(False)
            many = (SIZE.pack(len(frame)) + frame) * REQUESTS
            sending = asyncio.get_running_loop().sock_sendall(deaf, many)
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(sending, 30)
        async with connected(broker.port) as connection:
            await connection.ask(ApiKey.API_VERSIONS, 0, {})

    asyncio.run(scenario())
    assert broker.rss_bytes_most() - before < GROWTH_BYTES_MAX

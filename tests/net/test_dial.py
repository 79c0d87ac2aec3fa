"""A connection negotiates, pipelines, and ends with one clear error."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any

import pytest

from streamkit.common.seams import Seams
from streamkit.net.dial import (
    IN_FLIGHT_MAX,
    Connection,
    ConnectionBusyError,
    ConnectionLost,
    SecuritySettings,
    TlsError,
)
from streamkit.net.server import FrameServer
from streamkit.protocol.apis import ApiKey, VersionRange
from streamkit.protocol.messages import request_type
from streamkit.protocol.versions import fill
from streamkit.testing.simulation import until

PLAINTEXT = SecuritySettings()


def metadata(*names: str) -> Any:
    return fill(request_type(ApiKey.METADATA, 12), {"topics": [{"name": name} for name in names]})


def fetch(size: int) -> Any:
    return fill(request_type(ApiKey.FETCH, 17), {"max_bytes": size})


def connected(broker: Any, client: Callable[[Connection, Seams], Any]) -> Callable[[Seams], Any]:
    """A main that runs a client on a connection to a small broker."""

    async def main(seams: Seams) -> Any:
        async with asyncio.TaskGroup() as group:
            server = FrameServer(seams, broker.handle, group)
            await server.start("127.0.0.1", 0)
            try:
                connection = await Connection.open(
                    seams, "127.0.0.1", server.port, PLAINTEXT, "me", 2000
                )
                result = await asyncio.wait_for(client(connection, seams), 100)
                connection.close()
            finally:
                await server.close()
            return result

    return main


def scripted(answer: bytes | None) -> Callable[[], asyncio.Protocol]:
    """A server that answers anything with these bytes; None closes."""

    class Script(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            if answer is None:
                self.transport.close()
            else:
                self.transport.write(answer)

    return Script


def test_versions_and_features_are_negotiated(world: Any, broker: Any) -> None:
    async def client(connection: Connection, seams: Seams) -> None:
        assert connection.version_of(ApiKey.METADATA) == 13
        assert connection.version_of(ApiKey.ENVELOPE) == 0
        assert connection.features == {"streams.version": 1}

    world.run(connected(broker, client))


def test_older_broker_is_asked_again(world: Any, broker: Any) -> None:
    broker.versions = VersionRange(0, 2)

    async def client(connection: Connection, seams: Seams) -> None:
        assert connection.version_of(ApiKey.METADATA) == 13
        assert connection.features == {}

    world.run(connected(broker, client))


def test_calls_are_pipelined_and_answered_in_order(world: Any, broker: Any) -> None:
    async def client(connection: Connection, seams: Seams) -> list[str]:
        answers = [connection.send_nowait(metadata(f"topic-{i}")) for i in range(50)]
        assert connection.in_flight_count == 50
        return [(await answer).topics[0].name for answer in answers]

    assert world.run(connected(broker, client)) == [f"topic-{i}" for i in range(50)]
    assert broker.handling_most == 1


def test_slow_network_that_cuts_writes_changes_nothing(stormy: Any, broker: Any) -> None:
    async def client(connection: Connection, seams: Seams) -> int:
        answers = [connection.send_nowait(fetch(size)) for size in range(1, 30_000, 1_000)]
        sizes = [len((await answer).responses[0].partitions[0].records) for answer in answers]
        assert sizes == list(range(1, 30_000, 1_000))
        return len(sizes)

    assert stormy.run(connected(broker, client)) == 30


def test_big_answer_is_whole(world: Any, broker: Any) -> None:
    async def client(connection: Connection, seams: Seams) -> int:
        return len((await connection.call(fetch(5_000_000))).responses[0].partitions[0].records)

    assert world.run(connected(broker, client)) == 5_000_000


def test_produce_without_acks_has_no_answer(world: Any, broker: Any) -> None:
    async def client(connection: Connection, seams: Seams) -> None:
        produce = fill(request_type(ApiKey.PRODUCE, 12), {"acks": 0})
        assert await connection.call(produce) is None
        assert (await connection.call(metadata("after"))).topics[0].name == "after"

    world.run(connected(broker, client))
    assert broker.handled == 3


def test_overdue_answer_ends_the_connection(memory: Any, broker: Any) -> None:
    async def client(connection: Connection, seams: Seams) -> None:
        broker.hold = asyncio.Event()
        start_ms = seams.clock.monotonic_ms()
        patient = connection.send_nowait(metadata("a"), timeout_ms=60_000)
        hasty = connection.send_nowait(metadata("b"), timeout_ms=500)
        with pytest.raises(ConnectionLost, match="in time"):
            await hasty
        assert 500 <= seams.clock.monotonic_ms() - start_ms < 510
        with pytest.raises(ConnectionLost):
            await patient
        assert connection.is_closed
        with pytest.raises(ConnectionLost):
            connection.send_nowait(metadata("c"))

    memory.run(connected(broker, client))


def test_cancelled_call_leaves_the_connection_usable(world: Any, broker: Any) -> None:
    async def client(connection: Connection, seams: Seams) -> None:
        broker.hold = asyncio.Event()
        call = asyncio.ensure_future(connection.call(metadata("a")))
        await until(lambda: broker.handling == 1, 0.001)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        broker.hold.set()
        assert (await connection.call(metadata("b"))).topics[0].name == "b"

    world.run(connected(broker, client))


def test_too_many_in_flight_are_refused(memory: Any, broker: Any) -> None:
    async def client(connection: Connection, seams: Seams) -> None:
        broker.hold = asyncio.Event()
        answers = [connection.send_nowait(metadata("a")) for _ in range(IN_FLIGHT_MAX)]
        with pytest.raises(ConnectionBusyError):
            connection.send_nowait(metadata("b"))
        broker.hold.set()
        await asyncio.gather(*answers)

    memory.run(connected(broker, client))


def test_broker_that_goes_away_ends_what_is_in_flight(world: Any, broker: Any) -> None:
    async def main(seams: Seams) -> None:
        async with asyncio.TaskGroup() as group:
            server = FrameServer(seams, broker.handle, group)
            await server.start("127.0.0.1", 0)
            connection = await Connection.open(seams, "127.0.0.1", server.port, PLAINTEXT, "me")
            broker.hold = asyncio.Event()
            answer = connection.send_nowait(metadata("a"))
            await until(lambda: broker.handling == 1, 0.001)
            await server.close()
            with pytest.raises(ConnectionLost, match="closed"):
                await answer

    world.run(main)


def test_call_waits_while_the_broker_does_not_read(memory: Any, broker: Any) -> None:
    async def client(connection: Connection, seams: Seams) -> None:
        broker.hold = asyncio.Event()
        records = bytes(700_000)
        produce = fill(
            request_type(ApiKey.PRODUCE, 12),
            {"acks": 1, "topic_data": [{"partition_data": [{"records": records}]}]},
        )
        answers = [connection.send_nowait(produce) for _ in range(4)]
        call = asyncio.ensure_future(connection.call(metadata("last")))
        await asyncio.sleep(1)
        assert connection.in_flight_count == 4
        broker.hold.set()
        await asyncio.gather(*answers)
        assert (await call).topics[0].name == "last"

    memory.run(connected(broker, client))


def open_against(
    world: Any, answer: bytes | None, security: SecuritySettings = PLAINTEXT
) -> Callable[[], Any]:
    async def main(seams: Seams) -> None:
        listener = await seams.network.listen(scripted(answer), "127.0.0.1", 0)
        try:
            await Connection.open(seams, "127.0.0.1", listener.port, security, "me", 500)
        finally:
            await listener.close()

    return lambda: world.run(main)


@pytest.mark.parametrize(
    ("answer", "error", "line"),
    [
        (None, ConnectionLost, "closed the connection"),
        (b"", ConnectionLost, "did not answer within 500 ms"),
        (struct.pack(">i", -5), ConnectionLost, "no valid answer: frame of -5 bytes"),
        (struct.pack(">iihbib", 12, 99, 0, 1, 0, 0), ConnectionLost, "correlation id 99"),
        (struct.pack(">ii", 4, 1), ConnectionLost, "no valid answer"),
        (b"\x15\x03\x03\x00\x02\x02\x50", TlsError, "speaks TLS; set security.protocol"),
    ],
)
def test_bad_brokers_give_one_clear_line(
    memory: Any, answer: bytes | None, error: type[Exception], line: str
) -> None:
    with pytest.raises(error, match=line) as raised:
        open_against(memory, answer)()
    assert "\n" not in str(raised.value)


def test_nobody_listens(world: Any) -> None:
    async def main(seams: Seams) -> None:
        listener = await seams.network.listen(scripted(None), "127.0.0.1", 0)
        port = listener.port
        await listener.close()
        await Connection.open(seams, "127.0.0.1", port, PLAINTEXT, "me", 500)

    with pytest.raises(ConnectionLost, match=r"127\.0\.0\.1"):
        world.run(main)

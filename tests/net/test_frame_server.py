"""One request at a time, in order, within limits."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

from streamkit.common.seams import Seams
from streamkit.common.system import run_loop, system_seams
from streamkit.net.errors import CloseConnection
from streamkit.net.server import (
    WAITING_MAX,
    ConnectionInfo,
    Frame,
    FrameServer,
    Handler,
    ServerLimits,
)
from streamkit.protocol.frames import FrameBuffer, frame
from streamkit.protocol.messages import Chunks
from streamkit.testing.simulation import until


class Peer(asyncio.Protocol):
    """A client that keeps what it gets."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.buffer = FrameBuffer()
        self.is_lost = False

    def data_received(self, data: bytes) -> None:
        self.frames += map(bytes, self.buffer.feed(data))

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True


async def echo(request: Frame, info: ConnectionInfo) -> Chunks | None:
    return [bytes(request)]


async def dial(seams: Seams, port: int) -> tuple[Peer, asyncio.Transport]:
    peer = Peer()
    return peer, await seams.network.dial(lambda: peer, "127.0.0.1", port)


def serving(
    handler: Handler,
    client: Callable[[Seams, FrameServer], Any],
    limits: ServerLimits | None = None,
    on_closed: Callable[[ConnectionInfo], None] | None = None,
) -> Callable[[Seams], Any]:
    """A main that runs a client against a server and ends both."""

    async def main(seams: Seams) -> Any:
        async with asyncio.TaskGroup() as group:
            server = FrameServer(seams, handler, group, limits, on_closed)
            await server.start("127.0.0.1", 0)
            try:
                return await asyncio.wait_for(client(seams, server), 10)
            finally:
                await server.close()

    return main


def test_requests_are_answered_in_order(world: Any) -> None:
    async def client(seams: Seams, server: FrameServer) -> list[bytes]:
        peer, transport = await dial(seams, server.port)
        transport.writelines([*frame([b"one"]), *frame([b"two"]), *frame([b"three"])])
        await until(lambda: len(peer.frames) == 3, 0.001)
        return peer.frames

    assert world.run(serving(echo, client)) == [b"one", b"two", b"three"]


def test_one_request_is_in_process_and_the_rest_is_not_read(world: Any) -> None:
    running = []
    go_on = asyncio.Event()

    async def handler(request: Frame, info: ConnectionInfo) -> Chunks | None:
        running.append(bytes(request))
        await go_on.wait()
        return [bytes(request)]

    async def client(seams: Seams, server: FrameServer) -> None:
        peer, transport = await dial(seams, server.port)
        payload = bytes(60_000)
        for _ in range(200):
            transport.writelines(frame([payload]))
        await until(lambda: transport.get_write_buffer_size() > 0 and bool(running), 0.001)
        unread = transport.get_write_buffer_size()
        for _ in range(20):
            await asyncio.sleep(0)
        assert running == [payload]
        assert transport.get_write_buffer_size() == unread > 1_000_000
        go_on.set()
        await until(lambda: len(peer.frames) == 200, 0.001)

    world.run(serving(handler, client))


def test_connections_are_served_side_by_side(world: Any) -> None:
    both = asyncio.Event()
    seen: list[int] = []

    async def handler(request: Frame, info: ConnectionInfo) -> Chunks | None:
        seen.append(info.id)
        if len(seen) == 2:
            both.set()
        await both.wait()
        return [b"done"]

    async def client(seams: Seams, server: FrameServer) -> None:
        pairs = [await dial(seams, server.port) for _ in range(2)]
        for _, transport in pairs:
            transport.writelines(frame([b"x"]))
        await until(lambda: all(peer.frames for peer, _ in pairs), 0.001)

    world.run(serving(handler, client))
    assert sorted(seen) == [1, 2]


def test_request_without_an_answer(world: Any) -> None:
    async def handler(request: Frame, info: ConnectionInfo) -> Chunks | None:
        return None if request == b"silent" else [bytes(request)]

    async def client(seams: Seams, server: FrameServer) -> list[bytes]:
        peer, transport = await dial(seams, server.port)
        transport.writelines([*frame([b"silent"]), *frame([b"loud"])])
        await until(lambda: bool(peer.frames), 0.001)
        return peer.frames

    assert world.run(serving(handler, client)) == [b"loud"]


def test_close_connection_sends_its_last_chunks(world: Any) -> None:
    closed = []

    async def handler(request: Frame, info: ConnectionInfo) -> Chunks | None:
        raise CloseConnection("enough", [b"last"])

    async def client(seams: Seams, server: FrameServer) -> list[bytes]:
        peer, transport = await dial(seams, server.port)
        transport.writelines([*frame([b"one"]), *frame([b"two"])])
        await until(lambda: peer.is_lost and server.connection_count == 0, 0.001)
        return peer.frames

    assert world.run(serving(handler, client, on_closed=closed.append)) == [b"last"]
    assert len(closed) == 1


def test_failed_request_closes_its_connection_only(
    world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(request: Frame, info: ConnectionInfo) -> Chunks | None:
        if request == b"bad":
            raise KeyError("a bug")
        return [bytes(request)]

    async def client(seams: Seams, server: FrameServer) -> list[bytes]:
        bad, bad_transport = await dial(seams, server.port)
        good, good_transport = await dial(seams, server.port)
        bad_transport.writelines(frame([b"bad"]))
        await until(lambda: bad.is_lost, 0.001)
        good_transport.writelines(frame([b"good"]))
        await until(lambda: bool(good.frames), 0.001)
        return good.frames

    assert world.run(serving(handler, client)) == [b"good"]
    assert "a bug" in caplog.text


def test_frame_beyond_the_limit_closes(world: Any) -> None:
    async def client(seams: Seams, server: FrameServer) -> None:
        peer, transport = await dial(seams, server.port)
        transport.writelines(frame([bytes(100)]))
        await until(lambda: len(peer.frames) == 1, 0.001)
        transport.write(struct.pack(">i", 101))
        await until(lambda: peer.is_lost, 0.001)

    world.run(serving(echo, client, ServerLimits(frame_bytes_max=100)))


def test_idle_connection_is_closed_and_a_busy_one_is_not(memory: Any) -> None:
    async def handler(request: Frame, info: ConnectionInfo) -> Chunks | None:
        await asyncio.sleep(3)
        return [bytes(request)]

    async def client(seams: Seams, server: FrameServer) -> None:
        idle, _ = await dial(seams, server.port)
        busy, transport = await dial(seams, server.port)
        transport.writelines(frame([b"x"]))
        await until(lambda: idle.is_lost)
        assert 1000 <= seams.clock.monotonic_ms() <= 1300
        await until(lambda: bool(busy.frames))
        assert not busy.is_lost
        await until(lambda: busy.is_lost)

    memory.run(serving(handler, client, ServerLimits(idle_ms=1000)))


def test_peer_that_does_not_read_stops_the_handling(world: Any) -> None:
    handled = []

    async def handler(request: Frame, info: ConnectionInfo) -> Chunks | None:
        handled.append(None)
        return [bytes(1_000_000)]

    async def client(seams: Seams, server: FrameServer) -> None:
        peer, transport = await dial(seams, server.port)
        transport.pause_reading()
        for _ in range(100):
            transport.writelines(frame([b"more"]))
        for _ in range(200):
            await asyncio.sleep(0.001)
        assert 1 <= len(handled) < 50
        transport.resume_reading()
        await until(lambda: len(peer.frames) == 100, 0.001)

    world.run(serving(handler, client, ServerLimits(write_bytes_high=100_000)))


def test_peer_that_never_reads_is_closed_as_idle(memory: Any) -> None:
    async def handler(request: Frame, info: ConnectionInfo) -> Chunks | None:
        return [bytes(1_000_000)]

    async def client(seams: Seams, server: FrameServer) -> None:
        peer, transport = await dial(seams, server.port)
        transport.pause_reading()
        transport.writelines(frame([b"more"]))
        await until(lambda: server.connection_count == 0)
        assert 1000 <= seams.clock.monotonic_ms() <= 1300
        await until(lambda: peer.is_lost)

    limits = ServerLimits(idle_ms=1000, write_bytes_high=100_000)
    memory.run(serving(handler, client, limits))


def test_peer_that_goes_away_does_not_stop_its_request(world: Any) -> None:
    finished = []

    async def handler(request: Frame, info: ConnectionInfo) -> Chunks | None:
        await asyncio.sleep(0.02)
        finished.append(bytes(request))
        return [b"too late"]

    async def client(seams: Seams, server: FrameServer) -> None:
        _, transport = await dial(seams, server.port)
        transport.writelines(frame([b"x"]))
        await asyncio.sleep(0.01)
        transport.abort()
        await until(lambda: bool(finished) and server.connection_count == 0, 0.001)

    world.run(serving(handler, client))


def test_closing_the_server_ends_what_it_does(world: Any) -> None:
    cancelled = []

    async def handler(request: Frame, info: ConnectionInfo) -> Chunks | None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled.append(info.id)
            raise
        return None

    async def client(seams: Seams, server: FrameServer) -> None:
        _, transport = await dial(seams, server.port)
        transport.writelines(frame([b"x"]))
        await asyncio.sleep(0.01)

    world.run(serving(handler, client))
    assert cancelled == [1]


def test_connection_too_many_waits_for_a_place(world: Any) -> None:
    async def client(seams: Seams, server: FrameServer) -> None:
        first, first_transport = await dial(seams, server.port)
        first_transport.writelines(frame([b"first"]))
        await until(lambda: bool(first.frames), 0.001)
        second, transport = await dial(seams, server.port)
        transport.writelines(frame([b"second"]))
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert second.frames == []
        assert not second.is_lost
        assert server.connection_count == 1
        first_transport.close()
        await until(lambda: second.frames == [b"second"], 0.001)

    world.run(serving(echo, client, ServerLimits(connections_max=1)))


def test_connection_that_waits_is_hardly_read(world: Any) -> None:
    async def client(seams: Seams, server: FrameServer) -> None:
        _, first_transport = await dial(seams, server.port)
        second, transport = await dial(seams, server.port)
        for _ in range(200):
            transport.writelines(frame([bytes(100_000)]))
        await until(lambda: transport.get_write_buffer_size() > 0, 0.001)
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert transport.get_write_buffer_size() > 10_000_000
        first_transport.close()
        await until(lambda: len(second.frames) == 200, 0.001)

    world.run(serving(echo, client, ServerLimits(connections_max=1)))


def test_place_comes_free_when_the_limit_is_raised(world: Any) -> None:
    async def client(seams: Seams, server: FrameServer) -> None:
        await dial(seams, server.port)
        second, transport = await dial(seams, server.port)
        transport.writelines(frame([b"second"]))
        await until(lambda: server.connection_count == 1, 0.001)
        server.update_limits(ServerLimits(connections_max=2))
        await until(lambda: second.frames == [b"second"], 0.001)

    world.run(serving(echo, client, ServerLimits(connections_max=1)))


def test_so_many_connections_wait_and_no_more(world: Any) -> None:
    async def client(seams: Seams, server: FrameServer) -> None:
        await dial(seams, server.port)
        waiting = [await dial(seams, server.port) for _ in range(WAITING_MAX)]
        refused, _ = await dial(seams, server.port)
        await until(lambda: refused.is_lost, 0.001)
        assert not any(peer.is_lost for peer, _ in waiting)

    world.run(serving(echo, client, ServerLimits(connections_max=1)))


def test_connection_that_left_while_it_waited_takes_no_place(world: Any) -> None:
    async def client(seams: Seams, server: FrameServer) -> None:
        _, first_transport = await dial(seams, server.port)
        _, gone = await dial(seams, server.port)
        third, transport = await dial(seams, server.port)
        transport.writelines(frame([b"third"]))
        gone.abort()
        first_transport.close()
        await until(lambda: third.frames == [b"third"], 0.001)

    world.run(serving(echo, client, ServerLimits(connections_max=1)))


def test_host_has_as_many_connections_as_it_may(world: Any) -> None:
    async def client(seams: Seams, server: FrameServer) -> None:
        first, first_transport = await dial(seams, server.port)
        _, _ = await dial(seams, server.port)
        third, _ = await dial(seams, server.port)
        await until(lambda: third.is_lost, 0.001)
        assert not first.is_lost
        first_transport.close()
        await until(lambda: server.connection_count == 1, 0.001)
        fourth, transport = await dial(seams, server.port)
        transport.writelines(frame([b"x"]))
        await until(lambda: bool(fourth.frames), 0.001)

    world.run(serving(echo, client, ServerLimits(connections_per_host_max=2)))


def test_single_host_may_have_a_limit_of_its_own() -> None:
    async def client(seams: Seams, server: FrameServer) -> None:
        first, _ = await dial(seams, server.port)
        second, _ = await dial(seams, server.port)
        await until(lambda: second.is_lost, 0.001)
        assert not first.is_lost

    limits = ServerLimits(connections_per_host_max=9, connections_of_host_max={"127.0.0.1": 1})
    run_loop(serving(echo, client, limits)(system_seams()))


def test_peer_that_takes_no_answer_is_dropped_though_it_fits_the_buffer() -> None:
    """It is below `write_bytes_high`, so the server is not waiting for it."""

    async def handler(request: Frame, info: ConnectionInfo) -> Chunks | None:
        return [bytes(30_000_000)]

    async def client(seams: Seams, server: FrameServer) -> None:
        _, transport = await dial(seams, server.port)
        transport.pause_reading()
        transport.writelines(frame([b"more"]))
        await until(lambda: server.connection_count == 1, 0.001)
        await until(lambda: server.connection_count == 0, 0.001)

    limits = ServerLimits(idle_ms=100, write_bytes_high=100_000_000)
    run_loop(serving(handler, client, limits)(system_seams()))


def test_accepted_connections_are_kept_alive() -> None:
    """So the system finds out when a peer is gone without a word."""

    async def client(seams: Seams, server: FrameServer) -> None:
        await dial(seams, server.port)
        await until(lambda: server.connection_count == 1, 0.001)
        (connection,) = server._connections.values()
        accepted = connection._transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1

    run_loop(serving(echo, client)(system_seams()))


def test_what_peers_do_not_take_is_counted(world: Any) -> None:
    async def handler(request: Frame, info: ConnectionInfo) -> Chunks | None:
        return [bytes(20_000_000)]

    async def client(seams: Seams, server: FrameServer) -> None:
        peers = [await dial(seams, server.port) for _ in range(3)]
        for _, transport in peers:
            transport.pause_reading()
            transport.writelines(frame([b"more"]))
        await until(lambda: server.unsent_bytes > 30_000_000, 0.001)
        peers[0][1].abort()
        for _, transport in peers[1:]:
            transport.resume_reading()
        await until(lambda: all(peer.frames for peer, _ in peers[1:]), 0.001)
        await until(lambda: server.unsent_bytes == 0, 0.001)

    world.run(serving(handler, client, ServerLimits(write_bytes_high=100_000)))

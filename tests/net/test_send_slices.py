"""Slices of files go to a socket from where they are, whole and in order, and cost no memory."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import uvloop

from streamkit.common.files import SLICE_BYTES_MIN, SystemDisk, SystemFile
from streamkit.common.page_cache import is_cached
from streamkit.common.seams import FileSlice, Piece
from streamkit.common.system import system_seams
from streamkit.net.server import ConnectionInfo, Frame, FrameServer
from streamkit.protocol.frames import frame

LARGE = 3_000_000
CONTENT = os.urandom(LARGE)
LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}

needs_page_cache = pytest.mark.skipif(
    os.uname().sysname != "Linux" or is_cached(0, 0, 1) is None,
    reason="this machine cannot say what is in memory: everything is read there",
)


@pytest.fixture
def file(tmp_path: Path) -> SystemFile:
    made = SystemDisk().open(str(tmp_path / "00000000000000000011.log"), create=True)
    made.append([CONTENT])
    return made


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each call passed on from a file."""
    calls: list[int] = []
    sendfile = os.sendfile

    def noting(out: int, source: int, position: int, size: int) -> int:
        calls.append(sendfile(out, source, position, size))
        return calls[-1]

    monkeypatch.setattr(os, "sendfile", noting)
    return calls


def answers(file: SystemFile) -> dict[bytes, list[Piece]]:
    """What the server answers, by request."""
    return {
        b"small": [b"small"],
        b"slice": [b"head-", FileSlice(file, 17, 900_000), b"-tail"],
        b"two": [b"a", FileSlice(file, 0, 70_000), b"b", FileSlice(file, 70_000, 80_000)],
        b"large": [b"head-", FileSlice(file, 0, LARGE), b"-tail"],
        b"past the end": [b"head-", FileSlice(file, LARGE - 5, 900_000)],
    }


def plain(pieces: Sequence[Piece]) -> bytes:
    return b"".join(
        CONTENT[each.position : each.position + each.size] if isinstance(each, FileSlice) else each
        for each in pieces
    )


def run(
    file: SystemFile, client: Callable[[int], Any], loop: Callable[[], Any] = uvloop.new_event_loop
) -> Any:
    """Run a client in a thread against a server of `answers`."""
    table = answers(file)

    async def handle(request: Frame, info: ConnectionInfo) -> Sequence[Piece]:
        return table[bytes(request)]

    async def main() -> Any:
        async with asyncio.TaskGroup() as group:
            server = FrameServer(system_seams(), handle, group)
            await server.start("127.0.0.1", 0)
            try:
                return await asyncio.wait_for(asyncio.to_thread(client, server.port), 20)
            finally:
                await server.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main())


def ask(port: int, *requests: bytes, receive_bytes: int | None = None) -> socket.socket:
    """A connection with so many requests sent at once."""
    peer = socket.socket()
    if receive_bytes is not None:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    peer.settimeout(10)
    peer.connect(("127.0.0.1", port))
    peer.sendall(b"".join(b"".join(frame([each])) for each in requests))
    return peer


def received(peer: socket.socket) -> bytes:
    """The next answer; fewer bytes than it announces when the connection ends before."""
    with peer.makefile("rb", buffering=0) as stream:
        size = int.from_bytes(exactly(stream, 4), "big")
        return exactly(stream, size)


def exactly(stream: Any, size: int) -> bytes:
    found = bytearray()
    while len(found) < size and (piece := stream.read(size - len(found))):
        found += piece
    return bytes(found)


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS.keys())
def test_answers_with_slices_keep_their_order_and_bytes(
    file: SystemFile, sent: list[int], loop: Callable[[], Any]
) -> None:
    wanted = (b"small", b"slice", b"small", b"two", b"large", b"small", b"slice")

    def client(port: int) -> list[bytes]:
        with ask(port, *wanted) as peer:
            return [received(peer) for _ in wanted]

    found = run(file, client, loop)
    assert found == [plain(answers(file)[each]) for each in wanted]
    assert sum(sent) >= 900_000


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS.keys())
def test_what_a_slow_peer_does_not_take_follows_in_order(
    file: SystemFile, sent: list[int], loop: Callable[[], Any]
) -> None:
    wanted = (b"large", b"small", b"large", b"slice")

    def client(port: int) -> list[bytes]:
        with ask(port, *wanted, receive_bytes=4096) as peer:
            return [received(peer) for _ in wanted]

    found = run(file, client, loop)
    assert found == [plain(answers(file)[each]) for each in wanted]
    assert 0 < sum(sent) < 2 * LARGE


def test_a_file_that_is_cut_closes_its_connection_only(file: SystemFile) -> None:
    def client(port: int) -> tuple[bytes, bytes]:
        with ask(port, b"past the end", b"small") as unlucky, ask(port, b"small") as other:
            return received(unlucky), received(other)

    cut, whole = run(file, client)
    assert cut == b"head-" + CONTENT[-5:]
    assert whole == b"small"


def test_a_slice_of_a_closed_file_closes_its_connection_only(file: SystemFile) -> None:
    file.close()

    def client(port: int) -> tuple[bytes, bytes]:
        with ask(port, b"slice", b"small") as unlucky, ask(port, b"small") as other:
            return received(unlucky), received(other)

    cut, whole = run(file, client)
    assert cut == b"head-"
    assert whole == b"small"


@needs_page_cache
def test_only_large_reads_are_slices(file: SystemFile) -> None:
    small = file.slice_cached(31, SLICE_BYTES_MIN - 1)
    assert small is not None
    assert not isinstance(small, FileSlice)
    assert bytes(small) == CONTENT[31 : 31 + SLICE_BYTES_MIN - 1]
    large = file.slice_cached(31, SLICE_BYTES_MIN)
    assert large == FileSlice(file, 31, SLICE_BYTES_MIN)
    past = file.slice_cached(LARGE - 100_000, 900_000)
    assert past == FileSlice(file, LARGE - 100_000, 100_000)
    assert past.read() == CONTENT[-100_000:]


@needs_page_cache
def test_what_is_not_in_memory_is_no_slice(file: SystemFile) -> None:
    file.sync()
    descriptor = os.open(file._path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    try:
        if is_cached(descriptor, 0, LARGE):
            pytest.skip("this file system keeps everything in memory")
        assert file.slice_cached(0, LARGE) is None
        assert file.read_at(0, LARGE) == CONTENT
        assert file.slice_cached(0, LARGE) == FileSlice(file, 0, LARGE)
    finally:
        os.close(descriptor)


def test_without_knowledge_of_the_page_cache_everything_is_read(
    file: SystemFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamkit.common.files.is_cached", lambda *_: None)
    found = file.slice_cached(31, 900_000)
    assert isinstance(found, bytes | bytearray)
    assert bytes(found) == CONTENT[31:900_031]


def congestion_control(host: str) -> tuple[bytes, bytes]:
    """What a server at this address sends with: to a peer of this machine, and by default."""

    def algorithm(peer: socket.socket) -> bytes:
        return peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")

    async def main() -> bytes:
        accepted: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        class Noting(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                accepted.set_result(algorithm(transport.get_extra_info("socket")))

        listener = await system_seams().network.listen(Noting, host, 0)
        try:
            with socket.create_connection(("127.0.0.1", listener.port)):
                return await asyncio.wait_for(accepted, 20)
        finally:
            await listener.close()

    with socket.socket() as plain, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main()), algorithm(plain)


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="Linux' option")
def test_only_an_address_of_this_machine_alone_is_sent_to_without_pacing() -> None:
    local, _ = congestion_control("127.0.0.1")
    assert local == b"reno"
    everywhere, default = congestion_control("0.0.0.0")
    assert everywhere == default


def test_a_sender_that_is_left_behind_closes_nothing(file: SystemFile) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname())
        ours, _ = server.accept()

    class Transport(asyncio.Transport):
        def get_extra_info(self, name: str, default: Any = None) -> Any:
            return ours if name == "socket" else default

        def is_closing(self) -> bool:
            return False

        def get_write_buffer_size(self) -> int:
            return 0

        def write(self, data: bytes | bytearray | memoryview) -> None:
            if data:
                ours.sendall(data)

    with ours, peer:
        system_seams().network.sender(Transport()).send([FileSlice(file, 17, 70_000)])
        ours.sendall(b"end")
        with peer.makefile("rb") as stream:
            assert stream.read(70_003) == CONTENT[17:70_017] + b"end"

"""A bad network: a TCP proxy that cuts, holds up, and delivers Produce requests late once more.

It runs in a thread of its own. A late duplicate of Produce does no harm under any protocol version:
its sequence was seen, or its transaction is over. (An EndTxn or an OffsetCommit of clients without
KIP-890 has no such mark, so those are not repeated.)
"""

from __future__ import annotations

import asyncio
import random
import struct
import threading
from collections import deque
from contextlib import suppress

KEPT = 400
PRODUCE = 0
CHUNK_BYTES = 65_536
WAIT_S = 10.0


class Proxy:
    """Forwards what comes to its port to the broker's."""

    def __init__(self, seed: int, target: int) -> None:
        self.repeated = 0
        self._target = target
        self._random = random.Random(seed)
        self._produced: deque[bytes] = deque(maxlen=KEPT)
        self._writers: set[asyncio.StreamWriter] = set()
        self._is_open = asyncio.Event()
        self._is_open.set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        listening = asyncio.start_server(self._serve, "127.0.0.1", 0)
        server = asyncio.run_coroutine_threadsafe(listening, self._loop).result(WAIT_S)
        self.port = int(server.sockets[0].getsockname()[1])

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Reset some of the connections."""
        self._loop.call_soon_threadsafe(self._cut)

    def hold(self, seconds: float) -> None:
        """Let nothing through for a while."""
        self._loop.call_soon_threadsafe(self._is_open.clear)
        self._loop.call_soon_threadsafe(self._loop.call_later, seconds, self._is_open.set)

    def repeat(self, count: int) -> None:
        """Send some of the last Produce requests again, each on a connection of its own."""
        for _ in range(count):
            asyncio.run_coroutine_threadsafe(self._repeat(), self._loop)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S)

    def _cut(self) -> None:
        for writer in list(self._writers):
            if self._random.random() < 0.5:
                writer.transport.abort()

    async def _repeat(self) -> None:
        await asyncio.sleep(self._random.random() * 3)
        if not self._produced:
            return
        frame = self._random.choice(self._produced)
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._target)
            writer.write(frame)
            async with asyncio.timeout(WAIT_S):
                await reader.readexactly(4)
            self.repeated += 1
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, up_writer}
        self._writers |= both
        await asyncio.gather(
            self._pump(reader, up_writer, is_noted=True),
            self._pump(up_reader, writer, is_noted=False),
        )
        self._writers -= both

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_noted: bool
    ) -> None:
        held = b""
        with suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                await self._is_open.wait()
                writer.write(data)
                await writer.drain()
                if is_noted:
                    held = self._note(held + data)
        # One direction that ended ends both, as a kill of either side does.
        writer.close()

    def _note(self, data: bytes) -> bytes:
        """Keep the Produce requests among the whole frames; what is left of the last one."""
        while len(data) >= 6:
            size, api = struct.unpack_from(">ih", data)
            if len(data) < 4 + size:
                break
            if api == PRODUCE:
                self._produced.append(data[: 4 + size])
            data = data[4 + size :]
        return data

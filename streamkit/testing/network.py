"""A network in memory: seeded delays, resets and cut links, under asyncio's transport rules.

Each direction of a connection is a pipe that delivers in order, each write after a delay of its
own, so bytes are never lost or reordered, as with TCP: what can be lost is the connection. A cut
link holds everything back until it is healed. Every choice is drawn from one seed and nothing
but the running loop's timers is used, so a run repeats exactly.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from streamkit.common.seams import Bytes, FileSlice, Listener, Network, Piece, Random, Sender

FIRST_PORT: Final = 20_001
"""The port given to the first that listens at port 0; later ones count up."""

FIRST_CLIENT_PORT: Final = 50_001
WRITE_BYTES_HIGH: Final = 65_536

Factory = Callable[[], asyncio.Protocol]


@dataclass(frozen=True, slots=True)
class Weather:
    """How the network behaves; chances are per write."""

    delay_ms_min: float = 0.1
    delay_ms_max: float = 1.0
    reset_chance: float = 0.0
    split_chance: float = 0.0


class MemoryNetwork:
    """All nodes' network. As a `Network` itself it is that of the node with the empty name."""

    def __init__(self, random: Random, weather: Weather | None = None) -> None:
        self.random = random
        self.weather = weather or Weather()
        self._listeners: dict[int, MemoryListener] = {}
        self._ends: list[MemoryTransport] = []
        self._cuts: set[tuple[str, str]] = set()
        self._healed: list[asyncio.Future[None]] = []
        self._next_port = FIRST_PORT
        self._next_client_port = FIRST_CLIENT_PORT

    def at(self, node: str) -> Network:
        """The network as this node has it."""
        return _NodeNetwork(self, node)

    async def listen(
        self,
        factory: Factory,
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
    ) -> Listener:
        """Listen; ports belong to the whole network, whatever the host."""
        return self.listen_at("", factory, host, port, tls)

    async def dial(
        self,
        factory: Factory,
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> asyncio.Transport:
        """Connect, after a round trip. Raises ConnectionRefusedError when nobody listens."""
        return await self.dial_from("", factory, host, port, tls)

    def sender(self, transport: asyncio.Transport) -> Sender:
        """What writes pieces to this transport."""
        return MemorySender(transport)

    def listen_at(
        self, node: str, factory: Factory, host: str, port: int, tls: ssl.SSLContext | None
    ) -> MemoryListener:
        """As `listen`, by a node."""
        assert tls is None, "there is no TLS in memory"
        if port == 0:
            port, self._next_port = self._next_port, self._next_port + 1
        if port in self._listeners:
            raise OSError(f"port {port} is in use")
        listener = MemoryListener(self, node, factory, host, port)
        self._listeners[port] = listener
        return listener

    async def dial_from(
        self, node: str, factory: Factory, host: str, port: int, tls: ssl.SSLContext | None
    ) -> asyncio.Transport:
        """As `dial`, by a node."""
        assert tls is None, "there is no TLS in memory"
        await asyncio.sleep(self.delay_s() + self.delay_s())
        listener = self._listeners.get(port)
        while listener is not None and self.is_cut(node, listener.node):
            await self._wait_healed()
            listener = self._listeners.get(port)
        if listener is None:
            raise ConnectionRefusedError(f"nobody listens at {host}:{port}")
        return self._connect(node, factory, listener)

    def cut(self, a: str, b: str) -> None:
        """Hold back everything between two nodes, in both directions."""
        self._cuts.add((min(a, b), max(a, b)))

    def heal(self, a: str, b: str) -> None:
        """Let what was held back go on."""
        self._cuts.discard((min(a, b), max(a, b)))
        for end in list(self._ends):
            end.incoming.pump()
        waiting, self._healed = self._healed, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def is_cut(self, a: str, b: str) -> bool:
        """Whether the link between two nodes is cut."""
        return (min(a, b), max(a, b)) in self._cuts

    def reset(self, a: str, b: str) -> None:
        """Reset all connections between two nodes; both ends learn of it at once."""
        for end in list(self._ends):
            if end.node == a and end.peer.node == b:
                end.lose(ConnectionResetError("connection reset by the network"))
                end.peer.lose(ConnectionResetError("connection reset by the network"))

    def crash(self, node: str) -> None:
        """End a node: its listeners are gone, its peers see resets, its own side sees nothing."""
        for port in [port for port, item in self._listeners.items() if item.node == node]:
            del self._listeners[port]
        for end in [end for end in self._ends if end.node == node]:
            end.vanish()
            end.peer.lose(ConnectionResetError("connection reset by peer"))

    @property
    def connection_count(self) -> int:
        """How many connections have at least one open end."""
        return len({id(end.link) for end in self._ends})

    def delay_s(self) -> float:
        """The delay of one write, drawn."""
        low, high = self.weather.delay_ms_min, self.weather.delay_ms_max
        return (low + self.random.random() * (high - low)) / 1000

    def draws(self, chance: float) -> bool:
        """Whether something of this chance happens now; draws nothing when it cannot."""
        return chance > 0 and self.random.random() < chance

    def forget_listener(self, listener: MemoryListener) -> None:
        """The listener is closed; after a crash its port may be its successor's."""
        if self._listeners.get(listener.port) is listener:
            del self._listeners[listener.port]

    def forget_end(self, end: MemoryTransport) -> None:
        """This end of a connection is closed."""
        if end in self._ends:
            self._ends.remove(end)

    def _connect(self, node: str, factory: Factory, listener: MemoryListener) -> MemoryTransport:
        link = object()
        address = (f"{node or '127.0.0.1'}", self._next_client_port)
        self._next_client_port += 1
        client = MemoryTransport(self, node, link, address, (listener.host, listener.port))
        server = MemoryTransport(self, listener.node, link, (listener.host, listener.port), address)
        client.join(server)
        server.join(client)
        self._ends += [client, server]
        server.start(listener.factory())
        client.start(factory())
        return client

    async def _wait_healed(self) -> None:
        healed = asyncio.get_running_loop().create_future()
        self._healed.append(healed)
        await healed


class _NodeNetwork:
    """One node's view of the network."""

    def __init__(self, network: MemoryNetwork, node: str) -> None:
        self._network = network
        self._node = node

    async def listen(
        self,
        factory: Factory,
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
    ) -> Listener:
        return self._network.listen_at(self._node, factory, host, port, tls)

    async def dial(
        self,
        factory: Factory,
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> asyncio.Transport:
        return await self._network.dial_from(self._node, factory, host, port, tls)

    def sender(self, transport: asyncio.Transport) -> Sender:
        return MemorySender(transport)


class MemorySender:
    """Writes pieces, of which slices are read: there is no socket to pass them to."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def send(self, pieces: Sequence[Piece]) -> None:
        """Write the pieces."""
        self._transport.writelines(
            [each.read() if isinstance(each, FileSlice) else each for each in pieces]
        )

    def close(self) -> None:
        """Nothing is held."""


class MemoryListener:
    """A listening socket."""

    def __init__(
        self, network: MemoryNetwork, node: str, factory: Factory, host: str, port: int
    ) -> None:
        self._network = network
        self.node = node
        self.factory = factory
        self.host = host
        self._port = port

    @property
    def port(self) -> int:
        """The port that it listens at."""
        return self._port

    async def close(self) -> None:
        """Stop listening; connections stay."""
        self._network.forget_listener(self)


class MemoryTransport(asyncio.Transport):
    """One end of a connection."""

    peer: MemoryTransport
    incoming: _Pipe
    _protocol: asyncio.Protocol

    def __init__(
        self,
        network: MemoryNetwork,
        node: str,
        link: object,
        address: tuple[str, int],
        peer_address: tuple[str, int],
    ) -> None:
        super().__init__({"sockname": address, "peername": peer_address})
        self.node = node
        self.link = link
        self.network = network
        self.is_reading_paused = False
        self._is_closing = False
        self._is_lost = False
        self._high = WRITE_BYTES_HIGH
        self._low = WRITE_BYTES_HIGH // 4
        self._is_writing_paused = False
        self._loop = asyncio.get_running_loop()

    def join(self, peer: MemoryTransport) -> None:
        """Make the pipe in which the peer's bytes arrive."""
        self.peer = peer
        self.incoming = _Pipe(self, peer, self._loop)

    def start(self, protocol: asyncio.Protocol) -> None:
        """Tell the protocol that it is connected."""
        self._protocol = protocol
        protocol.connection_made(self)

    def write(self, data: Bytes) -> None:
        """Send bytes; as in asyncio, nothing happens once the connection is closed."""
        self.writelines((data,))

    def writelines(self, list_of_data: Iterable[Bytes]) -> None:
        """Send several buffers as one write."""
        data = b"".join(list_of_data)
        if self._is_closing or not data:
            return
        if self.network.draws(self.network.weather.reset_chance):
            self.peer.lose(ConnectionResetError("connection reset by the network"))
            self.lose(ConnectionResetError("connection reset by the network"))
            return
        self.peer.incoming.send(data)
        self._note_buffer()

    def close(self) -> None:
        """Send what is written, then close."""
        if not self._is_closing:
            self._is_closing = True
            self.peer.incoming.send(None)
            self._loop.call_soon(self._end, None)

    def abort(self) -> None:
        """Close at once; the peer sees a reset."""
        self._is_closing = True
        self._loop.call_later(
            self.network.delay_s(), self.peer.lose, ConnectionResetError("connection reset by peer")
        )
        self._loop.call_soon(self._end, None)

    def is_closing(self) -> bool:
        """Whether it is closed or about to be."""
        return self._is_closing

    def pause_reading(self) -> None:
        """Let the peer's bytes wait."""
        self.is_reading_paused = True

    def resume_reading(self) -> None:
        """Take the peer's bytes again."""
        self.is_reading_paused = False
        self._loop.call_soon(self.incoming.pump)

    def is_reading(self) -> bool:
        """Whether the peer's bytes are taken."""
        return not self.is_reading_paused and not self._is_closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """When to ask the protocol to stop writing."""
        self._high = WRITE_BYTES_HIGH if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_size(self) -> int:
        """The bytes sent and not yet taken by the peer."""
        return self.peer.incoming.size

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol."""
        return self._protocol

    def deliver(self, data: bytes | None) -> None:
        """Hand bytes, or the peer's end, to the protocol."""
        if self._is_lost:
            return
        if data is None:
            self._is_closing = True
            self._protocol.eof_received()
            self._end(None)
        elif not self._is_closing:
            self._protocol.data_received(data)

    def taken(self) -> None:
        """The peer took bytes; writing may go on."""
        if self._is_writing_paused and self.get_write_buffer_size() <= self._low:
            self._is_writing_paused = False
            self._protocol.resume_writing()

    def lose(self, error: Exception) -> None:
        """The connection is gone."""
        self._is_closing = True
        self.incoming.clear()
        self._loop.call_soon(self._end, error)

    def vanish(self) -> None:
        """As `lose`, but nobody is told: the node is dead."""
        self._is_closing = self._is_lost = True
        self.incoming.clear()
        self.network.forget_end(self)

    def _note_buffer(self) -> None:
        if not self._is_writing_paused and self.get_write_buffer_size() > self._high:
            self._is_writing_paused = True
            self._protocol.pause_writing()

    def _end(self, error: Exception | None) -> None:
        if self._is_lost:
            return
        self._is_lost = True
        self.incoming.clear()
        self.network.forget_end(self)
        self._protocol.connection_lost(error)


class _Pipe:
    """One direction of a connection."""

    def __init__(
        self, end: MemoryTransport, sender: MemoryTransport, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._end = end
        self._sender = sender
        self._loop = loop
        self._queue: deque[tuple[float, bytes | None]] = deque()
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.size = 0

    def send(self, data: bytes | None) -> None:
        """Take bytes, or the end, on their way."""
        network = self._end.network
        self._due = max(self._due, self._loop.time() + network.delay_s())
        if data is not None and len(data) > 1 and network.draws(network.weather.split_chance):
            middle = 1 + network.random.randrange(len(data) - 1)
            self._queue.append((self._due, data[:middle]))
            self._due += network.delay_s()
            self._queue.append((self._due, data[middle:]))
        else:
            self._queue.append((self._due, data))
        self.size += len(data or b"")
        self._schedule()

    def pump(self) -> None:
        """Deliver what is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queue and not self._is_held() and self._queue[0][0] <= self._loop.time():
            _, data = self._queue.popleft()
            self.size -= len(data or b"")
            self._end.deliver(data)
            self._sender.taken()
        self._schedule()

    def clear(self) -> None:
        """Forget what is on its way."""
        self._queue.clear()
        self.size = 0

    def _is_held(self) -> bool:
        return self._end.is_reading_paused or self._end.network.is_cut(
            self._end.node, self._sender.node
        )

    def _schedule(self) -> None:
        if self._queue and self._timer is None and not self._is_held():
            self._timer = self._loop.call_at(self._queue[0][0], self.pump)

"""The network in memory keeps TCP's promises, and breaks what it is told to break."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamkit.testing.network import MemoryNetwork, Weather
from streamkit.testing.simulation import Simulation, until


class End(asyncio.Protocol):
    """Keeps what happens to it."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.data = bytearray()
        self.lost: list[Exception | None] = []
        self.is_paused = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)


async def pair(network: MemoryNetwork) -> tuple[End, End]:
    """A connection from node a to node b."""
    a, b = End(), End()
    listener = await network.at("b").listen(lambda: b, "b", 0)
    await network.at("a").dial(lambda: a, "b", listener.port)
    return a, b


def simulated(main: Callable[[MemoryNetwork], Any], seed: int = 7, **weather: float) -> Any:
    simulation = Simulation(seed)
    simulation.network.weather = Weather(**weather)
    return simulation.run(main(simulation.network))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=50), max_size=20), st.integers(0, 1 << 30))
def test_bytes_arrive_in_order(writes: list[bytes], seed: int) -> None:
    async def main(network: MemoryNetwork) -> None:
        a, b = await pair(network)
        for data in writes:
            a.transport.write(data)
        a.transport.close()
        await until(lambda: bool(b.lost))
        assert bytes(b.data) == b"".join(writes)
        assert a.lost == b.lost == [None]
        assert network.connection_count == 0

    simulated(main, seed, delay_ms_min=0, delay_ms_max=100, split_chance=0.5)


def test_cut_link_holds_everything_until_it_is_healed() -> None:
    async def main(network: MemoryNetwork) -> None:
        a, b = await pair(network)
        network.cut("a", "b")
        a.transport.write(b"held")
        dial = asyncio.ensure_future(network.at("a").dial(End, "b", 20_001))
        await asyncio.sleep(100)
        assert not b.data
        assert not dial.done()
        network.heal("b", "a")
        await until(lambda: b.data == b"held")
        await dial

    simulated(main)


def test_reset_is_seen_by_both_ends() -> None:
    async def main(network: MemoryNetwork) -> None:
        a, b = await pair(network)
        network.reset("a", "b")
        await until(lambda: bool(a.lost and b.lost))
        assert isinstance(a.lost[0], ConnectionResetError)
        a.transport.write(b"nobody gets this")
        await asyncio.sleep(1)
        assert not b.data

    simulated(main)


def test_crashed_node_refuses_and_its_peers_are_reset() -> None:
    async def main(network: MemoryNetwork) -> None:
        a, b = await pair(network)
        network.crash("b")
        await until(lambda: bool(a.lost))
        assert b.lost == []
        with pytest.raises(ConnectionRefusedError):
            await network.at("a").dial(End, "b", 20_001)

    simulated(main)


def test_a_crashed_listener_that_closes_late_takes_its_successor_not_with_it() -> None:
    async def main(network: MemoryNetwork) -> None:
        old = await network.at("b").listen(End, "b", 9092)
        network.crash("b")
        await network.at("b").listen(End, "b", 9092)
        await old.close()
        await network.at("a").dial(End, "b", 9092)

    simulated(main)


def test_lossy_network_resets_connections_and_loses_no_byte_of_the_rest() -> None:
    async def main(network: MemoryNetwork) -> int:
        resets = 0
        for _ in range(30):
            a, b = await pair(network)
            for number in range(20):
                a.transport.write(bytes([number]))
            await asyncio.sleep(1)
            assert bytes(range(20)).startswith(bytes(b.data))
            resets += bool(a.lost)
            a.transport.close()
        return resets

    assert 5 < simulated(main, reset_chance=0.05) < 30


def test_reader_that_pauses_stops_the_writer() -> None:
    async def main(network: MemoryNetwork) -> None:
        a, b = await pair(network)
        a.transport.set_write_buffer_limits(high=1000)
        b.transport.pause_reading()
        a.transport.write(bytes(1001))
        assert a.is_paused
        await asyncio.sleep(1)
        assert a.is_paused
        assert a.transport.get_write_buffer_size() == 1001
        b.transport.resume_reading()
        await until(lambda: not a.is_paused)
        assert len(b.data) == 1001

    simulated(main)


def test_port_in_use_is_refused() -> None:
    async def main(network: MemoryNetwork) -> None:
        listener = await network.listen(End, "a", 0)
        with pytest.raises(OSError, match="in use"):
            await network.listen(End, "a", listener.port)
        await listener.close()
        await network.listen(End, "a", listener.port)

    simulated(main)


STORM = """
import asyncio
from streamkit.testing.network import Weather
from streamkit.testing.simulation import Simulation

class End(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        simulation.note(f"got {data!r}")
    def connection_lost(self, exc):
        simulation.note(f"lost {exc}")

simulation = Simulation(seed=11)
network = simulation.network
network.weather = Weather(0, 50, reset_chance=0.02, split_chance=0.3)

async def main():
    for node in ("a", "b", "c"):
        await network.at(node).listen(End, node, 0)
    for _ in range(20):
        ends = [await network.at(n).dial(End, "x", p) for n, p in (("a", 20002), ("c", 20003))]
        for end in ends:
            end.write(b"hello")
            end.write(b"world")
        network.cut("a", "b")
        await asyncio.sleep(0.1)
        network.heal("a", "b")
        await asyncio.sleep(0.1)
    network.crash("b")
    await asyncio.sleep(1)

simulation.run(main())
print("\\n".join(simulation.trace))
"""


def test_same_seed_is_the_same_trace_under_any_hash_seed() -> None:
    traces = [
        subprocess.run(
            [sys.executable, "-c", STORM],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert traces[0] == traces[1]
    assert traces[0].count("got") > 40

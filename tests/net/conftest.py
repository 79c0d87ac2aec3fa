"""A small broker that answers what a connection asks at its start, and two networks for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from streamkit.common.seams import Seams
from streamkit.common.system import run_loop, system_seams
from streamkit.net.server import ConnectionInfo, Frame
from streamkit.protocol.apis import VERSIONS, ApiKey, VersionRange
from streamkit.protocol.errors import UnsupportedVersionError
from streamkit.protocol.messages import (
    Chunks,
    Request,
    decode_request,
    encode_response,
    response_type,
)
from streamkit.protocol.versions import canonical_response, downgrade, fill
from streamkit.testing.disk import MemoryDisk
from streamkit.testing.network import Weather
from streamkit.testing.simulation import Simulation

Main = Callable[[Seams], Coroutine[Any, Any, Any]]


@dataclass
class SmallBroker:
    """Answers ApiVersions, and Metadata with what it was asked for; counts and can be held."""

    versions: VersionRange = VERSIONS[ApiKey.API_VERSIONS]
    handled: int = 0
    handling: int = 0
    handling_most: int = 0
    hold: asyncio.Event | None = None

    async def handle(self, frame: Frame, info: ConnectionInfo) -> Chunks | None:
        """The handler of a FrameServer."""
        try:
            request = decode_request(frame)
        except UnsupportedVersionError as error:
            return self._refuse(error.correlation_id)
        if request.api_key == ApiKey.API_VERSIONS and request.api_version not in self.versions:
            return self._refuse(request.correlation_id)
        self.handling += 1
        self.handling_most = max(self.handling_most, self.handling)
        if self.hold is not None and request.api_key != ApiKey.API_VERSIONS:
            await self.hold.wait()
        self.handling -= 1
        self.handled += 1
        if request.api_key == ApiKey.PRODUCE and request.message.acks == 0:
            return None
        return encode_response(request.correlation_id, self._answer(request))

    def _answer(self, request: Request) -> Any:
        values: dict[str, Any] = {}
        if request.api_key == ApiKey.API_VERSIONS:
            values["api_keys"] = [
                {"api_key": api, "min_version": low, "max_version": high}
                for api, (low, high) in VERSIONS.items()
            ]
            values["finalized_features"] = [{"name": "streams.version", "max_version_level": 1}]
        elif request.api_key == ApiKey.METADATA:
            values["topics"] = [{"name": topic.name} for topic in request.message.topics or ()]
        elif request.api_key == ApiKey.FETCH:
            records = bytes(request.message.max_bytes)
            values["responses"] = [{"partitions": [{"partition_index": 3, "records": records}]}]
        return downgrade(fill(canonical_response(request.api_key), values), request.api_version)

    def _refuse(self, correlation_id: int) -> Chunks:
        low, high = self.versions
        keys = [{"api_key": ApiKey.API_VERSIONS, "min_version": low, "max_version": high}]
        refusal = {"error_code": 35, "api_keys": keys}
        return encode_response(correlation_id, fill(response_type(ApiKey.API_VERSIONS, 0), refusal))


@dataclass
class World:
    """Runs a coroutine over one kind of network."""

    kind: str
    weather: Weather = field(default_factory=Weather)

    def run(self, main: Main) -> Any:
        """Run `main(seams)` to its end."""
        if self.kind == "system":
            return run_loop(main(system_seams()))
        simulation = Simulation(seed=7)
        simulation.network.weather = self.weather
        return simulation.run(main(simulation.seams("", MemoryDisk())))


@pytest.fixture
def broker() -> SmallBroker:
    """A small broker."""
    return SmallBroker()


@pytest.fixture(params=["memory", "system"])
def world(request: pytest.FixtureRequest) -> World:
    """Each kind of network in turn."""
    return World(request.param)


@pytest.fixture
def memory() -> World:
    """The network in memory, on virtual time."""
    return World("memory")


@pytest.fixture
def stormy(memory: World) -> World:
    """A slow network in memory that cuts writes in two."""
    return replace(memory, weather=Weather(delay_ms_min=1, delay_ms_max=50, split_chance=0.7))

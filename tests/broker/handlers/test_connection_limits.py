"""The broker's limits on connections: from its settings, and changed while it runs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streamkit.broker.settings import connections_of_host, settings_for
from streamkit.common.errors import ConfigError
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.frames import FrameBuffer, frame
from streamkit.protocol.messages import encode_request, request_type
from streamkit.protocol.versions import fill
from streamkit.testing.simulation import until

BROKER = 4


class Peer(asyncio.Protocol):
    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.is_lost = False
        self._buffer = FrameBuffer()

    def data_received(self, data: bytes) -> None:
        self.frames += map(bytes, self._buffer.feed(data))

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True


async def dial(world: Any, node: Any) -> Peer:
    """Connect and ask for the versions."""
    host, _, port = node.bootstrap.rpartition(":")
    seams = world.simulation.seams("client", None)
    peer = Peer()
    transport = await seams.network.dial(lambda: peer, host, int(port))
    request = fill(request_type(ApiKey.API_VERSIONS, 3), {"client_software_name": "peer"})
    transport.writelines(frame([encode_request(7, "peer", request)]))
    return peer


async def alter(asker: Any, name: str, value: str) -> None:
    config = {"name": name, "config_operation": 0, "value": value}
    resource = {"resource_type": BROKER, "resource_name": "", "configs": [config]}
    answer = await asker.ask(ApiKey.INCREMENTAL_ALTER_CONFIGS, resources=[resource])
    assert answer.responses[0].error_code == 0, answer


def test_connection_too_many_waits_until_the_limit_is_raised(world: Any) -> None:
    async def main() -> None:
        async with world.node(max_connections="1") as node:
            first, second = await dial(world, node), await dial(world, node)
            await until(lambda: bool(first.frames))
            await asyncio.sleep(5)
            assert second.frames == []
            assert not second.is_lost
            await alter(world.asker(node), "max.connections", "2")
            await until(lambda: bool(second.frames))

    world.simulation.run(main())


def test_host_may_have_fewer_connections_from_now_on(world: Any) -> None:
    async def main() -> None:
        async with world.node() as node:
            first = await dial(world, node)
            await until(lambda: bool(first.frames))
            await alter(world.asker(node), "max.connections.per.ip", "1")
            second = await dial(world, node)
            await until(lambda: second.is_lost)
            assert not first.is_lost

    world.simulation.run(main())


def test_overrides_name_addresses() -> None:
    text = "10.0.0.9:5, [fe80::1]:7,fe80::0002:8"
    assert connections_of_host(text) == {"10.0.0.9": 5, "fe80::1": 7, "fe80::2": 8}
    assert connections_of_host("") == {}


@pytest.mark.parametrize("text", ["10.0.0.9", "10.0.0.9:many", "host.example:5", ":5"])
def test_override_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="ADDRESS:COUNT"):
        settings_for("127.0.0.1:0", "data", {"max.connections.per.ip.overrides": text})


def test_no_connection_at_all_needs_overrides() -> None:
    with pytest.raises(ConfigError, match="overrides"):
        settings_for("127.0.0.1:0", "data", {"max.connections.per.ip": "0"})
    values = {"max.connections.per.ip": "0", "max.connections.per.ip.overrides": "10.0.0.9:5"}
    assert settings_for("127.0.0.1:0", "data", values).max_connections_per_ip == 0

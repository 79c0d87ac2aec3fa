"""ApiVersions: what is listed, and how an unknown version is told so."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from streamkit.broker.handlers import SERVED
from streamkit.net.errors import CloseConnection
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ErrorCode, MalformedMessage
from streamkit.protocol.messages import decode_response

SOFTWARE = {"client_software_name": "streamkit", "client_software_version": "4.2"}


def test_every_served_api_is_listed_and_loads(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        return await asker.ask(ApiKey.API_VERSIONS, **SOFTWARE)

    answer = world.run(scenario)
    listed = {key.api_key: (key.min_version, key.max_version) for key in answer.api_keys}
    assert listed.keys() == SERVED.keys()
    assert listed[ApiKey.PRODUCE] == (0, 13)
    assert listed[ApiKey.FETCH] == (4, 18)
    for served in SERVED.values():
        served.load()


def test_features_of_the_cluster_are_told(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        return await asker.ask(ApiKey.API_VERSIONS, **SOFTWARE)

    answer = world.run(scenario)
    levels = {each.name: each.max_version_level for each in answer.finalized_features}
    assert levels["metadata.version"] == 30
    assert levels["streams.version"] == 1
    assert answer.finalized_features_epoch > 0


def test_old_version_hides_features_with_minimum_zero(world: Any) -> None:
    async def scenario(asker: Any) -> Any:
        return await asker.ask(ApiKey.API_VERSIONS, 3, **SOFTWARE)

    assert all(each.min_version > 0 for each in world.run(scenario).supported_features)


@pytest.mark.parametrize("version", [3, 4])
def test_extensions_of_ours_are_advertised_but_not_finalized(world: Any, version: int) -> None:
    async def scenario(asker: Any) -> Any:
        return await asker.ask(ApiKey.API_VERSIONS, version, **SOFTWARE)

    answer = world.run(scenario)
    ours = {each.name for each in answer.supported_features if each.name.startswith("streamkit.")}
    assert ours == {
        "streamkit.group.configs",
        "streamkit.task.offsets",
        "streamkit.topology.updates",
    }
    assert not any(each.name.startswith("streamkit.") for each in answer.finalized_features)


@pytest.mark.parametrize("name", ["", "-kit", "stream kit", "kit."])
def test_malformed_software_name_is_refused_in_the_asked_version(world: Any, name: str) -> None:
    async def scenario(asker: Any) -> Any:
        return await asker.ask(
            ApiKey.API_VERSIONS, client_software_name=name, client_software_version="1"
        )

    assert world.run(scenario).error_code == ErrorCode.invalid_request


def answer_raw(world: Any, frame: bytes) -> Any:
    async def scenario(asker: Any) -> Any:
        from_where = type("Info", (), {"host": "10.0.0.9"})()
        return await asker.node.dispatcher.answer(memoryview(frame), from_where)

    return world.run(scenario)


def test_unknown_version_is_answered_with_version_zero_and_the_list(world: Any) -> None:
    frame = struct.pack(">hhih", ApiKey.API_VERSIONS, 99, 4712, -1) + b"nobody parses this"
    chunks = answer_raw(world, frame)
    correlation_id, answer = decode_response(ApiKey.API_VERSIONS, 0, b"".join(chunks))
    assert correlation_id == 4712
    assert answer.error_code == ErrorCode.unsupported_version
    assert any(key.api_key == ApiKey.API_VERSIONS for key in answer.api_keys)


@pytest.mark.parametrize(
    ("api", "version"), [(ApiKey.JOIN_GROUP, 9), (ApiKey.PRODUCE, 2), (999, 0)]
)
def test_what_is_not_served_closes_the_connection(world: Any, api: int, version: int) -> None:
    with pytest.raises((CloseConnection, MalformedMessage)):
        answer_raw(world, struct.pack(">hhih", api, version, 4712, -1) + bytes(64))

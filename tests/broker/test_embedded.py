"""A broker in this process: it runs where the caller's loop runs, and cleans up."""

from __future__ import annotations

import asyncio

import pytest

from streamkit.broker.embedded import Broker
from streamkit.common.errors import UsageError
from streamkit.common.system import system_seams
from streamkit.net.dial import Connection
from streamkit.net.security import SecuritySettings
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.messages import request_type
from streamkit.protocol.versions import fill


def test_embedded_broker_answers_and_removes_its_directory() -> None:
    seams = system_seams()

    async def scenario() -> tuple[str, list[str]]:
        async with Broker() as broker:
            host, _, port = broker.bootstrap.rpartition(":")
            connection = await Connection.open(
                seams, host, int(port), SecuritySettings(), "embedded"
            )
            wanted = fill(
                request_type(ApiKey.METADATA, 13),
                {"topics": [{"name": "made"}], "allow_auto_topic_creation": True},
            )
            answer = await connection.call(wanted)
            connection.close()
            return broker.data, [topic.name for topic in answer.topics]

    data, names = asyncio.run(scenario())
    assert names == ["made"]
    assert not seams.disk.exists(data)


def test_taken_port_is_one_clear_line() -> None:
    async def scenario() -> None:
        async with Broker() as broker, Broker(listen=broker.bootstrap):
            pass

    with pytest.raises(UsageError, match=r"127\.0\.0\.1:\d+ is in use"):
        asyncio.run(scenario())

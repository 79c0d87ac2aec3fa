"""A worker inside another program leaves its group at the end, or keeps its membership."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import streamkit as sk
from streamkit.client.admin import Admin


async def members(bootstrap: str, group_id: str) -> int:
    async with Admin({"bootstrap.servers": bootstrap}) as admin:
        return len((await admin.describe_streams_group(group_id)).members)


@pytest.mark.parametrize(("remains", "left"), [(False, 0), (True, 1)])
def test_membership_is_kept_on_request(tmp_path: Path, remains: bool, left: int) -> None:
    app = sk.App("remaining")
    app.stream("orders", key=str, value=str).to("copies")

    async def scenario() -> None:
        async with sk.Broker() as broker, asyncio.timeout(60):
            async with sk.client.Admin({"bootstrap.servers": broker.bootstrap}) as admin:
                await admin.create_topics(
                    [sk.client.NewTopic(name, 3) for name in ("orders", "copies")]
                )
            config = {"state.dir": str(tmp_path)}
            async with app.worker(
                bootstrap=broker.bootstrap, config=config, remain_in_group=remains
            ) as worker:
                while not worker.progress().running:  # noqa: ASYNC110  # nobody signals it
                    await asyncio.sleep(0.02)
            assert await members(broker.bootstrap, "remaining") == left

    asyncio.run(scenario())

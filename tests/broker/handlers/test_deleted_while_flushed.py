"""A topic that is deleted while its log is flushed: that is no error of the disk."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ErrorCode


def test_a_flush_that_meets_a_deleted_folder_harms_nobody(
    world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(asker: Any) -> None:
        orders, others = await asker.create("orders"), await asker.create("others")
        await asker.produce(orders, "gone soon")
        partition = asker.node.dispatcher._parts.replicas.find(orders, 0)
        topics = [{"topic_id": orders, "name": None}]
        deleted = await asker.ask(ApiKey.DELETE_TOPICS, topics=topics, timeout=1000)
        assert deleted.responses[0].error_code == ErrorCode.none
        with caplog.at_level(logging.ERROR):
            await partition.flush()
        assert (await asker.produce(others, "fine")).error_code == ErrorCode.none

    world.run(scenario)
    assert [record.message for record in caplog.records] == []

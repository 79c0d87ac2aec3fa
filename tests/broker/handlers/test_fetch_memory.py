"""Answers that peers do not take are memory: while there are many, a fetch gives one batch."""

from __future__ import annotations

from typing import Any

from streamkit.broker.handlers.fetch import UNSENT_BYTES_MAX
from streamkit.records import scan


def test_fetch_gives_one_batch_while_too_much_is_unsent(world: Any) -> None:
    async def scenario(asker: Any) -> list[int]:
        topic = await asker.create("orders")
        for value in "abc":
            await asker.produce(topic, value)
        counts = []
        for unsent in (0, UNSENT_BYTES_MAX - 1, UNSENT_BYTES_MAX + 7, 0):
            asker.node.dispatcher._parts.unsent_bytes = lambda unsent=unsent: unsent
            answer = await asker.fetch(topic, 0)
            counts.append(len(scan(answer.records)))
        return counts

    assert world.run(scenario) == [3, 1, 1, 3]

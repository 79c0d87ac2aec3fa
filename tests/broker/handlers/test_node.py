"""A node's life: restart, crash, failing disk, a port or directory that is not its own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streamkit.common.errors import UsageError
from streamkit.protocol.apis import ApiKey
from streamkit.records import decode, scan


def values_of(records: bytes) -> list[str]:
    found: list[str] = []
    for header in scan(records):
        found += [(value or b"").decode() for value in decode(records, header).values]
    return found


def test_records_and_topics_outlive_a_restart(world: Any) -> None:
    async def main() -> Any:
        async with world.node() as node:
            asker = world.asker(node)
            topic = await asker.create("orders", 2)
            await asker.produce(topic, "a", "b")
        async with world.node() as node:
            asker = world.asker(node)
            fetched = await asker.fetch(topic, 0)
            again = await asker.produce(topic, "c")
            described = await asker.ask(ApiKey.METADATA, topics=[{"name": "orders"}])
            return fetched, again, described.topics[0].partitions[0].leader_epoch

    fetched, again, leader_epoch = world.simulation.run(main())
    assert values_of(fetched.records) == ["a", "b"]
    assert fetched.high_watermark == 2
    assert again.base_offset == 2
    assert leader_epoch > 0


@pytest.mark.parametrize("seed", range(5))
def test_flushed_records_outlive_a_crash(world: Any, seed: int) -> None:
    world.settings = {"log.flush.interval.messages": "1"}

    async def main() -> Any:
        node = world.node()
        await node.start()
        asker = world.asker(node)
        topic = await asker.create("orders")
        offsets = [(await asker.produce(topic, f"v{i}")).base_offset for i in range(20 + seed)]
        world.disk.crash(world.simulation.random)
        await node.abandon()
        async with world.node() as restarted:
            fetched = await world.asker(restarted).fetch(topic, 0)
        return offsets, fetched

    offsets, fetched = world.simulation.run(main())
    assert offsets == list(range(20 + seed))
    assert values_of(fetched.records)[: 20 + seed] == [f"v{i}" for i in range(20 + seed)]


@pytest.mark.parametrize("is_clean", [True, False])
def test_timers_of_an_ended_node_are_gone(world: Any, is_clean: bool) -> None:
    troubles: list[str] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, why: troubles.append(str(why)))
        node = world.node()
        await node.start()
        who = {"key_type": 1, "coordinator_keys": ["shop-3"]}
        await world.asker(node).ask(ApiKey.FIND_COORDINATOR, **who)
        await asyncio.sleep(1)  # the coordinator leads, and looks for what is over by a timer
        await (node.stop() if is_clean else node.abandon())
        await asyncio.sleep(3_600)

    world.simulation.run(main())
    assert troubles == []


def test_directory_of_another_cluster_is_one_clear_line(world: Any) -> None:
    async def main() -> None:
        async with world.node(cluster_id="4L6g3nShT-eMCtK--X86sw"):
            pass
        async with world.node(cluster_id="9x6g3nShT-eMCtK--X86sw"):
            pass

    with pytest.raises(UsageError, match=r"belongs to cluster 4L6g3nShT-eMCtK--X86sw"):
        world.simulation.run(main())


def test_directory_in_use_is_one_clear_line(world: Any) -> None:
    async def main() -> None:
        async with world.node(), world.node(listeners="PLAINTEXT://broker:9093"):
            pass

    with pytest.raises(UsageError, match="in use"):
        world.simulation.run(main())


def test_port_in_use_is_one_clear_line(world: Any) -> None:
    async def main() -> None:
        async with world.node(), world.node(log_dirs="/other"):
            pass

    with pytest.raises(UsageError, match=r"broker:9092.*in use"):
        world.simulation.run(main())

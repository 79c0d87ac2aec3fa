"""A changed program beside, or after, another one of the application, on the embedded broker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import streamkit as sk
from streamkit.client.admin import Admin, NewTopic
from streamkit.client.settings import ClientSettings, ProducerSettings
from streamkit.common.errors import StreamkitError
from streamkit.rebalance.description import DescribedGroup, described_group
from streamkit.tasks.embedding import EmbeddedWorker


def program(*more: Callable[[sk.App], Any]) -> sk.App:
    """Counts words; `more` declares what came later."""
    app = sk.App("shop")
    lines = app.stream(app.topic("lines", key=str, value=str))
    lines.group_by(lambda _, word: word, key=str).count(name="counts")
    for declare in more:
        declare(app)
    return app


def returns(app: sk.App) -> None:
    app.stream(app.topic("returns", key=str, value=str)).group_by_key().count(name="returned")


def absent(app: sk.App) -> None:
    app.stream(app.topic("absent", key=str, value=str)).group_by_key().count(name="more")


def joined(app: sk.App) -> None:
    left = app.table(app.topic("left2", key=str, value=str), name="left")
    right = app.table(app.topic("right3", key=str, value=str), name="right")
    left.join(right, lambda a, b: a + b, value=str).to_stream().to("joined")


def recounted(partitions: int) -> sk.App:
    app = sk.App("shop")
    lines = app.stream(app.topic("lines", key=str, value=str))
    lines.repartition(partitions=partitions, name="byword").group_by_key().count(name="counts")
    return app


def admin(broker: sk.Broker) -> Admin:
    return Admin(ClientSettings.from_mapping({"bootstrap.servers": broker.bootstrap}))


async def prepare(broker: sk.Broker) -> None:
    counts = {"lines": 2, "returns": 2, "left2": 2, "right3": 3}
    async with admin(broker) as asking:
        await asking.create_topics([NewTopic(name, count) for name, count in counts.items()])


async def write(broker: sk.Broker, topic: str) -> None:
    settings = ProducerSettings.from_mapping({"bootstrap.servers": broker.bootstrap})
    async with sk.client.Producer(settings) as producer:
        await producer.send(topic, b"w", key=b"k")
        await producer.flush()


async def described(broker: sk.Broker) -> DescribedGroup:
    async with admin(broker) as asking:
        return described_group(await asking.describe_streams_group("shop"))


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(1_500):
        if await holds():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never came")


def worker(app: sk.App, broker: sk.Broker, state: Path) -> EmbeddedWorker:
    return app.worker(bootstrap=broker.bootstrap, config={"state.dir": str(state)})


def runs(broker: sk.Broker, *subtopologies: str) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        try:
            group = await described(broker)
        except StreamkitError:
            return False
        assigned = {task[0] for each in group.members for task in each.assigned.active}
        return group.state == "Stable" and assigned == set(subtopologies)

    return holds


def has_read_more(worker: EmbeddedWorker, before: int) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return worker.progress().records > before

    return holds


@pytest.mark.parametrize(
    ("declare", "why"),
    [
        (absent, "Source topics absent are missing; make them"),
        (joined, r"\[{left2=2, right3=3}\]; topics that are joined"),
    ],
)
def test_update_whose_topics_do_not_fit_ends_the_new_worker_alone(
    declare: Callable[[sk.App], Any], why: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with sk.Broker() as broker:
            await prepare(broker)
            async with worker(program(), broker, tmp_path / "old") as old:
                await until(runs(broker, "0", "1"))
                with pytest.raises(StreamkitError, match=why):
                    async with worker(program(declare), broker, tmp_path / "new") as new:
                        await new.wait()
                before = old.progress().records
                await write(broker, "lines")
                await until(has_read_more(old, before))
                assert (await described(broker)).topology_epoch == 0

    asyncio.run(scenario())


def test_group_goes_back_to_the_older_program_and_on_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sk.Broker() as broker:
            await prepare(broker)
            async with worker(program(), broker, tmp_path):
                await until(runs(broker, "0", "1"))
            async with worker(program(returns), broker, tmp_path):
                await until(runs(broker, "0", "1", "2"))
            async with worker(program(), broker, tmp_path):
                await until(runs(broker, "0", "1"))
                assert (await described(broker)).topology_epoch == 0
            async with worker(program(returns), broker, tmp_path):
                await until(runs(broker, "0", "1", "2"))

    asyncio.run(scenario())


def test_older_worker_goes_on_with_its_part_when_the_new_one_is_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with sk.Broker() as broker:
            await prepare(broker)
            async with worker(program(), broker, tmp_path / "old"):
                await until(runs(broker, "0", "1"))
                async with worker(program(returns), broker, tmp_path / "new"):
                    await until(runs(broker, "0", "1", "2"))
                await until(runs(broker, "0", "1"))

                async def is_warned() -> bool:
                    return "Sub-topology 2 runs nowhere" in caplog.text

                await until(is_warned)

    asyncio.run(scenario())


def test_other_number_for_a_repartition_topic_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sk.Broker() as broker:
            await prepare(broker)
            async with worker(recounted(2), broker, tmp_path):
                await until(runs(broker, "0", "1"))
            with pytest.raises(StreamkitError, match="has 2 partitions and would have 3"):
                async with worker(recounted(3), broker, tmp_path) as other:
                    await other.wait()

    asyncio.run(scenario())

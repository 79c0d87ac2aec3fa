"""A worker inside another program: what it says when it cannot work, and when it ends."""

from __future__ import annotations

import asyncio

import pytest

import streamkit as sk
from streamkit.common.errors import StreamkitError, TopologyError
from streamkit.testing import Broker


def failing(app_id: str = "failing") -> sk.App:
    def fail(key: str, value: str) -> None:
        raise ValueError(f"{value} is poison")

    app = sk.App(app_id)
    app.stream("lines", key=str, value=str).foreach(fail)
    return app


async def topics(bootstrap: str, **partitions: int) -> None:
    async with sk.client.Admin({"bootstrap.servers": bootstrap}) as admin:
        await admin.create_topics([sk.client.NewTopic(*each) for each in partitions.items()])
    async with sk.client.Producer({"bootstrap.servers": bootstrap}) as producer:
        await producer.send("lines", b"this", key=b"k")


def test_app_that_reads_nothing_is_refused() -> None:
    with pytest.raises(TopologyError, match="app idle reads no topic: declare a stream"):
        sk.App("idle").worker(bootstrap="127.0.0.1:1")


def test_waiting_for_a_worker_says_why_it_ended(tmp_path: object) -> None:
    async def scenario() -> None:
        async with sk.Broker() as broker:
            await topics(broker.bootstrap, lines=3)
            config = {"state.dir": f"{tmp_path}/state"}
            worker = failing().worker(bootstrap=broker.bootstrap, config=config)
            async with worker, asyncio.timeout(30):
                with pytest.raises(StreamkitError, match="this is poison"):
                    await worker.wait()
                raise LookupError("the program's own")  # which the worker's does not hide

    with pytest.raises(LookupError, match="the program's own"):
        asyncio.run(scenario())


def test_joining_a_worker_says_why_it_ended(tmp_path: object) -> None:
    with Broker() as broker:
        asyncio.run(topics(broker.bootstrap, lines=3))
        config = {"state.dir": f"{tmp_path}/state"}
        worker = failing().worker(bootstrap=broker.bootstrap, config=config)
        with pytest.raises(StreamkitError, match="this is poison"), worker:
            worker.join(30)


def test_topics_that_are_not_partitioned_alike_are_told_with_what_to_do(tmp_path: object) -> None:
    async def scenario() -> None:
        app = sk.App("apart")
        table = app.table("rows", key=str, value=str)
        app.stream("lines", key=str, value=str).join(table, lambda a, b: a, value=str).to("out")
        async with sk.Broker() as broker:
            await topics(broker.bootstrap, lines=3, rows=4)
            config = {"state.dir": f"{tmp_path}/state"}
            async with app.worker(bootstrap=broker.bootstrap, config=config) as worker:
                async with asyncio.timeout(30):
                    await worker.wait()

    says = r"lines=3, rows=4.*make them so, or put \.repartition\(partitions=N\) before the join"
    with pytest.raises(StreamkitError, match=says):
        asyncio.run(scenario())

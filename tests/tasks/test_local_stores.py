"""Reading an embedded worker's stores from the program around it, over an embedded broker."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

import streamkit as sk
from streamkit.common.errors import UsageError

LINES = ["the cat sat", "on the mat", "the end"]
COUNTS = dict(Counter(" ".join(LINES).split()))


class Told:
    def __init__(self):
        self.names = []

    def __getattr__(self, name):
        return lambda *arguments: self.names.append(name)


def program(told=None):
    app = sk.App("local", on_restore=told)
    words = (
        app.stream(app.topic("lines", key=str, value=str))
        .flat_map_values(str.split, value=str)
        .group_by(lambda _, word: word, key=str)
    )
    words.count(name="counts")
    words.windowed_by(sk.tumbling("1h")).count(name="hourly")
    return app


async def produce(bootstrap):
    async with sk.client.Admin({"bootstrap.servers": bootstrap}) as admin:
        await admin.create_topics([sk.client.NewTopic("lines", 2)])
    async with sk.client.Producer({"bootstrap.servers": bootstrap}) as producer:
        for i, line in enumerate(LINES):
            await producer.send("lines", line.encode(), key=b"%d" % i, timestamp=7_200_000 + i)


async def until(read, expected):
    async with asyncio.timeout(20):
        while await read() != expected:  # noqa: ASYNC110  # nobody tells of commits
            await asyncio.sleep(0.02)


def test_stores_are_read_in_the_worker_s_loop_and_from_another(tmp_path):
    told = Told()

    async def scenario():
        async with sk.Broker() as broker:
            await produce(broker.bootstrap)
            app = program(told)
            config = {"state.dir": str(tmp_path / "state")}
            worker = app.worker(bootstrap=broker.bootstrap, config=config)
            with pytest.raises(UsageError, match="does not run yet"):
                worker.store("counts")
            async with worker:
                counts = worker.store("counts")
                await until(lambda: rows_of(counts.range()), COUNTS)
                hourly = worker.store("hourly")
                await until(lambda: windows_of(hourly), COUNTS)
                await check(worker)
                await asyncio.to_thread(lambda: asyncio.run(check(worker)))

    asyncio.run(scenario())
    assert {"on_restore_start", "on_restore_end"} <= set(told.names)


async def rows_of(rows):
    return {key: value async for key, value in rows}


async def windows_of(store):
    return {window.key: value async for window, value in store.windows()}


async def check(worker):
    counts = worker.store("counts")
    assert await counts.get("the") == COUNTS["the"]
    assert await counts.get("dog") is None
    assert await rows_of(counts.range("e", "l")) == {"end": 1}
    assert await rows_of(counts.prefix("s", reverse=True)) == {"sat": 1}
    hourly = worker.store("hourly", stale=True)
    (row,) = [row async for row in hourly.windows("the", time_from=7_200_000)]
    assert row == (sk.Windowed("the", 7_200_000, 10_800_000), COUNTS["the"])
    assert [row async for row in hourly.windows(time_to=7_199_999)] == []
    with pytest.raises(UsageError, match="does not answer"):
        await hourly.get("the")
    with pytest.raises(UsageError, match="there is counts, hourly"):
        worker.store("nothing")

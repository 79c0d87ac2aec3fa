"""Reading an embedded worker's stores from the program around it, over an embedded broker."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

import streamkit as sk
from streamkit.common.errors import UsageError
from streamkit.tasks.local_stores import NotHereError

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
    async with asyncio.timeout(60):
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


def kept_program(told=None):
    app = sk.App("kept", on_restore=told)
    store = sk.Materialized("prices", kind="versioned", history="1h")
    prices = app.table("prices-topic", key=str, value=int, store=store)
    app.global_table("shops-topic", key=str, value=str, name="shops")
    prices.to_stream().to("out")
    return app


async def produce_kept(bootstrap):
    async with sk.client.Admin({"bootstrap.servers": bootstrap}) as admin:
        names = ("prices-topic", "shops-topic", "out")
        await admin.create_topics([sk.client.NewTopic(name, 3) for name in names])
    async with sk.client.Producer({"bootstrap.servers": bootstrap}) as producer:
        for time, price in ((5_000, 50), (7_000, 70), (6_000, 60)):
            value = price.to_bytes(8, "big")
            await producer.send("prices-topic", value, key=b"pear", timestamp=time)
        for number in range(5):
            await producer.send("shops-topic", b"shop %d" % number, key=b"%d" % number)


def test_versions_and_global_tables_are_read(tmp_path):
    async def scenario():
        async with sk.Broker() as broker:
            await produce_kept(broker.bootstrap)
            app, config = kept_program(), {"state.dir": str(tmp_path / "state")}
            for _ in range(2):
                async with app.worker(bootstrap=broker.bootstrap, config=config) as worker:
                    await check_kept(worker)

    asyncio.run(scenario())


async def check_kept(worker):
    prices, shops = worker.store("prices"), worker.store("shops")

    async def versions():
        try:
            return [row.value for row in await prices.versions("pear")]
        except NotHereError:
            return None

    await until(versions, [50, 60, 70])
    assert await prices.get("pear") == 70
    assert await prices.get("pear", as_of=6_999) == 60
    assert await prices.get("pear", as_of=4_999) is None
    found = await prices.versions("pear", time_from=6_500, time_to=7_000, reverse=True)
    assert [(row.value, row.timestamp, row.valid_to) for row in found] == [
        (70, 7_000, None),
        (60, 6_000, 7_000),
    ]
    assert await shops.get("3") == "shop 3"
    assert await shops.get("7") is None
    assert len(await rows_of(shops.range())) == 5
    with pytest.raises(UsageError, match="does not answer"):
        await shops.get("3", as_of=5)
    with pytest.raises(UsageError, match="does not answer"):
        await rows_of(prices.range())

"""Where sources begin without a committed offset: by age, by the configuration, and not at all."""

from __future__ import annotations

import asyncio
import time

import pytest

import streamkit as sk
from streamkit.common.errors import StreamkitError, TopologyError
from streamkit.topology.offset_resets import age_ms_of, reset_or_raise

OLD, YOUNG = 3, 2


@pytest.mark.parametrize(
    ("duration", "ms"),
    [
        ("PT1H", 3_600_000),
        ("P2D", 172_800_000),
        ("P1DT2H3M4.5S", 93_784_500),
        ("PT0S", 0),
        ("90s", 90_000),
    ],
)
def test_age_is_read_as_java_writes_it(duration, ms):
    assert age_ms_of(f"by_duration:{duration}") == ms


@pytest.mark.parametrize("choice", ["by_duration:", "by_duration:P", "by_duration:-PT1H", "first"])
def test_other_choices_are_refused(choice):
    with pytest.raises(TopologyError, match=r"offset_reset='.*': use earliest, latest"):
        reset_or_raise(choice)


def test_repartition_topics_are_always_read_from_their_beginning():
    app = sk.App("resets")
    lines = app.stream("lines", key=str, value=str, offset_reset="latest")
    lines.group_by(lambda key, value: value, key=str).count(name="counts")
    first, second = app.topology.subtopologies
    assert first.offset_resets == {"lines": "latest"}
    assert second.offset_resets == {"resets-counts-repartition": "earliest"}


async def fill(bootstrap):
    now_ms = int(time.time() * 1000)
    async with sk.client.Admin({"bootstrap.servers": bootstrap}) as admin:
        await admin.create_topics([sk.client.NewTopic("lines", 1)])
    async with sk.client.Producer({"bootstrap.servers": bootstrap}) as producer:
        for number in range(OLD + YOUNG):
            age_ms = 7_200_000 if number < OLD else 60_000
            await producer.send("lines", b"a", key=b"k", timestamp=now_ms - age_ms + number)
        await producer.flush()


async def seen(bootstrap, state, reset=None, default=None, *, group=False):
    """The values that come out, up to that of a record written once the worker runs."""
    app = sk.App("resets", config={"state.dir": str(state)})
    if default is not None:
        app.configure({"consumer.auto.offset.reset": default})
    lines = app.stream("lines", key=str, value=str, offset_reset=reset)
    values = []
    if group:
        counts = lines.group_by(lambda key, value: value, key=str).count(name="counts")
        counts.to_stream().foreach(lambda key, count: values.append(f"{key}{count}"))
    else:
        lines.foreach(lambda key, value: values.append(value))
    async with app.worker(bootstrap=bootstrap) as worker, asyncio.timeout(30):
        tasks = 2 if group else 1
        while worker.progress().running < tasks:  # noqa: ASYNC110  # nobody tells of it
            await asyncio.sleep(0.02)
        async with sk.client.Producer({"bootstrap.servers": bootstrap}) as producer:
            await producer.send("lines", b"last", key=b"k")
        while not any(value.startswith("last") for value in values):  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.02)
        return values


@pytest.mark.parametrize(
    ("reset", "default", "expected"),
    [
        (None, None, ["a"] * (OLD + YOUNG)),
        ("by_duration:PT1H", None, ["a"] * YOUNG),
        ("by_duration:1s", "earliest", []),
        (None, "latest", []),
    ],
)
def test_source_begins_where_it_is_told(tmp_path, reset, default, expected):
    async def scenario():
        async with sk.Broker() as broker:
            await fill(broker.bootstrap)
            return await seen(broker.bootstrap, tmp_path, reset, default)

    assert asyncio.run(scenario()) == [*expected, "last"]


def test_repartition_topic_loses_nothing_where_sources_begin_at_the_end(tmp_path):
    async def scenario():
        async with sk.Broker() as broker:
            await fill(broker.bootstrap)
            return await seen(broker.bootstrap, tmp_path, "earliest", "latest", group=True)

    values = asyncio.run(scenario())
    assert values[-2:] == [f"a{OLD + YOUNG}", "last1"]


def test_source_that_may_not_begin_by_itself_says_what_to_do(tmp_path):
    async def scenario():
        app = sk.App("resets", config={"state.dir": str(tmp_path)})
        app.stream("lines", key=str, value=str, offset_reset="none").foreach(print)
        async with sk.Broker() as broker:
            await fill(broker.bootstrap)
            async with app.worker(bootstrap=broker.bootstrap) as worker, asyncio.timeout(30):
                await worker.wait()

    says = "no committed offset, and its offset_reset is none: say earliest"
    with pytest.raises(StreamkitError, match=says):
        asyncio.run(scenario())

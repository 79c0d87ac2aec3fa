"""Workers that fail for good: stopped, replaced, or all of them stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import streamkit as sk
from streamkit.client.admin import Admin, NewTopic
from streamkit.client.settings import ClientSettings, ProducerSettings
from streamkit.common.errors import ConfigError, FatalError, StreamkitError, TopologyError
from streamkit.common.system import system_seams
from streamkit.tasks.settings import StreamsSettings
from streamkit.tasks.uncaught import Reply, backoff_ms, reply_to
from streamkit.tasks.worker import Worker

FAILURE = FatalError("boom")


@pytest.mark.parametrize(
    ("choice", "reply"),
    [
        (None, Reply.STOP),
        ("stop", Reply.STOP),
        ("replace", Reply.REPLACE),
        (lambda error: "stop_application" if error is FAILURE else "stop", Reply.STOP_APPLICATION),
    ],
)
def test_choice_says_what_is_done(choice: Any, reply: Reply) -> None:
    assert reply_to(choice, FAILURE) is reply


def test_what_the_user_must_change_stops_in_any_case() -> None:
    assert reply_to("replace", ConfigError("wrong")) is Reply.STOP


def test_reply_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"on_uncaught='again': use one of stop, replace"):
        reply_to(lambda error: "again", FAILURE)
    with pytest.raises(TopologyError, match=r"on_uncaught='again'"):
        sk.App("wrong", on_uncaught="again")


def test_wait_before_the_next_life_doubles_to_a_limit() -> None:
    assert [backoff_ms(n) for n in (1, 2, 3)] == [500.0, 1000.0, 2000.0]
    assert backoff_ms(77) == 30_000.0


def failing(uncaught: str, failures: list[ValueError]) -> sk.App:
    app = sk.App(f"fails-{uncaught}", on_uncaught=uncaught)
    words = app.topic("words", key=str, value=str)

    @app.processor(words, to=app.topic("out", key=str, value=str))
    def shout(word: str) -> str:
        if failures:
            raise failures.pop()
        return word.upper()

    return app


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(3_000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came")


async def prepare(bootstrap: str) -> None:
    async with Admin(ClientSettings.from_mapping({"bootstrap.servers": bootstrap})) as admin:
        await admin.create_topics([NewTopic(name, 1) for name in ("words", "out")])
    settings = ProducerSettings.from_mapping({"bootstrap.servers": bootstrap})
    async with sk.client.Producer(settings) as producer:
        await producer.send("words", b"w", key=b"k")
        await producer.flush()


def test_replaced_worker_goes_on_at_its_last_commit(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sk.Broker() as broker:
            await prepare(broker.bootstrap)
            failures = [ValueError("first")]
            worker = failing("replace", failures).worker(
                bootstrap=broker.bootstrap, config={"state.dir": str(tmp_path)}
            )
            async with worker:
                await until(lambda: worker.progress().commits > 0)
            assert failures == []

    asyncio.run(scenario())


@pytest.mark.parametrize(("is_supervised", "status"), [(True, 3), (False, 1)])
def test_supervisor_is_told_that_the_application_is_stopped(
    tmp_path: Path, status: int, *, is_supervised: bool
) -> None:
    async def scenario() -> int:
        async with sk.Broker() as broker:
            await prepare(broker.bootstrap)
            settings = StreamsSettings.from_mapping(
                {"bootstrap.servers": broker.bootstrap, "state.dir": str(tmp_path)}
            )
            process_id = UUID(int=77) if is_supervised else None
            topology = failing("stop_application", [ValueError("once")]).topology
            return await Worker(topology, settings, system_seams(), process_id=process_id).serve()

    assert asyncio.run(scenario()) == status


def test_embedded_worker_that_fails_says_why(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sk.Broker() as broker:
            await prepare(broker.bootstrap)
            failures = [ValueError("once")]
            worker = failing("stop_application", failures).worker(
                bootstrap=broker.bootstrap, config={"state.dir": str(tmp_path)}
            )
            async with worker:
                await until(lambda: not failures)

    with pytest.raises(
        StreamkitError, match=r"worker failed: task 0_0 .* ValueError: once"
    ) as told:
        asyncio.run(scenario())
    assert told.value.__cause__ is not None

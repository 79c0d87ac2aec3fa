"""`processor.wrapper.class`: every processor wrapped, by name (KIP-1112)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import streamkit as sk
from streamkit.common.errors import ConfigError, FatalError, TopologyError

Process = Callable[[sk.Record[Any, Any]], object]
NOTED: list[tuple[str, Any, Any]] = []


def noted(name: str, process: Process, context: sk.Context) -> Process:
    """Notes what each processor gets."""

    def around(record: sk.Record[Any, Any]) -> None:
        NOTED.append((name, record.key, record.value))
        process(record)

    return around


def counting(wrapper: object) -> sk.App:
    app = sk.App("wrapped", config={"processor.wrapper.class": wrapper})
    lines = app.stream("lines", key=str, value=str)
    counted = lines.filter(lambda key, line: line != "no", name="wanted").group_by_key()
    counted.count(name="counts", node="count").to_stream(name="changes").to("counts")
    return app


@pytest.fixture(autouse=True)
def fresh() -> None:
    NOTED.clear()


def test_wrapper_sees_operators_of_streams_and_tables_by_name() -> None:
    with counting(noted).test() as t:
        t.pipe("lines", "a", "yes", at=5)
        t.pipe("lines", "a", "no", at=6)
        assert [(r.key, r.value, r.timestamp) for r in t.read("counts")] == [("a", 1, 5)]
    assert [
        ("wanted", "a", "yes"),
        ("count", "a", "yes"),
        ("changes", "a", sk.Change(1, None)),
        ("wanted", "a", "no"),
    ] == NOTED


def test_wrapper_may_be_named_in_a_file() -> None:
    with counting(f"{__name__}:noted").test() as t:
        t.pipe("lines", "a", "yes")
    assert len(NOTED) == 3


def test_wrapper_may_change_hold_and_leave_alone() -> None:
    def wrap(name: str, process: Process, context: sk.Context) -> Process:
        if name != "wanted":
            return process

        def around(record: sk.Record[Any, Any]) -> None:
            if record.value != "hold":
                process(record.with_value(record.value.lower()))

        return around

    with counting(wrap).test() as t:
        t.pipe("lines", "a", "hold")
        t.pipe("lines", "a", "NO")
        t.pipe("lines", "a", "YES")
        assert [r.value for r in t.read("counts")] == [1]


def test_wrapper_stands_around_global_tables_and_decorated_functions() -> None:
    app = sk.App("wrapped", config={"processor.wrapper.class": noted})
    app.global_table("people", key=str, value=str, node="fill")
    lines = app.topic("lines", key=str, value=str)

    @app.processor(lines)
    def look(line: str) -> None:
        return None

    with app.test() as t:
        t.pipe("people", "p", "Ann")
        t.pipe(lines, "k", "x")
    assert NOTED == [("fill", "p", "Ann"), ("look", "k", "x")]


def test_failure_in_a_wrapper_is_that_of_its_processor() -> None:
    def wrap(name: str, process: Process, context: sk.Context) -> Process:
        def around(record: sk.Record[Any, Any]) -> None:
            raise ValueError("a broken wrapper")

        return around if name == "count" else process

    with counting(wrap).test() as t, pytest.raises(FatalError, match="a broken wrapper") as caught:
        t.pipe("lines", "a", "yes")
    assert "count" in str(caught.value)


def test_context_of_a_wrapper_counts_for_its_processor() -> None:
    def wrap(name: str, process: Process, context: sk.Context) -> Process:
        calls = context.sensor("calls")

        def around(record: sk.Record[Any, Any]) -> None:
            calls.record()
            process(record)

        return around

    with counting(wrap).test() as t:
        t.pipe("lines", "a", "yes")
        assert t.tasks[0].context.sensors[("wanted", "calls")].count == 1


def test_wrapper_that_gives_nothing_is_refused() -> None:
    app = counting(lambda name, process, context: None)
    with pytest.raises(TopologyError, match="processor wanted: it gives what is called"):
        app.test()


@pytest.mark.parametrize("choice", [7, "no.such.module:wrap", "nothing"])
def test_wrapper_that_is_none_is_refused(choice: object) -> None:
    with pytest.raises(ConfigError, match=r"processor\.wrapper\.class"):
        counting(choice)

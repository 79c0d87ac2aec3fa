"""Mistakes in what operators are given: refused where they stand, with what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import streamkit as sk
from streamkit.common.errors import TopologyError

HERE = r"at test_mistakes\.py:\d+"


class Program:
    """A stream, a grouped stream, and tables."""

    def __init__(self) -> None:
        self.app = sk.App("mistakes")
        self.lines: Any = self.app.stream("lines", key=str, value=str)
        self.grouped: Any = self.lines.group_by_key()
        self.windowed: Any = self.grouped.windowed_by(sk.tumbling("1m"))
        self.table: Any = self.app.table("rows", key=str, value=str)
        self.numbers: Any = self.app.table("numbers", key=int, value=str)
        self.everyone: Any = self.app.global_table("people", key=str, value=str)


@pytest.fixture
def given() -> Program:
    return Program()


def wrong(*arguments: Any) -> Any:
    """Never called."""


Declare = Callable[[Program, Any], object]
OPERATORS: dict[str, Declare] = {
    "filter": lambda p, f: p.lines.filter(f),
    "map": lambda p, f: p.lines.map(f),
    "map_values": lambda p, f: p.lines.map_values(f),
    "flat_map": lambda p, f: p.lines.flat_map(f),
    "select_key": lambda p, f: p.lines.select_key(f),
    "peek": lambda p, f: p.lines.peek(f),
    "foreach": lambda p, f: p.lines.foreach(f),
    "group_by": lambda p, f: p.lines.group_by(f),
    "branch": lambda p, f: p.lines.split().branch(f),
    "to": lambda p, f: p.lines.to(f),
    "reduce": lambda p, f: p.grouped.reduce(f),
    "aggregate": lambda p, f: p.grouped.aggregate(0, f),
    "cogroup": lambda p, f: p.grouped.cogroup(f),
    "windowed reduce": lambda p, f: p.windowed.reduce(f),
    "windowed aggregate": lambda p, f: p.windowed.aggregate(0, f),
    "table filter": lambda p, f: p.table.filter(f),
    "table map_values": lambda p, f: p.table.map_values(f),
    "table transform_values": lambda p, f: p.table.transform_values(f),
    "table group_by": lambda p, f: p.table.group_by(f),
    "stream-table join": lambda p, f: p.lines.join(p.table, f),
    "stream-stream join": lambda p, f: p.lines.outer_join(p.lines, f, within="1m"),
    "stream-global join": lambda p, f: p.lines.join(p.everyone, f, on=lambda k, v: v),
    "on of a global join": lambda p, f: p.lines.join(p.everyone, wrong, on=f),
    "table-table join": lambda p, f: p.table.left_join(p.table, f),
    "foreign-key join": lambda p, f: p.table.join(p.numbers, f, on=lambda k, v: 1),
    "on of a foreign-key join": lambda p, f: p.table.join(p.numbers, wrong, on=f),
}


@pytest.mark.parametrize("operator", OPERATORS)
def test_async_function_is_refused(given: Program, operator: str) -> None:
    async def wait(*arguments: Any) -> bool:
        return True

    with pytest.raises(TopologyError, match=HERE + r": wait is async, and only process\(\)"):
        OPERATORS[operator](given, wait)


def test_object_with_an_async_call_is_refused(given: Program) -> None:
    class Client:
        async def __call__(self, key: str, value: str) -> bool:
            return True

    with pytest.raises(TopologyError, match="is async"):
        given.lines.filter(Client())


@pytest.mark.parametrize("operator", [name for name in OPERATORS if name != "to"])
def test_what_is_no_function_is_refused(given: Program, operator: str) -> None:
    with pytest.raises(TopologyError, match=HERE + ": 'sum' is no function"):
        OPERATORS[operator](given, "sum")


@pytest.mark.parametrize("topic", [None, 7])
def test_what_is_no_topic_is_refused(given: Program, topic: Any) -> None:
    with pytest.raises(TopologyError, match=HERE + f": {topic} is no topic: give app.topic"):
        given.lines.to(topic)
    with pytest.raises(TopologyError, match="is no topic"):
        sk.Topology().add_source("in", "lines").add_sink("out", topic, "in")


@pytest.mark.parametrize(
    ("initial", "hint"),
    [([], r"aggregate\(list, "), ({}, r"aggregate\(dict, "), ([1], r"aggregate\(lambda: \[1\]")],
)
def test_initial_value_that_keys_would_share_is_refused(
    given: Program, initial: Any, hint: str
) -> None:
    def fold(key: str, value: str, values: Any) -> Any:
        return values

    for aggregated in (
        lambda: given.grouped.aggregate(initial, fold),
        lambda: given.windowed.aggregate(initial, fold),
        lambda: given.grouped.cogroup(fold).aggregate(initial),
        lambda: given.table.group_by(lambda k, v: (v, k)).aggregate(initial, fold, fold),
    ):
        with pytest.raises(TopologyError, match=hint):
            aggregated()


def test_topic_in_a_join_is_refused(given: Program) -> None:
    people = given.app.topic("people", key=str, value=str)
    with pytest.raises(TopologyError, match=r"people is a topic: read it first, as app\.stream"):
        given.lines.join(people, wrong)


@pytest.mark.parametrize(
    ("declare", "says"),
    [
        (lambda p: p.table.join(p.everyone, wrong), "takes a Table, not a GlobalTable: streams"),
        (lambda p: p.table.join(p.lines, wrong), r"not a Stream: .* with \.to_table\(\)"),
        (lambda p: p.lines.outer_join(p.table, wrong), r"not a Table: .* with \.to_stream\(\)"),
        (lambda p: p.lines.merge(p.table), r"not a Table: .* with \.to_stream\(\)"),
        (lambda p: p.lines.join("people", wrong), "not a str: read the topic first"),
    ],
)
def test_partner_of_another_kind_is_refused(
    given: Program, declare: Callable[[Program], object], says: str
) -> None:
    with pytest.raises(TopologyError, match=HERE + ".*" + says):
        declare(given)


def test_parts_of_another_app_are_refused(given: Program) -> None:
    other = Program()
    for declare in (
        lambda: given.lines.merge(other.lines),
        lambda: given.lines.join(other.table, wrong),
        lambda: given.lines.join(other.lines, wrong, within="1m"),
        lambda: given.table.join(other.table, wrong),
        lambda: given.table.join(other.numbers, wrong, on=lambda k, v: 1),
    ):
        with pytest.raises(TopologyError, match="belongs to another App"):
            declare()


def test_keys_of_other_types_are_refused(given: Program) -> None:
    says = r"keys of type str never meet keys of type int: give one side .* on="
    for declare in (
        lambda: given.lines.join(given.numbers, wrong),
        lambda: given.table.join(given.numbers, wrong),
        lambda: given.lines.join(given.numbers.to_stream(), wrong, within="1m"),
    ):
        with pytest.raises(TopologyError, match=HERE + ": " + says):
            declare()


@pytest.mark.parametrize("duration", [60, 1.5, None])
def test_duration_that_is_a_number_is_refused(duration: Any) -> None:
    with pytest.raises(TopologyError, match="is no duration: use a timedelta or text such as '90s"):
        sk.tumbling(duration)


def test_class_with_an_async_process_is_refused(given: Program) -> None:
    class Look(sk.Processor[str, str, str, str]):
        async def process(self, record: sk.Record[str, str]) -> None:  # type: ignore[override]  # the test
            return None

    with pytest.raises(TopologyError, match=r"processor Look .* its process\(\) is async"):
        given.lines.process(Look)


def test_generator_without_annotation_gives_many() -> None:
    app = sk.App("many")
    letters = app.topic("letters", key=str, value=str)

    @app.processor(app.topic("words", key=str, value=str), to=letters)
    def split(word):  # type: ignore[no-untyped-def]  # the test
        yield from word

    with app.test() as t:
        t.pipe("words", "k", "ab")
        assert [r.value for r in t.read(letters)] == ["a", "b"]


def test_generator_annotated_as_one_value_is_refused(given: Program) -> None:
    def split(word: str) -> str:  # type: ignore[misc]  # the test
        yield from word

    with pytest.raises(TopologyError, match=r"it yields, but is annotated to return str: .*Iter"):
        given.lines.process(split)


def test_generator_of_an_unknown_iterable_gives_many(given: Program) -> None:
    def split(word: str) -> Iterator[str]:
        yield from word

    given.lines.process(split).to("letters")
    with given.app.test() as t:
        t.pipe("lines", "k", "ab")
        assert [r.value for r in t.read("letters")] == ["a", "b"]


def test_processor_whose_init_forgets_its_base_has_a_context() -> None:
    class Count(sk.Processor[str, str, str, str]):
        def init(self, context: sk.Context) -> None:
            self.seen = 0

        def process(self, record: sk.Record[str, str]) -> None:
            self.context.forward(record)

    app = sk.App("mistakes")
    app.stream("lines", key=str, value=str).process(Count, key=str, value=str).to("out")
    with app.test() as t:
        t.pipe("lines", "k", "v")
        assert len(t.read("out")) == 1

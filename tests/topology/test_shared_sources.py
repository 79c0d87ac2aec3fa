"""A topic that is read twice has one source: what the two say of it must agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import streamkit as sk
from streamkit.common.errors import TopologyError

HERE = r"test_shared_sources\.py:\d+"


def at_key(record: sk.Record[Any, Any]) -> int:
    return 7


def decide(failure: sk.Failure) -> str:
    return "skip"


DIFFERENT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "value": ({"value": str}, {"value": int}),
    "key": ({"key": str}, {"key": sk.serdes.integer}),
    "timestamp": ({}, {"timestamp": "wall"}),
    "timestamp of the first": ({"timestamp": at_key}, {"timestamp": "wall"}),
    "on_error": ({"on_error": "skip"}, {"on_error": sk.dead_letter("dlq")}),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_options_that_differ_are_refused(case: str) -> None:
    app = sk.App("shared")
    for more in DIFFERENT[case]:
        app.stream("lines", **{"key": str, "value": str, **more}).foreach(print)
    option = case.split(maxsplit=1)[0]
    says = (
        rf"topic lines is read at {HERE} \(KSTREAM-SOURCE-0000000000\) and at {HERE} "
        rf"\(KSTREAM-SOURCE-0000000002\) with another {option}=: .* read it once"
    )
    with pytest.raises(TopologyError, match=says):
        _ = app.topology


def test_pattern_that_is_read_twice_is_named() -> None:
    import re

    app = sk.App("shared")
    app.stream(re.compile("l.*"), key=str, value=str)
    app.stream(re.compile("l.*"), key=str, value=int)
    with pytest.raises(TopologyError, match=r"pattern l\.\* is read at"):
        _ = app.topology


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({}, {}),
        ({"timestamp": at_key}, {"timestamp": at_key}),
        ({}, {"timestamp": "record"}),
        ({"on_error": decide}, {"on_error": decide}),
        ({}, {"on_error": "skip"}),
    ],
)
def test_options_that_agree_make_one_source(one: dict[str, Any], two: dict[str, Any]) -> None:
    app = sk.App("shared")
    for more in (one, two):
        app.stream("lines", key=str, value=str, **more).foreach(print)
    text = app.topology.describe()
    assert text.count("Source: ") == 1
    assert "--> KSTREAM-FOREACH-0000000001, KSTREAM-FOREACH-0000000003" in text


def test_second_reader_may_leave_the_types_to_the_first() -> None:
    app = sk.App("shared", config={"default.key.serde": "str", "default.value.serde": "str"})
    app.stream("lines", key=str, value=str).to("one")
    app.stream("lines").to("two")
    assert app.topology.describe().count("Source: ") == 1


def test_default_serde_is_what_the_second_reader_says() -> None:
    app = sk.App("shared", config={"default.value.serde": "int"})
    app.stream("lines", key=str, value=str)
    app.stream("lines", key=str)
    with pytest.raises(TopologyError, match="with another value="):
        _ = app.topology


class Own:
    """A serde that says nothing of when two of it are equal."""

    def serialize(self, topic: str, value: str, headers: Any, /) -> bytes:
        return value.encode()

    def deserialize(self, topic: str, data: bytes, headers: Any, /) -> str:
        return data.decode()


def test_two_serdes_of_one_class_agree() -> None:
    app = sk.App("shared")
    app.stream("lines", key=str, value=Own())
    app.stream("lines", key=str, value=Own())
    assert app.topology.describe().count("Source: ") == 1


READERS: dict[str, Callable[[sk.App, Any], object]] = {
    "table": lambda app, policy: (
        app.table("numbers", key=str, value=int, name="rows", on_error=policy).to_stream().to("out")
    ),
    "table without a store": lambda app, policy: (
        app.table("numbers", key=str, value=int, on_error=policy).to_stream().to("out")
    ),
}


@pytest.mark.parametrize("reader", READERS)
def test_row_that_cannot_be_read_goes_where_the_table_says(reader: str) -> None:
    app = sk.App("shared")
    READERS[reader](app, sk.dead_letter("dlq"))
    with app.test() as t:
        t.pipe_bytes("numbers", b"a", b"zz")
        t.pipe("numbers", "b", 7)
        assert [record.value for record in t.read("out")] == [7]
        assert [written.value for written in t.written if written.tp.topic == "dlq"] == [b"zz"]


def test_stream_of_a_table_may_get_another_key() -> None:
    app = sk.App("keyed")
    table = app.table("people", key=str, value=str)

    def length(key: str, row: str) -> int:
        return len(row)

    table.to_stream(length, name="changes").group_by_key().count(name="by-length")
    again = sk.App("keyed")
    other = again.table("people", key=str, value=str)
    changes = other.to_stream(name="changes").select_key(length)
    changes.group_by_key().count(name="by-length")
    assert app.topology.describe() == again.topology.describe()
    assert "Processor: KSTREAM-KEY-SELECT-0000000004" in app.topology.describe()
    with app.test() as t:
        t.pipe("people", "a", "four")
        assert t.store("by-length")[4] == 1


def test_stream_of_a_table_refuses_what_gives_no_key() -> None:
    table = sk.App("keyed").table("people", key=str, value=str)
    with pytest.raises(TopologyError, match=HERE + r": 'x' is no function"):
        table.to_stream("x")  # type: ignore[call-overload]
    with pytest.raises(TopologyError, match=HERE + r": key= is the type of the mapper's results"):
        table.to_stream(key=int)  # type: ignore[call-overload]


def test_record_gets_other_headers() -> None:
    record = sk.Record("a", 5, 70, (("one", b"1"),))
    assert record.with_headers((("two", b"2"),)) == sk.Record("a", 5, 70, (("two", b"2"),))

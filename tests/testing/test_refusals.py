"""What the driver refuses, as a worker does, and what it takes from a test."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

import pytest

import streamkit as sk
from streamkit.common.errors import FatalError, ProductionError, TopologyError
from streamkit.tasks.collector import Collector


def copying() -> sk.App:
    app = sk.App("copy")
    app.stream("in", key=str, value=str).to("out")
    return app


@pytest.mark.parametrize(
    "headers",
    [(("a", "b"),), ((7, b"x"),), (("a",),), {"a": b"b"}, "ab", (b"ab",)],
)
def test_what_is_no_header_is_refused_as_on_a_worker(headers: Any) -> None:
    def mark(record: sk.Record[str, str]) -> sk.Record[str, str]:
        return sk.Record(record.key, record.value, record.timestamp, headers)

    app = sk.App("headers")
    app.stream("in", key=str, value=str).process(mark).to("out")
    said = r"to topic out has the headers .*: they are a tuple of \(name, value\) tuples"
    with app.test() as t, pytest.raises(FatalError, match=said):
        t.pipe("in", "k", "v", at=77)

    writer = Collector(1000, 0, lambda count: 0).writer("out")
    writer.set_count(3)
    with pytest.raises(ProductionError, match=said):
        writer.append(b"k", b"v", 77, headers)


class Header(NamedTuple):
    name: str
    value: bytes


class Name(StrEnum):
    A = "a"


@pytest.mark.parametrize(
    "headers",
    [
        [("a", b"b")],
        [["a", b"b"]],
        None,
        [],
        (Header("a", b"b"),),
        ((Name.A, b"b"),),
        (("a", bytearray(b"b")),),
    ],
)
def test_list_of_headers_is_taken_in_front_of_a_repartition_too(headers: Any) -> None:
    def mark(record: sk.Record[str, str]) -> sk.Record[str, str]:
        return sk.Record(record.value, record.value, record.timestamp, headers)

    app = sk.App("headers")
    app.stream("in", key=str, value=str).process(mark).repartition(name="r").to("out")
    with app.test() as t:
        t.pipe("in", "k", "v", at=77)
        assert t.read("out")[0].headers == tuple((name, data) for name, data in headers or ())


def test_refused_header_is_a_production_error() -> None:
    def mark(record: sk.Record[str, str]) -> sk.Record[str, str]:
        headers: Any = (("a", "b"),)
        return sk.Record(record.key, record.value, record.timestamp, headers)

    app = sk.App("headers", on_production_error="skip")
    app.stream("in", key=str, value=str).process(mark).to("out")
    with app.test() as t:
        t.pipe("in", "k", "v", at=77)
        assert (t.read("out"), t.dropped) == ([], 1)


@pytest.mark.parametrize("chosen", [7, -3, [1, 7], "b"])
@pytest.mark.parametrize("by_repartition", [False, True])
def test_partition_that_a_topic_has_not_is_refused(chosen: Any, by_repartition: bool) -> None:
    app = sk.App("chosen")
    words = app.stream("in", key=str, value=str)
    if by_repartition:
        words.repartition(name="r", partitioner=lambda *_: chosen).to("out")
    else:
        words.to("out", partitioner=lambda *_: chosen)
    said = r"the partitioner chose partition .* of topic .*, which has 2: give a number from 0 to 1"
    with app.test(partitions=2) as t, pytest.raises(FatalError, match=said):
        t.pipe("in", "k", "v", at=77)


def test_times_may_be_datetimes() -> None:
    with copying().test() as t:
        t.pipe("in", "k", "v", at=datetime(2026, 5, 6, 7, 8, 9, 123_000, UTC))
        assert t.read("out")[0].timestamp == 1_778_051_289_123


@pytest.mark.parametrize("at", ["now", 7.5, b"7"])
def test_what_is_no_time_is_said(at: Any) -> None:
    with (
        copying().test() as t,
        pytest.raises(TypeError, match=r"at=.*: give milliseconds since the epoch, an int, or a d"),
    ):
        t.pipe("in", "k", "v", at=at)


@pytest.mark.parametrize("headers", [{"h": b"x", "n": None}, [("h", b"x"), ("n", None)]])
def test_headers_may_be_a_dict_or_a_list(headers: Any) -> None:
    with copying().test() as t:
        t.pipe("in", "k", "v", headers=headers)
        t.pipe_bytes("in", b"k", b"v", headers=headers)
        assert [record.headers for record in t.read("out")] == [(("h", b"x"), ("n", None))] * 2


@pytest.mark.parametrize("headers", [{"h": "x"}, [("h", b"x", 7)], ["hx"], [7]])
def test_what_is_no_header_is_said(headers: Any) -> None:
    with copying().test() as t, pytest.raises(TypeError, match="is no header: give pairs"):
        t.pipe("in", "k", "v", headers=headers)


def test_topics_have_partitions() -> None:
    with pytest.raises(TopologyError, match="partitions=0: a topic has at least one"):
        copying().test(partitions=0)

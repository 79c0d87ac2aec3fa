"""One record of each id within a span of time."""

from __future__ import annotations

import pytest

import streamkit as sk
from streamkit.common.errors import TopologyError


def test_repeated_keys_are_dropped_for_a_time() -> None:
    app = sk.App("once")
    app.stream("in", key=str, value=int).deduplicate(within="10ms", name="once").to("out")
    with app.test() as t:
        for key, value, time in (
            ("a", 1, 50), ("b", 2, 51), ("a", 3, 59), ("a", 4, 60), ("a", 5, 61), ("a", 6, 41),
            ("a", 7, 40),
        ):  # fmt: skip
            t.pipe("in", key, value, at=time)
        assert [record.value for record in t.read("out")] == [1, 2, 4, 7]
        assert "Processor: once (stores: [once-seen])" in app.topology.describe()


def test_id_out_of_the_value_and_none_is_dropped() -> None:
    app = sk.App("once")
    stream = app.stream("in", key=str, value=int)
    stream.deduplicate(within="1h", by=lambda _, value: value % 10 or None, key=int).to("out")
    with app.test() as t:
        for value in (11, 21, 12, 10):
            t.pipe("in", "k", value, at=77)
        assert [record.value for record in t.read("out")] == [11, 12]
        assert t.dropped == 1


def test_what_was_seen_outlives_its_time_in_the_store_by_no_more_than_that() -> None:
    app = sk.App("once")
    app.stream("in", key=str, value=int).deduplicate(within="2m", name="once").to("out")
    with app.test() as t:
        for minute in range(60):
            t.pipe("in", f"k{minute}", minute, at=minute * 60_000)
        assert len(list(t.state_store("once-seen").all())) <= 5


def test_time_and_id_must_be_known() -> None:
    stream = sk.App("once").stream("in", key=str, value=int)
    with pytest.raises(TopologyError, match=r"within= must be longer than nothing"):
        stream.deduplicate(within="0ms")
    with pytest.raises(TopologyError, match=r"5 is no function"):
        stream.deduplicate(within="1m", by=5)  # type: ignore[arg-type]

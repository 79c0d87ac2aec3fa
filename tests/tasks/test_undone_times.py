"""A record that fails takes the times back that it brought: what follows is not late for it."""

from __future__ import annotations

from typing import Any

import pytest

import streamkit as sk

FAR = 900_000


def fail_on_bad(key: str, value: Any) -> Any:
    if "bad" in str(value):
        raise ValueError("bad")
    return value


def piped(app: sk.App, *records: tuple[str, str, int], topics: str = "in") -> Any:
    t = app.test()
    for value, topic, time in records:
        t.pipe(topic or topics, "k", value, at=time)
    return t


def lowest(app: sk.App, table: sk.Table[Any, Any]) -> None:
    table.to_stream().map_values(lambda v: fail_on_bad("", v), value=str).to("out")


def concat(key: Any, value: str, aggregate: str) -> str:
    return aggregate + value


@pytest.mark.parametrize(
    ("windows", "merges"),
    [
        (sk.tumbling("10s"), False),
        (sk.hopping("10s", "5s"), False),
        (sk.sliding("10s"), False),
        (sk.session("10s"), True),
    ],
)
@pytest.mark.parametrize("policy", ["skip", sk.dead_letter("dlq", attempts=2)])
def test_windows_stay_open(windows: Any, merges: bool, policy: Any) -> None:
    app = sk.App("undone", on_error=policy)
    merger = {"merger": lambda key, one, two: one + two} if merges else {}
    group = app.stream("in", key=str, value=str).group_by_key()
    lowest(app, group.windowed_by(windows).aggregate("", concat, **merger, value=str))
    with piped(app, ("a", "", 20_001), ("bad", "", FAR), ("b", "", 20_002)) as t:
        assert any(record.value == "ab" for record in t.read("out"))
        assert t.dropped == 1
        assert {task.context.stream_time for task in t.tasks} == {20_002}


def test_suppressed_windows_are_not_let_go() -> None:
    app = sk.App("undone", on_error="skip")
    group = app.stream("in", key=str, value=str).group_by_key()
    table = group.windowed_by(sk.tumbling("10s")).aggregate("", concat, value=str)
    lowest(app, table.suppress("window_closes"))
    with piped(app, ("bad", "", 20_001), ("b", "", FAR), ("c", "", 20_002)) as t:
        # Letting go of the bad window fails the record that closes it, and that is undone.
        assert t.read("out") == []
        assert t.dropped == 1
        t.pipe("in", "k", "d", at=20_003)
        assert t.dropped == 1


def test_results_on_close_are_not_lost_with_the_record_that_closes_them() -> None:
    fails = [True]

    def fail_once(value: str) -> str:
        if fails and fails.pop():
            raise ValueError("bad")
        return value

    app = sk.App("undone", on_error="skip")
    group = app.stream("in", key=str, value=str).group_by_key()
    table = group.windowed_by(sk.tumbling("10s")).emit("on_close").aggregate("", concat, value=str)
    table.to_stream().map_values(fail_once, value=str).to("out")
    with piped(app, ("a", "", 20_001), ("x", "", 40_000), ("y", "", 40_001)) as t:
        assert [(r.key.start, r.value) for r in t.read("out")] == [(20_000, "a")]


def test_unmatched_records_wait_on() -> None:
    app = sk.App("undone", on_error="skip")
    left = app.stream("in", key=str, value=str)
    right = app.stream("other", key=str, value=str)
    joined = left.left_join(right, lambda a, b: f"{a}{b}", within="10s", value=str)
    joined.map_values(lambda v: fail_on_bad("", v), value=str).to("out")
    with piped(app, ("bad", "in", 20_001), ("b", "in", FAR)) as t:
        # The second closes the window of the first, which fails it.
        assert t.dropped == 1
        t.pipe("in", "m", "c", at=20_002)
        assert t.read("out") == []
        t.pipe("other", "m", "d", at=20_003)
        assert [record.value for record in t.read("out")] == ["cd"]


def test_buffer_of_a_join_with_grace_takes_records_on() -> None:
    app = sk.App("undone", on_error="skip")
    store = sk.Materialized("rows", kind="versioned", history="1h")
    table = app.table("rows", key=str, value=str, store=store)
    stream = app.stream("in", key=str, value=str)
    joined = stream.join(table, lambda a, b: a + b, grace="10s", value=str)
    joined.map_values(lambda v: fail_on_bad("", v), value=str).to("out")
    with piped(
        app, ("1", "rows", 20_000), ("bad", "in", 20_001), ("b", "in", FAR), ("c", "in", 20_002)
    ) as t:
        # The second comes due with the third, and fails it; so the fourth is not late and waits.
        assert t.read("out") == []
        assert t.dropped == 1


def test_partition_time_goes_back() -> None:
    app = sk.App("undone", on_error="skip")
    stream = app.stream("in", key=str, value=str, timestamp="use_partition_time")
    stream.map_values(lambda v: fail_on_bad("", v), value=str).to("out")
    with piped(app, ("a", "", 20_001), ("bad", "", FAR), ("b", "", -1)) as t:
        assert [record.timestamp for record in t.read("out")] == [20_001, 20_001]

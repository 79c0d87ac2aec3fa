"""What operators refuse, what they leave out, and what a policy for dropped records hears of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import streamkit as sk
from streamkit.common.errors import FatalError, TopologyError


def at(time: Any) -> Callable[[sk.Record[str, str]], sk.Record[str, str]]:
    def move(record: sk.Record[str, str]) -> sk.Record[str, str]:
        return sk.Record(record.key, record.value, time)

    return move


def forwarding_at(time: Any) -> type[sk.Processor[str, str, str, str]]:
    class Move(sk.Processor[str, str, str, str]):
        def process(self, record: sk.Record[str, str]) -> None:
            self.context.forward(sk.Record(record.key, record.value, time))

    return Move


def forwarding_to_child(time: Any) -> type[sk.Processor[str, str, str, str]]:
    class Move(sk.Processor[str, str, str, str]):
        def process(self, record: sk.Record[str, str]) -> None:
            self.context.forward(sk.Record(record.key, record.value, time), "child")

    return Move


def many_at(time: Any) -> Callable[[sk.Record[str, str]], Iterator[sk.Record[str, str]]]:
    def move(record: sk.Record[str, str]) -> Iterator[sk.Record[str, str]]:
        yield sk.Record(record.key, record.value, time)

    return move


def awaited_at(time: Any) -> Callable[[sk.Record[str, str]], Any]:
    async def move(record: sk.Record[str, str]) -> sk.Record[str, str]:
        return sk.Record(record.key, record.value, time)

    return move


@pytest.mark.parametrize(
    "made", [at, forwarding_at, forwarding_to_child, many_at, awaited_at], ids=lambda f: f.__name__
)
@pytest.mark.parametrize(
    ("time", "said"),
    [(-5, "negative timestamp -5: give milliseconds"), (7.5, "timestamp 7.5: give whole millisec")],
)
def test_bad_time_of_a_users_record_is_refused(
    made: Callable[[Any], Any], time: Any, said: str
) -> None:
    app = sk.App("times", on_error="skip")
    moved = app.stream("in", key=str, value=str).process(made(time), key=str, value=str, name="m")
    moved.map_values(lambda v: v, value=str, name="child").to("out")
    with app.test() as t:
        t.pipe("in", "k", "v", at=77)
        assert (t.read("out"), t.dropped) == ([], 1)

    app = sk.App("times")
    moved = app.stream("in", key=str, value=str).process(made(time), key=str, value=str, name="m")
    moved.group_by_key().count()
    with app.test() as t, pytest.raises(FatalError, match=f"operator m: TopologyError:.*{said}"):
        t.pipe("in", "k", "v", at=77)


def test_record_is_not_moved_before_the_epoch() -> None:
    record = sk.Record("k", "v", 77)
    assert record.with_timestamp(0).timestamp == 0
    with pytest.raises(ValueError, match="a timestamp may not be negative"):
        record.with_timestamp(-5)


def test_mock_context_refuses_negative_times() -> None:
    context = sk.testing.MockContext()
    with pytest.raises(TopologyError, match="negative timestamp -5"):
        context.forward(sk.Record("k", "v", -5))


class Updates(sk.Processor[str, str, str, str]):
    """Fills a global store."""

    def init(self, context: sk.Context) -> None:
        self.rows = context.store("g")

    def process(self, record: sk.Record[str, str]) -> None:
        self.rows[record.key] = record.value


WRITES: dict[str, Callable[[Any], object]] = {
    "set": lambda rows: rows.__setitem__("x", "y"),
    "put": lambda rows: rows.put("x", "y"),
    "delete": lambda rows: rows.delete("k"),
    "del": lambda rows: rows.__delitem__("k"),
    "put_all": lambda rows: rows.put_all({"x": "y"}),
    "put_if_absent": lambda rows: rows.put_if_absent("x", "y"),
    "flush": lambda rows: rows.flush(),
}


def using(write: Callable[[Any], object]) -> type[sk.Processor[str, str, str, str]]:
    class Use(sk.Processor[str, str, str, str]):
        def process(self, record: sk.Record[str, str]) -> None:
            write(self.context.store("g"))

    return Use


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
@pytest.mark.parametrize("by_table", [False, True])
def test_global_stores_are_written_by_their_own_processor_only(
    write: Callable[[Any], object], by_table: bool
) -> None:
    app = sk.App("globals")
    if by_table:
        app.global_table("topic", key=str, value=str, name="g")
    else:
        store = sk.store("g", key=str, value=str)
        app.add_global_store(store, "topic", Updates, key=str, value=str)
    app.stream("in", key=str, value=str).process(using(write), key=str, value=str).to("out")
    with app.test() as t:
        t.pipe("topic", "k", "v")
        with pytest.raises(FatalError, match="store g is global, so a task may only read it"):
            t.pipe("in", "a", "b")
        assert next(iter(t.store("g").all()))[0] == "k"


def test_global_stores_are_read_by_all() -> None:
    class Look(sk.Processor[str, str, str, str]):
        def process(self, record: sk.Record[str, str]) -> None:
            rows = self.context.store("g")
            seen = [rows.get("k"), rows["k"], "k" in rows, "x" in rows, *rows.range("a", "z")]
            seen += [*rows.all(), *rows.prefix("k"), rows.get("x", "none"), rows.name]
            self.context.forward(record.with_value(repr(seen)))

    app = sk.App("globals")
    app.add_global_store(sk.store("g", key=str, value=str), "topic", Updates, key=str, value=str)
    app.stream("in", key=str, value=str).process(Look, key=str, value=str).to("out")
    with app.test() as t:
        t.pipe("topic", "k", "v")
        t.pipe("in", "a", "b")
        row = ("k", "v")
        said = ["v", "v", True, False, row, row, row, "none", "g"]
        assert t.read("out")[0].value == repr(said)


def test_missing_connection_is_named() -> None:
    class Use(sk.Processor[str, str, str, str]):
        def process(self, record: sk.Record[str, str]) -> None:
            self.context.store("q")

    app = sk.App("unconnected")
    app.stream("in", key=str, value=str).process(Use, name="use")
    said = "processor use is not connected to a store 'q': give it in stores= of the processor"
    with app.test() as t, pytest.raises(FatalError, match=said):
        t.pipe("in", "a", "b")


def test_null_pair_of_a_grouped_table_contributes_nothing() -> None:
    app = sk.App("grouped")
    people = app.table("people", key=str, value=str)
    grouped = people.group_by(
        lambda _, city: None if city == "nowhere" else (city, city), key=str, value=str
    )
    grouped.count(name="counts").to_stream().to("out")
    with app.test() as t:
        t.pipe("people", "ann", "nowhere")
        assert t.read("out") == []
        t.pipe("people", "ann", "york")
        t.pipe("people", "ann", "nowhere")
        assert [(r.key, r.value) for r in t.read("out")] == [("york", 1), ("york", 0)]


def letters(t: sk.testing.TopologyTestDriver) -> list[bytes | None]:
    return [record.value for record in t.written if record.tp.topic == "late"]


def unkeyed(**options: Any) -> sk.App:
    app = sk.App("unkeyed", **options)
    words = app.stream("words", key=str, value=str)
    words.group_by(lambda k, v: None, key=str).count()
    return app


def test_record_without_a_key_before_a_repartition_is_told() -> None:
    with unkeyed(on_dropped=sk.dead_letter("late")).test() as t:
        t.pipe("words", "k", "v", at=77)
        assert (letters(t), t.dropped) == ([b"v"], 1)
    with unkeyed(on_dropped="fail").test() as t, pytest.raises(FatalError, match="null key"):
        t.pipe("words", "k", "v", at=77)


def test_record_without_a_key_before_a_repartition_is_logged_and_counts_as_in_kafka(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with unkeyed().test() as t:
        t.pipe("words", "k", "v", at=77)
        assert t.dropped == 0
    assert "dropped words-0 offset 0" in caplog.text


def hopping(**options: Any) -> sk.App:
    app = sk.App("hopping", **options)
    words = app.stream("words", key=str, value=str)
    words.group_by_key().windowed_by(sk.hopping("10s", "5s")).count(name="counts")
    return app


@pytest.mark.parametrize("late_at", [1_000, 7_000])
def test_record_that_all_windows_drop_gives_one_letter(late_at: int) -> None:
    windows = 1 if late_at < 5_000 else 2
    with hopping(on_dropped=sk.dead_letter("late")).test() as t:
        t.pipe("words", "k", "first", at=100_000)
        t.pipe("words", "k", "late", at=late_at)
        assert (letters(t), t.dropped) == ([b"late"], windows)
    with hopping().test() as t:
        t.pipe("words", "k", "first", at=100_000)
        t.pipe("words", "k", "late", at=late_at)
        assert t.dropped == windows


def test_record_that_one_window_takes_gives_no_letter() -> None:
    with hopping(on_dropped=sk.dead_letter("late")).test() as t:
        t.pipe("words", "k", "first", at=15_000)
        t.pipe("words", "k", "half late", at=12_000)
        assert (letters(t), t.dropped) == ([], 1)


def test_record_that_two_operators_drop_gives_one_letter() -> None:
    app = sk.App("twice", on_dropped=sk.dead_letter("late"))
    words = app.stream("words", key=str, value=str)
    words.group_by_key().windowed_by(sk.tumbling("10s")).count(name="a")
    words.group_by_key().windowed_by(sk.tumbling("5s")).count(name="b")
    with app.test() as t:
        for number, time in enumerate((100_000, 1_000, 2_000)):
            t.pipe("words", "k", str(number), at=time)
        assert (letters(t), t.dropped) == ([b"1", b"2"], 4)


def test_letter_of_an_attempt_that_was_undone_is_written_by_the_next() -> None:
    app = sk.App("again", on_dropped=sk.dead_letter("late"), on_error=sk.skip(attempts=2))
    calls: list[str] = []

    def fails_at_first(word: str) -> str:
        calls.append(word)
        if calls.count("late") == 1 and word == "late":
            raise ValueError(word)
        return word

    words = app.stream("words", key=str, value=str)
    words.group_by_key().windowed_by(sk.tumbling("10s")).count()
    words.map_values(fails_at_first, value=str).to("out")
    with app.test() as t:
        t.pipe("words", "k", "first", at=100_000)
        t.pipe("words", "k", "late", at=1_000)
        assert calls == ["first", "late", "late"]
        assert letters(t) == [b"late"]


def global_nulls(**options: Any) -> sk.App:
    app = sk.App("globals", **options)
    app.global_table("people", key=str, value=str)
    return app


def test_drops_of_global_tables_are_told() -> None:
    seen: list[sk.Failure] = []

    def note(failure: sk.Failure) -> Any:
        seen.append(failure)
        return sk.dead_letter("late")

    with global_nulls(on_dropped=note).test() as t:
        t.pipe("people", None, "ann", at=77)
        t.pipe("people", None, "bob", at=78)
        assert [(each.offset, each.value) for each in seen] == [(0, b"ann"), (1, b"bob")]
        assert (letters(t), t.dropped) == ([], 2)
    with global_nulls(on_dropped="fail").test() as t, pytest.raises(FatalError, match="null key"):
        t.pipe("people", None, "ann", at=77)

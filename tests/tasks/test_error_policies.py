"""Records that fail: what is undone, tried again, skipped, written elsewhere, and said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import streamkit as sk
from streamkit.common.errors import ConfigError, FatalError, TopologyError

PREFIX = "__streams.errors."


def reasons(record: Any) -> dict[str, str | None]:
    """The six headers of a dead letter, without their prefix."""
    return {
        name.removeprefix(PREFIX): None if value is None else value.decode()
        for name, value in record.headers
        if name.startswith(PREFIX)
    }


def letters(t: Any, topic: str = "dlq") -> list[Any]:
    return [record for record in t.written if record.tp.topic == topic]


def counting(**options: Any) -> sk.App:
    """Writes to a store, forwards, and only then fails at 13."""
    app = sk.App("failing", **options.pop("app", {}))
    numbers = app.topic("numbers", key=str, value=int)
    out = app.topic("out", key=str, value=int)

    @app.processor(numbers, to=out, **options)
    def count(number: int, seen: sk.KeyValue[str, int], context: sk.Context) -> Iterator[int]:
        seen["all"] = seen.get("all", 0) + 1
        seen[f"of-{number}"] = number
        yield seen["all"]
        if number == 13:
            raise ValueError("thirteen")

    return app


def test_what_a_dead_lettered_record_did_is_undone() -> None:
    with counting(on_error=sk.dead_letter("dlq")).test() as t:
        for number in (7, 13, 8):
            t.pipe("numbers", "k", number, at=77, headers=(("h", b"x"),))
        assert [record.value for record in t.read("out")] == [1, 2]
        store = t.store("seen")
        assert dict(store.all()) == {"all": 2, "of-7": 7, "of-8": 8}
        (letter,) = letters(t)
        assert (letter.key, letter.value, letter.timestamp) == (b"k", (13).to_bytes(8, "big"), 77)
        assert letter.headers[0] == ("h", b"x")
        why = reasons(letter)
        assert why.pop("stacktrace", "").rstrip().endswith("ValueError: thirteen")
        assert why == {
            "exception": "ValueError",
            "message": "thirteen",
            "topic": "numbers",
            "partition": "0",
            "offset": "1",
        }
        assert t.dropped == 1


def test_changelog_has_nothing_of_a_skipped_record() -> None:
    with counting(on_error="skip").test() as t:
        t.pipe("numbers", "k", 13, at=77)
        assert t.written == []
        assert t.dropped == 1


def test_failure_names_operator_record_and_way_out() -> None:
    with counting().test() as t:
        t.pipe("numbers", "k", 7, at=77)
        with pytest.raises(
            FatalError,
            match=r"task 0_0 failed at numbers-0 offset 1 in operator count: ValueError: thirteen "
            r"\(in count, .*test_error_policies.py:\d+\); mend the function, or let on_error=",
        ) as caught:
            t.pipe("numbers", "k", 13, at=77)
        assert isinstance(caught.value.__cause__, ValueError)


def test_failure_names_the_line_of_a_program_in_a_directory_called_streamkit() -> None:
    functions: dict[str, Any] = {}
    program = "/home/user/streamkit/program.py"
    exec(compile("def fail(number):\n    raise ValueError(number)\n", program, "exec"), functions)
    app = sk.App("failing")
    numbers = app.stream(app.topic("numbers", key=str, value=int))
    numbers.map_values(functions["fail"], value=int).to(app.topic("out", key=str, value=int))
    with app.test() as t, pytest.raises(FatalError, match=rf"\(in fail, {program}:2\)"):
        t.pipe("numbers", "k", 7)


def test_retries_wait_and_double() -> None:
    app, calls = sk.App("retries"), []
    numbers = app.topic("numbers", key=str, value=int)

    @app.processor(numbers, on_error=sk.dead_letter("dlq", attempts=3, backoff="10s"))
    def shaky(number: int) -> None:
        calls.append(number)
        if number == 13:
            raise ValueError("no")

    with app.test() as t:
        t.pipe("numbers", "k", 13, at=77)
        t.pipe("numbers", "k", 8, at=77)
        assert calls == [13]
        t.advance(seconds=9)
        assert calls == [13]
        t.advance(seconds=1)
        assert calls == [13, 13]
        t.advance(seconds=19)
        assert calls == [13, 13]
        t.advance(seconds=1)
        assert calls == [13, 13, 13, 8]
        assert len(letters(t)) == 1


def test_attempt_that_succeeds_counts_once() -> None:
    app, failures = sk.App("recovers"), [ValueError("first"), ValueError("second")]
    numbers = app.topic("numbers", key=str, value=int)

    @app.processor(numbers, to=app.topic("out", key=str, value=int), on_error=sk.fail(attempts=3))
    def shaky(number: int, sums: sk.KeyValue[str, int]) -> int:
        sums["all"] = sums.get("all", 0) + number
        if failures:
            raise failures.pop()
        return sums["all"]

    with app.test() as t:
        t.pipe("numbers", "k", 7, at=77)
        assert [record.value for record in t.read("out")] == [7]


@pytest.mark.parametrize("policy", ["on_error", "on_deserialization_error"])
def test_record_that_cannot_be_read_goes_to_the_dead_letters(policy: str) -> None:
    app = sk.App("unread", **{policy: sk.dead_letter("dlq")})  # type: ignore[arg-type]
    app.stream("numbers", key=str, value=int).to("out")
    with app.test() as t:
        t.pipe_bytes("numbers", b"k", b"12", at=77)
        t.pipe("numbers", "k", 7, at=78)
        assert len(t.read("out")) == 1
        (letter,) = letters(t)
        assert letter.value == b"12"
        assert reasons(letter)["exception"] == "streamkit.common.errors.SerializationError"


def test_failure_to_read_names_the_topic_and_the_way_out() -> None:
    app = sk.App("unread")
    app.stream("numbers", key=str, value=int).to("out")
    with (
        app.test() as t,
        pytest.raises(FatalError, match=r"numbers-0 offset 0 .*_error= of the app"),
    ):
        t.pipe_bytes("numbers", b"k", b"12", at=77)


def test_record_that_cannot_be_written_is_a_production_error() -> None:
    app = sk.App("unwritten", on_production_error=sk.dead_letter("dlq"))
    words = app.stream("words", key=str, value=str)
    words.map_values(lambda word: word, value=int).to("out")
    with app.test() as t:
        t.pipe("words", "k", "no number", at=77)
        assert [record.value for record in letters(t)] == [b"no number"]


def test_record_too_large_for_a_request_is_a_production_error() -> None:
    app = sk.App("large", on_production_error="skip")
    app.stream("words", key=str, value=str).map_values(lambda word: word * 1000, value=str).to(
        "out"
    )
    with app.test() as t:
        t.pipe("words", "k", "x" * 2000, at=77)
        t.pipe("words", "k", "y", at=78)
        assert [len(record.value) for record in t.read("out")] == [1000]
        assert t.dropped == 1


def test_function_of_the_failure_chooses() -> None:
    seen: list[sk.Failure] = []

    def choose(failure: sk.Failure) -> Any:
        seen.append(failure)
        return "skip" if isinstance(failure.error, ValueError) else sk.fail()

    with counting(on_error=choose).test() as t:
        t.pipe("numbers", "k", 13, at=77)
        assert [(each.operator, each.offset, each.key) for each in seen] == [("count", 0, b"k")]


def test_late_records_come_out_by_choice() -> None:
    app = sk.App("late", on_dropped=sk.dead_letter("late"))
    words = app.stream("words", key=str, value=str)
    words.group_by_key().windowed_by(sk.tumbling("10ms")).count()
    with app.test() as t:
        t.pipe("words", "k", "early", at=7)
        t.pipe("words", "k", "later", at=95)
        t.pipe("words", "k", "late", at=8)
        (letter,) = letters(t, "late")
        assert letter.value == b"late"
        assert reasons(letter)["exception"] == "streamkit.tasks.failures.DroppedError"
        assert t.dropped == 1


def test_failure_behind_a_cache_is_undone_by_itself() -> None:
    app = sk.App("cached", config={"statestore.cache.max.bytes": 10_000_000}, on_error="skip")
    counts = app.stream("words", key=str, value=str).group_by_key().count(name="counts")

    def fails_at_two(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        return number

    counts.to_stream().map_values(fails_at_two, value=int).to("out")
    with app.test(config={"statestore.cache.max.bytes": 10_000_000}) as t:
        for _ in range(3):
            t.pipe("words", "k", "w", at=77)
        assert [record.value for record in t.read("out")] == [1, 3]
        assert t.store("counts").get("k") == 3


def test_cached_rows_of_a_skipped_record_are_undone() -> None:
    app = sk.App("cached", on_error="skip")
    words = app.stream("words", key=str, value=str)
    words.group_by_key().count(name="counts")
    words.foreach(lambda key, word: 1 // (word != "bad"))
    with app.test(config={"statestore.cache.max.bytes": 10_000_000}) as t:
        for word in ("good", "bad", "good"):
            t.pipe("words", "k", word, at=77)
        t.pipe("words", "other", "bad", at=77)
        assert t.store("counts").get("k") == 2
        assert t.store("counts").get("other") is None


def test_punctuation_that_fails_is_undone_and_goes_on() -> None:
    class Ticks(sk.Processor[str, int, str, int]):
        def init(self, context: sk.Context) -> None:
            super().init(context)
            context.schedule("10ms", self.tick, clock="wall")

        def process(self, record: sk.Record[str, int]) -> None:
            """Only ticks."""

        def tick(self, time: int) -> None:
            self.context.forward(sk.Record("tick", time, time))
            if time == 20:
                raise ValueError("twenty")

    app = sk.App("ticks", on_error="skip")
    ticks = app.stream("numbers", key=str, value=int).process(Ticks, key=str, value=int)
    ticks.to("out")
    with app.test() as t:
        for _ in range(3):
            t.advance(ms=10)
        assert [record.value for record in t.read("out")] == [10, 30]
        assert t.dropped == 1


def test_kafka_handlers_end_only_the_operator() -> None:
    name = "org.apache.kafka.streams.errors.LogAndContinueProcessingExceptionHandler"
    app = counting(app={"config": {"processing.exception.handler": name}})
    with app.test() as t:
        t.pipe("numbers", "k", 13, at=77)
        assert [record.value for record in t.read("out")] == [1]
        assert t.store("seen").get("all") == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"on_error": "ignore"}, r"on_error='ignore': use 'fail', 'skip'"),
        ({"on_dropped": 5}, r"on_dropped=5: use"),
    ],
)
def test_policy_that_is_none_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(TopologyError, match=message):
        sk.App("wrong", **wrong)


def test_handler_that_is_unknown_is_refused_by_its_key() -> None:
    app = sk.App("wrong", config={"processing.exception.handler": "Mine"})
    app.stream("numbers", key=str, value=int).to("out")
    with pytest.raises(ConfigError, match=r"processing.exception.handler=Mine: use log_and_fail"):
        app.test()


def test_attempts_begin_with_one() -> None:
    with pytest.raises(TopologyError, match=r"attempts=0"):
        sk.dead_letter("dlq", attempts=0)


@pytest.mark.parametrize("given", ["text", bytearray(b"bytes"), 7])
def test_serde_that_gives_no_bytes_is_told_by_its_topic(
    given: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = sk.App("odd", on_production_error="skip")
    odd = sk.serdes.from_functions(lambda value: given if value == "odd" else b"fine", bytes.decode)
    app.stream(app.topic("in", key=str, value=str)).to(app.topic("out", key=str, value=odd))
    with app.test() as t:
        t.pipe("in", "k", "odd")
        t.pipe("in", "k", "even")
        assert [record.value for record in t.written] == [b"fine"]
    assert "topic out: " in caplog.text
    assert f"must give bytes, not {given!r}" in caplog.text

"""Topologies in the test driver: what comes out, where, when and under which key."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import pytest

import streamkit as sk
from streamkit.common.errors import FatalError

Task = Callable[..., Any]


def long(number: int) -> bytes:
    return struct.pack(">q", number)


def word_count() -> sk.App:
    app = sk.App("shop")
    lines = app.topic("lines", key=str, value=str)
    counts = app.topic("counts", key=str, value=int)
    (
        app.stream(lines)
        .flat_map_values(str.split, value=str)
        .group_by(lambda _, word: word, key=str)
        .count(name="words")
        .to_stream()
        .to(counts)
    )
    return app


def test_word_count_counts_through_a_repartition_topic(task: Task) -> None:
    run = task(word_count())
    run.pipe("lines", None, b"a b a", at=11)
    run.pipe("lines", b"k", b"b", at=5)
    assert run.read("shop-words-repartition") == [
        (b"a", b"a", 11),
        (b"b", b"b", 11),
        (b"a", b"a", 11),
        (b"b", b"b", 5),
    ]
    assert run.read("counts") == [
        (b"a", long(1), 11),
        (b"b", long(1), 11),
        (b"a", long(2), 11),
        (b"b", long(2), 11),
    ]
    assert run.rows("words") == {"a": (2, 11), "b": (2, 11)}


def test_driver_commits_after_each_record_even_with_a_cache(task: Task) -> None:
    run = task(word_count(), cached=True)
    run.pipe("lines", None, b"a b a", at=11)
    assert run.read("counts") == [
        (b"a", long(1), 11),
        (b"b", long(1), 11),
        (b"a", long(2), 11),
    ]


def numbers(app: sk.App) -> sk.Stream[str, int]:
    return app.stream("numbers", key=str, value=int)


def test_stateless_operators_keep_time_and_headers(task: Task) -> None:
    app = sk.App("shop")
    kept = numbers(app).filter(lambda _, n: n > 5).filter_not(lambda _, n: n == 9)
    kept.map_values(lambda k, n: f"{k}{n}", with_key=True, value=str).to("texts")
    kept.map(lambda k, n: (n, k), key=int, value=str).to("swapped")
    kept.select_key(lambda k, n: n * 2, key=int).to("doubled")
    kept.flat_map(lambda k, n: [(k, n), (k + k, -n)], key=str, value=int).to("pairs")
    run = task(app)
    for number in (5, 9, 7):
        run.pipe("numbers", b"k", long(number), at=12, headers=(("h", b"x"),))
    assert run.written == [
        ("texts", b"k", b"k7", 12, (("h", b"x"),)),
        ("swapped", long(7), b"k", 12, (("h", b"x"),)),
        ("doubled", long(14), long(7), 12, (("h", b"x"),)),
        ("pairs", b"k", long(7), 12, (("h", b"x"),)),
        ("pairs", b"kk", long(-7), 12, (("h", b"x"),)),
    ]


def test_peek_and_foreach_see_every_record(task: Task) -> None:
    app = sk.App("shop")
    seen: list[tuple[str, str, int]] = []
    stream = numbers(app).peek(lambda k, n: seen.append(("peek", k, n)))
    stream.foreach(lambda k, n: seen.append(("foreach", k, n)))
    task(app).pipe("numbers", b"k", long(7))
    assert seen == [("peek", "k", 7), ("foreach", "k", 7)]


def test_first_branch_that_holds_takes_the_record(task: Task) -> None:
    app = sk.App("shop")
    branches = numbers(app).split(name="by-")
    branches.branch(lambda _, n: n > 100, name="big").to("big")
    branches.branch(lambda _, n: n > 10).to("middle")
    branches.default_branch().to("small")
    run = task(app)
    for number in (7, 700, 70):
        run.pipe("numbers", b"k", long(number))
    assert [record[0] for record in run.written] == ["small", "big", "middle"]
    assert list(branches.streams) == ["by-big", "by-2", "by-0"]


def test_without_default_branch_the_rest_is_gone(task: Task) -> None:
    app = sk.App("shop")
    numbers(app).split().branch(lambda _, n: n > 100).to("big")
    run = task(app)
    run.pipe("numbers", b"k", long(7))
    assert run.written == []


def test_merge_interleaves_both(task: Task) -> None:
    app = sk.App("shop")
    other = app.stream("others", key=str, value=int)
    numbers(app).merge(other).to("all")
    run = task(app)
    run.pipe("others", b"a", long(7))
    run.pipe("numbers", b"b", long(8))
    assert run.read("all") == [(b"a", long(7), 77), (b"b", long(8), 77)]


def test_repartition_drops_null_keys(task: Task) -> None:
    app = sk.App("shop")
    numbers(app).repartition(name="again", partitions=5).to("out")
    run = task(app)
    run.pipe("numbers", None, long(7))
    run.pipe("numbers", b"b", long(8))
    assert run.read("out") == [(b"b", long(8), 77)]
    (spec,) = app.topology.subtopology(1).repartition_sources
    assert (spec.name, spec.partitions) == ("shop-again-repartition", 5)


def test_aggregations_drop_null_keys_and_values_and_count_them(task: Task) -> None:
    app = sk.App("shop")
    grouped = numbers(app).group_by_key()
    grouped.count(name="counted")
    grouped.reduce(lambda a, b: a + b, name="summed")
    grouped.aggregate(0, lambda k, n, total: total + n, value=int, name="added")
    run = task(app)
    run.pipe("numbers", None, long(7))
    run.pipe("numbers", b"b", None)
    assert run.dropped == 6
    assert run.rows("counted") == {}


def test_aggregates_keep_the_latest_time(task: Task) -> None:
    app = sk.App("shop")
    grouped = numbers(app).group_by_key()
    grouped.reduce(max, name="most").to_stream().to("most")
    grouped.aggregate(list, lambda k, n, all_: [*all_, n], value=list[int], name="all")
    run = task(app)
    for number, at in ((7, 20), (9, 10), (8, 30)):
        run.pipe("numbers", b"k", long(number), at=at)
    assert run.read("most") == [
        (b"k", long(7), 20),
        (b"k", long(9), 20),
        (b"k", long(9), 30),
    ]
    assert run.rows("all") == {"k": ([7, 9, 8], 30)}


def test_aggregate_of_none_deletes_and_starts_again(task: Task) -> None:
    app = sk.App("shop")
    table = (
        numbers(app)
        .group_by_key()
        .aggregate(100, lambda k, n, total: None if n == 0 else total + n, value=int, name="totals")
    )
    table.to_stream().to("totals")
    run = task(app)
    for number, at in ((7, 20), (0, 10), (8, 5)):
        run.pipe("numbers", b"k", long(number), at=at)
    assert run.read("totals") == [(b"k", long(107), 20), (b"k", None, 20), (b"k", long(108), 5)]


def test_table_of_a_topic_keeps_rows_and_drops_null_keys(task: Task) -> None:
    app = sk.App("shop")
    app.table("prices", key=str, value=int, name="prices").to_stream().to("changes")
    run = task(app)
    run.pipe("prices", b"a", long(7))
    run.pipe("prices", None, long(8))
    run.pipe("prices", b"a", None)
    assert run.read("changes") == [(b"a", long(7), 77), (b"a", None, 77)]
    assert run.rows("prices") == {}
    assert run.dropped == 1


def test_to_table_of_a_rekeyed_stream_repartitions(task: Task) -> None:
    app = sk.App("shop")
    table = numbers(app).select_key(lambda k, n: k + "!", key=str).to_table(name="latest")
    table.to_stream().to("out")
    run = task(app)
    run.pipe("numbers", b"a", long(7))
    assert run.read("out") == [(b"a!", long(7), 77)]
    assert run.rows("latest") == {"a!": (7, 77)}


def test_decorated_function_runs_and_stays_a_function(task: Task) -> None:
    app = sk.App("shop")
    words = app.topic("words", key=str, value=str)
    totals = app.topic("totals", key=str, value=int)

    @app.processor(words, to=totals)
    def count(word: str, seen: sk.KeyValue[str, int]) -> int:
        seen[word] = seen.get(word, 0) + 1
        return seen[word]

    assert count("a", {}) == 1
    run = task(app)
    run.pipe("words", b"k", b"x")
    run.pipe("words", b"k", b"x")
    assert run.read("totals") == [(b"k", long(1), 77), (b"k", long(2), 77)]
    assert run.values("seen") == {"x": 2}


def test_return_annotation_is_the_fan_out(task: Task) -> None:
    app = sk.App("shop")
    words = app.topic("words", key=str, value=str)

    def maybe(word: str) -> str | None:
        return word if word > "m" else None

    def letters(word: str) -> Iterator[str]:
        yield from word

    def rekeyed(record: sk.Record[str, str], ctx: sk.Context) -> sk.Record[int, str]:
        ctx.forward(sk.Record(ctx.offset, ctx.topic, ctx.stream_time))
        return sk.Record(ctx.partition, record.key, record.timestamp + 1)

    def nothing(word: str) -> None:
        return None

    stream = app.stream(words)
    stream.process(maybe).to("maybe")
    stream.process(letters).to("letters")
    stream.process(rekeyed).to("rekeyed")
    stream.process(nothing, value=str).to("nothing")
    run = task(app)
    run.pipe("words", b"k", b"ab")
    run.pipe("words", b"k", b"z", at=50)
    assert run.read("maybe") == [(b"k", b"z", 50)]
    assert [value for _, value, _ in run.read("letters")] == [b"a", b"b", b"z"]
    assert run.read("rekeyed")[2:] == [
        (long(1), b"words", 77),
        (long(3), b"k", 51),
    ]
    assert run.read("nothing") == []


def test_keyword_only_stores_and_defaults_are_bound(task: Task) -> None:
    app = sk.App("shop")

    def gate(
        word: str, limit: int = 2, *, seen: sk.KeyValueStore[str, int], ctx: sk.Context
    ) -> str | None:
        seen[word] = (seen.get(word) or 0) + 1
        return f"{word}@{ctx.timestamp}" if seen[word] <= limit else None

    app.stream("words", key=str, value=str).process(gate).to("out")
    run = task(app)
    for _ in range(3):
        run.pipe("words", b"k", b"x")
    assert [value for _, value, _ in run.read("out")] == [b"x@77", b"x@77"]


def test_negative_timestamp_is_fatal_and_says_where(task: Task) -> None:
    app = sk.App("shop")
    numbers(app).to("out")
    run = task(app)
    run.pipe("numbers", b"k", long(7))
    run.pipe("numbers", b"k", long(7))
    with pytest.raises(FatalError, match=r"numbers-3 offset 2 .* timestamp='log_and_skip'"):
        run.pipe("numbers", b"k", long(7), at=-1)


def test_negative_timestamps_of_an_extractor_are_dropped(task: Task) -> None:
    app = sk.App("shop")
    app.stream("a", key=str, value=int, timestamp="log_and_skip").to("out")
    app.stream("b", key=str, value=int, timestamp=lambda record: record.value).to("out")
    app.stream("c", key=str, value=int, timestamp="use_partition_time").to("out")
    run = task(app)
    run.pipe("a", b"k", long(7), at=-1)
    run.pipe("b", b"k", long(-7), at=5)
    run.pipe("b", b"k", long(500), at=5)
    run.pipe("c", b"k", long(1), at=900)
    run.pipe("c", b"k", long(2), at=-1)
    assert [at for _, _, at in run.read("out")] == [500, 900, 900]
    assert run.dropped == 2


def test_stream_time_never_goes_back(task: Task) -> None:
    app = sk.App("shop")
    numbers(app).to("out")
    run = task(app)
    run.pipe("numbers", b"k", long(7), at=50)
    run.pipe("numbers", b"k", long(7), at=30)
    run.pipe("numbers", b"k", long(7), at=20)
    context = run.context
    assert (context.stream_time, context.timestamp, context.offset) == (50, 20, 2)


def test_bytes_that_do_not_decode_raise_with_the_offset_set(task: Task) -> None:
    app = sk.App("shop")
    numbers(app).to("out")
    run = task(app)
    run.pipe("numbers", b"k", long(7))
    run.pipe("numbers", b"k", long(7))
    with pytest.raises(FatalError, match="topic numbers: 3 bytes where 8 are due"):
        run.pipe("numbers", b"k", b"abc")
    assert run.context.offset == 2


def test_malformed_text_reads_as_replacement_characters(task: Task) -> None:
    app = sk.App("shop")
    app.stream("texts", key=str, value=str).to("out")
    run = task(app)
    run.pipe("texts", b"k", b"a\xffb")
    assert run.read("out") == [(b"k", "a�b".encode(), 77)]


def test_value_of_another_type_cannot_be_written(task: Task) -> None:
    app = sk.App("shop")
    stream = app.stream("texts", key=str, value=str)
    stream.map_values(lambda text: text, value=int).to("out")  # type: ignore[arg-type]  # the test
    with pytest.raises(FatalError, match="topic out: the serde takes an int, not str"):
        task(app).pipe("texts", b"k", b"seven")


def test_sink_topic_and_partition_may_depend_on_the_record(task: Task) -> None:
    app = sk.App("shop")
    stream = numbers(app)
    stream.to(lambda record: f"out-{record.key}")
    stream.to("spread", partitioner=lambda topic, key, value, count: value % count)
    stream.to("many", partitioner=lambda topic, key, value, count: [1, 2])
    stream.to("none", partitioner=lambda topic, key, value, count: [])
    stream.to("default", partitioner=lambda topic, key, value, count: None)
    run = task(app)
    run.pipe("numbers", b"k", long(10))
    assert [record[0] for record in run.written] == [
        "out-k",
        "spread",
        "many",
        "many",
        "default",
    ]
    assert run.partitions[1:4] == [3, 1, 2]
    assert run.dropped == 1


def test_one_source_reads_several_topics(task: Task) -> None:
    app = sk.App("shop")
    seen: list[tuple[str, int]] = []

    def note(value: int, ctx: sk.Context) -> None:
        seen.append((ctx.topic, value))

    app.stream("a", "b", key=str, value=int).process(note)
    run = task(app)
    run.pipe("b", b"k", long(7))
    run.pipe("a", b"k", long(8))
    assert seen == [("b", 7), ("a", 8)]


@pytest.mark.parametrize("edge", [2**63 - 1, -(2**63)])
def test_edges_of_64_bits_pass_through(task: Task, edge: int) -> None:
    app = sk.App("shop")
    numbers(app).to("out")
    run = task(app)
    run.pipe("numbers", b"k", long(edge), at=2**63 - 1)
    assert run.read("out") == [(b"k", long(edge), 2**63 - 1)]


def test_sum_beyond_64_bits_is_refused_not_wrapped(task: Task) -> None:
    app = sk.App("shop")
    numbers(app).map_values(lambda n: n + 1, value=int).to("out")
    with pytest.raises(FatalError, match="9223372036854775808 does not fit in 64 bits"):
        task(app).pipe("numbers", b"k", long(2**63 - 1))


def test_print_writes_a_line_for_each_record() -> None:
    app = sk.App("printed")
    lines = app.stream("lines", key=str, value=str)
    out, other = StringIO(), StringIO()
    lines.print(to=out, label="seen")
    lines.filter(lambda k, v: True, name="all").print(to=other, mapper=lambda k, v: v)
    assert "KSTREAM-PRINTER-0000000001" in app.topology.describe()
    with app.test() as t:
        t.pipe("lines", "k", "v")
    assert out.getvalue() == "[seen]: k, v\n"
    assert other.getvalue() == "[all]: v\n"

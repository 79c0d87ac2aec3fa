"""What the contenders run: four programs, each with its input, the same topology in the language
of the judge, and the true answer.

A program of streamkit's is `benchmarks/programs.py`, which declares the one that BENCH_PROGRAM
names. A final answer is compared as the latest value of each key, or, where each record counts,
as the number of records and the sum of their checksums.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks import text

PARTITIONS = 4
KEYS = 5_000
SPREAD = 2_654_435_761
"""Multiplying by it scatters the keys."""
WINDOW_MS = 10_000
START_MS = 1_700_000_000_000

Record = tuple[str, bytes | None, bytes, int, int]
"""Topic, key, value, partition (-1: by the key), timestamp."""
Answer = Mapping[bytes, bytes] | tuple[int, int]


@dataclass(frozen=True)
class Program:
    """One program. `sources` are the topics whose commits show its progress, `stage` the
    repartition topic in between; `units` is what its speed is counted in."""

    name: str
    sources: tuple[str, ...]
    stage: str | None
    units: str
    topology: tuple[Mapping[str, Any], ...]
    feed: Callable[[float], Iterator[Record]]
    answer: Callable[[float], Answer]
    units_in: Callable[[float], int]


def long(number: int) -> bytes:
    return number.to_bytes(8, "big")


def feed_lines(megabytes: float) -> Iterator[Record]:
    for number, line in enumerate(text.repeated(text.repeats_for(megabytes))):
        yield "lines", None, line.encode(), number % PARTITIONS, START_MS


def word_counts(megabytes: float) -> Answer:
    counts = text.counts(text.repeats_for(megabytes))
    return {word.encode(): long(count) for word, count in counts.items()}


def events_in(megabytes: float) -> int:
    """So many records of 50 bytes."""
    return int(megabytes * 1_000_000 / 50)


def events(megabytes: float) -> Iterator[Record]:
    """One event a millisecond, of one of many users."""
    for number in range(events_in(megabytes)):
        user = number * SPREAD % KEYS
        value = f"page {number * 7 % 100} seen at counter {number % 9973:05d}"
        yield "events", b"user-%d" % user, value.encode(), -1, START_MS + number


def users(_: float) -> Iterator[Record]:
    for user in range(KEYS):
        yield "users", b"user-%d" % user, b"name of user %d" % user, -1, START_MS - 1


def window_counts(megabytes: float) -> Answer:
    counts: Counter[tuple[bytes, int]] = Counter()
    for _, key, _, _, timestamp in events(megabytes):
        counts[key or b"", timestamp // WINDOW_MS * WINDOW_MS] += 1
    return {key + long(start): long(count) for (key, start), count in counts.items()}


def checksum(key: bytes | None, value: bytes | None) -> int:
    return zlib.crc32((key or b"") + b"=" + (value or b""))


def joined(megabytes: float) -> Answer:
    names = {key: value for _, key, value, _, _ in users(0)}
    pairs = ((key, value + b"|" + names[key]) for _, key, value, _, _ in events(megabytes))
    return summed(pairs)


def enriched(megabytes: float) -> Answer:
    return summed(
        (key, value.upper() + b"; checked")
        for _, key, value, _, _ in events(megabytes)
        if b"1 seen" not in value
    )


def summed(records: Iterator[tuple[bytes | None, bytes]]) -> tuple[int, int]:
    count = total = 0
    for key, value in records:
        count, total = count + 1, total + checksum(key, value)
    return count, total


def users_and_events(megabytes: float) -> Iterator[Record]:
    yield from users(megabytes)
    yield from events(megabytes)


def words_in(megabytes: float) -> int:
    return sum(text.counts(text.repeats_for(megabytes)).values())


def stream(topic: str) -> dict[str, Any]:
    return {"id": topic, "op": "stream", "topic": topic, "key": "string", "value": "string"}


PROGRAMS = {
    each.name: each
    for each in (
        Program(
            "word-count",
            ("lines",),
            "word-counts-repartition",
            "words",
            (
                stream("lines"),
                {"id": "split", "op": "flat_map_values", "of": "lines", "fn": "split_words"},
                {"id": "words", "op": "group_by", "of": "split", "fn": "value"},
                {"id": "counts", "op": "count", "of": "words", "store": {"name": "word-counts"}},
                {"id": "result", "op": "to_stream", "of": "counts"},
                {"op": "to", "of": "result", "value": "long"},
            ),
            feed_lines,
            word_counts,
            words_in,
        ),
        Program(
            "windowed-count",
            ("events",),
            None,
            "records",
            (
                stream("events"),
                {"id": "grouped", "op": "group_by_key", "of": "events"},
                {
                    "id": "windowed",
                    "op": "windowed_by",
                    "of": "grouped",
                    "window": {"type": "tumbling", "size_ms": WINDOW_MS, "grace_ms": 0},
                },
                {"id": "counts", "op": "count", "of": "windowed", "store": {"name": "counts"}},
                {"id": "result", "op": "to_stream", "of": "counts"},
                {
                    "op": "to",
                    "of": "result",
                    "key": f"time_windowed:{WINDOW_MS}:string",
                    "value": "long",
                },
            ),
            events,
            window_counts,
            events_in,
        ),
        Program(
            "table-join",
            ("users", "events"),
            None,
            "records",
            (
                stream("events"),
                {
                    "id": "users",
                    "op": "table",
                    "topic": "users",
                    "key": "string",
                    "value": "string",
                },
                {"id": "result", "op": "join", "of": "events", "with": "users", "fn": "pair"},
                {"op": "to", "of": "result", "key": "string", "value": "string"},
            ),
            users_and_events,
            joined,
            lambda megabytes: events_in(megabytes) + KEYS,
        ),
        Program(
            "enrich",
            ("events",),
            None,
            "records",
            (
                stream("events"),
                {"id": "kept", "op": "filter", "of": "events", "fn": "contains:1 seen | not"},
                {
                    "id": "result",
                    "op": "map_values",
                    "of": "kept",
                    "fn": "upper | append:; checked",
                },
                {"op": "to", "of": "result", "key": "string", "value": "string"},
            ),
            events,
            enriched,
            events_in,
        ),
    )
}


def topics_of(program: Program) -> list[str]:
    return [*program.sources, "out-streamkit", "out-kafka-streams"]


def spec_of(program: Program, output: str) -> dict[str, object]:
    """The case for the judge, with its output topic filled in."""
    *operators, sink = program.topology
    return {
        "name": "bench",
        "default_key": "string",
        "default_value": "string",
        "topology": [*operators, {**sink, "topic": output}],
    }

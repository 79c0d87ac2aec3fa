"""What few programs use: stores that a topic fills, patterns, anchored punctuations."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

import streamkit as sk
from streamkit.common.errors import TopologyError

HOUR_MS = 3_600_000


class Put(sk.Processor[str, int, None, None]):
    """Keeps what comes."""

    def process(self, record: sk.Record[str, int]) -> None:
        self.context.store("rates").put(record.key, record.value)


def test_read_only_store_is_filled_from_its_topic_which_is_its_changelog() -> None:
    class Convert(sk.Processor[str, int, str, int]):
        def process(self, record: sk.Record[str, int]) -> None:
            rate = self.context.store("rates").get(record.key) or 0
            self.context.forward(record.with_value(record.value * rate))

    topology = sk.Topology()
    topology.add_read_only_state_store(
        sk.store("rates", key=str, value=int), "rates", Put,
        source_name="rates-source", processor_name="rates-fill", key=str, value=int,
    )  # fmt: skip
    topology.add_source("sums", "sums", key=str, value=int)
    topology.add_processor("convert", Convert, "sums", stores=["rates"])
    topology.add_sink("out", "converted", "convert", key=str, value=int)
    app = sk.App("rates", topology=topology)
    (part,) = app.topology.subtopologies
    assert part.changelogs == ()
    with app.test() as t:
        t.pipe("rates", "eur", 7)
        t.pipe("sums", "eur", 3)
        assert [r.value for r in t.read("converted")] == [21]
        assert [r for r in t.written if "changelog" in r.tp.topic] == []


def test_anchored_punctuation_fires_on_the_full_hour() -> None:
    times: list[int] = []

    class Hourly(sk.Processor[str, int, str, int]):
        def init(self, context: sk.Context) -> None:
            noon = datetime(2024, 2, 29, 12, tzinfo=UTC)
            context.schedule("1h", times.append, clock="wall", start=noon)

        def process(self, record: sk.Record[str, int]) -> None:
            return None

    app = sk.App("hourly")
    app.stream("in", key=str, value=int).process(Hourly)
    noon_ms = int(datetime(2024, 2, 29, 12, tzinfo=UTC).timestamp() * 1000)
    with app.test(now_ms=noon_ms - 600_000) as t:
        t.advance(minutes=9)
        assert times == []
        t.advance(minutes=1)
        assert times == [noon_ms]
        t.advance(minutes=59)
        assert times == [noon_ms]
        t.advance(minutes=61)
        assert times == [noon_ms, noon_ms + 2 * HOUR_MS]


def test_pattern_beside_a_topic_that_it_matches_is_refused() -> None:
    app = sk.App("patterns")
    app.stream(re.compile("in-[0-9]+"), key=str, value=int).to("out")
    app.stream("in-7", key=str, value=int).to("out")
    with pytest.raises(TopologyError, match=r"Topic in-7 matches the pattern in-\[0-9\]\+"):
        _ = app.topology


def test_forward_to_no_child_of_that_name_is_refused() -> None:
    class Route(sk.Processor[str, int, str, int]):
        def process(self, record: sk.Record[str, int]) -> None:
            self.context.forward(record, child="nobody")

    app = sk.App("children", on_error="skip")
    app.stream("in", key=str, value=int).process(Route, key=str, value=int).to("out", name="out")
    with app.test() as t:
        t.pipe("in", "k", 5)
        assert t.read("out") == []
        assert t.dropped == 1


async def upper(word: str) -> str:
    return word.upper()


def test_async_function_of_a_topology_comes_in_front_of_stores_only() -> None:
    def count(word: str, seen: sk.KeyValue[str, int]) -> int:
        seen[word] = (seen.get(word) or 0) + 1
        return seen[word]

    def built(*, counts_first: bool) -> sk.Topology:
        topology = sk.Topology().add_source("in", "words", key=str, value=str)
        first, second = (count, upper) if counts_first else (upper, count)
        topology.add_processor("first", first, "in").add_processor("second", second, "first")
        return topology.add_sink("out", "out", "second", key=str, value=int)

    with pytest.raises(TopologyError, match=r"behind first, which keeps seen: put \.repartition"):
        built(counts_first=True).describe()
    with sk.App("words", topology=built(counts_first=False)).test() as t:
        for word in ("a", "b", "a"):
            t.pipe("words", "k", word)
        assert [r.value for r in t.read("out")] == [1, 1, 2]


def test_store_of_a_test_may_be_filled_before_it_begins() -> None:
    app = sk.App("filled")
    counted = app.stream("words", key=str, value=str).group_by_key().count(name="counts")
    counted.to_stream().to("out")
    with app.test() as t:
        t.store("counts").put("k", 41)
        t.pipe("words", "k", "a")
        assert [r.value for r in t.read("out")] == [42]

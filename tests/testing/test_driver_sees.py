"""What the driver shows beside records and stores: metrics, and topics that match a pattern."""

from __future__ import annotations

import re

import pytest

import streamkit as sk
from streamkit.common.errors import TopologyError

TASK = "kafka_streams_stream_task_metrics_"
STORE = "kafka_streams_stream_state_metrics_"


def counting() -> sk.App:
    app = sk.App("counts")
    app.stream("in", key=str, value=str).group_by_key().count(name="counts").to_stream().to("out")
    return app


def test_metrics_are_those_of_a_worker() -> None:
    with counting().test() as t:
        for key in ("a", "b", None):
            t.pipe("in", key, "v", at=77)
        found = t.metrics()
        labels = (("thread_id", "counts-test-driver"), ("task_id", "0_0"))
        process = [s for s in found[TASK + "process_total"] if s.labels == labels]
        assert [sample.value for sample in process] == [3]
        assert [s.value for s in found[TASK + "dropped_records_total"]] == [1]
        produced = found["kafka_streams_stream_topic_metrics_records_produced_total"]
        assert {s.labels[1][1]: s.value for s in produced} == {
            "out": 2,
            "counts-counts-changelog": 2,
        }
        assert STORE + "put_latency_avg" not in found


def test_metrics_of_stores_come_at_the_level_debug() -> None:
    with counting().test(config={"metrics.recording.level": "DEBUG"}) as t:
        t.pipe("in", "a", "v", at=77)
        assert [s.value for s in t.metrics()[STORE + "put_latency_avg"]] == [0]


def test_topics_that_match_a_pattern_are_read() -> None:
    def place(word: str, context: sk.Context) -> str:
        return f"{word} {context.topic} {context.offset}"

    app = sk.App("patterns")
    app.stream(re.compile("in-.*"), key=str, value=str).process(place).to("out")
    with app.test(partitions=3) as t:
        t.pipe("in-5", "a", "x", at=77)
        t.pipe("in-7", "a", "y", at=78)
        t.pipe("in-5", "a", "z", at=79)
        assert [r.value for r in t.read("out")] == ["x in-5 0", "y in-7 0", "z in-5 1"]
        with pytest.raises(TopologyError, match="no source of the topology reads other"):
            t.pipe("other", "a", "x")
        with pytest.raises(TopologyError, match="no source of the topology reads in-5, part"):
            t.pipe("in-5", "a", "x", partition=3)


def test_written_topic_that_matches_a_pattern_is_read() -> None:
    app = sk.App("loop")
    words = app.stream(re.compile(".*"), key=str, value=str)
    words.filter(lambda _, word: len(word) < 3).map_values(lambda word: word + "x", value=str).to(
        "again"
    )
    words.group_by_key().count(name="counts")
    with app.test() as t:
        t.pipe("in", "a", "x", at=77)
        assert [r.value for r in t.read("again")] == ["xx", "xxx"]
        assert t.store("counts")["a"] == 3


def test_two_sources_with_patterns_have_their_own_topics() -> None:
    app = sk.App("two")
    app.stream(re.compile("in-.*"), key=str, value=str).to("a")
    app.stream(re.compile("at-.*"), key=str, value=int).to("b")
    with app.test() as t:
        t.pipe("at-5", "k", 7)
        t.pipe("in-5", "k", "v")
        assert [record.value for record in t.read("a") + t.read("b")] == ["v", 7]


def test_processors_see_the_configuration() -> None:
    def tell(word: str, context: sk.Context) -> str:
        return f"{word} {context.app_configs['max.task.idle.ms']}"

    app = sk.App("configured", config={"max.task.idle.ms": 77})
    app.stream("in", key=str, value=str).process(tell).to("out")
    with app.test() as t:
        t.pipe("in", "k", "v")
        assert t.read("out")[0].value == "v 77"
    context = sk.testing.MockContext(app_configs={"max.task.idle.ms": 78})
    assert tell("v", context) == "v 78"

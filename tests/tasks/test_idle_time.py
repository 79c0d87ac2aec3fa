"""Stream time that goes on while a source is idle: what closes, what is late, what a restart knows.

`stream.time.idle.ms` is the choice; without it nothing here would come out.
"""

from __future__ import annotations

from typing import Any

import pytest

import streamkit as sk
from streamkit.common.model import TaskId, TopicPartition
from streamkit.tasks import messages as m
from streamkit.tasks.idle import STEP_MS, TIME_NAME, IdleTime
from streamkit.tasks.offset_metadata import decode_metadata, encode_metadata

IN = TopicPartition("in", 0)
IDLE = {"stream.time.idle.ms": 5_000}


def windowed(app: sk.App, *, emit: Any = "on_update") -> sk.Table[sk.Windowed[str], int]:
    stream = app.stream("in", key=str, value=str).group_by_key()
    return stream.windowed_by(sk.tumbling("10s", grace="2s")).emit(emit).count(name="counts")


def values(t: Any) -> list[tuple[Any, Any]]:
    return [(r.key, r.value) for r in t.read("out")]


def closing(how: str) -> sk.App:
    app = sk.App("idle")
    table = windowed(app, emit="on_close" if how == "emit" else "on_update")
    if how == "suppress":
        table = table.suppress("window_closes")
    table.to_stream().to("out")
    return app


@pytest.mark.parametrize("how", ["emit", "suppress"])
def test_window_closes_when_the_source_is_idle(how: str) -> None:
    with closing(how).test(config=IDLE, now_ms=1_000_000) as t:
        t.pipe("in", "k", "v", at=50_004)
        t.advance(ms=4_999)
        assert values(t) == []
        # Time goes on from that of the last record: 50,004 + 11,996 is when the grace is over.
        t.advance(ms=6_996)
        assert values(t) == []
        t.advance(seconds=1)
        assert values(t) == [(sk.Windowed("k", 50_000, 60_000), 1)]
        t.advance(minutes=60)
        assert values(t) == []


@pytest.mark.parametrize("how", ["emit", "suppress"])
def test_nothing_closes_by_itself_unless_it_is_asked_for(how: str) -> None:
    with closing(how).test() as t:
        t.pipe("in", "k", "v", at=50_004)
        t.advance(minutes=600)
        assert values(t) == []


def test_record_that_comes_after_idle_time_is_late() -> None:
    with closing("emit").test(config=IDLE) as t:
        t.pipe("in", "k", "v", at=50_004)
        t.advance(seconds=13)
        assert len(values(t)) == 1
        t.pipe("in", "k", "w", at=59_999)
        assert t.dropped == 1
        t.pipe("in", "k", "x", at=63_004)
        t.advance(seconds=60)
        assert values(t) == [(sk.Windowed("k", 60_000, 70_000), 1)]


def test_cached_updates_go_in_front_of_what_the_time_lets_go() -> None:
    app = closing("suppress")
    with app.test(config={**IDLE, "statestore.cache.max.bytes": 1_000_000}) as t:
        for _ in range(3):
            t.pipe("in", "k", "v", at=50_004)
        t.advance(seconds=20)
        assert values(t) == [(sk.Windowed("k", 50_000, 60_000), 3)]


def test_session_and_sliding_windows_close_too() -> None:
    app = sk.App("idle")
    group = app.stream("in", key=str, value=str).group_by_key()
    group.windowed_by(sk.session("3s")).emit("on_close").count().to_stream().to("out")
    group.windowed_by(sk.sliding("3s")).emit("on_close").count().to_stream().to("slid")
    with app.test(config=IDLE) as t:
        t.pipe("in", "k", "v", at=50_004)
        t.advance(seconds=7)
        assert values(t) == [(sk.Windowed("k", 50_004, 50_004), 1)]
        assert [r.key for r in t.read("slid")] == [sk.Windowed("k", 47_004, 50_004)]


def test_unmatched_record_of_a_left_join_goes_on_when_both_sides_are_idle() -> None:
    app = sk.App("idle")
    left = app.stream("in", key=str, value=str)
    right = app.stream("other", key=str, value=str)
    left.left_join(right, lambda a, b: f"{a}{b}", within="4s", value=str).to("out")
    with app.test(config=IDLE) as t:
        t.pipe("in", "k", "v", at=50_004)
        t.advance(seconds=3)
        t.pipe("other", "m", "w", at=50_005)
        t.advance(seconds=4)
        assert values(t) == []
        t.advance(seconds=1)
        assert values(t) == [("k", "vNone")]


def test_stream_waiting_for_versions_is_joined_when_it_is_idle() -> None:
    app = sk.App("idle")
    store = sk.Materialized("rows", kind="versioned", history="1h")
    table = app.table("rows", key=str, value=str, store=store)
    stream = app.stream("in", key=str, value=str)
    stream.join(table, lambda a, b: a + b, grace="6s", value=str).to("out")
    with app.test(config=IDLE) as t:
        t.pipe("rows", "k", "old", at=50_000)
        t.pipe("in", "k", "v-", at=50_004)
        t.advance(seconds=5)
        assert values(t) == []
        t.pipe("rows", "k", "new", at=50_003)
        t.advance(seconds=7)
        assert values(t) == [("k", "v-new")]


def test_punctuation_by_stream_time_comes_due() -> None:
    class Ticks(sk.Processor[str, str, str, int]):
        def init(self, context: sk.Context) -> None:
            context.schedule("10s", lambda now: context.forward(sk.Record("tick", now, now)))

        def process(self, record: sk.Record[str, str]) -> None:
            """Only time counts."""

    app = sk.App("idle")
    app.stream("in", key=str, value=str).process(Ticks, key=str, value=int).to("out")
    with app.test(config=IDLE) as t:
        t.pipe("in", "k", "v", at=50_004)
        assert [r.value for r in t.read("out")] == [50_004]
        t.advance(seconds=12)
        assert [r.value for r in t.read("out")] == [62_004]


def test_idle_time_begins_when_the_input_ends() -> None:
    idle = IdleTime(5_000, 100_000)
    assert idle.next_time(-1, 200_000) is None  # nothing was ever read
    idle.heard(201_000)
    assert idle.next_time(77, 205_999) is None
    assert idle.next_time(77, 206_000) == 77 + 5_000
    assert idle.next_time(5_077, 206_999) is None
    assert idle.next_time(5_077, 206_000 + STEP_MS) == 77 + 6_000
    idle.heard(300_000)
    assert idle.next_time(6_077, 304_000) is None


def test_long_idle_time_goes_on_in_longer_steps() -> None:
    idle = IdleTime(5_000, 0)
    idle.heard(0)
    assert idle.next_time(77, 100_000) == 100_077
    assert idle.next_time(77, 104_999) is None
    assert idle.next_time(77, 105_000) == 105_077
    assert idle.next_time(77, 9_000_000) == 9_000_077
    assert idle.next_time(77, 9_059_999) is None
    assert idle.next_time(77, 9_060_000) == 9_060_077


def test_test_driver_sees_every_millisecond() -> None:
    with closing("emit").test(config=IDLE) as t:
        t.pipe("in", "k", "v", at=50_004)
        t.advance(ms=11_995)
        assert values(t) == []
        t.advance(ms=1)
        assert len(values(t)) == 1


def test_clock_that_is_set_back_takes_no_time_back() -> None:
    idle = IdleTime(5_000, 100_000)
    idle.heard(200_000)
    assert idle.next_time(77, 205_000) == 5_077
    assert idle.next_time(5_077, 150_000) is None


def test_time_that_was_committed_counts_at_once_after_a_restart() -> None:
    idle = IdleTime(5_000, 100_000, restored=64_000)
    assert idle.next_time(50_004, 100_000) == 64_000
    assert idle.next_time(64_000, 100_001) is None
    assert idle.next_time(64_000, 105_000) == 69_000


def test_metadata_of_an_offset_is_that_of_kafka_streams() -> None:
    times = {"counts": 50_000, TIME_NAME: 64_000}
    told = encode_metadata(50_004, times)
    known = decode_metadata(told)
    assert (known.partition_time, known.processors) == (50_004, times)
    assert decode_metadata(encode_metadata(77, {})).partition_time == 77
    assert encode_metadata(-1, {}) == ""
    # Version 2, the time, one entry of 1 byte and 8 bytes: as TopicPartitionMetadata.encode().
    assert encode_metadata(7, {"s": 9}) == "AgAAAAAAAAAHAAAAAQAAAAFzAAAAAAAAAAk="


@pytest.mark.parametrize("text", ["", "?", "Aw==", "AgAA", "AgAAAAAAAAAHAAAAAQ=="])
def test_metadata_of_somebody_else_says_nothing(text: str) -> None:
    assert decode_metadata(text).partition_time == -1


def test_restarted_task_emits_no_window_again_and_knows_the_time(cluster, make_worker) -> None:
    app = closing("emit")
    cluster.produce("in", 0, (b"k", b"v", 50_004))
    first = make_worker(topology=app.topology, time_idle_ms=5_000)
    first.assign("0_0")
    first.run(60, ms=500)
    assert len(cluster.records("out")) == 1
    known = decode_metadata(cluster.committed[IN][1])
    assert 60_000 <= known.processors["counts"] <= known.processors[TIME_NAME] - 2_000
    first.inbox.put(m.Drain())
    first.run()
    second = make_worker(topology=app.topology, time_idle_ms=5_000)
    second.assign("0_0")
    second.run(20)
    cluster.produce("in", 0, (b"k", b"w", 50_005))
    second.run(60, ms=500)
    assert len(cluster.records("out")) == 1
    assert second.processor.tasks[TaskId(0, 0)].context.dropped == 1


def test_restarted_task_does_not_emit_closed_windows_again(cluster, make_worker) -> None:
    app = closing("emit")
    cluster.produce("in", 0, (b"k", b"v", 50_004))
    first = make_worker(topology=app.topology)
    first.assign("0_0")
    first.run(20, ms=500)
    cluster.produce("in", 0, (b"k", b"v", 62_000))
    first.run(20, ms=500)
    assert len(cluster.records("out")) == 1
    first.inbox.put(m.Drain())
    first.run()
    second = make_worker(topology=app.topology)
    second.assign("0_0")
    second.run(20)
    cluster.produce("in", 0, (b"k", b"w", 72_000))
    second.run(20, ms=500)
    assert [key[:1] for key, _, _ in cluster.records("out")] == [b"k", b"k"]

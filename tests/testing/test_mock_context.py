"""`MockContext`: one function or processor class, without a topology."""

from __future__ import annotations

import pytest

import streamkit as sk
from streamkit.common.errors import TopologyError
from streamkit.testing import MockContext


def late(record: sk.Record[str, int], ctx: sk.Context) -> sk.Record[str, str]:
    """Says where a record came from, and how late it is."""
    return record.with_value(f"{ctx.topic}-{ctx.partition}@{ctx.offset}: {ctx.stream_time}")


class Report(sk.Processor[str, int, str, int]):
    """Counts, and forwards what it counted each minute."""

    def init(self, context: sk.Context) -> None:
        super().init(context)
        self.seen: sk.KeyValueStore[str, int] = context.store("seen")
        self.timer = context.schedule("1m", self.report)

    def process(self, record: sk.Record[str, int]) -> None:
        self.seen[record.key] = (self.seen.get(record.key) or 0) + record.value
        self.context.sensor("seen").record()
        self.context.commit()

    def report(self, time: int) -> None:
        for key, total in self.seen.all():
            self.context.forward(sk.Record(key, total, time), child="totals")
        self.timer.cancel()


def reporting() -> tuple[Report, MockContext]:
    context = MockContext(stores={"seen": sk.store("seen", key=str, value=int)})
    report = Report()
    report.init(context)
    return report, context


def test_function_sees_the_record_that_was_set() -> None:
    context = MockContext()
    context.set_record("orders", 3, offset=17, timestamp=40, headers=(("h", b"1"),))
    context.set_record("orders", 3, offset=18, timestamp=25)
    assert late(sk.Record("k", 7, 25), context).value == "orders-3@18: 40"
    assert (context.timestamp, context.headers) == (25, ())


def test_class_keeps_rows_and_forwards_when_its_punctuation_is_called() -> None:
    report, context = reporting()
    report.process(sk.Record("b", 5, 10))
    report.process(sk.Record("a", 7, 10))
    report.process(sk.Record("b", 2, 10))
    assert context.forwarded() == []
    (timer,) = context.scheduled
    assert (timer.interval_ms, timer.clock, timer.is_cancelled) == (60_000, "stream", False)
    timer.callback(60_000)
    expected = [sk.Record("a", 7, 60_000), sk.Record("b", 7, 60_000)]
    assert context.forwarded() == context.forwarded("totals") == expected
    assert context.forwarded("others") == []
    assert timer.is_cancelled
    context.reset_forwards()
    assert context.forwarded() == []


def test_commits_and_sensors_are_noted() -> None:
    report, context = reporting()
    assert not context.committed
    report.process(sk.Record("a", 7, 10))
    assert context.committed
    assert context.sensor("seen").count == 1
    context.reset_commit()
    assert not context.committed


def test_times_are_set() -> None:
    context = MockContext(now_ms=5)
    assert (context.stream_time, context.wall_time_ms()) == (-1, 5)
    context.set_stream_time(70)
    context.set_wall_time(80)
    assert (context.stream_time, context.wall_time_ms()) == (70, 80)


def test_window_store_of_a_test_expires_by_time() -> None:
    windows = sk.store("w", key=str, value=int, form="window", retention="1m", window="10s")
    context = MockContext(stores={"w": windows})
    store: sk.WindowStore[str, int] = context.store("w")
    store.put(sk.Windowed("a", 200_000, 210_000), 1, 200_000)
    store.put(sk.Windowed("a", 10_000, 20_000), 1, 10_000)
    assert [key.start for key, _ in store.all()] == [200_000]
    assert context.dropped == ["w: the window has expired"]


def test_dict_may_stand_for_a_store() -> None:
    context = MockContext(stores={"seen": {"a": 7}})
    assert context.store("seen")["a"] == 7


def test_missing_store_says_where_to_give_it() -> None:
    with pytest.raises(TopologyError, match="no store 'seen': give it in stores="):
        Report().init(MockContext())

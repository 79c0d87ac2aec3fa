"""`suppress()` as declared: names, what is refused, what comes out; its buffer restored."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

import streamkit as sk
from streamkit.common.errors import FatalError, TopologyError
from streamkit.serdes import long, string
from streamkit.state.backend import MemoryBackend
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.state.journal import Journal, undo
from streamkit.state.suppress_buffer import CHANGELOG_HEADERS, SuppressBuffer
from streamkit.state.task_state import TaskState


def counts(app: sk.App) -> sk.Table[sk.Windowed[str], int]:
    windows = sk.tumbling("10ms", grace="5ms")
    return app.stream("in", key=str, value=str).group_by_key().windowed_by(windows).count()


def test_windows_give_one_result_each_when_they_close() -> None:
    app = sk.App("held")
    counts(app).suppress("window_closes").to_stream().to("out")
    with app.test() as t:
        for time in (1, 2, 14):
            t.pipe("in", "k", "v", at=time)
        assert t.read("out") == []
        t.pipe("in", "k", "v", at=15)
        assert [(r.key, r.value) for r in t.read("out")] == [(sk.Windowed("k", 0, 10), 2)]


def test_full_buffer_sends_the_oldest_on() -> None:
    app = sk.App("held")
    table = app.table("in", key=str, value=int)
    table.suppress("1h", max_records=2).to_stream().to("out")
    with app.test() as t:
        for time, key in enumerate("bcab"):
            t.pipe("in", key, 7, at=time)
        assert [r.key for r in t.read("out")] == ["b", "c"]


def test_full_buffer_may_end_the_worker() -> None:
    app = sk.App("held")
    app.table("in", key=str, value=int).suppress("1h", max_records=1, when_full="shut_down")
    with app.test() as t:
        t.pipe("in", "a", 7)
        with pytest.raises(FatalError, match="raise max_records"):
            t.pipe("in", "b", 7)


def test_buffer_has_a_compacted_changelog_unless_it_is_switched_off() -> None:
    app = sk.App("held")
    table = app.table("in", key=str, value=int)
    table.suppress("1m", name="waits", changelog={"segment.bytes": "7000000"})
    table.suppress("1m", name="unlogged", logging=False)
    logs = {log.name: log.configs for part in app.topology.subtopologies for log in part.changelogs}
    assert "held-unlogged-store-changelog" not in logs
    assert logs["held-waits-store-changelog"]["cleanup.policy"] == "compact"
    assert logs["held-waits-store-changelog"]["segment.bytes"] == "7000000"


def test_final_results_need_windows() -> None:
    app = sk.App("held")
    with pytest.raises(TopologyError, match="has no windows"):
        app.table("in", key=str, value=int).filter(lambda k, v: True).suppress("window_closes")


def test_final_results_never_go_on_early() -> None:
    with pytest.raises(TopologyError, match="never goes on early"):
        counts(sk.App("held")).suppress("window_closes", max_records=5)


class Current:
    topic, partition, offset = "the-topic", 3, 55

    def wall_time_ms(self) -> int:
        return 9_000


class Buffer:
    """A buffer over a task's state, and what it logged."""

    def __init__(self) -> None:
        self.builder = StoreBuilder(
            "kept", StoreKind.SUPPRESS_BUFFER, string, long, persistent=False
        )
        self.state = TaskState([self.builder], MemoryBackend)
        self.logged: list[tuple[Any, ...]] = []
        self.open()

    def open(self) -> None:
        def log(*record: Any) -> None:
            self.logged.append(record)

        overlay = self.state.overlays["kept"]
        self.store = SuppressBuffer(self.builder, overlay, "kept-log", log, 3, Current())


def test_restored_buffer_goes_on_where_it_was() -> None:
    one, two = Buffer(), Buffer()
    one.store.put("late", 7, None, 40, 33, (("h", b"x"), ("n", None)))
    one.store.put("soon", 5, 2, 20, 22, ())
    one.store.put("gone", 1, None, 10, 11, ())
    one.store.evict()
    one.store.put("late", 8, 7, 50, 44, ())
    one.store.flush()
    assert {key: headers for key, _, _, headers, _ in one.logged} == {
        b"late": CHANGELOG_HEADERS, b"soon": CHANGELOG_HEADERS, b"gone": (),
    }  # fmt: skip
    records = [(key, value, time) for key, value, time, _, _ in one.logged]
    two.state.restore("kept", records, 55, UUID(int=77))
    two.open()
    assert (two.store.records, two.store.size_bytes) == (2, one.store.size_bytes)
    assert two.store.prior("soon") == (2, -1)
    first = two.store.first()
    assert (first.key, first.new, first.old, first.origin.timestamp) == ("soon", 5, 2, 22)
    two.store.evict()
    assert two.store.min_time == 40
    assert (two.store.first().new, two.store.first().old) == (8, 7)


def test_what_a_failed_record_did_to_the_buffer_is_undone() -> None:
    kept = Buffer()
    kept.store.put("a", 7, None, 20, 20, ())
    kept.store.put("b", 5, None, 30, 30, ())
    before = kept.store.size_bytes
    journal: Journal = []
    kept.state.overlays["kept"].journal = journal
    kept.store.put("a", 8, 7, 40, 40, (("h", b"x"),))
    kept.store.put("c", 1, None, 10, 10, ())
    kept.store.evict()
    kept.store.evict()
    undo(journal)
    assert (kept.store.records, kept.store.size_bytes) == (2, before)
    assert (kept.store.first().key, kept.store.first().new) == ("a", 7)
    kept.store.evict()
    assert kept.store.first().key == "b"


def test_buffer_is_as_it_was_after_a_roll_back() -> None:
    kept = Buffer()
    kept.store.put("a", 7, None, 20, 20, ())
    kept.state.apply({})
    kept.store.evict()
    kept.store.put("b", 7, None, 30, 30, ())
    kept.state.discard()
    kept.open()
    assert (kept.store.records, kept.store.first().key) == (1, "a")

"""The versioned store on RocksDB: what held when, what is refused, forgotten, logged, restored."""

from __future__ import annotations

from uuid import UUID

import pytest

from streamkit.serdes import long, string
from streamkit.state.builders import StoreBuilder, StoreKind, segment_ms_of
from streamkit.state.rocks import RocksBackend
from streamkit.state.task_state import TaskState
from streamkit.state.versioned import IS_LATEST, NOT_PUT, VersionedStore

TOPIC_ID = UUID(int=77)


class Kept:
    def __init__(self, path, history_ms=100, segment_ms=20):
        self.builder = StoreBuilder(
            "kept", StoreKind.VERSIONED, string, long, retention_ms=history_ms,
            segment_ms=segment_ms,
        )  # fmt: skip
        self.drops = 0
        self.logged = []
        self.state = TaskState([self.builder], lambda families: RocksBackend(path, families))
        self.open()

    def drop(self, reason):
        self.drops += 1

    def open(self):
        def log(key, value, timestamp, headers, partition):
            self.logged.append((key, value, timestamp))

        overlay = self.state.overlays["kept"]
        self.store = VersionedStore(self.builder, overlay, "kept-log", log, 3, self)

    def rows(self):
        return [(key, *row) for key, row in self.store.all()]


@pytest.fixture
def open_kept(tmp_path):
    made = []

    def make(name="one", **options):
        made.append(Kept(str(tmp_path / name), **options))
        return made[-1]

    yield make
    for kept in made:
        kept.state.close()


def test_row_is_that_of_its_time(open_kept):
    kept = open_kept()
    assert kept.store.put("a", 5, 30) == IS_LATEST
    assert kept.store.put("a", 7, 60) == IS_LATEST
    assert kept.store.get("a") == (7, 60, None)
    assert kept.store.get("a", 59) == (5, 30, 60)
    assert kept.store.get("a", 29) is None
    assert kept.store.get("b") is None


def test_late_row_ends_where_the_next_begins(open_kept):
    kept = open_kept()
    kept.store.put("a", 5, 30)
    kept.store.put("a", 7, 90)
    assert kept.store.put("a", 6, 50) == 90
    assert kept.store.put("a", 4, 20) == 30
    assert kept.store.put("a", 9, 50) == 90
    assert kept.rows() == [("a", 4, 20, 30), ("a", 5, 30, 50), ("a", 9, 50, 90), ("a", 7, 90, None)]


def test_delete_ends_a_row_and_has_none(open_kept):
    kept = open_kept()
    kept.store.put("a", 5, 30)
    assert kept.store.delete("a", 60) == (5, 30, None)
    assert kept.store.get("a") is None
    assert kept.store.put("a", 4, 50) == 60
    assert kept.rows() == [("a", 5, 30, 50), ("a", 4, 50, 60)]


def test_delete_of_what_was_never_there_is_remembered(open_kept):
    kept = open_kept()
    assert kept.store.put("a", None, 60) == IS_LATEST
    assert kept.store.put("a", 5, 40) == 60
    assert kept.store.get("a") is None


def test_row_older_than_the_history_is_refused_and_logged(open_kept):
    kept = open_kept()
    kept.store.put("a", 5, 300)
    assert kept.store.put("a", 4, 199) == NOT_PUT
    assert kept.store.put("a", 4, 200) == 300
    assert kept.drops == 1
    assert [timestamp for _, _, timestamp in kept.logged] == [300, 199, 200]


def test_history_is_forgotten_but_never_the_latest_row(open_kept):
    kept = open_kept()
    kept.store.put("a", 4, 10)
    kept.store.put("a", 5, 30)
    kept.store.put("b", 7, 400)
    assert kept.store.get("a", 20) is None
    assert kept.store.get("a", 50) == (5, 30, None)
    assert kept.rows() == [("a", 5, 30, None), ("b", 7, 400, None)]
    kept.store.flush()
    assert len(list(kept.state.overlays["kept"].scan(None, None))) == 2


def test_restored_history_is_the_same(open_kept):
    one, two = open_kept(), open_kept("two")
    for value, time in ((5, 30), (7, 90), (6, 50), (None, 70), (8, 120), (1, 10)):
        one.store.put("a", value, time)
    half = len(one.logged) // 2
    two.state.restore("kept", one.logged[:half], 55, TOPIC_ID)
    two.state.restore("kept", one.logged[half:], 58, TOPIC_ID)
    two.open()
    assert two.rows() == one.rows()
    assert two.state.stored_offset("kept").offset == 58


def test_reopened_history_goes_on(open_kept):
    kept = open_kept()
    kept.store.put("a", 5, 30)
    kept.store.put("a", 7, 90)
    kept.state.apply({})
    kept.open()
    assert kept.store.put("a", 6, 50) == 90
    assert kept.rows() == [("a", 5, 30, 50), ("a", 6, 50, 90), ("a", 7, 90, None)]


def test_reopened_history_still_refuses_what_is_too_old(open_kept):
    kept = open_kept()
    kept.store.put("a", 5, 300)
    kept.store.put("a", 7, 330)
    kept.state.apply({})
    kept.open()
    assert kept.store.put("a", 4, 219) == NOT_PUT
    assert kept.store.get("a", 219) is None


@pytest.mark.parametrize(
    ("history_ms", "expected"),
    [(3_000, 2_000), (60_000, 20_000), (300_000, 60_000), (3_600_000, 300_000),
     (86_400_000, 3_600_000)],
)  # fmt: skip
def test_segments_are_as_long_as_in_kafka(history_ms, expected):
    assert segment_ms_of(history_ms) == expected

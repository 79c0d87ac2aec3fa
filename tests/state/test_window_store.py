"""Window and session stores on both backends: what is found, what expires, what is logged."""

from __future__ import annotations

from uuid import UUID

import pytest

from streamkit.common.model import Windowed
from streamkit.serdes import long, string
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.state.cache import CacheBudget
from streamkit.state.factory import Changelog, build_store
from streamkit.state.journal import undo
from streamkit.state.rocks import RocksBackend
from streamkit.state.task_state import TaskState

TOPIC_ID = UUID(int=77)
FAR = 1_700_000_000_000


class Context:
    """Counts drops."""

    timestamp = 5_000

    def __init__(self) -> None:
        self.drops = 0

    def drop(self, reason: str) -> None:
        self.drops += 1


class Kept:
    """A store over a task's state, with its changelog as a list."""

    def __init__(self, path, kind, persistent, retention_ms=100, cache=0):
        self.builder = StoreBuilder(
            "kept", kind, string, long, persistent=persistent, caching_enabled=cache > 0,
            retention_ms=retention_ms, window_ms=10,
        )  # fmt: skip
        self.logged = []
        self.context = Context()
        self.state = TaskState([self.builder], lambda families: RocksBackend(path, families))
        self.open(cache)

    def open(self, cache=0):
        def append(key, value, timestamp, headers, partition):
            self.logged.append((key, value, timestamp))

        self.store = build_store(
            self.builder, self.state.overlays["kept"], Changelog("kept-log", 3, append),
            CacheBudget(cache), self.context,
        )  # fmt: skip

    def starts(self, key="a", low=0, high=None, **options):
        return [window.start for window, _ in self.store.fetch(key, low, high, **options)]


@pytest.fixture(params=[True, False], ids=["rocksdb", "memory"])
def kept(request, tmp_path):
    made = []

    def make(kind=StoreKind.WINDOW, **options):
        made.append(Kept(str(tmp_path / f"db{len(made)}"), kind, request.param, **options))
        return made[-1]

    yield make
    for each in made:
        each.state.close()


def window(start, key="a"):
    return Windowed(key, start, start + 10)


def test_fetch_finds_one_key_by_time_in_either_direction(kept):
    each = kept()
    for start in (70, 20, 40):
        each.store.put(window(start), start, start)
    each.store.put(window(30, "ab"), 3, 30)
    assert each.starts() == [20, 40, 70]
    assert each.starts(low=21, high=70, reverse=True) == [70, 40]
    assert each.store.get(window(40)).value == 40
    assert each.store.get(window(41)) is None


def test_rows_cross_segments_and_survive_a_commit(kept):
    each = kept(retention_ms=200_000)
    for start in (5, 150_000, 110_000):
        each.store.put(window(start), 7, start)
    each.state.apply({})
    each.store.put(window(60_005), 7, 60_005)
    assert each.starts() == [5, 60_005, 110_000, 150_000]
    assert [key.start for key, _ in each.store.fetch_all(6, 110_000)] == [60_005, 110_000]


def test_what_is_older_than_the_retention_is_not_found(kept):
    each = kept()
    for start in (10, 50, 115):
        each.store.put(window(start), 7, start)
    assert each.starts() == [50, 115]
    assert each.store.get(window(10)) is None
    assert [key.start for key, _ in each.store.all()] == [50, 115]


def test_expired_put_is_dropped_counted_and_logged(kept):
    each = kept(retention_ms=200_000)
    each.store.put(window(900_000), 7, 900_000)
    each.store.put(window(50), 7, 50)
    assert each.context.drops == 1
    assert each.starts() == [900_000]
    assert len(each.logged) == 2


def test_flush_deletes_expired_segments(kept):
    each = kept()
    for start in range(0, 300_000, 30_000):
        each.store.put(window(start), 7, start)
        each.store.flush()
        each.state.apply({})
    left = list(each.state.overlays["kept"].scan(None, None))
    assert 1 <= len(left) <= 4


def test_changelog_keys_are_kafkas_and_restore_the_store(kept):
    each = kept()
    each.store.put(window(70), 7, 75)
    ((key, value, timestamp),) = each.logged
    assert key == b"a" + (70).to_bytes(8, "big") + bytes(4)
    assert (value, timestamp) == ((7).to_bytes(8, "big"), 75)
    other = kept()
    other.state.restore("kept", [(key, value, timestamp)], 9, TOPIC_ID)
    other.open()
    found = other.store.get(window(70))
    assert (found.value, found.timestamp) == (7, 75)
    assert other.starts() == [70]


def test_session_keys_hold_end_then_start(kept):
    each = kept(StoreKind.SESSION)
    each.store.put(Windowed("a", 20, 75), 7, 75)
    assert each.logged[0][0] == b"a" + (75).to_bytes(8, "big") + (20).to_bytes(8, "big")
    assert [(key.start, key.end) for key, _ in each.store.fetch("a", 70, None)] == [(20, 75)]


def test_roll_back_forgets_what_was_not_committed(kept):
    each = kept()
    each.store.put(window(20), 2, 20)
    each.state.apply({})
    each.store.put(window(30), 3, 30)
    each.store.put(window(20), None, 20)
    each.state.discard()
    assert each.starts() == [20]


def test_cache_merges_updates_and_tells_old_values(kept):
    each = kept(cache=100_000)
    heard = []
    assert each.store.set_flush_listener(lambda *change: heard.append(change[:3]), True)
    each.store.put(window(20), 2, 20)
    each.store.put(window(20), 3, 25)
    assert each.starts() == [20]
    each.store.flush()
    assert heard == [(window(20), 3, None)]
    each.store.put(window(20), 4, 26)
    each.store.flush()
    assert heard[1:] == [(window(20), 4, 3)]
    assert len(each.logged) == 2


def stored(each):
    """The windows that the database holds."""
    rows = each.state.committed("kept").scan(None, None)
    return [int.from_bytes(key[-12:-4], "big") for key, _ in rows]


def test_a_segment_that_has_expired_is_deleted_by_the_next_commit(kept):
    each = kept(retention_ms=120_000)
    for start in (0, 59_990, 60_000):
        each.store.put(window(start), 1, start)
    each.state.apply({})
    each.store.put(window(185_000), 1, 185_000)
    each.store.flush()
    assert stored(each) == [0, 59_990, 60_000]
    each.state.apply({})
    assert stored(each) == [60_000, 185_000]


def test_what_expires_before_its_commit_never_reaches_the_database(kept):
    each = kept(retention_ms=120_000, cache=10_000)
    each.store.put(window(0), 1, 0)
    each.store.put(window(300_000), 2, 300_000)
    each.store.flush()
    each.state.apply({})
    assert stored(each) == [300_000]
    assert [value for _, value, _ in each.logged] == [bytes(7) + b"\1", bytes(7) + b"\2"]


def test_rolling_back_forgets_a_deletion_that_was_due(kept):
    each = kept(retention_ms=120_000)
    each.store.put(window(0), 1, 0)
    each.state.apply({})
    each.store.put(window(300_000), 1, 300_000)
    each.store.flush()
    each.state.discard()
    each.state.apply({})
    assert stored(each) == [0]


def test_windows_after_the_last_on_disk_are_not_looked_up_there(kept, monkeypatch):
    each = kept(retention_ms=1_000_000)
    each.store.put(window(100), 7, 100)
    each.state.apply({})
    asked = []
    overlay = each.state.overlays["kept"]
    backend = each.state._backends["kept"]
    reader = backend.reader("kept")
    monkeypatch.setattr(
        backend, "reader", lambda family: lambda key: asked.append(key) or reader(key)
    )
    fresh = type(overlay)(backend, "kept")
    fresh.is_rising = True
    place = each.store.place
    assert fresh.get(place("a", 110, 120)) is None
    assert asked == []
    assert fresh.get(place("a", 100, 110)) is not None
    assert asked == [place("a", 100, 110)]
    fresh.put(place("a", 110, 120), b"new")
    assert fresh.get(place("a", 110, 120)) == b"new"


def test_a_key_of_any_text_and_the_window_make_the_place(kept):
    each = kept()
    for key in ("", "a", "\u00e9\u4e16", "x" * 300):
        each.store.put(window(40, key), 3, 40)
        assert each.store.place(key, 40, 50) == bytes(8) + key.encode() + bytes(
            7
        ) + b"\x28" + bytes(4)
        assert each.store.get(window(40, key)).value == 3
        assert [found for found, _ in each.store.fetch(key, 0, None)] == [window(40, key)]


def test_far_row_that_is_undone_leaves_no_segments_to_search(kept):
    each = kept(kind=StoreKind.SESSION)
    each.store.put(Windowed("a", 20_001, 20_005), 5, 20_005)
    overlay = each.state.overlays["kept"]
    overlay.journal = []
    each.store.put(Windowed("a", FAR, FAR), 6, FAR)
    undo(overlay.journal)
    assert len(each.store.expiry.segments(20_001, None)) == 1
    assert each.starts() == [20_001]


def test_segments_before_the_first_row_are_not_searched(kept):
    each = kept(retention_ms=FAR)
    each.store.put(window(FAR), 5, FAR)
    each.state.apply({})
    each.open()
    assert len(each.store.expiry.segments(0, None)) == 1
    each.store.put(window(FAR - 70_000), 4, FAR)
    assert each.starts() == [FAR - 70_000, FAR]


@pytest.mark.parametrize("cache", [0, 10_000])
def test_counting_up_does_what_get_and_put_do(kept, cache):
    counted, put = kept(cache=cache), kept(cache=cache)
    for key, start, time in (("a", 0, 5), ("a", 0, 3), ("b", 200, 201), ("a", 0, 9), ("a", 90, 95)):
        counted.store.count_up_at(counted.store.place(key, start, start + 10), start, time, ())
        row = put.store.get(window(start, key))
        count, then = (0, time) if row is None else row
        put.store.put(window(start, key), count + 1, max(time, then))
    assert counted.context.drops == put.context.drops
    counted.store.flush()
    put.store.flush()
    assert counted.logged == put.logged
    assert list(counted.store.all()) == list(put.store.all())

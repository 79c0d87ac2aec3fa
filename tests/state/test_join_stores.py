"""The stores of stream-stream joins on both backends: what is kept, found, logged, restored."""

from __future__ import annotations

from uuid import UUID

import pytest

from streamkit.serdes import long, string
from streamkit.serdes.sided import SidedSerde
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.state.cache import CacheBudget
from streamkit.state.factory import Changelog, build_store
from streamkit.state.rocks import RocksBackend
from streamkit.state.task_state import TaskState

TOPIC_ID = UUID(int=77)


class Context:
    timestamp = 5_000

    def __init__(self):
        self.drops = 0

    def drop(self, reason):
        self.drops += 1


class Kept:
    def __init__(self, path, kind, persistent):
        value = long if kind is StoreKind.JOIN_WINDOW else SidedSerde(long, string)
        self.builder = StoreBuilder(
            "kept", kind, string, value, persistent=persistent, retention_ms=100, window_ms=50
        )
        self.path = path
        self.logged = []
        self.context = Context()
        self.open()

    def open(self):
        self.state = TaskState([self.builder], lambda families: RocksBackend(self.path, families))

        def append(key, value, timestamp, headers, partition):
            self.logged.append((key, value, timestamp))

        self.store = build_store(
            self.builder, self.state.overlays["kept"], Changelog("kept-log", 3, append),
            CacheBudget(0), self.context,
        )  # fmt: skip


@pytest.fixture(params=[True, False], ids=["rocksdb", "memory"])
def open_kept(request, tmp_path):
    made = []

    def make(kind, name="one"):
        made.append(Kept(str(tmp_path / name), kind, request.param))
        return made[-1]

    yield make
    for kept in made:
        kept.state.close()


def test_equal_records_are_all_kept_in_order(open_kept):
    kept = open_kept(StoreKind.JOIN_WINDOW)
    for value in (7, 5, 7):
        kept.store.put("a", value, 20)
    kept.store.put("ab", 9, 20)
    kept.store.put("a", 3, 19)
    assert list(kept.store.fetch("a", 10, 30)) == [(19, 3), (20, 7), (20, 5), (20, 7)]


def test_old_records_are_not_found(open_kept):
    kept = open_kept(StoreKind.JOIN_WINDOW)
    kept.store.put("a", 7, 20)
    kept.store.put("b", 5, 120)
    assert list(kept.store.fetch("a", 0, 200)) == []
    assert [key for key, _, _ in kept.store.all()] == ["b"]


def test_very_old_record_is_dropped_and_counted(open_kept):
    kept = open_kept(StoreKind.JOIN_WINDOW)
    kept.store.put("a", 7, 200_000)
    kept.store.put("a", 5, 20)
    assert kept.context.drops == 1


def test_changelog_key_is_kafkas(open_kept):
    kept = open_kept(StoreKind.JOIN_WINDOW)
    kept.store.put("a", 7, 20)
    kept.store.put("a", 7, 20)
    end = (20).to_bytes(8, "big")
    assert [key for key, _, _ in kept.logged] == [
        b"a" + end + b"\0\0\0\1", b"a" + end + b"\0\0\0\2",
    ]  # fmt: skip


def test_restored_records_are_found_and_never_overwritten(open_kept):
    kept, other = open_kept(StoreKind.JOIN_WINDOW), open_kept(StoreKind.JOIN_WINDOW, "two")
    kept.store.put("a", 7, 20)
    kept.store.put("a", 5, 20)
    other.state.restore("kept", kept.logged, 55, TOPIC_ID)
    other.store.put("b", 0, 20)
    other.store.put("a", 3, 20)
    assert list(other.store.fetch("a", 0, 50)) == [(20, 7), (20, 5), (20, 3)]


def test_unmatched_records_come_by_time_right_side_first(open_kept):
    kept = open_kept(StoreKind.UNMATCHED)
    kept.store.add("b", True, 30, 5)
    kept.store.add("a", False, 30, "x")
    kept.store.add("z", True, 20, 7)
    kept.store.add("z", True, 20, 8)
    expected = [("z", True, 20, 7), ("z", True, 20, 8), ("a", False, 30, "x"), ("b", True, 30, 5)]
    assert list(kept.store.all()) == expected
    assert kept.store.min_time == 20
    kept.store.discard("z", True, 20)
    assert list(kept.store.all()) == expected[2:]


def test_unmatched_records_are_logged_as_kafka_does(open_kept):
    kept = open_kept(StoreKind.UNMATCHED)
    kept.store.add("k", False, 20, "hi")
    kept.store.add("k", False, 20, "ho")
    kept.store.discard("k", False, 20)
    kept.store.discard("k", True, 20)
    key = (20).to_bytes(8, "big") + b"\0k"
    entry = b"\0\0\0\3\0"
    assert kept.logged == [
        (key, b"\1\0\0\0\1" + entry + b"hi", 5_000),
        (key, b"\1\0\0\0\2" + entry + b"hi" + entry + b"ho", 5_000),
        (key, None, 5_000),
    ]

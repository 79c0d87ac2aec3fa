"""Versioned stores through crashes and undone records: the rows of an undisturbed one."""

from __future__ import annotations

import random
from typing import Any
from uuid import UUID

import pytest

from streamkit.serdes import long, string
from streamkit.state import task_state
from streamkit.state.backend import MemoryBackend
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.state.formats import StoredOffset
from streamkit.state.journal import undo
from streamkit.state.task_state import TaskState
from streamkit.state.versioned import VersionedRows, VersionedStore

TOPIC_ID = UUID(int=77)
KEYS = ("a", "b")
FAR = 1_700_000_000_000


class DiesError(Exception):
    """The process ends before a write."""


class Disk(MemoryBackend):
    """A backend that outlives its task; its process may die before a write."""

    writes_left: int | None = None
    scans = 0

    def write(self, changes):
        if self.writes_left == 0:
            raise DiesError
        if self.writes_left is not None:
            self.writes_left -= 1
        super().write(changes)

    def scan(self, *arguments, **options):
        self.scans += 1
        return super().scan(*arguments, **options)

    def close(self):
        pass


class Kept:
    """A versioned store, its changelog, and how much of that is committed."""

    def __init__(self, history_ms=1_000, segment_ms=7):
        self.builder = StoreBuilder(
            "kept", StoreKind.VERSIONED, string, long, retention_ms=history_ms,
            segment_ms=segment_ms,
        )  # fmt: skip
        self.disk = Disk(["kept", task_state.OFFSETS_FAMILY])
        self.logged: list[tuple[Any, Any, int]] = []
        self.committed = 0
        self.open()

    def open(self):
        """The store on its disk as it is, restored to the end of what is committed."""
        self.disk.writes_left = None
        self.state = TaskState([self.builder], lambda families: self.disk)
        del self.logged[self.committed :]
        stored = self.state.stored_offset("kept")
        start = 0 if stored is None else stored.offset
        self.state.restore("kept", self.logged[start:], self.committed, TOPIC_ID)
        overlay = self.state.overlays["kept"]
        self.store = VersionedStore(self.builder, overlay, "kept-log", self.log, 3, self)

    def log(self, key, value, timestamp, headers, partition):
        self.logged.append((key, value, timestamp))

    def drop(self, reason):
        pass

    def commit(self, writes_left=None):
        """The changelog has all; the disk only what is written before the process dies."""
        self.committed = len(self.logged)
        self.disk.writes_left = writes_left
        self.state.apply({"kept": StoredOffset(self.committed, TOPIC_ID)})

    def shown(self):
        """What held at each time, by key."""
        return {
            (key, time): None if row is None else row[:2]
            for key in KEYS
            for time in (*range(45), None)
            for row in [self.store.get(key) if time is None else self.store.get(key, time)]
        }


def put_some(chance: random.Random) -> list[tuple[str, int | None, int]]:
    return [
        (chance.choice(KEYS), chance.choice([None, 4, 5, 6, 7]), chance.randint(1, 40))
        for _ in range(chance.randint(1, 8))
    ]


@pytest.mark.parametrize("seed", range(60))
def test_rows_are_the_same_through_crashes_at_any_write(seed, monkeypatch):
    monkeypatch.setattr(task_state, "CHUNK_RECORDS_MAX", 2)
    chance = random.Random(seed)
    one, two = Kept(), Kept()
    for _ in range(8):
        puts = put_some(chance)
        for put in puts:
            one.store.put(*put)
            two.store.put(*put)
        if chance.random() < 0.4:
            two.open()
            for put in puts:
                two.store.put(*put)
        try:
            two.commit(writes_left=chance.choice([None, 0, 1, 2]))
        except DiesError:
            two.open()
        assert two.shown() == one.shown()


def test_history_that_is_read_anew_is_taken_whatever_its_age():
    kept = Kept(history_ms=50)
    records = [(b"b", long.serialize("", 4, ()), 9_000), (b"b", long.serialize("", 5, ()), 9_007)]
    kept.state.restore("kept", records, 2, TOPIC_ID)
    kept.state.wipe("kept")
    kept.state.restore("kept", [(b"a", long.serialize("", 6, ()), 30)], 1, TOPIC_ID)
    assert VersionedRows(kept.state.overlays["kept"], 50, 7).latest(b"a") is not None


def test_far_row_that_is_undone_leaves_nothing_to_search():
    kept = Kept(segment_ms=2)
    kept.store.put("a", 5, 31)
    overlay = kept.state.overlays["kept"]
    overlay.journal = []
    kept.store.put("a", 6, FAR)
    undo(overlay.journal)
    before = kept.disk.scans
    assert kept.store.put("a", 4, 30) == 31
    assert kept.disk.scans - before < 10


def test_search_passes_over_times_without_rows():
    kept = Kept(history_ms=FAR, segment_ms=2)
    for value, time in ((4, 31), (5, 40), (6, FAR), (7, FAR + 7)):
        kept.store.put("a", value, time)
    kept.commit()
    kept.open()
    before = kept.disk.scans
    assert kept.store.get("a", 33) == (4, 31, 40)
    assert kept.disk.scans - before < 10

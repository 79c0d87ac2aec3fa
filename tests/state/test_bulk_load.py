"""Loading a changelog in bulk: the last value of each key, sorted, beside what was there."""

from __future__ import annotations

import random
from uuid import UUID

import pytest

from streamkit.serdes import string
from streamkit.state.backend import MemoryBackend
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.state.bulk_load import BYTES_MAX, ENTRY_OVERHEAD_BYTES, BulkLoad
from streamkit.state.formats import StoredOffset, decode_value
from streamkit.state.rocks import RocksBackend
from streamkit.state.task_state import TaskState
from streamkit.state.window_keys import SEGMENT_SIZE, WindowKeys

TOPIC_ID = UUID(int=4_712)
PLAIN = StoreBuilder("rows", StoreKind.TIMESTAMPED_KEY_VALUE, string, string)
WINDOWED = StoreBuilder(
    "rows", StoreKind.WINDOW, string, string, retention_ms=600_000, window_ms=5_000
)


@pytest.fixture(params=["rocksdb", "memory"])
def opened(request, tmp_path):
    """Opens a state; the same disk each time."""
    memory = {}

    def open_backend(families):
        if request.param == "memory":
            return memory.setdefault("backend", MemoryBackend(families))
        return RocksBackend(str(tmp_path / "rocksdb"), list(families))

    def make(builder=PLAIN):
        return TaskState([builder], open_backend)

    return make


def rows(state):
    return {key: decode_value(data) for key, data in state.overlays["rows"].scan(None, None)}


def test_last_value_of_each_key_is_loaded(opened):
    state = opened()
    load = state.bulk_load("rows")
    load.add([b"b", b"a", b"b"], [b"old", b"one", b"new"], [7, 8, 9])
    load.add([b"c", b"a"], [b"three", None], [10, 11])
    assert rows(state) == {}
    load.flush()
    assert rows(state) == {b"b": (b"new", 9), b"c": (b"three", 10)}


def test_load_deletes_and_overwrites_what_was_there(opened):
    state = opened()
    state.restore("rows", [(b"a", b"1", 5), (b"b", b"2", 6), (b"d", b"4", 7)], 40, TOPIC_ID)
    load = state.bulk_load("rows")
    load.add([b"a", b"b"], [None, b"22"], [50, 51])
    load.flush()
    assert rows(state) == {b"b": (b"22", 51), b"d": (b"4", 7)}


def test_what_comes_after_a_load_wins(opened):
    state = opened()
    load = state.bulk_load("rows")
    load.add([b"a", b"b"], [b"1", b"2"], [5, 6])
    load.flush()
    state.restore("rows", [(b"a", b"11", 8), (b"b", None, 9)], 44, TOPIC_ID)
    assert rows(state) == {b"a": (b"11", 8)}


def test_record_without_key_is_left_out(opened):
    state = opened()
    load = state.bulk_load("rows")
    load.add([None, b"a"], [b"x", b"1"], [5, 6])
    load.flush()
    assert rows(state) == {b"a": (b"1", 6)}


def test_nothing_gathered_is_nothing_loaded():
    loaded = []
    BulkLoad(lambda *given: loaded.append(given), None).flush()
    assert loaded == []


def test_windowed_rows_are_loaded_by_segment(opened):
    state = opened(WINDOWED)
    keys = WindowKeys(5_000, 300_000)
    logged = [keys.logged(b"k", start, start + 5_000) for start in (605_000, 5_000)]
    load = state.bulk_load("rows")
    load.add(logged, [b"late", b"early"], [605_001, 5_001])
    load.flush()
    assert [key[SEGMENT_SIZE:] for key in rows(state)] == logged[::-1]


def test_loaded_rows_and_their_offset_survive_the_end_of_the_process(opened):
    state = opened()
    load = state.bulk_load("rows")
    chance = random.Random(20_265)
    expected = {}
    for base in range(0, 40_000, 4_000):
        keys = [b"%06d" % chance.randrange(9_000) for _ in range(4_000)]
        values = [b"v%d" % (base + i) if chance.random() < 0.9 else None for i in range(4_000)]
        load.add(keys, values, list(range(4_000)))
        expected.update(zip(keys, values, strict=True))
        load.flush()
        state.note_offset("rows", base + 4_000, TOPIC_ID)
    state.close()
    again = opened()
    live = {key: value for key, value in expected.items() if value is not None}
    assert {key: value for key, (value, _) in rows(again).items()} == live
    assert again.stored_offset("rows") == StoredOffset(40_000, TOPIC_ID)
    again.close()


@pytest.mark.parametrize("value", [b"", b"x" * 90, b"x" * (BYTES_MAX // 3)])
def test_full_by_what_the_entries_take_in_memory(value):
    load = BulkLoad(lambda *given: None, None)
    fits = (BYTES_MAX - 1) // (ENTRY_OVERHEAD_BYTES + 7 + len(value))
    load.add([b"%07d" % i for i in range(fits)], [value] * fits, [5] * fits)
    assert not load.is_full
    load.add([b"is over"], [value], [5])
    assert load.is_full
    load.flush()
    assert not load.is_full


def test_what_is_gathered_counts_as_uncommitted(opened):
    state = opened()
    limit = 5 * ENTRY_OVERHEAD_BYTES
    load = state.bulk_load("rows", limit)
    load.add([b"a", b"b", None], [b"1", None, b"3"], [7, 8, 9])
    assert state.uncommitted_bytes == 3 * ENTRY_OVERHEAD_BYTES + 4
    load.add([b"c", b"d"], [b"1", b"2"], [7, 8])
    assert load.is_full
    load.flush()
    assert state.uncommitted_bytes == 0
    state.end_bulk_load("rows")
    assert len(rows(state)) == 3

"""A task's state: chunks, offsets, restoring, and when the disk may be trusted."""

from __future__ import annotations

from uuid import UUID

import pytest

from streamkit.common.errors import TaskCorruptedError
from streamkit.serdes import long, string
from streamkit.state.backend import MemoryBackend
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.state.formats import (
    StoredOffset,
    decode_offset,
    decode_value,
    encode_offset,
    encode_value,
)
from streamkit.state.restore import ChangelogBounds, plan_restore
from streamkit.state.rocks import RocksBackend, RocksMemory
from streamkit.state.task_state import CHUNK_BYTES_MAX, CHUNK_RECORDS_MAX, TaskState, chunks

TOPIC = UUID(int=41)
OTHER = UUID(int=42)


def builder(name="counts", **options):
    return StoreBuilder(name, StoreKind.TIMESTAMPED_KEY_VALUE, string, long, **options)


class CrashingBackend(MemoryBackend):
    """Dies after some chunks."""

    chunks_left = 1_000

    def write(self, changes):
        if self.chunks_left == 0:
            raise OSError("killed")
        self.chunks_left -= 1
        super().write(changes)


def test_formats_round_trip():
    assert decode_value(encode_value(b"v", -7)) == (b"v", -7)
    assert decode_offset(encode_offset(StoredOffset(12, TOPIC))) == StoredOffset(12, TOPIC)


@pytest.mark.parametrize("data", [b"", b"\x02\x01" + b"0" * 9, b"\x01\x03" + b"0" * 20])
def test_unknown_formats_are_refused(data):
    with pytest.raises(TaskCorruptedError):
        decode_value(data)
    with pytest.raises(TaskCorruptedError):
        decode_offset(data)


def test_chunks_are_bounded_in_count_and_bytes():
    small = [("s", b"%d" % i, b"v") for i in range(CHUNK_RECORDS_MAX * 2 + 5)]
    assert [len(chunk) for chunk in chunks(small)] == [CHUNK_RECORDS_MAX, CHUNK_RECORDS_MAX, 5]
    large = [("s", b"k", b"x" * (CHUNK_BYTES_MAX // 2 + 1)) for _ in range(5)]
    assert [len(chunk) for chunk in chunks(large)] == [2, 2, 1]
    assert list(chunks([])) == []


def test_offset_lands_with_the_last_chunk_only():
    backend = CrashingBackend(["counts", "offsets"])
    state = TaskState([builder()], lambda _: backend)
    for i in range(CHUNK_RECORDS_MAX + 10):
        state.overlays["counts"].put(b"%d" % i, b"v")
    backend.chunks_left = 1
    with pytest.raises(OSError, match="killed"):
        state.apply({"counts": StoredOffset(900, TOPIC)})
    assert state.stored_offset("counts") is None


def test_apply_survives_reopening_rocksdb(tmp_path):
    cache = RocksMemory()
    for expected in (None, StoredOffset(900, TOPIC)):
        state = TaskState(
            [builder()], lambda names: RocksBackend(str(tmp_path / "db"), names, cache)
        )
        assert state.stored_offset("counts") == expected
        if expected is None:
            state.overlays["counts"].put(b"cat", encode_value(b"v", 7))
            state.apply({"counts": StoredOffset(900, TOPIC)})
        else:
            assert state.overlays["counts"].get(b"cat") == encode_value(b"v", 7)
        state.close()


def test_rocksdb_opens_with_stores_that_the_program_no_longer_has(tmp_path):
    path = str(tmp_path / "db")
    RocksBackend(path, ["old", "counts"]).close()
    backend = RocksBackend(path, ["counts", "new"])
    backend.write([("new", b"k", b"v")])
    assert backend.reader("new")(b"k") == b"v"
    backend.close()


def test_store_in_memory_has_no_offset_after_reopening():
    opened = []
    state = TaskState([builder(persistent=False)], opened.append)
    state.restore("counts", [(b"cat", b"v", 7)], 55, TOPIC)
    assert state.stored_offset("counts") == StoredOffset(55, TOPIC)
    assert opened == []
    assert TaskState([builder(persistent=False)], opened.append).stored_offset("counts") is None


def test_restore_puts_and_deletes_and_keeps_the_offset():
    state = TaskState([builder()], MemoryBackend)
    state.restore("counts", [(b"cat", b"v", 7), (b"dog", b"w", 8)], 57, TOPIC)
    state.restore("counts", [(b"cat", None, 9), (None, b"ignored", 9)], 59, TOPIC)
    assert state.overlays["counts"].get(b"cat") is None
    assert decode_value(state.overlays["counts"].get(b"dog")) == (b"w", 8)
    assert state.stored_offset("counts") == StoredOffset(59, TOPIC)


def test_wipe_leaves_nothing():
    state = TaskState([builder(), builder("other")], MemoryBackend)
    for name in ("counts", "other"):
        state.restore(name, [(b"cat", b"v", 7)], 57, TOPIC)
    state.wipe("counts")
    assert state.stored_offset("counts") is None
    assert state.overlays["counts"].get(b"cat") is None
    assert state.overlays["other"].get(b"cat") is not None


BOUNDS = ChangelogBounds(TOPIC, 20, 90)


@pytest.mark.parametrize(
    ("stored", "position", "is_wiped"),
    [
        (None, 20, False),
        (StoredOffset(20, TOPIC), 20, False),
        (StoredOffset(70, TOPIC), 70, False),
        (StoredOffset(90, TOPIC), 90, False),
        (StoredOffset(91, TOPIC), 20, True),
        (StoredOffset(19, TOPIC), 20, True),
        (StoredOffset(70, OTHER), 20, True),
    ],
)
def test_restore_begins_where_the_stored_offset_may_be_trusted(stored, position, is_wiped):
    plan = plan_restore(stored, BOUNDS)
    assert (plan.position, plan.end, plan.wipe is not None) == (position, 90, is_wiped)

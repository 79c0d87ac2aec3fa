"""What expires leaves the disk too: by retention of windows, and by time to live of rows."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from streamkit.common.model import Windowed
from streamkit.serdes import string
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.state.cache import CacheBudget
from streamkit.state.factory import Changelog, build_store
from streamkit.state.rocks import RocksBackend, RocksMemory
from streamkit.state.task_state import TaskState

ROUNDS = 30
ROWS = 400
VALUE_SIZE = 1_000
ROUND_MS = 60_000
WRITTEN = ROUNDS * ROWS * VALUE_SIZE
WINDOW = StoreBuilder(
    "kept", StoreKind.WINDOW, string, string, retention_ms=2 * ROUND_MS, window_ms=ROUND_MS
)
TTL = StoreBuilder("kept", StoreKind.TIMESTAMPED_KEY_VALUE, string, string, ttl_ms=2 * ROUND_MS)


class Context:
    """Time as the records have it."""

    timestamp = stream_time = 0

    def drop(self, reason: str) -> None:
        raise AssertionError(reason)


@pytest.mark.parametrize("builder", [WINDOW, TTL], ids=["retention", "time to live"])
def test_expired_rows_leave_the_disk(builder: StoreBuilder, tmp_path: Path) -> None:
    backends = []

    def open_backend(families):
        backends.append(RocksBackend(str(tmp_path), families, RocksMemory(2 << 20)))
        return backends[0]

    state = TaskState([builder], open_backend)
    context = Context()
    log = Changelog("log", 3, lambda *_: None)
    store = build_store(builder, state.overlays["kept"], log, CacheBudget(0), context)
    chance = random.Random(20_267)
    for number in range(ROUNDS):
        at = context.timestamp = context.stream_time = 5_000 + number * ROUND_MS
        for row in range(ROWS):
            key = f"{number}-{row}"
            place = key if builder is TTL else Windowed(key, at, at + ROUND_MS)
            store.put(place, chance.randbytes(VALUE_SIZE // 2).hex(), at)
        store.flush()
        state.apply({})
    live = sum(1 for _ in state.overlays["kept"].scan(None, None))
    assert ROWS < live < 8 * ROWS
    while any(backends[0].number("kept", f"rocksdb.{what}") for what in BUSY):
        continue
    taken = sum(each.stat().st_size for each in tmp_path.rglob("*") if each.is_file())
    state.close()
    print(f"{WRITTEN} bytes written, {live * VALUE_SIZE} of them live, {taken} on disk")
    assert taken < WRITTEN / 2


BUSY = ("compaction-pending", "num-running-compactions", "num-running-flushes")

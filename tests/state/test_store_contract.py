"""Every store, over memory and RocksDB, behaves as a plain dictionary sorted by key bytes."""

from __future__ import annotations

import shutil
import tempfile

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from streamkit.serdes import json, long, raw, string
from streamkit.state.backend import MemoryBackend
from streamkit.state.cache import CacheBudget, CachedStore, TimestampedStore
from streamkit.state.overlay import OverlayStore
from streamkit.state.rocks import RocksBackend

KEYS = st.text(alphabet="ab\u00e9\uffff", max_size=3)
VALUES = st.integers(-(2**63), 2**63 - 1)
TIMES = st.integers(5, 9_000)
QUICK = settings(
    max_examples=25, stateful_step_count=30, deadline=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


class StoreMachine(RuleBasedStateMachine):
    """Puts, deletes, commits and aborts against a model of two dictionaries."""

    cache_bytes: int | None = None
    value_serde = long

    def __init__(self) -> None:
        super().__init__()
        self.committed: dict[str, tuple[object, int]] = {}
        self.model: dict[str, tuple[object, int]] = {}
        self.path: str | None = None
        self.backend = self.open_backend()
        self.budget = CacheBudget(self.cache_bytes or 0)
        self.open_store()

    def open_backend(self):
        return MemoryBackend(["counts"])

    def open_store(self) -> None:
        self.overlay = OverlayStore(self.backend, "counts")
        serdes = (string, self.value_serde)
        self.store = TimestampedStore("counts", self.overlay, *serdes, "changelog")
        if self.cache_bytes is not None:
            self.store = CachedStore(self.store, *serdes, self.budget)

    def as_value(self, number: int) -> object:
        return number

    @rule(key=KEYS, number=VALUES, time=TIMES)
    def put(self, key, number, time):
        self.store.put(key, self.as_value(number), time)
        self.model[key] = (self.as_value(number), time)

    @rule(key=KEYS, time=TIMES)
    def delete(self, key, time):
        self.store.put(key, None, time)
        self.model.pop(key, None)

    @rule(key=KEYS)
    def get(self, key):
        found = self.store.get(key)
        assert (None if found is None else tuple(found)) == self.model.get(key)

    @rule(low=st.none() | KEYS, high=st.none() | KEYS, reverse=st.booleans())
    def range(self, low, high, reverse):
        found = [(k, tuple(v)) for k, v in self.store.range(low, high, reverse=reverse)]
        assert found == self.expected(low, high, reverse)

    @rule(prefix=KEYS.filter(bool), reverse=st.booleans())
    def prefix(self, prefix, reverse):
        found = [k for k, _ in self.store.prefix(prefix, reverse=reverse)]
        expected = [k for k, _ in self.expected(None, None, reverse)]
        assert found == [k for k in expected if k.encode().startswith(prefix.encode())]

    @rule(key=KEYS, number=VALUES)
    def scan_sees_the_store_as_it_was_opened(self, key, number):
        opened = self.store.all()
        expected = self.expected(None, None, False)
        self.put(key, number, 77)
        assert [(k, tuple(v)) for k, v in opened] == expected

    @rule()
    def flush(self):
        self.store.flush()

    @rule()
    def commit(self):
        self.store.flush()
        self.backend.write(self.overlay.take_changes())
        self.overlay.discard()
        self.committed = dict(self.model)

    @rule()
    def abort(self):
        self.store.close()
        self.open_store()
        self.model = dict(self.committed)

    @invariant()
    def cache_stays_within_its_budget(self):
        if self.cache_bytes is not None:
            assert 0 <= self.budget.used <= max(self.budget.limit, 400)

    def expected(self, low, high, reverse):
        entries = sorted(self.model.items(), key=lambda item: item[0].encode(), reverse=reverse)
        return [
            (key, value)
            for key, value in entries
            if (low is None or key.encode() >= low.encode())
            and (high is None or key.encode() <= high.encode())
        ]

    def teardown(self):
        self.store.close()
        self.backend.close()
        if self.path is not None:
            shutil.rmtree(self.path)


class RocksMachine(StoreMachine):
    def open_backend(self):
        self.path = tempfile.mkdtemp()
        return RocksBackend(f"{self.path}/db", ["counts"])


class CachedMachine(StoreMachine):
    cache_bytes = 1_000


class CachedRocksMachine(RocksMachine):
    cache_bytes = 500


class MutableValuesMachine(StoreMachine):
    cache_bytes = 1_000
    value_serde = json

    def as_value(self, number):
        return {"n": number}


QUICK_ROCKS = settings(QUICK, max_examples=8)
TestOverMemory = StoreMachine.TestCase
TestOverMemory.settings = QUICK
TestOverRocks = RocksMachine.TestCase
TestOverRocks.settings = QUICK_ROCKS
TestCached = CachedMachine.TestCase
TestCached.settings = QUICK
TestCachedOverRocks = CachedRocksMachine.TestCase
TestCachedOverRocks.settings = QUICK_ROCKS
TestMutableValues = MutableValuesMachine.TestCase
TestMutableValues.settings = QUICK


def test_bytes_keys_with_prefix_of_all_ones():
    backend = MemoryBackend(["a"])
    store = TimestampedStore("a", OverlayStore(backend, "a"), raw, raw, "t")
    for key in (b"\xfe", b"\xff", b"\xff\xff", b"\xff\x00"):
        store.put(key, key, 5)
    assert [k for k, _ in store.prefix(b"\xff")] == [b"\xff", b"\xff\x00", b"\xff\xff"]

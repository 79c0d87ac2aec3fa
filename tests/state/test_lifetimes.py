"""A time to live: rows expire by the store's stream time, and stay away."""

from __future__ import annotations

import random

import pytest

import streamkit as sk
from streamkit.common.errors import TopologyError
from streamkit.serdes import string
from streamkit.state.backend import MemoryBackend
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.state.cache import CacheBudget
from streamkit.state.factory import Changelog, build_store
from streamkit.state.lifetimes import SWEEP_ROWS
from streamkit.state.overlay import OverlayStore
from streamkit.state.queries import KeyQuery, RangeQuery, read_page

TTL = 500


class Context:
    def __init__(self):
        self.timestamp = -1
        self.stream_time = -1
        self.dropped = []

    def drop(self, reason):
        self.dropped.append(reason)


class Kit:
    """A store over memory, and its changelog as a table."""

    def __init__(self, *, cached=False, kind=StoreKind.TIMESTAMPED_KEY_VALUE):
        self.builder = StoreBuilder(
            "rows", kind, string, string, caching_enabled=cached, ttl_ms=TTL
        )
        self.backend = MemoryBackend(["rows"])
        self.overlay = OverlayStore(self.backend, "rows")
        self.log = {}
        self.context = Context()
        self.store = build_store(
            self.builder,
            self.overlay,
            Changelog("log", 3, self.append),
            CacheBudget(1 << 20),
            self.context,
        )

    def append(self, key, value, timestamp, headers, partition):
        self.log[key] = value

    def commit(self):
        self.store.flush()
        self.backend.write(self.overlay.take_changes())
        self.overlay.discard()


@pytest.fixture(params=[False, True], ids=["plain", "cached"])
def kit(request):
    return Kit(cached=request.param)


def test_row_lives_until_its_time_and_the_ttl_are_over(kit):
    kit.store.put("a", "1", 1_000)
    kit.store.put("b", "2", 1_000 + TTL - 1)
    assert kit.store.get("a").value == "1"
    kit.store.put("c", "3", 1_000 + TTL)
    assert kit.store.get("a") is None
    assert [key for key, _ in kit.store.all()] == ["b", "c"]
    assert [key for key, _ in kit.store.range("a", "b", reverse=True)] == ["b"]
    assert list(kit.store.prefix("a")) == []


def test_time_goes_on_with_records_that_put_nothing(kit):
    kit.store.put("a", "1", 1_000)
    kit.context.stream_time = 1_000 + TTL
    assert kit.store.get("a") is None
    assert list(kit.store.all()) == []


def test_new_value_lives_anew(kit):
    kit.store.put("a", "1", 1_000)
    kit.store.put("a", "2", 1_400)
    kit.store.put("b", "x", 1_600)
    assert kit.store.get("a").value == "2"


def test_row_that_comes_too_late_is_dropped(kit):
    kit.store.put("a", "1", 9_000)
    kit.store.put("b", "2", 9_000 - TTL)
    assert kit.store.get("b") is None
    assert len(kit.context.dropped) == 1


def test_expired_rows_leave_store_and_changelog(kit):
    kit.store.put("a", "1", 1_000)
    kit.commit()
    kit.store.put("b", "2", 1_000 + TTL)
    kit.commit()
    assert kit.log == {b"a": None, b"b": b"2"}
    assert [key for key, _ in kit.backend.scan("rows", None, None)] == [b"b"]


def test_large_store_is_swept_some_rows_with_each_flush(kit):
    count = 2 * SWEEP_ROWS + SWEEP_ROWS // 2
    for i in range(count):
        kit.store.put(f"{i:06}", "x", 1_000)
    kit.commit()
    kit.store.put("z", "x", 5_000)
    left = []
    for _ in range(4):
        kit.commit()
        left.append(sum(1 for _ in kit.backend.scan("rows", None, None)))
    assert left == [count + 1 - SWEEP_ROWS, 1 + SWEEP_ROWS, 1, 1]


def test_like_a_dictionary_with_times(kit):
    chance = random.Random(20_269)
    model, now = {}, 10_000
    for _ in range(2_000):
        now += chance.randrange(3)
        key, at = f"{chance.randrange(400)}", now - chance.randrange(900)
        stream_time = max([at, *(time for _, time in model.values())], default=at)
        if chance.random() < 0.1:
            kit.store.put(key, None, at)
            model.pop(key, None)
        elif at + TTL > max(stream_time, kit.store.stream_time):
            kit.store.put(key, str(at), at)
            model[key] = (str(at), at)
        if chance.random() < 0.1:
            kit.commit()
        live = {k: v for k, (v, time) in model.items() if time + TTL > kit.store.stream_time}
        assert {k: row.value for k, row in kit.store.all()} == live
    kit.commit()


def test_queries_do_not_see_expired_rows():
    kit = Kit()
    kit.store.put("a", "1", 1_000)
    kit.backend.write(kit.overlay.take_changes())
    committed = OverlayStore(kit.backend, "rows")
    for query in (KeyQuery(b"a"), RangeQuery()):
        assert len(read_page(kit.builder, committed, query, stream_time=1_499).rows) == 1
        assert read_page(kit.builder, committed, query, stream_time=1_500).rows == []


def test_store_of_a_function_may_have_a_time_to_live():
    app = sk.App("ttl")
    words = app.topic("words", key=str, value=str)
    counts = app.topic("counts", key=str, value=int)

    @app.processor(
        words, to=counts, stores={"seen": sk.store("seen", key=str, value=int, ttl="1m")}
    )
    def count(word: str, seen: sk.KeyValue[str, int]) -> int:
        seen[word] = seen.get(word, 0) + 1
        return seen[word]

    with app.test() as t:
        for at in (1_000, 40_000, 99_000, 159_001):
            t.pipe("words", "k", "a", at=at)
        assert [record.value for record in t.read("counts")] == [1, 2, 3, 1]
    assert count("a", {}) == 1


def test_time_to_live_of_windows_is_their_retention():
    with pytest.raises(TopologyError, match="retention"):
        sk.store("rows", key=str, value=str, form="window", retention="1h", ttl="1m")

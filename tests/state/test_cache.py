"""The record cache: what it holds back, in which order it lets go, and what it tells."""

from __future__ import annotations

import pytest

from streamkit.common.errors import FatalError, SerializationError
from streamkit.serdes import double, json, long, string
from streamkit.state.backend import MemoryBackend
from streamkit.state.cache import (
    ENTRY_OVERHEAD_BYTES,
    CacheBudget,
    CachedStore,
    TimestampedStore,
    ValueAndTimestamp,
)
from streamkit.state.overlay import OverlayStore

ROOMY = 100_000


class Table:
    """A cached store with a record of what reached the changelog and the listener."""

    def __init__(self, limit=ROOMY, *, key=string, value=long, sends_old=True):
        self.overlay = OverlayStore(MemoryBackend(["t"]), "t")
        self.logged = []
        self.heard = []
        below = TimestampedStore(
            "t", self.overlay, key, value, "log",
            lambda k, v, ts, headers, partition: self.logged.append((k, v, ts, partition)), 3,
        )  # fmt: skip
        self.budget = CacheBudget(limit)
        self.store = CachedStore(below, key, value, self.budget)
        assert self.store.set_flush_listener(lambda *args: self.heard.append(args), sends_old)


def test_nothing_passes_before_a_flush():
    table = Table()
    table.store.put("cat", 4, 50)
    assert (table.logged, table.heard) == ([], [])
    assert tuple(table.store.get("cat")) == (4, 50)


def test_flush_passes_the_last_value_with_its_time_and_headers():
    table = Table()
    table.store.put("cat", 4, 50)
    table.store.put("cat", 6, 70, (("h", b"x"),))
    table.store.flush()
    assert table.heard == [("cat", 6, None, 70, (("h", b"x"),))]
    assert table.logged == [(b"cat", (6).to_bytes(8, "big"), 70, 3)]


def test_flush_tells_the_old_value_below():
    table = Table()
    table.store.put("cat", 4, 50)
    table.store.flush()
    table.store.put("cat", 6, 70)
    table.store.flush()
    assert table.heard[1] == ("cat", 6, 4, 70, ())


def test_old_values_are_left_out_when_nobody_asked():
    table = Table(sends_old=False)
    for value in (4, 6):
        table.store.put("cat", value, 50)
        table.store.flush()
    assert [heard[2] for heard in table.heard] == [None, None]


def test_entries_pass_in_the_order_of_their_last_put():
    table = Table()
    for key in ("a", "b", "c", "a"):
        table.store.put(key, 4, 50)
    table.store.flush()
    assert [heard[0] for heard in table.heard] == ["b", "c", "a"]


def test_put_and_delete_between_flushes_is_never_seen():
    table = Table()
    table.store.put("cat", 4, 50)
    table.store.put("cat", None, 60)
    table.store.flush()
    assert (table.heard, table.logged) == ([], [])


def test_delete_of_a_stored_entry_passes():
    table = Table()
    table.store.put("cat", 4, 50)
    table.store.flush()
    table.store.put("cat", None, 60)
    table.store.flush()
    assert table.heard[1] == ("cat", None, 4, 60, ())
    assert table.logged[1] == (b"cat", None, 60, 3)


def test_clean_entries_leave_in_the_order_of_use():
    entry = ENTRY_OVERHEAD_BYTES + 9
    table = Table(limit=3 * entry)
    for key in ("a", "b", "c"):
        table.store.put(key, 4, 50)
    table.store.flush()
    table.store.get("a")
    table.store.put("d", 4, 50)
    table.overlay.discard()
    assert table.store.get("b") is None
    assert table.store.get("a") is not None


def test_evicting_a_dirty_entry_passes_on_all_dirty_ones():
    entry = ENTRY_OVERHEAD_BYTES + 9
    table = Table(limit=3 * entry)
    for key in ("a", "b", "c", "d"):
        table.store.put(key, 4, 50)
    assert [heard[0] for heard in table.heard] == ["a", "b", "c", "d"]
    assert table.budget.used <= table.budget.limit


def test_two_stores_share_the_budget():
    first, second = Table(limit=1_000), Table(limit=1_000)
    second.store = CachedStore(
        TimestampedStore("t", second.overlay, string, long, "log"), string, long, first.budget
    )
    for i in range(50):
        first.store.put(f"a{i}", 4, 50)
        second.store.put(f"b{i}", 4, 50)
        assert first.budget.used <= first.budget.limit + 400


def test_put_by_the_listener_is_passed_on_in_the_same_flush():
    table = Table()
    keys = {"a": "b", "b": "c"}
    table.store.set_flush_listener(
        lambda key, *_: key in keys and table.store.put(keys[key], 4, 50), False
    )
    table.store.put("a", 4, 50)
    table.store.flush()
    assert [entry[0] for entry in table.logged] == [b"a", b"b", b"c"]


def test_listener_that_feeds_itself_is_stopped():
    table = Table()
    table.store.set_flush_listener(lambda key, *_: table.store.put(key, 4, 50), False)
    table.store.put("a", 4, 50)
    with pytest.raises(FatalError, match="store t"):
        table.store.flush()


def test_mutable_values_are_not_shared_with_the_caller():
    table = Table(value=json)
    value = {"n": 4}
    table.store.put("cat", value, 50)
    value["n"] = 5
    table.store.get("cat").value["n"] = 6
    assert table.store.get("cat").value == {"n": 4}


def test_value_that_does_not_fit_its_serde_is_refused_at_the_put():
    table = Table()
    with pytest.raises(SerializationError, match="64 bits"):
        table.store.put("cat", 2**63, 50)
    with pytest.raises(SerializationError):
        table.store.put("cat", "four", 50)


def test_float_keys_go_by_their_bytes():
    table = Table(key=double)
    table.store.put(0.0, 4, 50)
    table.store.put(-0.0, 6, 50)
    assert table.store.get(0.0).value == 4


def test_value_and_timestamp_reads_as_a_pair():
    pair = ValueAndTimestamp("x", 7)
    assert (pair[0], pair[1], tuple(pair)) == ("x", 7, ("x", 7))
    assert pair == ValueAndTimestamp("x", 7)

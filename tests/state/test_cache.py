"""The record cache: what it holds back, in which order it lets go, and what it tells."""

from __future__ import annotations

import pytest

from streamkit.common.direct import ValueAndTimestamp
from streamkit.common.errors import FatalError, SerializationError
from streamkit.serdes import double, json, long, string
from streamkit.state.backend import MemoryBackend
from streamkit.state.cache import (
    ENTRY_OVERHEAD_BYTES,
    CacheBudget,
    CachedStore,
    TimestampedStore,
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


def test_entry_put_again_by_the_listener_passes_in_the_next_round():
    table = Table()

    def listen(key, *_):
        table.heard.append(key)
        if table.heard == ["a"]:
            table.store.put("b", 7, 60)
            table.store.put("a", 8, 60)

    table.store.set_flush_listener(listen, False)
    for key in ("a", "b", "c"):
        table.store.put(key, 4, 50)
    table.store.flush()
    assert table.heard == ["a", "c", "b", "a"]
    assert [int.from_bytes(entry[1], "big") for entry in table.logged] == [4, 4, 7, 8]


def test_range_in_the_middle_of_a_flush_shows_each_entry_once():
    table = Table()
    seen = []

    def listen(key, *_):
        if key == "b" and not seen:
            table.store.put("a", 9, 60)
            seen.extend((key, entry.value) for key, entry in table.store.all())

    table.store.set_flush_listener(listen, False)
    for key in ("a", "b", "c"):
        table.store.put(key, 4, 50)
    table.store.flush()
    assert seen == [("a", 9), ("b", 4), ("c", 4)]


def test_flush_that_fails_leaves_what_it_has_not_passed_on():
    table = Table()
    failing = ["b"]

    def listen(key, *_):
        table.heard.append(key)
        if key in failing:
            raise ValueError(key)

    table.store.set_flush_listener(listen, False)
    for key in ("a", "b", "c", "d"):
        table.store.put(key, 4, 50)
    with pytest.raises(ValueError, match="b"):
        table.store.flush()
    failing.clear()
    table.store.flush()
    assert table.heard == ["a", "b", "c", "d"]


def test_used_entry_gets_one_more_turn_only():
    entry = ENTRY_OVERHEAD_BYTES + 9
    table = Table(limit=2 * entry)
    for key in ("a", "b"):
        table.store.put(key, 4, 50)
    table.store.flush()
    table.overlay.discard()
    table.store.get("a")
    table.store.get("b")
    table.store.put("c", 4, 50)
    assert table.store.get("a") is None
    table.store.put("d", 4, 50)
    assert table.store.get("b") is None
    assert table.budget.used <= table.budget.limit


@pytest.mark.parametrize("value", [long, json])
def test_counting_up_does_what_get_and_put_do(value):
    counted, put = Table(value=value), Table(value=value)
    for key, time in (("a", 50), ("b", 10), ("a", 40), ("b", 20), ("c", 5), ("a", 60)):
        if key == "c":
            counted.store.put("a", None, time)
            put.store.put("a", None, time)
        counted.store.count_up(key, time, (("h", b"x"),))
        entry = put.store.get(key)
        count, then = (0, time) if entry is None else entry
        put.store.put(key, count + 1, max(time, then), (("h", b"x"),))
    assert counted.store.get_count == put.store.get_count
    assert counted.store.put_count == put.store.put_count
    counted.store.flush()
    put.store.flush()
    assert counted.heard == put.heard == [
        ("b", 2, None, 20, (("h", b"x"),)),
        ("c", 1, None, 5, (("h", b"x"),)),
        ("a", 1, None, 60, (("h", b"x"),)),
    ]  # fmt: skip
    assert counted.logged == put.logged


def test_count_that_leaves_64_bits_is_refused():
    table = Table()
    table.store.put("cat", 2**63 - 1, 50)
    with pytest.raises(SerializationError, match="64 bits"):
        table.store.count_up("cat", 60, ())
    assert tuple(table.store.get("cat")) == (2**63 - 1, 50)


def test_what_was_put_and_counted_is_undone():
    table = Table()
    table.store.put("a", 4, 50)
    table.store.put("b", 4, 50)
    table.store.flush()
    table.store.put("b", 5, 55)
    used = table.budget.used
    table.budget.journal = journal = []
    table.store.count_up("a", 60, ())
    table.store.count_up("b", 60, ())
    table.store.count_up("new", 60, ())
    table.store.put("b", None, 70)
    for undo, arguments in reversed(journal):
        undo(*arguments)
    table.budget.journal = None
    assert table.budget.used == used
    assert table.store.get("new") is None
    table.heard.clear()
    table.store.flush()
    assert table.heard == [("b", 5, 4, 55, ())]

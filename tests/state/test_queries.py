"""Queries over committed bytes, against a plain dictionary: ranges, windows, pages, both ways."""

from __future__ import annotations

import random

import pytest

from streamkit.serdes import string
from streamkit.state.backend import MemoryBackend
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.state.formats import encode_value
from streamkit.state.overlay import OverlayStore
from streamkit.state.queries import (
    KeyQuery,
    RangeQuery,
    Row,
    VersionsQuery,
    WindowQuery,
    fits,
    newest_time,
    read_page,
)
from streamkit.state.versioned import VersionedRows
from streamkit.state.window_keys import SessionKeys, WindowKeys, stored_key
from streamkit.state.windows import keys_of

PLAIN = StoreBuilder("rows", StoreKind.TIMESTAMPED_KEY_VALUE, string, string)
WINDOW = StoreBuilder(
    "rows", StoreKind.WINDOW, string, string, retention_ms=400_000, window_ms=5_000
)
SESSION = StoreBuilder("rows", StoreKind.SESSION, string, string, retention_ms=400_000)
KEYS = [b"", b"a", b"a\x00", b"aa", b"ab", b"b", b"\xff", b"\xff\xff"]


def store_of(entries):
    backend = MemoryBackend(["rows"])
    backend.write([("rows", key, value) for key, value in entries.items()])
    return OverlayStore(backend, "rows")


@pytest.fixture
def plain():
    return store_of({key: encode_value(b"v" + key, 70 + i) for i, key in enumerate(KEYS)})


def all_pages(builder, store, query, limit, **options):
    rows, after = [], None
    while True:
        page = read_page(builder, store, query, limit=limit, after=after, **options)
        assert len(page.rows) <= limit
        rows += page.rows
        if page.after is None:
            return rows
        after = page.after


def test_row_of_a_key(plain):
    assert read_page(PLAIN, plain, KeyQuery(b"ab")).rows == [Row(b"ab", b"vab", 74)]
    assert read_page(PLAIN, plain, KeyQuery(b"missing")).rows == []


def test_uncommitted_changes_are_not_seen(plain):
    backend = MemoryBackend(["rows"])
    store = OverlayStore(backend, "rows")
    store.put(b"a", encode_value(b"1", 5))
    assert read_page(PLAIN, OverlayStore(backend, "rows"), KeyQuery(b"a")).rows == []


@pytest.mark.parametrize("limit", [1, 3, 100])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, KEYS),
        ({"low": b"aa"}, KEYS[3:]),
        ({"high": b"aa"}, KEYS[:4]),
        ({"low": b"a\x00", "high": b"b"}, KEYS[2:6]),
        ({"prefix": b"a"}, KEYS[1:5]),
        ({"prefix": b"\xff"}, KEYS[6:]),
        ({"low": b"x", "high": b"c"}, []),
    ],
)
def test_ranges_page_by_page(plain, query, expected, reverse, limit):
    rows = all_pages(PLAIN, plain, RangeQuery(**query, reverse=reverse), limit)
    assert [row.key for row in rows] == (expected[::-1] if reverse else expected)


def windowed(builder, seed):
    """A store full of windows, and its rows in the order of the store."""
    chance = random.Random(seed)
    keys = keys_of(builder)
    entries, rows = {}, []
    for number in range(300):
        key = chance.choice([b"a", b"ab", b"b", b""])
        start = chance.randrange(0, 3_000_000, 1_000)
        end = start + 5_000 if isinstance(keys, WindowKeys) else start + chance.randrange(9_000)
        logged = keys.logged(key, start, end)
        if stored_key(keys, logged) not in entries:
            rows.append((stored_key(keys, logged), Row(key, b"%d" % number, number, start, end)))
        entries[stored_key(keys, logged)] = encode_value(b"%d" % number, number)
    latest = dict(rows)
    for stored, data in entries.items():
        old = latest[stored]
        latest[stored] = Row(old.key, data[10:], int(data[10:]), old.start, old.end)
    return store_of(entries), [latest[stored] for stored in sorted(latest)], keys


@pytest.mark.parametrize("builder", [WINDOW, SESSION], ids=["windows", "sessions"])
@pytest.mark.parametrize("limit", [2, 1_000])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("key", [None, b"a", b"", b"c"])
def test_windows_page_by_page(builder, key, reverse, limit):
    store, rows, keys = windowed(builder, 20_266)
    low, high = 700_000, 2_100_000

    def is_meant(row):
        return low <= keys.time(row.start, row.end) <= high and key in (None, row.key)

    query = WindowQuery(key, low, high, reverse)
    expected = [row for row in rows if is_meant(row)]
    found = all_pages(builder, store, query, limit)
    assert found == (expected[::-1] if reverse else expected)


def test_expired_windows_are_not_found():
    store, rows, _ = windowed(WINDOW, 20_267)
    stream_time = 2_500_000
    found = all_pages(WINDOW, store, WindowQuery(), 50, stream_time=stream_time)
    assert found == [row for row in rows if row.start > stream_time - WINDOW.retention_ms]


def test_newest_time_is_that_of_the_last_segment():
    store, rows, keys = windowed(SESSION, 20_268)
    newest = max(keys.time(row.start, row.end) for row in rows)
    assert isinstance(keys, SessionKeys)
    assert 0 <= newest - newest_time(SESSION, store) < keys.segment_ms
    assert newest_time(SESSION, store_of({})) == -1


def test_windows_are_not_asked_of_tables_nor_keys_of_windows():
    assert fits(PLAIN, RangeQuery())
    assert not fits(PLAIN, WindowQuery())
    assert fits(SESSION, WindowQuery())
    assert not fits(WINDOW, KeyQuery(b"a"))


VERSIONED = StoreBuilder(
    "rows", StoreKind.VERSIONED, string, string, retention_ms=400_000, segment_ms=20_000
)


@pytest.fixture
def versioned():
    store = store_of({})
    rows = VersionedRows(store, VERSIONED.retention_ms, VERSIONED.segment_ms)
    for time, value in ((50_000, b"1"), (90_000, b"3"), (70_000, b"2"), (110_000, None)):
        rows.put(b"k", value, time)
    rows.put(b"k", b"5", 130_000)
    rows.put(b"kk", b"other", 60_000)
    return store


def spans(page):
    return [(row.value, row.start, row.end) for row in page.rows]


def test_version_as_of_a_time(versioned):
    def at(as_of):
        return spans(read_page(VERSIONED, versioned, KeyQuery(b"k", as_of)))

    assert at(None) == [(b"5", 130_000, None)]
    assert at(130_000) == [(b"5", 130_000, None)]
    assert at(129_999) == []  # deleted then
    assert at(89_999) == [(b"2", 70_000, 90_000)]
    assert at(49_999) == []
    assert spans(read_page(VERSIONED, versioned, KeyQuery(b"none", 60_000))) == []


@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize("reverse", [False, True])
def test_versions_that_held_in_a_range_of_times(versioned, limit, reverse):
    def between(first, last):
        query = VersionsQuery(b"k", first, last, reverse)
        found = all_pages(VERSIONED, versioned, query, limit)
        return [row.value for row in (reversed(found) if reverse else found)]

    assert between(0, None) == [b"1", b"2", b"3", b"5"]
    assert between(70_000, 90_000) == [b"2", b"3"]
    assert between(69_999, 89_999) == [b"1", b"2"]
    assert between(110_000, 129_999) == []
    assert between(0, 49_999) == []


def test_versioned_store_answers_no_other_query(versioned):
    assert fits(VERSIONED, KeyQuery(b"k"))
    assert not fits(VERSIONED, RangeQuery())
    assert not fits(VERSIONED, WindowQuery())
    assert not fits(PLAIN, KeyQuery(b"k", 0))
    assert not fits(PLAIN, VersionsQuery(b"k"))


def test_windows_of_a_range_of_keys():
    keys = WindowKeys(5_000, 60_000)
    rows = {
        stored_key(keys, keys.logged(key, 70_000, 75_000)): encode_value(b"v" + key, 70_000)
        for key in KEYS
    }
    query = WindowQuery(low=b"aa", high=b"b")
    found = read_page(WINDOW, store_of(rows), query).rows
    assert {row.key for row in found} == {b"aa", b"ab", b"b"}

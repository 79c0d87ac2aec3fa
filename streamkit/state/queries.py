"""Reading a task's committed state from outside: by key, range, window, version; page by page.

Bytes in, bytes out: who asks knows the serdes. What a task has written since its last commit is
not seen, since it may yet be taken back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from streamkit.common.model import Headers
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.state.cache import prefix_end
from streamkit.state.formats import decode_value, decode_with_headers
from streamkit.state.overlay import OverlayStore
from streamkit.state.versioned import Entry, VersionedRows
from streamkit.state.window_keys import SEGMENT_SIZE, Keys, segment_prefix
from streamkit.state.windows import keys_of

PAGE_ROWS_MAX: Final = 10_000
KEY_VALUE_KINDS: Final = (
    StoreKind.KEY_VALUE,
    StoreKind.TIMESTAMPED_KEY_VALUE,
    StoreKind.HEADERS,
)
WINDOWED_KINDS: Final = (StoreKind.WINDOW, StoreKind.SESSION)


@dataclass(frozen=True, slots=True)
class KeyQuery:
    """The row of one key; in a versioned store also as of a time (KIP-960)."""

    key: bytes
    as_of: int | None = None


@dataclass(frozen=True, slots=True)
class RangeQuery:
    """The rows from `low` to `high`, both included, or those whose key's bytes begin so."""

    low: bytes | None = None
    high: bytes | None = None
    prefix: bytes | None = None
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class WindowQuery:
    """Windows by their start, sessions by their end, both ends included.

    Of one key, of those from `low` to `high`, both included, or of all.
    """

    key: bytes | None = None
    time_from: int = 0
    time_to: int | None = None
    reverse: bool = False
    low: bytes | None = None
    high: bytes | None = None


@dataclass(frozen=True, slots=True)
class VersionsQuery:
    """The versions of a key that held at any time of a range, both ends included (KIP-968)."""

    key: bytes
    time_from: int = 0
    time_to: int | None = None
    reverse: bool = False


Query = KeyQuery | RangeQuery | WindowQuery | VersionsQuery


class Row(NamedTuple):
    """One row; `start` and `end` are those of its window, or of the time in which it held."""

    key: bytes
    value: bytes
    timestamp: int
    start: int | None = None
    end: int | None = None
    headers: Headers | None = None


class Page(NamedTuple):
    """Rows, and where the next page begins: after this stored key; None when there is none."""

    rows: list[Row]
    after: bytes | None


def fits(builder: StoreBuilder, query: Query) -> bool:
    """Whether a store answers such a query."""
    if isinstance(query, WindowQuery):
        return builder.kind in WINDOWED_KINDS
    if isinstance(query, VersionsQuery) or (
        isinstance(query, KeyQuery) and query.as_of is not None
    ):
        return builder.kind is StoreKind.VERSIONED
    if isinstance(query, KeyQuery) and builder.kind is StoreKind.VERSIONED:
        return True
    return builder.kind in KEY_VALUE_KINDS


def read_page(
    builder: StoreBuilder,
    store: OverlayStore,
    query: Query,
    *,
    limit: int = PAGE_ROWS_MAX,
    after: bytes | None = None,
    stream_time: int = -1,
) -> Page:
    """One page of what a query finds; `stream_time` hides the windows that have expired."""
    assert fits(builder, query), f"store {builder.name} does not answer {query}"
    found: Iterator[tuple[bytes, Row]]
    if builder.kind is StoreKind.VERSIONED:
        return _version_page(builder, store, query, limit, after, stream_time)
    if isinstance(query, KeyQuery):
        data = store.get(query.key)
        row = None if data is None else _row(builder, query.key, data)
        return Page([] if row is None or _is_expired(builder, row, stream_time) else [row], None)
    if isinstance(query, RangeQuery):
        found = filter(
            lambda each: not _is_expired(builder, each[1], stream_time),
            _range(builder, store, query, after),
        )
    else:
        assert isinstance(query, WindowQuery), "versions were asked for above"
        found = _windows(builder, store, query, after, stream_time)
    rows: list[Row] = []
    last: bytes | None = None
    for stored_key, row in found:
        if len(rows) >= limit:
            return Page(rows, last)
        rows.append(row)
        last = stored_key
    return Page(rows, None)


def newest_time(builder: StoreBuilder, store: OverlayStore) -> int:
    """About how far time is in a windowed store that no task writes: its newest segment's begin."""
    entry = next(store.scan(None, None, True), None)
    if entry is None or not builder.kind.is_windowed:
        return -1
    number = int.from_bytes(entry[0][:SEGMENT_SIZE], "big", signed=True)
    return number * keys_of(builder).segment_ms


def _is_expired(builder: StoreBuilder, row: Row, stream_time: int) -> bool:
    return builder.ttl_ms > 0 and row.timestamp + builder.ttl_ms <= stream_time


def _row(builder: StoreBuilder, key: bytes, data: bytes) -> Row:
    value, timestamp, headers = decode_with_headers(data)
    told = headers if builder.kind is StoreKind.HEADERS else None
    return Row(key, value, timestamp, headers=told)


def _version_page(
    builder: StoreBuilder,
    store: OverlayStore,
    query: Query,
    limit: int,
    after: bytes | None,
    stream_time: int,
) -> Page:
    """One version of a key, or some; a page goes on after a start, written in 8 bytes."""
    rows = VersionedRows(store, builder.retention_ms, builder.segment_ms)
    rows.stream_time = max(rows.stream_time, stream_time)
    if isinstance(query, KeyQuery):
        at = rows.latest(query.key) if query.as_of is None else rows.at(query.key, query.as_of)
        found = None if at is None else _version(query.key, at)
        return Page([] if found is None else [found], None)
    assert isinstance(query, VersionsQuery), f"store {builder.name} does not answer {query}"
    versions = [
        row
        for each in rows.versions(query.key, query.time_from, query.time_to)
        if (row := _version(query.key, each)) is not None
    ]
    if query.reverse:
        versions.reverse()
    if after is not None:
        last = int.from_bytes(after, "big", signed=True)
        beyond = [row for row in versions if (row.timestamp < last) is query.reverse]
        versions = [row for row in beyond if row.timestamp != last]
    page = versions[:limit]
    goes_on = len(versions) > limit
    return Page(page, page[-1].timestamp.to_bytes(8, "big", signed=True) if goes_on else None)


def _version(key: bytes, found: Entry | tuple[bytes, int]) -> Row | None:
    if not isinstance(found, Entry):
        return Row(key, found[0], found[1], found[1])
    if found.value is None:
        return None
    return Row(key, found.value, found.start, found.start, found.end)


def _range(
    builder: StoreBuilder, store: OverlayStore, query: RangeQuery, after: bytes | None
) -> Iterator[tuple[bytes, Row]]:
    low, high = query.low, None if query.high is None else query.high + b"\x00"
    if query.prefix is not None:
        low, high = query.prefix, prefix_end(query.prefix)
    low, high = _beyond(low, high, after, reverse=query.reverse)
    for key, data in store.scan(low, high, query.reverse):
        yield key, _row(builder, key, data)


def _windows(
    builder: StoreBuilder,
    store: OverlayStore,
    query: WindowQuery,
    after: bytes | None,
    stream_time: int,
) -> Iterator[tuple[bytes, Row]]:
    keys = keys_of(builder)
    low_time = max(query.time_from, stream_time - builder.retention_ms + 1, 0)
    for stored_key, data in _stored_windows(keys, store, query, low_time, after):
        key, start, end = keys.parts(stored_key[SEGMENT_SIZE:])
        time = keys.time(start, end)
        if time < low_time or (query.time_to is not None and time > query.time_to):
            continue
        if _is_meant(query, key):
            value, timestamp = decode_value(data)
            yield stored_key, Row(key, value, timestamp, start, end)


def _is_meant(query: WindowQuery, key: bytes) -> bool:
    if query.key is not None:
        return key == query.key
    if query.low is not None and key < query.low:
        return False
    return query.high is None or key <= query.high


def _stored_windows(
    keys: Keys, store: OverlayStore, query: WindowQuery, low_time: int, after: bytes | None
) -> Iterator[tuple[bytes, bytes]]:
    """The stored rows that may be meant, segment by segment."""
    first = low_time // keys.segment_ms
    last = _edge_segment(store, reverse=True)
    if query.time_to is not None:
        last = min(last, query.time_to // keys.segment_ms)
    first = max(first, _edge_segment(store, reverse=False))
    numbers = range(last, first - 1, -1) if query.reverse else range(first, last + 1)
    for number in numbers:
        low, high = segment_prefix(number), segment_prefix(number + 1)
        if query.key is not None:
            bounds = keys.bounds(query.key, low_time)
            low, high = low + bounds[0], low + bounds[1]
        span = _beyond(low, high, after, reverse=query.reverse)
        yield from store.scan(*span, query.reverse)


def _edge_segment(store: OverlayStore, *, reverse: bool) -> int:
    entry = next(store.scan(None, None, reverse), None)
    if entry is None:
        return -1 if reverse else 0
    return int.from_bytes(entry[0][:SEGMENT_SIZE], "big", signed=True)


def _beyond(
    low: bytes | None, high: bytes | None, after: bytes | None, *, reverse: bool
) -> tuple[bytes | None, bytes | None]:
    """The part of a range that comes after a key, in the direction of reading."""
    if after is None:
        return low, high
    if reverse:
        return low, after if high is None else min(high, after)
    beyond = after + b"\x00"
    return beyond if low is None else max(low, beyond), high

"""The store of a table, and the record cache over it.

`TimestampedStore` turns user objects into bytes, writes them to the overlay and to the changelog.
`CachedStore` holds back both, and what goes downstream, until a commit or until the byte limit
is reached (Kafka's CachingKeyValueStore and ThreadCache): entries are passed on in the order of
their last put, the least recently used are dropped first, and dropping a dirty one passes on all.
Keys and values that are immutable scalars are cached as objects, everything else as bytes.
Compiled by Cython; runs the same uncompiled; its types for
mypy stand in `cache.pyi`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import cython

from streamkit import serdes
from streamkit.common.errors import FatalError
from streamkit.state.formats import VALUE_PREFIX_SIZE, decode_value, encode_value
from streamkit.state.overlay import merge

if cython.compiled:
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize
    from cython.cimports.libc.string import memcpy

if TYPE_CHECKING:
    from streamkit.common.model import Headers
    from streamkit.state.interfaces import FlushListener
    from streamkit.state.overlay import OverlayStore

ChangelogAppend = Callable[[bytes, bytes | None, int, "Headers", int], None]
"""Called with key, value, timestamp, headers and partition for each change."""

ENTRY_OVERHEAD_BYTES = 160
"""What one cached entry costs besides its key and value."""

FLUSH_ROUNDS_MAX = 100
"""How often a flush may find new changes made by those it passed on."""

_LONG_MIN = -(2**63)
_LONG_MAX = 2**63 - 1
_PREFIX = cython.declare(cython.Py_ssize_t, VALUE_PREFIX_SIZE)

_PLAIN_TYPES = (
    (serdes.string, str),
    (serdes.long, int),
    (serdes.raw, bytes),
    (serdes.double, float),
)


@cython.no_gc
@cython.freelist(1024)
@cython.cclass
class ValueAndTimestamp:
    """A value with the time of the record that made it; see the interface of that name."""

    def __init__(self, value: Any, timestamp: int) -> None:
        self.value = value
        self.timestamp = timestamp

    def __getitem__(self, index: int) -> object:
        if index == 0:
            return self.value
        if index == 1:
            return self.timestamp
        raise IndexError(index)

    def __iter__(self) -> Iterator[object]:
        return iter((self.value, self.timestamp))

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if hasattr(other, "__iter__") else NotImplemented

    def __hash__(self) -> int:
        return hash((self.value, self.timestamp))

    def __repr__(self) -> str:
        return f"ValueAndTimestamp(value={self.value!r}, timestamp={self.timestamp})"


@cython.cclass
class TimestampedStore:
    """User objects over the bytes of one store; every put goes to the changelog."""

    def __init__(
        self,
        name: str,
        store: OverlayStore,
        key_serde: serdes.Serde[object],
        value_serde: serdes.Serde[object],
        topic: str,
        log: ChangelogAppend | None = None,
        partition: int = -1,
    ) -> None:
        self.name = name
        self._bytes = store
        self._log = log
        self.get_count = 0
        self.put_count = 0
        self._partition = partition
        self._topic = topic
        self._key_to_bytes = key_serde.serialize
        self._key_from_bytes = key_serde.deserialize
        self._value_to_bytes = value_serde.serialize
        self._value_from_bytes = value_serde.deserialize
        self._has_long_values = value_serde is serdes.long
        self._takes_bytes = False

    def get(self, key: Any) -> ValueAndTimestamp | None:
        """The value and its timestamp, or None."""
        self.get_count += 1
        return self.read(self.key_bytes(key))

    def put(self, key: Any, value: Any, timestamp: int, headers: Headers = ()) -> None:
        """Set or, with None, delete."""
        self.put_count += 1
        data = None if value is None else self.value_bytes(value)
        self.write(self.key_bytes(key), data, timestamp)

    def range(
        self, low: Any | None, high: Any | None, *, reverse: bool = False
    ) -> Iterator[tuple[object, ValueAndTimestamp]]:
        """The entries from `low` to `high`, both included, in the order of their keys' bytes."""
        entries = self._bytes.scan(self.low_bytes(low), self.high_bytes(high), reverse)
        return self.objects(entries)

    def prefix(
        self, prefix: Any, *, reverse: bool = False
    ) -> Iterator[tuple[object, ValueAndTimestamp]]:
        """The entries whose key's bytes begin with those of `prefix`."""
        low = self.key_bytes(prefix)
        return self.objects(self._bytes.scan(low, prefix_end(low), reverse))

    def all(self) -> Iterator[tuple[object, ValueAndTimestamp]]:
        """Every entry, in the order of the keys' bytes."""
        return self.range(None, None)

    def set_flush_listener(self, listener: FlushListener, sends_old_values: bool) -> bool:
        """False: without a cache nothing is held back, the caller forwards by itself."""
        return False

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is held open."""

    @cython.ccall
    def key_bytes(self, key: Any) -> object:
        return self._key_to_bytes(self._topic, key, ())

    @cython.ccall
    def key_object(self, data: Any) -> object:
        return self._key_from_bytes(self._topic, data, ())

    @cython.ccall
    def value_bytes(self, value: Any) -> object:
        if self._has_long_values and type(value) is int and _LONG_MIN <= value <= _LONG_MAX:
            return long_bytes(value)
        return self._value_to_bytes(self._topic, value, ())

    @cython.ccall
    def value_object(self, data: Any) -> object:
        return self._value_from_bytes(self._topic, data, ())

    def low_bytes(self, low: Any | None) -> bytes | None:
        return None if low is None else self.key_bytes(low)

    def high_bytes(self, high: Any | None) -> bytes | None:
        return None if high is None else self.key_bytes(high) + b"\x00"

    @cython.ccall
    def read(self, key: Any) -> object:
        """Look up by the key's bytes."""
        data = self._bytes.get(key)
        if data is None:
            return None
        if cython.compiled and self._has_long_values:
            found = _stored_long(data)
            if found is not None:
                return found
        value, timestamp = decode_value(data)
        return ValueAndTimestamp(self.value_object(value), timestamp)

    @cython.ccall
    def write(self, key: Any, value: Any, timestamp: Any) -> object:
        """Set by bytes, in the store and in the changelog."""
        self._bytes.put(key, None if value is None else stored_bytes(value, timestamp))
        if self._log is not None:
            self._log(key, value, timestamp, (), self._partition)

    def scan(self, low: bytes | None, high: bytes | None, reverse: bool) -> Iterator[object]:
        """The stored bytes of the entries with low <= key < high."""
        return self._bytes.scan(low, high, reverse)

    def objects(self, entries: Iterator[object]) -> Iterator[tuple[object, ValueAndTimestamp]]:
        """Stored bytes as objects, one after the other."""
        for key, data in entries:
            value, timestamp = decode_value(data)
            yield self.key_object(key), ValueAndTimestamp(self.value_object(value), timestamp)


@cython.cclass
class CacheBudget:
    """The bytes that all caches of one processing thread share.

    With a `journal` puts can be undone, and caches evict nothing by themselves: one that is
    `waiting` is over the limit.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.journal = None
        self.waiting = None


@cython.no_gc
@cython.freelist(1024)
@cython.cclass
class _Node:
    """One cached entry, in the list of uses and, while dirty, in the list of puts."""

    def __init__(self, key: Any) -> None:
        self.key = key
        self.current = None
        self.timestamp = 0
        self.headers = ()
        self.size = 0
        self.is_dirty = False
        self.older = None
        self.newer = None
        self.put_before = None
        self.put_after = None


@cython.cclass
class CachedStore:
    """The record cache over a `TimestampedStore`, with the same face."""

    def __init__(
        self,
        below: TimestampedStore,
        key_serde: serdes.Serde[object],
        value_serde: serdes.Serde[object],
        budget: CacheBudget,
    ) -> None:
        self.name = below.name
        self._below = below
        self.get_count = 0
        self.put_count = 0
        self.miss_count = 0
        self._budget = budget
        self._nodes = {}
        # A float is no good as a key: 0.0 equals -0.0, and their bytes differ.
        key_type = _plain_type(key_serde)
        self._key_type = None if key_type is float else key_type
        self._value_type = _plain_type(value_serde)
        self._takes_bytes = below._takes_bytes
        self._listener = None
        self._sends_old_values = False
        self._is_flushing = False
        self._oldest = None
        self._newest = None
        self._first_put = None
        self._last_put = None

    @cython.ccall
    def get(self, key: Any) -> object:
        """The value and its timestamp, or None."""
        self.get_count += 1
        if type(key) is not self._key_type:
            key = self._cache_key(key)
        node: _Node | None = self._nodes.get(key)
        if node is None:
            node = self._load(key)
            if node is None:
                return None
        elif node is not self._newest:
            self._unlink_use(node)
            self._link_use(node)
        if self._value_type is not None or node.current is None:
            return node.current
        held: ValueAndTimestamp = node.current
        return ValueAndTimestamp(self._below.value_object(held.value), held.timestamp)

    @cython.ccall
    def put(self, key: Any, value: Any, timestamp: Any, headers: Any = ()) -> object:
        """Set or, with None, delete; passed on later."""
        self.put_count += 1
        if type(key) is not self._key_type:
            key = self._cache_key(key)
        if value is not None and not _is_plain(value, self._value_type):
            value = self._cache_value(value)
        node: _Node | None = self._nodes.get(key)
        if self._budget.journal is not None:
            self._note(key, node)
        if node is None:
            node = _Node(key)
            self._nodes[key] = node
            self._link_use(node)
        elif node is not self._newest:
            self._unlink_use(node)
            self._link_use(node)
        node.current = None if value is None else ValueAndTimestamp(value, timestamp)
        node.timestamp = timestamp
        node.headers = headers
        self._mark_dirty(node)
        size: cython.Py_ssize_t = ENTRY_OVERHEAD_BYTES + _size_of(key) + _size_of(value)
        self._budget.used += size - node.size
        node.size = size
        if self._budget.used > self._budget.limit and not self._is_flushing:
            self._make_room()

    def range(
        self, low: Any | None, high: Any | None, *, reverse: bool = False
    ) -> Iterator[tuple[object, ValueAndTimestamp]]:
        """The entries from `low` to `high`, both included, in the order of their keys' bytes."""
        return self._scan(self._below.low_bytes(low), self._below.high_bytes(high), reverse)

    def prefix(
        self, prefix: Any, *, reverse: bool = False
    ) -> Iterator[tuple[object, ValueAndTimestamp]]:
        """The entries whose key's bytes begin with those of `prefix`."""
        low = self._below.key_bytes(prefix)
        return self._scan(low, prefix_end(low), reverse)

    def all(self) -> Iterator[tuple[object, ValueAndTimestamp]]:
        """Every entry, in the order of the keys' bytes."""
        return self._scan(None, None, False)

    def set_flush_listener(self, listener: FlushListener, sends_old_values: bool) -> bool:
        """Call `listener` for each entry that is passed on; True: it will be called."""
        self._listener = listener
        self._sends_old_values = sends_old_values
        return True

    def flush(self) -> None:
        """Pass everything that was put to the store, the changelog and the listener."""
        if self._is_flushing:
            return
        self._is_flushing = True
        rounds: cython.int = 0
        try:
            while self._first_put is not None:
                rounds += 1
                if rounds > FLUSH_ROUNDS_MAX:
                    raise FatalError(
                        f"store {self.name}: what the cache passes on comes back as new puts, "
                        f"{FLUSH_ROUNDS_MAX} times over; switch its cache off"
                    )
                self._flush_round()
        finally:
            self._is_flushing = False

    def close(self) -> None:
        """Forget everything, passed on or not."""
        node: _Node | None = self._oldest
        while node is not None:
            following: _Node | None = node.newer
            node.older = node.newer = node.put_before = node.put_after = None
            self._budget.used -= node.size
            node = following
        self._nodes.clear()
        self._oldest = self._newest = self._first_put = self._last_put = None

    def _flush_round(self) -> None:
        last: _Node | None = self._last_put
        while True:
            node: _Node | None = self._first_put
            if node is None:
                return
            self._unlink_put(node)
            self._pass_on(node)
            if node is last:
                return

    @cython.cfunc
    def _pass_on(self, node: _Node) -> object:
        below: TimestampedStore = self._below
        current: ValueAndTimestamp | None = node.current
        key_bytes = node.key if self._key_type is None else below.key_bytes(node.key)
        listener = self._listener
        old = None
        if listener is not None and (current is None or self._sends_old_values):
            old = below.read(key_bytes)
            if current is None and old is None:
                # Put and deleted again before anybody below or downstream saw it.
                return
        new_bytes = None
        new = None
        if current is not None:
            if self._value_type is None:
                new_bytes = current.value
            else:
                new_bytes = below.value_bytes(current.value)
                new = current.value
        below.write(key_bytes, new_bytes, node.timestamp)
        if listener is None:
            return
        if self._value_type is None and new_bytes is not None:
            new = below.value_object(new_bytes)
        key = below.key_object(node.key) if self._key_type is None else node.key
        old_value = old.value if old is not None and self._sends_old_values else None
        listener(key, new, old_value, node.timestamp, node.headers)

    def _make_room(self) -> None:
        if self._budget.journal is None:
            self.evict()
        else:
            self._budget.waiting = self

    def _note(self, key: Any, node: _Node | None) -> None:
        """Remember an entry as it is before a put."""
        if node is None:
            self._budget.journal.append((self._undo_new, (key,)))
            return
        was = (node.current, node.timestamp, node.headers, node.size)
        place = (node.is_dirty, node.put_before)
        self._budget.journal.append((self._undo_put, (key, was, place)))

    def _undo_new(self, key: Any) -> None:
        node: _Node | None = self._nodes.get(key)
        if node is not None:
            if node.is_dirty:
                self._unlink_put(node)
            self._drop(node)

    def _undo_put(self, key: Any, was: tuple[Any, ...], place: tuple[Any, ...]) -> None:
        node: _Node | None = self._nodes.get(key)
        if node is None:
            return
        if node.is_dirty:
            self._unlink_put(node)
        node.current, node.timestamp, node.headers, size = was
        self._budget.used += size - node.size
        node.size = size
        if place[0]:
            self._link_put_after(node, place[1])

    def _link_put_after(self, node: _Node, before: _Node | None) -> None:
        """Into the list of puts, behind another; to the front when that is None."""
        after: _Node | None = self._first_put if before is None else before.put_after
        node.is_dirty = True
        node.put_before = before
        node.put_after = after
        if before is None:
            self._first_put = node
        else:
            before.put_after = node
        if after is None:
            self._last_put = node
        else:
            after.put_before = node

    def evict(self) -> None:
        """Pass on and drop entries until the limit is kept."""
        budget: CacheBudget = self._budget
        while budget.used > budget.limit and self._oldest is not None:
            node: _Node | None = self._oldest
            if node.is_dirty:
                self.flush()
                if node.is_dirty:
                    return
            if node.newer is None and budget.used - node.size > budget.limit:
                # Others hold the bytes; they give them back with their own next put.
                self._drop(node)
                return
            self._drop(node)

    def _drop(self, node: _Node) -> None:
        self._unlink_use(node)
        del self._nodes[node.key]
        self._budget.used -= node.size

    @cython.cfunc
    def _load(self, key: Any) -> _Node | None:
        self.miss_count += 1
        below: TimestampedStore = self._below
        found: ValueAndTimestamp | None = below.read(
            key if self._key_type is None else below.key_bytes(key)
        )
        if found is None:
            return None
        if self._value_type is None:
            found = ValueAndTimestamp(below.value_bytes(found.value), found.timestamp)
        node = _Node(key)
        node.current = found
        node.timestamp = found.timestamp
        node.size = ENTRY_OVERHEAD_BYTES + _size_of(key) + _size_of(found.value)
        self._nodes[key] = node
        self._link_use(node)
        self._budget.used += node.size
        if self._budget.used > self._budget.limit and not self._is_flushing:
            self._make_room()
        return node

    @cython.cfunc
    def _cache_key(self, key: Any) -> object:
        """A key as the cache has it: its bytes, or the plain object that its bytes stand for."""
        if self._takes_bytes and type(key) is bytes:
            return key
        data = self._below.key_bytes(key)
        return data if self._key_type is None else self._below.key_object(data)

    def _cache_value(self, value: Any) -> object:
        data = self._below.value_bytes(value)
        return data if self._value_type is None else self._below.value_object(data)

    def _scan(
        self, low: bytes | None, high: bytes | None, reverse: bool
    ) -> Iterator[tuple[object, ValueAndTimestamp]]:
        below: TimestampedStore = self._below
        changes = []
        node: _Node | None = self._first_put
        while node is not None:
            key = node.key if self._key_type is None else below.key_bytes(node.key)
            if (low is None or key >= low) and (high is None or key < high):
                changes.append((key, self._stored_bytes(node)))
            node = node.put_after
        committed = below.scan(low, high, reverse)
        if changes:
            changes.sort(reverse=reverse)
            committed = merge(changes, committed, reverse)
        return below.objects(committed)

    def _stored_bytes(self, node: _Node) -> bytes | None:
        current: ValueAndTimestamp | None = node.current
        if current is None:
            return None
        value = current.value
        if self._value_type is not None:
            value = self._below.value_bytes(value)
        return stored_bytes(value, current.timestamp)

    @cython.cfunc
    def _link_use(self, node: _Node) -> cython.void:
        node.newer = None
        node.older = self._newest
        if self._newest is None:
            self._oldest = node
        else:
            self._newest.newer = node
        self._newest = node

    @cython.cfunc
    def _unlink_use(self, node: _Node) -> cython.void:
        if node.older is None:
            self._oldest = node.newer
        else:
            node.older.newer = node.newer
        if node.newer is None:
            self._newest = node.older
        else:
            node.newer.older = node.older
        node.older = None
        node.newer = None

    @cython.cfunc
    def _mark_dirty(self, node: _Node) -> cython.void:
        if node.is_dirty:
            if node is self._last_put:
                return
            self._unlink_put(node)
        node.is_dirty = True
        node.put_before = self._last_put
        if self._last_put is None:
            self._first_put = node
        else:
            self._last_put.put_after = node
        self._last_put = node

    @cython.cfunc
    def _unlink_put(self, node: _Node) -> cython.void:
        if node.put_before is None:
            self._first_put = node.put_after
        else:
            node.put_before.put_after = node.put_after
        if node.put_after is None:
            self._last_put = node.put_before
        else:
            node.put_after.put_before = node.put_before
        node.put_before = None
        node.put_after = None
        node.is_dirty = False


@cython.ccall
def stored_bytes(value: bytes, timestamp: cython.longlong) -> object:
    """A value and its timestamp as the store keeps them: `encode_value`, in C when there is a C."""
    if cython.compiled:
        size: cython.Py_ssize_t = len(value)
        data = PyBytes_FromStringAndSize(cython.NULL, _PREFIX + size)
        out = cython.cast(cython.p_uchar, PyBytes_AS_STRING(data))
        out[0] = 1
        out[1] = 1
        put_long(out + 2, timestamp)  # noqa: F821 - C's own, from the pxd
        memcpy(out + _PREFIX, PyBytes_AS_STRING(value), size)
        return data
    return encode_value(value, timestamp)


@cython.cfunc
def _stored_long(data: bytes) -> object:
    """A stored long in the format of today; None for anything else."""
    raw = cython.cast(cython.p_uchar, PyBytes_AS_STRING(data))
    if len(data) != 18 or raw[0] != 1 or raw[1] != 1:
        return None
    return ValueAndTimestamp(get_long(raw + 10), get_long(raw + 2))  # noqa: F821


@cython.ccall
def long_bytes(value: cython.longlong) -> bytes:
    """A long, big-endian."""
    if cython.compiled:
        data = PyBytes_FromStringAndSize(cython.NULL, 8)
        put_long(cython.cast(cython.p_uchar, PyBytes_AS_STRING(data)), value)  # noqa: F821
        return data
    return value.to_bytes(8, "big", signed=True)


def prefix_end(prefix: bytes) -> bytes | None:
    """The first key after all that begin with `prefix`; None when there is none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else None


def _plain_type(serde: serdes.Serde[object]) -> type | None:
    for known, kind in _PLAIN_TYPES:
        if serde is known:
            return kind
    return None


@cython.cfunc
def _is_plain(value: Any, kind: object) -> cython.bint:
    """Whether the value is of the plain type and certain to fit its serde."""
    if type(value) is not kind:
        return False
    return kind is not int or _LONG_MIN <= value <= _LONG_MAX


@cython.cfunc
def _size_of(value: Any) -> cython.Py_ssize_t:
    if isinstance(value, str | bytes):
        return len(value)
    return 8

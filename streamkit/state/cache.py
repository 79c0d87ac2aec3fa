"""The store of a table, and the record cache over it.

`TimestampedStore` turns user objects into bytes, writes them to the overlay and to the changelog.
`CachedStore` holds back both, and what goes downstream, until a commit or until the byte limit
is reached (Kafka's CachingKeyValueStore and ThreadCache): entries are passed on in the order of
their last put, and dropping a dirty one passes on all. Which are dropped is told by the clock
algorithm: one that was used since its last turn gets another. A use and a put touch no entry but
their own, since in a large cache each other one is a wait for memory; for the same reason longs
stand in the entry itself. Keys and values that are immutable scalars are cached as objects,
everything else as bytes.
Compiled by Cython; runs the same uncompiled; its types for
mypy stand in `cache.pyi`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import cython

from streamkit import serdes
from streamkit.common.direct import (
    FlushTarget,
    RecordWriter,
    Rows,
    ValueAndTimestamp,
    new_row,
    receiver,
)
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


@cython.cclass
class TimestampedStore(Rows):
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
        self._writer = receiver(log, RecordWriter, "append")
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

    @cython.ccall
    def get(self, key: Any) -> object:
        """The value and its timestamp, or None."""
        self.get_count += 1
        return self.read(self.key_bytes(key))

    @cython.ccall
    def put(self, key: Any, value: Any, timestamp: cython.longlong, headers: Any = ()) -> object:
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

    def approximate_num_entries(self) -> int:
        """About how many rows there are."""
        return self._bytes.approximate_count()

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
        return new_row(self.value_object(value), timestamp)

    @cython.ccall
    def write(self, key: Any, value: Any, timestamp: cython.longlong) -> object:
        """Set by bytes, in the store and in the changelog."""
        self._bytes.put(key, None if value is None else stored_bytes(value, timestamp))
        self.log(key, value, timestamp)

    @cython.ccall
    def log(self, key: Any, value: Any, timestamp: cython.longlong) -> object:
        """Tell the changelog alone."""
        if self._writer is not None:
            self._writer.append(key, value, timestamp, (), self._partition)
        elif self._log is not None:
            self._log(key, value, timestamp, (), self._partition)

    def scan(self, low: bytes | None, high: bytes | None, reverse: bool) -> Iterator[object]:
        """The stored bytes of the entries with low <= key < high."""
        return self._bytes.scan(low, high, reverse)

    def objects(self, entries: Iterator[object]) -> Iterator[tuple[object, ValueAndTimestamp]]:
        """Stored bytes as objects, one after the other."""
        for key, data in entries:
            value, timestamp = decode_value(data)
            yield self.key_object(key), new_row(self.value_object(value), timestamp)


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
    """One cached entry, in the circle of uses and, while dirty, in the list of what was put.

    A row has its value in `number` when `is_number`, else in `value`; None is no row.
    """


@cython.cfunc
def _new_node(key: Any) -> _Node:
    node: _Node = _Node.__new__(_Node)
    node.key = key
    node.value = None
    node.headers = ()
    node.number = 0
    node.timestamp = 0
    node.size = 0
    node.put_at = 0
    node.is_number = False
    node.is_dirty = False
    node.is_used = False
    node.older = None
    node.newer = None
    return node


@cython.cfunc
def _set_value(node: _Node, value: Any, timestamp: cython.longlong) -> cython.void:
    """Make the entry's row; None for none."""
    node.timestamp = timestamp
    node.is_number = type(value) is int
    if node.is_number:
        node.number = value
        node.value = None
    else:
        node.value = value


@cython.cfunc
def _is_there(node: _Node) -> cython.bint:
    """Whether there is a row."""
    return node.is_number or node.value is not None


@cython.cfunc
def _value_of(node: _Node) -> object:
    """The row's value, None when there is no row."""
    return node.number if node.is_number else node.value


def _put_at(node: _Node) -> int:
    return node.put_at


@cython.cclass
class CachedStore(Rows):
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
        self._target = None
        self._sends_old_values = False
        self._is_flushing = False
        self._oldest = None
        self._newest = None
        self._puts = 0
        self._dirty = []
        self._passing = []

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
        else:
            node.is_used = True
        if not _is_there(node):
            return None
        value = _value_of(node)
        if self._value_type is None:
            value = self._below.value_object(value)
        return new_row(value, node.timestamp)

    @cython.ccall
    def put(self, key: Any, value: Any, timestamp: cython.longlong, headers: Any = ()) -> object:
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
            node = _new_node(key)
            self._nodes[key] = node
            self._link_use(node)
        else:
            node.is_used = True
        _set_value(node, value, timestamp)
        node.headers = headers
        self._mark_dirty(node)
        size: cython.Py_ssize_t = ENTRY_OVERHEAD_BYTES + _size_of(key) + _size_of(value)
        self._budget.used += size - node.size
        node.size = size
        if self._budget.used > self._budget.limit and not self._is_flushing:
            self._make_room()

    @cython.ccall
    def count_up(self, key: Any, timestamp: cython.longlong, headers: Any) -> object:
        """Add one to a row, from 0; its time is the later one. What a get and a put would do."""
        if type(key) is not self._key_type:
            key = self._cache_key(key)
        node: _Node | None = self._nodes.get(key)
        if node is None or not node.is_number or node.number == _LONG_MAX:
            Rows.count_up(self, key, timestamp, headers)
            return
        self.get_count += 1
        self.put_count += 1
        if self._budget.journal is not None:
            self._note(key, node)
        node.is_used = True
        node.number += 1
        node.timestamp = max(timestamp, node.timestamp)
        node.headers = headers
        self._mark_dirty(node)

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

    def approximate_num_entries(self) -> int:
        """About how many rows the store below has; as in Kafka without those that are held back."""
        return self._below.approximate_num_entries()

    def set_flush_listener(self, listener: FlushListener, sends_old_values: bool) -> bool:
        """Call `listener` for each entry that is passed on; True: it will be called."""
        self._listener = listener
        self._target = receiver(listener, FlushTarget, "on_flush")
        self._sends_old_values = sends_old_values
        return True

    def flush(self) -> None:
        """Pass everything that was put to the store, the changelog and the listener."""
        if self._is_flushing:
            return
        self._is_flushing = True
        rounds: cython.int = 0
        try:
            while self._dirty:
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
            node.older = node.newer = None
            self._budget.used -= node.size
            node = following
        self._nodes.clear()
        self._oldest = self._newest = None
        self._dirty = []
        self._passing = []

    def _flush_round(self) -> None:
        """Pass on what was put before now; what is put meanwhile waits for the next round."""
        last: cython.longlong = self._puts
        passing: list[_Node] = sorted(self._dirty, key=_put_at)
        i: cython.Py_ssize_t = 0
        self._dirty = []
        self._passing = passing
        try:
            for i in range(len(passing)):
                node: _Node = passing[i]
                if node.put_at > last:
                    self._dirty.append(node)
                elif node.is_dirty:
                    node.is_dirty = False
                    self._pass_on(node)
        except BaseException:
            self._dirty = passing[i + 1 :] + self._dirty
            raise
        finally:
            self._passing = []

    @cython.cfunc
    def _pass_on(self, node: _Node) -> object:
        below: TimestampedStore = self._below
        key_bytes = node.key if self._key_type is None else below.key_bytes(node.key)
        listener = self._listener
        old = None
        if listener is not None and (not _is_there(node) or self._sends_old_values):
            old = below.read(key_bytes)
            if not _is_there(node) and old is None:
                # Put and deleted again before anybody below or downstream saw it.
                return
        new_bytes = None
        new = None
        if node.is_number:
            new = node.number
            new_bytes = below.value_bytes(new)
        elif node.value is not None:
            new = node.value
            new_bytes = new if self._value_type is None else below.value_bytes(new)
        below.write(key_bytes, new_bytes, node.timestamp)
        if listener is None:
            return
        if self._value_type is None and new_bytes is not None:
            new = below.value_object(new_bytes)
        key = below.key_object(node.key) if self._key_type is None else node.key
        old_value = old.value if old is not None and self._sends_old_values else None
        if self._target is not None:
            self._target.on_flush(key, new, old_value, node.timestamp, node.headers)
        else:
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
        was = (_value_of(node), node.timestamp, node.headers, node.size)
        place = (node.is_dirty, node.put_at)
        self._budget.journal.append((self._undo_put, (key, was, place)))

    def _undo_new(self, key: Any) -> None:
        node: _Node | None = self._nodes.get(key)
        if node is not None:
            node.is_dirty = False
            self._drop(node)

    def _undo_put(self, key: Any, was: tuple[Any, ...], place: tuple[Any, ...]) -> None:
        node: _Node | None = self._nodes.get(key)
        if node is None:
            return
        value, timestamp, node.headers, size = was
        _set_value(node, value, timestamp)
        self._budget.used += size - node.size
        node.size = size
        is_dirty, node.put_at = place
        if is_dirty and not node.is_dirty:
            self._dirty.append(node)
        node.is_dirty = is_dirty

    def evict(self) -> None:
        """Pass on and drop entries until the limit is kept."""
        budget: CacheBudget = self._budget
        last: _Node | None = self._newest
        while budget.used > budget.limit and self._oldest is not None:
            node: _Node | None = self._oldest
            if node.newer is not None and (node.is_used or node is last):
                if node is last:
                    last = None
                node.is_used = False
                self._unlink_use(node)
                self._link_use(node)
                continue
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
        value = below.value_bytes(found.value) if self._value_type is None else found.value
        node = _new_node(key)
        _set_value(node, value, found.timestamp)
        node.size = ENTRY_OVERHEAD_BYTES + _size_of(key) + _size_of(value)
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
        dirty = {}
        for node in self._passing + self._dirty:
            each: _Node = node
            if each.is_dirty:
                key = each.key if self._key_type is None else below.key_bytes(each.key)
                if (low is None or key >= low) and (high is None or key < high):
                    dirty[key] = self._stored_bytes(each)
        changes = list(dirty.items())
        committed = below.scan(low, high, reverse)
        if changes:
            changes.sort(reverse=reverse)
            committed = merge(changes, committed, reverse)
        return below.objects(committed)

    def _stored_bytes(self, node: _Node) -> bytes | None:
        if not _is_there(node):
            return None
        value = _value_of(node)
        if self._value_type is not None:
            value = self._below.value_bytes(value)
        return stored_bytes(value, node.timestamp)

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
        self._puts += 1
        node.put_at = self._puts
        if not node.is_dirty:
            node.is_dirty = True
            self._dirty.append(node)


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
    return new_row(get_long(raw + 10), get_long(raw + 2))  # noqa: F821


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

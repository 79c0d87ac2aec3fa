"""What compiled modules of different packages call each other by: a jump, not a Python call.

A Python call from one compiled module to another costs as much as what most of them do for a
record. The callee extends a class of this module, the caller knows it by that class; the packages
know nothing else of each other. Compiled by Cython; runs the same uncompiled; its types for mypy
stand in `direct.pyi`.
"""

# The compiler needs C types where mypy sees ints; `direct.pyi` has the types for users of this.
from __future__ import annotations

import cython


@cython.cclass
class RecordColumns:
    """The records of one batch as a source reads them: one field of the record at an index.

    `offsets` is a sequence, a range when no record is missing.
    """

    def __init__(self):
        self.offsets = range(0)

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def time_at(self, i: cython.Py_ssize_t) -> cython.longlong:
        """The timestamp in milliseconds."""
        raise NotImplementedError

    @cython.ccall
    def headers_at(self, i: cython.Py_ssize_t):
        """The headers, as a tuple."""
        raise NotImplementedError

    @cython.ccall
    def key_at(self, i: cython.Py_ssize_t):
        """The key's bytes, or None."""
        raise NotImplementedError

    @cython.ccall
    def value_at(self, i: cython.Py_ssize_t):
        """The value's bytes, or None."""
        raise NotImplementedError

    @cython.ccall
    def value_mark_at(self, i: cython.Py_ssize_t):
        """What stands for a value that nobody looks at; None when there is none."""
        raise NotImplementedError

    @cython.ccall
    def key_text_at(self, i: cython.Py_ssize_t):
        """The key as text, or None. Raises UnicodeDecodeError."""
        raise NotImplementedError

    @cython.ccall
    def value_text_at(self, i: cython.Py_ssize_t):
        """The value as text, or None. Raises UnicodeDecodeError."""
        raise NotImplementedError


@cython.ccall
def as_bytes(field):
    """A key or a value as writers take it, as bytes or None. Raises TypeError for others."""
    if type(field) is str and field.isascii():
        return field.encode()
    if field is not None and not isinstance(field, bytes):
        raise TypeError(f"a record has bytes, not {field!r:.40}")
    return field


@cython.cclass
class RecordWriter:
    """What the records of one topic are appended to."""

    @cython.ccall
    def append(
        self, key, value, timestamp: cython.longlong, headers=(), partition: cython.int = -1
    ):
        """Add one record of bytes, or texts that are ASCII; partition -1 goes by the key's hash."""
        raise NotImplementedError


@cython.cclass
class FlushTarget:
    """Who hears what a cache lets go of."""

    @cython.ccall
    def on_flush(self, key, new, old, timestamp: cython.longlong, headers):
        """A row was passed on to the store and to its changelog."""
        raise NotImplementedError


@cython.cclass
class Rows:
    """A store of rows by key, as operators use it."""

    @cython.ccall
    def get(self, key):
        """The value and its timestamp, or None."""
        raise NotImplementedError

    @cython.ccall
    def put(self, key, value, timestamp: cython.longlong, headers=()):
        """Set or, with None, delete."""
        raise NotImplementedError

    def put_if_absent(self, key, value, timestamp, headers=()):
        """Set a row unless there is one; gives the one that was there, or None."""
        found = self.get(key)
        if found is None:
            self.put(key, value, timestamp, headers)
        return found

    def put_all(self, entries):
        """Set many rows, (key, value, timestamp) each, or with None delete them."""
        for key, value, timestamp in entries:
            self.put(key, value, timestamp)

    @cython.ccall
    def count_up(self, key, timestamp: cython.longlong, headers):
        """Add one to a row, from 0; its time is the later one."""
        row = self.get(key)
        if row is None:
            self.put(key, 1, timestamp, headers)
        else:
            self.put(key, row_value(row) + 1, max(timestamp, row_time(row)), headers)


@cython.cclass
class OtherRows(Rows):
    """A store of any other class: a user's own, or one that is interpreted."""

    _get: object
    _put: object

    def __init__(self, store):
        self._get = store.get
        self._put = store.put

    @cython.ccall
    def get(self, key):
        """As the store's."""
        return self._get(key)

    @cython.ccall
    def put(self, key, value, timestamp: cython.longlong, headers=()):
        """As the store's."""
        return self._put(key, value, timestamp, headers)


@cython.cclass
class TimedRows:
    """A store of rows by key and window."""

    @cython.ccall
    def place(self, key, start: cython.longlong, end: cython.longlong):
        """What stands for a key and its window in the other two."""
        raise NotImplementedError

    @cython.ccall
    def get_at(self, place, time: cython.longlong):
        """The value and its timestamp, or None; `time` is that by which the row expires."""
        raise NotImplementedError

    @cython.ccall
    def put_at(self, place, time: cython.longlong, value, timestamp: cython.longlong, headers):
        """Set or, with None, delete."""
        raise NotImplementedError

    @cython.ccall
    def count_up_at(self, place, time: cython.longlong, timestamp: cython.longlong, headers):
        """Add one to a row, from 0; its time is the later one."""
        row = self.get_at(place, time)
        if row is None:
            self.put_at(place, time, 1, timestamp, headers)
        else:
            self.put_at(place, time, row_value(row) + 1, max(timestamp, row_time(row)), headers)


@cython.cclass
class OtherTimedRows(TimedRows):
    """A store of any other class."""

    _place: object
    _get_at: object
    _put_at: object

    def __init__(self, store):
        self._place = store.place
        self._get_at = store.get_at
        self._put_at = store.put_at

    @cython.ccall
    def place(self, key, start: cython.longlong, end: cython.longlong):
        """As the store's."""
        return self._place(key, start, end)

    @cython.ccall
    def get_at(self, place, time: cython.longlong):
        """As the store's."""
        return self._get_at(place, time)

    @cython.ccall
    def put_at(self, place, time: cython.longlong, value, timestamp: cython.longlong, headers):
        """As the store's."""
        return self._put_at(place, time, value, timestamp, headers)


def timed_rows_of(store):
    """A store as `TimedRows`."""
    return store if isinstance(store, TimedRows) else OtherTimedRows(store)


def rows_of(store):
    """A store as `Rows`."""
    return store if isinstance(store, Rows) else OtherRows(store)


def receiver(call, kind, name):
    """The `kind` whose method `name` this is, to be called directly; None for any other call."""
    owner = getattr(call, "__self__", None)
    return owner if isinstance(owner, kind) and call.__name__ == name else None


@cython.no_gc
@cython.freelist(1024)
@cython.final
@cython.cclass
class ValueAndTimestamp:
    """A value with the time of the record that made it; see the interface of that name."""

    def __init__(self, value, timestamp):
        self.value = value
        self.timestamp = timestamp

    def __getitem__(self, index: int):
        if index == 0:
            return self.value
        if index == 1:
            return self.timestamp
        raise IndexError(index)

    def __iter__(self):
        return iter((self.value, self.timestamp))

    def __eq__(self, other):
        return tuple(self) == tuple(other) if hasattr(other, "__iter__") else NotImplemented

    def __hash__(self):
        return hash((self.value, self.timestamp))

    def __repr__(self):
        return f"ValueAndTimestamp(value={self.value!r}, timestamp={self.timestamp})"


@cython.ccall
def new_row(value, timestamp: cython.longlong):
    """`ValueAndTimestamp(value, timestamp)`, without the call of a class."""
    row: ValueAndTimestamp = ValueAndTimestamp.__new__(ValueAndTimestamp)
    row.value = value
    row.timestamp = timestamp
    return row


@cython.ccall
def row_value(row):
    """The value of what a store gave: the first of two."""
    if type(row) is ValueAndTimestamp:
        return cython.cast(ValueAndTimestamp, row).value
    return row[0]


@cython.ccall
@cython.exceptval(-1, check=True)
def row_time(row) -> cython.longlong:
    """The timestamp of what a store gave: the second of two."""
    if type(row) is ValueAndTimestamp:
        return cython.cast(ValueAndTimestamp, row).timestamp
    return row[1]

# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: nonecheck=False, cdivision=True
"""The records of a decoded batch, read where they lie.

Compiled by Cython, since each record is read through it; runs the same uncompiled. Its types for
mypy stand in `batch.pyi`.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

import cython

from streamkit.common.direct import RecordColumns

if cython.compiled:
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize
    from cython.cimports.cpython.unicode import PyUnicode_DecodeUTF8


class _Span(NamedTuple):
    """Where a record's key and value lie, as the interpreted codec keeps it; C has `Span`."""

    time: int
    key: int
    key_size: int
    value: int
    value_size: int


@cython.final
@cython.cclass
class DecodedBatch(RecordColumns):
    """A batch's records, whose keys and values stay where they were until they are asked for.

    Ask for one field of one record, or for a list of them all: `timestamps`, `keys`, `values` and
    `headers` are made when they are first used, with a shared `()` where there are no headers.
    `offsets` is a range unless records were compacted away: no object for each.
    """

    def __init__(self, header, records, room: cython.Py_ssize_t):
        view = cython.declare(cython.const[cython.uchar][::1], records)
        RecordColumns.__init__(self)
        self.header = header
        self._bytes = records
        self._room = room
        self._first = 0
        self._count = 0
        self._timestamps = self._keys = self._values = self._headers = None
        if cython.compiled:
            self._data = (
                cython.cast(cython.p_uchar, cython.address(view[0])) if room else cython.NULL
            )
            self._memory = PyBytes_FromStringAndSize(
                cython.NULL,
                room * cython.sizeof(Span),  # noqa: F821 - C's own, from the pxd
            )
            self._spans = cython.cast(
                cython.pointer(Span),  # noqa: F821
                PyBytes_AS_STRING(self._memory),
            )
        else:
            self._data = bytes(view)
            self._spans = []

    def __len__(self):
        return len(self.offsets)

    @property
    def timestamps(self):
        """Of all records, in milliseconds."""
        if self._timestamps is None:
            self._timestamps = [self.time_at(i) for i in range(len(self))]
        return self._timestamps

    @property
    def keys(self):
        """Of all records, as bytes or None."""
        if self._keys is None:
            self._keys = [self.key_at(i) for i in range(len(self))]
        return self._keys

    @property
    def values(self):
        """Of all records, as bytes or None."""
        if self._values is None:
            self._values = [self.value_at(i) for i in range(len(self))]
        return self._values

    @property
    def headers(self):
        """Of all records; what is set here is what `headers_at` gives."""
        if self._headers is None:
            self._headers = [()] * len(self)
        return self._headers

    @cython.ccall
    @cython.exceptval(-1, check=True)
    def time_at(self, i: cython.Py_ssize_t) -> cython.longlong:
        return self._spans[self.place(i)].time

    @cython.ccall
    def headers_at(self, i: cython.Py_ssize_t):
        if self._headers is None:
            return ()
        if i < 0 or i >= len(self._headers):
            raise IndexError(f"there is no record {i} among {len(self._headers)}")
        return self._headers[i]

    @cython.ccall
    def key_at(self, i: cython.Py_ssize_t):
        i = self.place(i)
        return self.piece(self._spans[i].key, self._spans[i].key_size)

    @cython.ccall
    def value_at(self, i: cython.Py_ssize_t):
        i = self.place(i)
        return self.piece(self._spans[i].value, self._spans[i].value_size)

    @cython.ccall
    def value_mark_at(self, i: cython.Py_ssize_t):
        return None if self._spans[self.place(i)].value_size < 0 else True

    @cython.ccall
    def key_text_at(self, i: cython.Py_ssize_t):
        i = self.place(i)
        return self.text(self._spans[i].key, self._spans[i].key_size)

    @cython.ccall
    def value_text_at(self, i: cython.Py_ssize_t):
        i = self.place(i)
        return self.text(self._spans[i].value, self._spans[i].value_size)

    @cython.cfunc
    @cython.inline
    @cython.exceptval(-1, check=True)
    def place(self, i: cython.Py_ssize_t) -> cython.Py_ssize_t:
        if i < 0 or i >= self._count:
            raise IndexError(f"there is no record {i} among {self._count}")
        return self._first + i

    @cython.ccall
    def add(
        self,
        timestamp: cython.longlong,
        key_end: cython.Py_ssize_t,
        key_size: cython.Py_ssize_t,
        value_end: cython.Py_ssize_t,
        value_size: cython.Py_ssize_t,
    ):
        """Take a record in: where its key and its value end, and how long they are (-1: null)."""
        key: cython.Py_ssize_t = key_end - max(key_size, 0)
        value: cython.Py_ssize_t = value_end - max(value_size, 0)
        if self._count >= self._room:
            raise IndexError(f"there is room for {self._room} records")
        if cython.compiled:
            span = cython.address(self._spans[self._count])
            span.time = timestamp
            span.key = key
            span.key_size = key_size
            span.value = value
            span.value_size = value_size
        else:
            self._spans.append(_Span(timestamp, key, key_size, value, value_size))
        self._count += 1

    @cython.ccall
    def finish(self, offsets, headers: list):
        """All records are in; `headers` is None when no record has any."""
        self.offsets = offsets
        self._headers = headers

    @cython.cfunc
    @cython.inline
    def piece(self, start: cython.Py_ssize_t, size: cython.Py_ssize_t):
        if size < 0:
            return None
        if cython.compiled:
            return PyBytes_FromStringAndSize(cython.cast(cython.p_char, self._data) + start, size)
        return self._data[start : start + size]

    @cython.cfunc
    @cython.inline
    def text(self, start: cython.Py_ssize_t, size: cython.Py_ssize_t):
        if size < 0:
            return None
        if cython.compiled:
            return PyUnicode_DecodeUTF8(
                cython.cast(cython.p_char, self._data) + start, size, cython.NULL
            )
        return self._data[start : start + size].decode()

    def first_after(self, time: cython.longlong, start: cython.Py_ssize_t, stop: cython.Py_ssize_t):
        """The index of the first record of [start, stop) with a later timestamp, else `stop`."""
        i: cython.Py_ssize_t = start
        while i < stop and self._spans[self.place(i)].time <= time:
            i += 1
        return i

    def drop_before(self, offset):
        """Forget the records below an offset."""
        count = bisect_left(self.offsets, offset)
        if count:
            self.offsets = self.offsets[count:]
            self._first += count
            self._count -= count
            self._timestamps = self._keys = self._values = None
            if self._headers is not None:
                del self._headers[:count]

# The C types of windowed stores, for the compiled operators over them.

from streamkit.common.bigendian cimport get_long
from streamkit.common.direct cimport TimedRows
from streamkit.state.cache cimport CachedStore, TimestampedStore
from streamkit.state.expiry cimport Expiry
from streamkit.state.overlay cimport OverlayStore
from streamkit.state.window_keys cimport window_key


cdef class WindowRows(TimestampedStore):
    cdef readonly object keys
    cdef readonly OverlayStore store
    cdef readonly object topic
    cdef readonly object inner
    cdef bint _is_text
    cdef bint _is_windows
    cdef long long _segment_ms
    cdef long long _size_ms
    cpdef inner_bytes(self, key)
    cpdef place(self, key, long long start, long long end)


cdef class WindowStore(TimedRows):
    cdef readonly object name
    cdef readonly object kind
    cdef WindowRows _rows
    cdef object _table
    cdef CachedStore _cached
    cdef object _context
    cdef object _keys
    cdef bint _sorts_by_start
    cdef readonly Expiry expiry

# The C types of the stores that other compiled modules of this package build on.

from streamkit.common.bigendian cimport get_long, put_long
from streamkit.common.direct cimport FlushTarget, RecordWriter, Rows, ValueAndTimestamp, new_row
from streamkit.state.overlay cimport OverlayStore


cdef class TimestampedStore(Rows):
    cdef readonly object name
    cdef readonly Py_ssize_t get_count
    cdef readonly Py_ssize_t put_count
    cdef OverlayStore _bytes
    cdef object _log
    cdef RecordWriter _writer
    cdef int _partition
    cdef object _topic
    cdef object _key_to_bytes
    cdef object _key_from_bytes
    cdef object _value_to_bytes
    cdef object _value_from_bytes
    cdef bint _has_long_values
    cdef bint _takes_bytes
    cpdef key_bytes(self, key)
    cpdef key_object(self, data)
    cpdef value_bytes(self, value)
    cpdef value_object(self, data)
    cpdef read(self, key)
    cpdef write(self, key, value, long long timestamp)
    cpdef log(self, key, value, long long timestamp)


cdef class CacheBudget:
    cdef readonly Py_ssize_t limit
    cdef public Py_ssize_t used
    cdef public object journal
    cdef public object waiting


cdef class _Node:
    cdef object key
    cdef object value
    cdef object headers
    cdef long long number
    cdef long long timestamp
    cdef Py_ssize_t size
    cdef long long put_at
    cdef bint is_number
    cdef bint is_dirty
    cdef bint is_used
    cdef _Node older
    cdef _Node newer


cdef class CachedStore(Rows):
    cdef readonly object name
    cdef readonly Py_ssize_t get_count
    cdef readonly Py_ssize_t put_count
    cdef readonly Py_ssize_t miss_count
    cdef TimestampedStore _below
    cdef CacheBudget _budget
    cdef dict _nodes
    cdef object _key_type
    cdef object _value_type
    cdef bint _takes_bytes
    cdef object _listener
    cdef FlushTarget _target
    cdef bint _sends_old_values
    cdef bint _is_flushing
    cdef _Node _oldest
    cdef _Node _newest
    cdef long long _puts
    cdef list _dirty
    cdef list _passing
    cdef _pass_on(self, _Node node)
    cdef _Node _load(self, key)
    cdef _cache_key(self, key)
    cdef void _link_use(self, _Node node)
    cdef void _unlink_use(self, _Node node)
    cdef void _mark_dirty(self, _Node node)


cpdef stored_bytes(bytes value, long long timestamp)
cpdef bytes long_bytes(long long value)

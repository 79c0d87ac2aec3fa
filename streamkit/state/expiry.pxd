# The C type of the expiry for the stores that ask it at each row.

cdef class Expiry:
    cdef object _store
    cdef long long _segment_ms
    cdef long long _retention_ms
    cdef bint _drops_by_segment
    cdef object _swept_to
    cdef long long _first
    cdef long long _last
    cdef public long long stream_time
    cdef public object needed_from
    cdef bint _is_expired(self, long long time)
    cpdef bint try_take(self, long long time)
    cpdef bint is_live(self, long long time)

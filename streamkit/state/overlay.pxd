# The C type of the overlay, for the compiled stores over it.

cdef class OverlayStore:
    cdef readonly object family
    cdef readonly Py_ssize_t size_bytes
    cdef public object journal
    cdef public bint is_rising
    cdef readonly object dropped_to
    cdef object _backend
    cdef object _read
    cdef dict _changes
    cdef list _sorted
    cdef list _unsorted
    cdef object _backend_end
    cdef bint _is_beyond(self, bytes key)
    cpdef get(self, key)
    cpdef put(self, key, value)

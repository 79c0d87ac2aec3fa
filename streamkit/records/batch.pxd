# The C type of a decoded batch, for the decoder that fills it.

from streamkit.common.direct cimport RecordColumns

cdef struct Span:
    long long time
    int key
    int key_size
    int value
    int value_size


cdef class DecodedBatch(RecordColumns):
    cdef readonly object header
    cdef object _bytes
    cdef unsigned char* _data
    cdef object _memory
    cdef Py_ssize_t _room
    cdef Span* _spans
    cdef Py_ssize_t _first
    cdef Py_ssize_t _count
    cdef list _timestamps
    cdef list _keys
    cdef list _values
    cdef list _headers
    cdef Py_ssize_t place(self, Py_ssize_t i) except? -1
    cdef piece(self, Py_ssize_t start, Py_ssize_t size)
    cdef text(self, Py_ssize_t start, Py_ssize_t size)
    cpdef add(
        self,
        long long timestamp,
        Py_ssize_t key_end,
        Py_ssize_t key_size,
        Py_ssize_t value_end,
        Py_ssize_t value_size,
    )
    cpdef finish(self, offsets, list headers)

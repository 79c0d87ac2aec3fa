# The C type of the batch that is filled, for the compiled collector, and what `codec` has in C.

from streamkit.common.plain cimport plain_bytes, plain_size
from streamkit.records.batch cimport DecodedBatch

cdef class BatchBuilder:
    cdef readonly long long count
    cdef readonly long long max_timestamp
    cdef readonly long long base_timestamp
    cdef readonly Py_ssize_t size_max
    cdef readonly int compression
    cdef bytearray data
    cdef Py_ssize_t position
    cdef Py_ssize_t room
    cdef unsigned char* out
    cdef point(self)
    cdef grow(self, Py_ssize_t needed)
    cdef void put_varint(self, unsigned long long value) noexcept
    cdef put_nullable(self, object data, Py_ssize_t size)
    cdef put_raw(self, object data, Py_ssize_t size)
    cpdef bint append(self, object key, object value, long long timestamp, tuple headers=*)

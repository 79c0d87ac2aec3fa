# The C types of `direct`, for the compiled modules that call each other by them.

cdef class RecordColumns:
    cdef public object offsets
    cpdef long long time_at(self, Py_ssize_t i) except? -1
    cpdef headers_at(self, Py_ssize_t i)
    cpdef key_at(self, Py_ssize_t i)
    cpdef value_at(self, Py_ssize_t i)
    cpdef value_mark_at(self, Py_ssize_t i)
    cpdef key_text_at(self, Py_ssize_t i)
    cpdef value_text_at(self, Py_ssize_t i)


cdef class RecordWriter:
    cpdef append(self, key, value, long long timestamp, headers=*, int partition=*)


cdef class FlushTarget:
    cpdef on_flush(self, key, new, old, long long timestamp, headers)


cdef class Rows:
    cpdef get(self, key)
    cpdef put(self, key, value, long long timestamp, headers=*)
    cpdef count_up(self, key, long long timestamp, headers)


cdef class TimedRows:
    cpdef place(self, key, long long start, long long end)
    cpdef get_at(self, place, long long time)
    cpdef put_at(self, place, long long time, value, long long timestamp, headers)
    cpdef count_up_at(self, place, long long time, long long timestamp, headers)


cdef class ValueAndTimestamp:
    cdef readonly object value
    cdef readonly long long timestamp


cpdef as_bytes(field)
cpdef new_row(value, long long timestamp)
cpdef row_value(row)
cpdef long long row_time(row) except? -1

# The C types of what other compiled modules of this package build on.

from streamkit.common.direct cimport (
    FlushTarget,
    RecordColumns,
    RecordWriter,
    Rows,
    row_time,
    row_value,
)
from streamkit.common.plain cimport is_ascii

cdef class ProcessorContext:
    cdef public object application_id
    cdef public object task_id
    cdef public object topic
    cdef public int partition
    cdef public long long offset
    cdef public long long timestamp
    cdef public object headers
    cdef RecordColumns columns
    cdef Py_ssize_t index
    cdef object own_key
    cdef object own_value
    cdef public long long stream_time
    cdef public long long emit_interval_ms
    cdef public bint is_latest
    cdef public long long punctuate_at
    cdef public object current
    cdef public object savepoint
    cdef public dict processor_times


cdef class Node(FlushTarget):
    cdef readonly object name
    cdef readonly list children
    cdef readonly ProcessorContext context
    cdef Node only
    cdef public bint ignores_values
    cpdef process(self, key, value, long long timestamp, headers)
    cpdef process_change(self, key, new, old, long long timestamp, headers)
    cpdef forward(self, key, value, long long timestamp, headers)
    cpdef forward_change(self, key, new, old, long long timestamp, headers)


cdef class StoreNode(Node):
    cdef object store_name
    cdef readonly bint sends_old
    cdef readonly bint is_cached
    cdef Rows rows
    cdef readonly object get
    cdef readonly object put

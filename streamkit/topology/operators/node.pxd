# The C types of what other compiled modules of this package build on.

cdef class ProcessorContext:
    cdef public object application_id
    cdef public object task_id
    cdef public object topic
    cdef public int partition
    cdef public long long offset
    cdef public long long timestamp
    cdef public object headers
    cdef public object raw_key
    cdef public object raw_value
    cdef public long long stream_time
    cdef public long long emit_interval_ms
    cdef public bint is_latest
    cdef public long long punctuate_at
    cdef public object current
    cdef public object savepoint
    cdef public dict processor_times


cdef class Node:
    cdef readonly object name
    cdef readonly list children
    cdef readonly ProcessorContext context
    cdef Node only
    cpdef process(self, key, value, long long timestamp, headers)
    cpdef process_change(self, key, new, old, long long timestamp, headers)
    cpdef forward(self, key, value, long long timestamp, headers)
    cpdef forward_change(self, key, new, old, long long timestamp, headers)


cdef class StoreNode(Node):
    cdef object store_name
    cdef readonly bint sends_old
    cdef readonly bint is_cached
    cdef readonly object get
    cdef readonly object put

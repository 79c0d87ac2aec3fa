# The C types of what other compiled modules call.

from streamkit.common.plain cimport plain_bytes, plain_size

cpdef int murmur2(bytes key)
cpdef int partition_for(object key, int partitions)

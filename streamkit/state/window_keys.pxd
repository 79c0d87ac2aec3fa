# The keys of windows, for the compiled stores of them.

from streamkit.common.bigendian cimport put_int, put_long

cpdef bytes window_key(long long segment, bytes key, long long start)

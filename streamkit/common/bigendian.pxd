# Numbers in network order, for compiled modules that write bytes themselves.

cdef inline void put_long(unsigned char* out, long long value) noexcept:
    cdef unsigned long long bits = <unsigned long long>value
    cdef int i
    for i in range(8):
        out[7 - i] = <unsigned char>(bits & 0xFF)
        bits >>= 8


cdef inline void put_int(unsigned char* out, int value) noexcept:
    cdef unsigned int bits = <unsigned int>value
    cdef int i
    for i in range(4):
        out[3 - i] = <unsigned char>(bits & 0xFF)
        bits >>= 8


cdef inline long long get_long(const unsigned char* data) noexcept:
    cdef unsigned long long bits = 0
    cdef int i
    for i in range(8):
        bits = (bits << 8) | data[i]
    return <long long>bits

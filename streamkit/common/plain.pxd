# The bytes of a record's key or value in memory: those of bytes, and of texts that are ASCII.

from cpython.bytes cimport PyBytes_AsString, PyBytes_Check, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_CheckExact

cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    char* PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)


cdef inline bint is_ascii(object value):
    return PyUnicode_CheckExact(value) and PyUnicode_IS_COMPACT_ASCII(value)


cdef inline const unsigned char* plain_bytes(object value) except NULL:
    """Of what `plain_size` takes, which tells how many; raises TypeError for anything else."""
    if is_ascii(value):
        return <const unsigned char*>PyUnicode_DATA(value)
    return <const unsigned char*>PyBytes_AsString(value)


cdef inline Py_ssize_t plain_size(object value) except -2:
    """How many bytes; -1 for None. Raises TypeError for what is neither bytes nor ASCII text."""
    if value is None:
        return -1
    if PyBytes_Check(value):
        return PyBytes_GET_SIZE(value)
    if is_ascii(value):
        return PyUnicode_GET_LENGTH(value)
    raise TypeError(f"a record has bytes, not {value!r:.40}")

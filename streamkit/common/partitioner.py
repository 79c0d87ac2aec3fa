# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Which partition a key goes to: murmur2, as the Java producer's default partitioner hashes it.

Compiled, since it runs once per record; the same file runs as plain Python, where masks do what
C's 32-bit integers do by themselves. Its types for mypy stand in `partitioner.pyi`.
"""

from __future__ import annotations

import cython

from streamkit.common.direct import as_bytes

COMPILED = cython.compiled
SEED = cython.declare(cython.uint, 0x9747B28C)
MULTIPLIER = cython.declare(cython.uint, 0x5BD1E995)


@cython.ccall
def murmur2(key: bytes) -> cython.int:
    """The signed 32-bit murmur2 hash of the key's bytes."""
    return _signed(_hash(key))


@cython.ccall
def partition_for(key: object, partitions: cython.int) -> cython.int:
    """The partition of a key, bytes or a text that is ASCII, among `partitions`."""
    return cython.cast(cython.int, (_hash(key) & 0x7FFFFFFF) % cython.cast(cython.uint, partitions))


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _signed(value: cython.uint) -> cython.int:
    if cython.compiled:
        return cython.cast(cython.int, value)
    return value - 0x100000000 if value & 0x80000000 else value


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _times(value: cython.uint, factor: cython.uint) -> cython.uint:
    # C wraps by itself; a mask of 32 bits would make Python integers of it.
    if cython.compiled:
        return value * factor
    return (value * factor) & 0xFFFFFFFF


@cython.cfunc
@cython.exceptval(0, check=True)
def _hash(key: object) -> cython.uint:
    data: cython.p_const_uchar = (
        plain_bytes(key) if cython.compiled else as_bytes(key)  # noqa: F821 - from the pxd
    )
    length: cython.Py_ssize_t = (
        plain_size(key) if cython.compiled else len(key)  # noqa: F821 - from the pxd
    )
    whole: cython.Py_ssize_t = length & ~3
    position: cython.Py_ssize_t = 0
    mixed: cython.uint
    value: cython.uint = SEED ^ cython.cast(cython.uint, length)
    while position < whole:
        mixed = (
            cython.cast(cython.uint, data[position])
            | (cython.cast(cython.uint, data[position + 1]) << 8)
            | (cython.cast(cython.uint, data[position + 2]) << 16)
            | (cython.cast(cython.uint, data[position + 3]) << 24)
        )
        mixed = _times(mixed, MULTIPLIER)
        mixed ^= mixed >> 24
        mixed = _times(mixed, MULTIPLIER)
        value = _times(value, MULTIPLIER) ^ mixed
        position += 4
    if length & 3:
        if length & 3 == 3:
            value ^= cython.cast(cython.uint, data[position + 2]) << 16
        if length & 3 >= 2:
            value ^= cython.cast(cython.uint, data[position + 1]) << 8
        value = _times(value ^ data[position], MULTIPLIER)
    value ^= value >> 13
    value = _times(value, MULTIPLIER)
    return value ^ (value >> 15)

"""What Linux keeps of a file in memory, without reading it (cachestat, Linux 6.5)."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Callable

CACHESTAT = 451
"""The system call's number, the same on all architectures."""

PAGE_BYTES = mmap.PAGESIZE


class _Range(ctypes.Structure):
    _fields_ = (("position", ctypes.c_uint64), ("size", ctypes.c_uint64))


class _Counts(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in ("cached", "dirty", "writing", "evicted", "recently_evicted")
    )


def _system_call() -> Callable[..., int] | None:
    if not sys.platform.startswith("linux"):
        return None
    call = ctypes.CDLL(None).syscall
    call.restype = ctypes.c_long
    return call


_call = _system_call()


def cached_pages(descriptor: int, position: int, size: int) -> int | None:
    """How many pages of a stretch are in memory; None when the machine cannot say."""
    if _call is None:
        return None
    counts = _Counts()
    asked = _Range(position, size)
    failed = _call(CACHESTAT, descriptor, ctypes.byref(asked), ctypes.byref(counts), 0)
    return None if failed else int(counts.cached)


def is_cached(descriptor: int, position: int, size: int) -> bool | None:
    """Whether a stretch of at least a byte is in memory, or on its way there; None: cannot say."""
    found = cached_pages(descriptor, position, size)
    if found is None:
        return None
    return found >= (position + size - 1) // PAGE_BYTES - position // PAGE_BYTES + 1

"""The C library's allocator, where it is glibc's: memory that is free goes back to the system.

By itself glibc keeps much of it: each thread gets an arena of its own, blocks that were given back
raise the size up to which blocks come from arenas, and what is free in an arena's middle stays.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

MMAP_BYTES_MIN: Final = 512 * 1024
"""Blocks of this size on are mapped by themselves; said, so that glibc does not raise it.

Buffers for batches and reads of a socket lie below: mapped anew for each, their pages alone are
a tenth of what a stateless worker costs.
"""

ARENAS_MAX: Final = 2

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def _function(name: str) -> Any | None:
    return getattr(ctypes.CDLL(None), name, None)


def tune_allocator() -> None:
    """Once, before threads are started."""
    mallopt = _function("mallopt")
    if mallopt is None or _function("malloc_trim") is None:
        return
    mallopt(_M_MMAP_THRESHOLD, MMAP_BYTES_MIN)
    mallopt(_M_TRIM_THRESHOLD, 8 * MMAP_BYTES_MIN)
    mallopt(_M_ARENA_MAX, ARENAS_MAX)


def give_back() -> None:
    """Give all free pages back; some milliseconds for 100 MB."""
    trim = _function("malloc_trim")
    if trim is not None:
        trim(0)

"""The overlay: the changes of one store since the last commit, over what is committed.

A dictionary with sorted keys on demand. Reads see the overlay first and the backend below;
scans merge both, deletes included, as they are when the scan is opened. `take_changes` hands the
changes to a commit; `discard` forgets them. With a `journal` each put can be undone. Where keys
rise with time (`is_rising`), what lies behind the backend's last key is not looked up there. Nobody
else writes to the backend between a `get` and the next `discard`. Compiled by Cython; runs the same
uncompiled. Its types for mypy stand in `overlay.pyi`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import cython

if TYPE_CHECKING:
    from streamkit.state.backend import Backend, Change, Entry

ENTRY_OVERHEAD_BYTES = 200
"""What a changed key costs beside its bytes: two objects, a place in a table and one in a list."""

COUNTED_MAX = 1_000
"""Changes that a count of the entries looks up one by one."""

_MISSING = object()


@cython.cclass
class OverlayStore:
    """The bytes of one store as its task sees them, uncommitted changes included."""

    def __init__(self, backend: Backend, family: str) -> None:
        self.family = family
        self.size_bytes = 0
        self.journal = None
        self.is_rising = False
        self.dropped_to = None
        self._backend_end = None
        self._backend = backend
        self._read = backend.reader(family)
        self._changes = {}
        self._sorted = []
        self._unsorted = []

    @cython.ccall
    def get(self, key: Any) -> object:
        """The value, or None when the key is not there or deleted."""
        changes: dict = self._changes
        value = changes.get(key, _MISSING)
        if value is not _MISSING:
            return value
        if self.is_rising and self._is_beyond(key):
            return None
        return self._read(key)

    @cython.cfunc
    def _is_beyond(self, key: bytes) -> cython.bint:
        """Whether the backend ends before a key: new windows need no look-up there."""
        if self._backend_end is None:
            last = next(self._backend.scan(self.family, None, None, reverse=True), None)
            self._backend_end = b"" if last is None else last[0]
        return key > self._backend_end

    @cython.ccall
    def put(self, key: Any, value: Any) -> object:
        """Set or, with None, delete."""
        changes: dict = self._changes
        if self.journal is not None:
            was = (key, changes.get(key, _MISSING), self.size_bytes)
            self.journal.append((self._undo_put, was))
        before: cython.Py_ssize_t = len(changes)
        changes[key] = value
        if len(changes) > before:
            self._unsorted.append(key)
            self.size_bytes += len(cython.cast(bytes, key)) + ENTRY_OVERHEAD_BYTES
        if value is not None:
            self.size_bytes += len(cython.cast(bytes, value))

    def scan(self, low: bytes | None, high: bytes | None, reverse: bool = False) -> Iterator[Entry]:
        """The entries with low <= key < high, as they are at this call."""
        committed = self._backend.scan(self.family, low, high, reverse=reverse)
        changes = self._slice(low, high)
        if reverse:
            changes.reverse()
        return merge(changes, committed, reverse) if changes else committed

    def approximate_count(self) -> int:
        """About how many entries there are; of many changes all are taken for new ones."""
        count: int = self._backend.approximate_count(self.family)
        changes: dict = self._changes
        if len(changes) > COUNTED_MAX:
            return count + len(changes)
        for key, value in changes.items():
            was_there = self._read(key) is not None
            count += (value is not None) - was_there
        return max(count, 0)

    def take_changes(self) -> list[Change]:
        """All changes in the order of their keys' first change; they stay visible."""
        family = self.family
        end = self.dropped_to
        return [
            (family, key, value)
            for key, value in self._changes.items()
            if end is None or key >= end
        ]

    def drop_below(self, end: bytes) -> None:
        """Have the next commit delete all that comes before a key; nobody reads it any more."""
        self.dropped_to = end

    def discard(self) -> None:
        """Forget all changes: they are committed, or never will be."""
        self._changes = {}
        self._sorted = []
        self._unsorted = []
        self._backend_end = None
        self.dropped_to = None
        self.size_bytes = 0

    def _undo_put(self, key: bytes, value: Any, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        if value is not _MISSING:
            self._changes[key] = value
            return
        del self._changes[key]
        if self._unsorted:
            # The last change of all is undone first, so the key is the last that came in.
            self._unsorted.pop()
        else:
            del self._sorted[bisect_left(self._sorted, key)]

    def _slice(self, low: bytes | None, high: bytes | None) -> list[tuple[bytes, bytes | None]]:
        keys = self._sorted
        if self._unsorted:
            keys.extend(self._unsorted)
            keys.sort()
            self._unsorted = []
        start = 0 if low is None else bisect_left(keys, low)
        stop = len(keys) if high is None else bisect_left(keys, high)
        changes = self._changes
        return [(key, changes[key]) for key in keys[start:stop]]


def merge(
    changes: Sequence[tuple[bytes, bytes | None]], committed: Iterator[Entry], reverse: bool
) -> Iterator[Entry]:
    """`committed` with `changes` laid over it; both run in the same direction."""
    below = next(committed, None)
    for key, value in changes:
        while below is not None and below[0] != key and (below[0] > key) is reverse:
            yield below
            below = next(committed, None)
        if below is not None and below[0] == key:
            below = next(committed, None)
        if value is not None:
            yield key, value
    while below is not None:
        yield below
        below = next(committed, None)

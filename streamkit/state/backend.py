"""The committed state of one task: families of sorted keys, written in atomic chunks.

`RocksBackend` keeps it on disk; `MemoryBackend` keeps it in memory, for stores that ask for
that, and stands in for RocksDB in simulation: its `snapshot_bytes` is what a crash leaves.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

Change = tuple[str, bytes, bytes | None]
"""Family, key, and the new value or None for a delete."""

Entry = tuple[bytes, bytes]


class Backend(Protocol):
    """Families of sorted byte keys."""

    def reader(self, family: str) -> Callable[[bytes], bytes | None]:
        """A function that looks a key up in one family."""

    def write(self, changes: Sequence[Change]) -> None:
        """Apply all changes or none; they survive the end of the process."""

    def load(
        self, family: str, keys: Sequence[bytes], entries: Mapping[bytes, bytes | None]
    ) -> None:
        """Take many entries at once, `keys` sorted; None deletes."""

    def end_load(self, family: str) -> None:
        """Nothing more is loaded for now."""

    def scan(
        self, family: str, low: bytes | None, high: bytes | None, *, reverse: bool = False
    ) -> Iterator[Entry]:
        """The entries with low <= key < high, as they are at this call."""

    def approximate_count(self, family: str) -> int:
        """About how many entries a family has."""

    def clear(self, family: str) -> None:
        """Delete all entries of a family."""

    def drop_below(self, family: str, end: bytes) -> None:
        """Delete the entries of a family whose keys come before another."""

    def close(self) -> None: ...


class MemoryBackend:
    """A backend of dictionaries with their keys kept sorted."""

    def __init__(self, families: Sequence[str]) -> None:
        self._values: dict[str, dict[bytes, bytes]] = {family: {} for family in families}
        self._keys: dict[str, list[bytes]] = {family: [] for family in families}

    def reader(self, family: str) -> Callable[[bytes], bytes | None]:
        return self._values[family].get

    def write(self, changes: Sequence[Change]) -> None:
        for family, key, value in changes:
            if value is None:
                self._delete(family, key)
            else:
                self._put(family, key, value)

    def load(
        self, family: str, keys: Sequence[bytes], entries: Mapping[bytes, bytes | None]
    ) -> None:
        self.write([(family, key, entries[key]) for key in keys])

    def end_load(self, family: str) -> None:
        """Nothing was put off."""

    def scan(
        self, family: str, low: bytes | None, high: bytes | None, *, reverse: bool = False
    ) -> Iterator[Entry]:
        keys = self._keys[family]
        start = 0 if low is None else bisect_left(keys, low)
        stop = len(keys) if high is None else bisect_left(keys, high)
        values = self._values[family]
        entries = [(key, values[key]) for key in keys[start:stop]]
        return reversed(entries) if reverse else iter(entries)

    def approximate_count(self, family: str) -> int:
        return len(self._keys[family])

    def clear(self, family: str) -> None:
        self._values[family].clear()
        self._keys[family].clear()

    def drop_below(self, family: str, end: bytes) -> None:
        keys, values = self._keys[family], self._values[family]
        stop = bisect_left(keys, end)
        for key in keys[:stop]:
            del values[key]
        del keys[:stop]

    def close(self) -> None:
        """Nothing is held open."""

    def _put(self, family: str, key: bytes, value: bytes) -> None:
        values = self._values[family]
        if key not in values:
            keys = self._keys[family]
            if keys and key < keys[-1]:
                insort(keys, key)
            else:
                keys.append(key)
        values[key] = value

    def _delete(self, family: str, key: bytes) -> None:
        if self._values[family].pop(key, None) is not None:
            keys = self._keys[family]
            del keys[bisect_left(keys, key)]

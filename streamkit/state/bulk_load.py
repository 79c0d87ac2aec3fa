"""Changelog records of one store, gathered and loaded sorted, each key once.

A store that is far behind is not written record by record: what counts of some ten thousand
records is their last value for each key, and a backend takes sorted entries as a whole, beside
its log and its memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

from streamkit.state.formats import encode_values

BYTES_MAX: Final = 16 * 1024 * 1024
"""What is gathered at most, when the budget allows for it."""

ENTRY_OVERHEAD_BYTES: Final = 200
"""What a gathered entry costs beside its bytes: two objects, and its places in tables."""

Load = Callable[[Sequence[bytes], Mapping[bytes, bytes | None]], None]
"""Takes sorted keys and the entries by key; None deletes."""


class BulkLoad:
    """What was gathered for one store; nothing of it is stored before `flush`."""

    __slots__ = ("_gathered", "_load", "_stored_key", "bytes_max", "size_bytes")

    def __init__(
        self,
        load: Load,
        stored_key: Callable[[bytes], bytes] | None,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self.bytes_max = bytes_max
        self.size_bytes = 0
        self._load = load
        self._stored_key = stored_key
        self._gathered: dict[bytes | None, bytes | None] = {}

    @property
    def is_full(self) -> bool:
        """Whether it is time to flush."""
        return self.size_bytes >= self.bytes_max

    def add(
        self,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        timestamps: Sequence[int],
    ) -> None:
        """Gather changes, in the changelog's order."""
        stored_key = self._stored_key
        if stored_key is not None:
            keys = [None if key is None else stored_key(key) for key in keys]
        self._gathered.update(zip(keys, encode_values(values, timestamps), strict=True))
        self.size_bytes += ENTRY_OVERHEAD_BYTES * len(keys)
        self.size_bytes += sum(map(len, filter(None, keys))) + sum(map(len, filter(None, values)))

    def flush(self) -> None:
        """Load what was gathered."""
        gathered, self._gathered = self._gathered, {}
        self.size_bytes = 0
        gathered.pop(None, None)
        if gathered:
            entries = cast(dict[bytes, bytes | None], gathered)
            self._load(sorted(entries), entries)

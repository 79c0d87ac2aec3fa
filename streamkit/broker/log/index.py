"""The sparse indexes of a segment: offset → position, timestamp → offset, aborted transactions.

Entries live in memory and are appended to their file when enough wait, on flush, roll and close.
A file is never trusted beyond its last entry that fits: recovery rebuilds from the log.
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from operator import lt

from streamkit.common.seams import Disk, File

OFFSET_ENTRY = struct.Struct(">ii")
TIME_ENTRY = struct.Struct(">qi")
ABORTED_ENTRY = struct.Struct(">hqqqq")
PENDING_BYTES_MAX = 512
NO_TIMESTAMP = -1


class _IndexFile:
    """A file of fixed entries with a small buffer in front of it."""

    __slots__ = ("_disk", "_file", "_pending", "path")

    def __init__(self, disk: Disk, path: str) -> None:
        self.path = path
        self._disk = disk
        self._file: File | None = None
        self._pending = bytearray()

    def read(self) -> bytes:
        return self._disk.read(self.path) if self._disk.exists(self.path) else b""

    def write(self, entry: bytes) -> None:
        self._pending += entry
        if len(self._pending) >= PENDING_BYTES_MAX:
            self.drain()

    def drain(self) -> None:
        if self._pending:
            data = bytes(self._pending)
            self._pending.clear()
            self._open().append([data])

    def replace(self, data: bytes) -> None:
        self._pending.clear()
        file = self._open()
        file.truncate(0)
        if data:
            file.append([data])

    def cut(self, size: int) -> None:
        """Keep the first `size` bytes."""
        self.drain()
        self._open().truncate(size)

    def sync(self) -> None:
        self.drain()
        self._open().sync()

    def close(self) -> None:
        self.drain()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> File:
        if self._file is None:
            self._file = self._disk.open(self.path, create=True)
        return self._file


class OffsetIndex:
    """From a batch's last offset to the position where the batch begins."""

    __slots__ = ("_base", "_bytes_max", "_file", "_offsets", "_positions")

    def __init__(self, disk: Disk, path: str, base_offset: int, bytes_max: int) -> None:
        self._file = _IndexFile(disk, path)
        self._base = base_offset
        self._bytes_max = bytes_max
        self._offsets: array[int] = array("i")
        self._positions: array[int] = array("i")

    def __len__(self) -> int:
        return len(self._offsets)

    @property
    def is_full(self) -> bool:
        return (len(self._offsets) + 1) * OFFSET_ENTRY.size > self._bytes_max

    @property
    def last_position(self) -> int:
        """Where the last indexed batch begins, else 0."""
        return self._positions[-1] if self._positions else 0

    def load(self, log_size: int) -> bool:
        """Read the file; False when it holds anything but growing entries that fit the log."""
        data = self._file.read()
        if len(data) % OFFSET_ENTRY.size:
            return False
        numbers = array("i", data)
        if sys.byteorder == "little":
            numbers.byteswap()
        self._offsets, self._positions = numbers[0::2], numbers[1::2]
        if not numbers:
            return True
        grows = all(map(lt, self._offsets, self._offsets[1:])) and all(
            map(lt, self._positions, self._positions[1:])
        )
        return grows and numbers[0] >= 0 and numbers[1] >= 0 and self._positions[-1] < log_size

    def append(self, offset: int, position: int) -> None:
        relative = offset - self._base
        if self._offsets and relative <= self._offsets[-1]:
            return
        self._offsets.append(relative)
        self._positions.append(position)
        self._file.write(OFFSET_ENTRY.pack(relative, position))

    def position_before(self, offset: int) -> int:
        """Where to start looking for `offset`: the last entry not above it, else 0."""
        above = bisect_right(self._offsets, offset - self._base)
        return self._positions[above - 1] if above else 0

    def offset_after(self, position: int) -> int | None:
        """An offset that is not within the first `position` bytes; None when unknown."""
        index = bisect_left(self._positions, position)
        return self._base + self._offsets[index] if index < len(self._positions) else None

    def reset(self) -> None:
        del self._offsets[:], self._positions[:]
        self._file.replace(b"")

    def truncate(self, offset: int) -> None:
        """Drop the entries at `offset` and above."""
        keep = bisect_left(self._offsets, offset - self._base)
        if keep < len(self._offsets):
            del self._offsets[keep:], self._positions[keep:]
            self._file.cut(keep * OFFSET_ENTRY.size)

    def drain(self) -> None:
        self._file.drain()

    def sync(self) -> None:
        self._file.sync()

    def close(self) -> None:
        self._file.close()


class TimeIndex:
    """From the highest timestamp so far to the last offset of the batch that has it."""

    __slots__ = ("_base", "_bytes_max", "_file", "_offsets", "_timestamps")

    def __init__(self, disk: Disk, path: str, base_offset: int, bytes_max: int) -> None:
        self._file = _IndexFile(disk, path)
        self._base = base_offset
        self._bytes_max = bytes_max
        self._timestamps: array[int] = array("q")
        self._offsets: array[int] = array("q")

    def __len__(self) -> int:
        return len(self._offsets)

    @property
    def is_full(self) -> bool:
        # One entry stays free for the highest timestamp when the segment is rolled.
        return (len(self._offsets) + 2) * TIME_ENTRY.size > self._bytes_max

    @property
    def last(self) -> tuple[int, int]:
        """The last (timestamp, offset)."""
        if not self._offsets:
            return (NO_TIMESTAMP, self._base)
        return (self._timestamps[-1], self._offsets[-1])

    def load(self) -> bool:
        """Read the file; False when it holds anything but growing entries."""
        data = self._file.read()
        whole = len(data) // TIME_ENTRY.size * TIME_ENTRY.size
        for timestamp, relative in TIME_ENTRY.iter_unpack(data[:whole]):
            offset = self._base + relative
            if timestamp <= self.last[0] or relative < 0 or offset < self.last[1]:
                return False
            self._timestamps.append(timestamp)
            self._offsets.append(offset)
        return whole == len(data)

    def maybe_append(self, timestamp: int, offset: int) -> None:
        """Add an entry when the timestamp is higher than the last."""
        last_timestamp, last_offset = self.last
        if timestamp > last_timestamp and (offset >= last_offset):
            self._timestamps.append(timestamp)
            self._offsets.append(offset)
            self._file.write(TIME_ENTRY.pack(timestamp, offset - self._base))

    def offset_before(self, timestamp: int) -> int:
        """The offset of the last entry whose timestamp is below `timestamp`, else the base."""
        above = bisect_left(self._timestamps, timestamp)
        return self._offsets[above - 1] if above else self._base

    def reset(self) -> None:
        del self._timestamps[:], self._offsets[:]
        self._file.replace(b"")

    def truncate(self, offset: int) -> None:
        """Drop the entries at `offset` and above."""
        keep = bisect_left(self._offsets, offset)
        if keep < len(self._offsets):
            del self._timestamps[keep:], self._offsets[keep:]
            self._file.cut(keep * TIME_ENTRY.size)

    def drain(self) -> None:
        self._file.drain()

    def sync(self) -> None:
        self._file.sync()

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True, slots=True)
class AbortedTransaction:
    """A transaction whose records readers of committed data must drop."""

    producer_id: int
    first_offset: int
    last_offset: int
    last_stable_offset: int


class TransactionIndex:
    """The aborted transactions whose marker lies in the segment; the file exists once one does."""

    __slots__ = ("_disk", "_file", "entries")

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk = disk
        self._file = _IndexFile(disk, path)
        self.entries: list[AbortedTransaction] = []

    def load(self) -> bool:
        """Read the file; False when it holds anything but growing entries."""
        data = self._file.read()
        whole = len(data) // ABORTED_ENTRY.size * ABORTED_ENTRY.size
        for version, *values in ABORTED_ENTRY.iter_unpack(data[:whole]):
            entry = AbortedTransaction(*values)
            last = self.entries[-1].last_offset if self.entries else -1
            if version != 0 or entry.last_offset <= last:
                return False
            self.entries.append(entry)
        return whole == len(data)

    def append(self, entry: AbortedTransaction) -> None:
        self.entries.append(entry)
        values = (entry.producer_id, entry.first_offset, entry.last_offset)
        self._file.write(ABORTED_ENTRY.pack(0, *values, entry.last_stable_offset))

    def overlapping(self, start: int, end: int) -> Iterator[AbortedTransaction]:
        """Those with records in [start, end)."""
        for entry in self.entries:
            if entry.last_offset >= start and entry.first_offset < end:
                yield entry

    def reset(self) -> None:
        self.entries.clear()
        if self._disk.exists(self._file.path):
            self._file.replace(b"")

    def truncate(self, offset: int) -> None:
        """Drop the transactions whose marker is at `offset` or above."""
        kept = [entry for entry in self.entries if entry.last_offset < offset]
        if len(kept) < len(self.entries):
            self.entries = kept
            self._file.cut(len(kept) * ABORTED_ENTRY.size)

    def drain(self) -> None:
        self._file.drain()

    def sync(self) -> None:
        if self.entries:
            self._file.sync()

    def close(self) -> None:
        self._file.close()

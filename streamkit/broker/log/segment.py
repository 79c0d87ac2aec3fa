"""One segment: a file of batches, its three indexes, and how a batch is found in it.

A segment's base offset names its files. Batches lie one after the other with growing offsets;
the offset index may know less than the file holds, never more.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from streamkit.broker.log.errors import ColdRead
from streamkit.broker.log.index import OffsetIndex, TimeIndex, TransactionIndex
from streamkit.broker.log.settings import LogSettings
from streamkit.common.errors import CorruptBatchError
from streamkit.common.seams import Bytes, Disk, FileSlice, Piece
from streamkit.records import BatchHeader, read_header
from streamkit.records.codec import HEADER_BYTES, LOG_OVERHEAD

LOG, INDEX, TIME_INDEX, TXN_INDEX = ".log", ".index", ".timeindex", ".txnindex"
SNAPSHOT = ".snapshot"
DELETED, CLEANED, SWAP = ".deleted", ".cleaned", ".swap"
SUFFIXES = (LOG, INDEX, TIME_INDEX, TXN_INDEX)
SCAN_BYTES = 16 * 1024
WALK_BYTES = 1024 * 1024
RECENT_STARTS_MAX = 1024
NO_TIMESTAMP = -1
# Base offset, length and last offset delta of a batch.
BATCH_BOUNDS = struct.Struct(">qi11xi")


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A batch as a walk over a file meets it: `header` describes it within `buffer`."""

    header: BatchHeader
    buffer: Bytes
    position: int

    @property
    def position_end(self) -> int:
        return self.position + self.header.size


def file_name(offset: int, suffix: str) -> str:
    """Kafka's name of a segment's file: the offset in 20 digits."""
    return f"{offset:020d}{suffix}"


class Segment:
    """One segment, open for reading and, while it is the last, for appending."""

    __slots__ = (
        "_bytes_since_index",
        "_disk",
        "_path",
        "_recent_starts",
        "aborted",
        "base_offset",
        "created_ms",
        "file",
        "first_timestamp",
        "mark",
        "max_timestamp",
        "max_timestamp_offset",
        "offsets",
        "settings",
        "size",
        "times",
    )

    def __init__(
        self,
        disk: Disk,
        path: str,
        base_offset: int,
        settings: LogSettings,
        now_ms: int,
        *,
        mark: str = "",
        create: bool = True,
    ) -> None:
        """Open the segment's files in directory `path`, making those that are missing.

        With a `mark` at the end of their names they are not the log's, or not yet.
        """
        self.mark = mark
        self._disk = disk
        self._path = path
        self.settings = settings
        self.base_offset = base_offset
        self.created_ms = now_ms
        self.file = disk.open(self.path_of(LOG), create=create)
        self.size = self.file.size()
        bytes_max = settings.segment_index_bytes
        self.offsets = OffsetIndex(disk, self.path_of(INDEX), base_offset, bytes_max)
        self.times = TimeIndex(disk, self.path_of(TIME_INDEX), base_offset, bytes_max)
        self.aborted = TransactionIndex(disk, self.path_of(TXN_INDEX))
        self.first_timestamp: int | None = None
        self.max_timestamp = NO_TIMESTAMP
        self.max_timestamp_offset = base_offset
        self._bytes_since_index = 0
        self._recent_starts: dict[int, int] = {}

    def path_of(self, suffix: str) -> str:
        """The path of one of the segment's files."""
        return f"{self._path}/{file_name(self.base_offset, suffix)}{self.mark}"

    def load_indexes(self) -> bool:
        """Read the indexes; when one of them must be rebuilt, forget all and return False."""
        if self._load_indexes():
            self.max_timestamp, self.max_timestamp_offset = self.times.last
            return True
        self.reset_indexes()
        return False

    def _load_indexes(self) -> bool:
        if self.size and not all(
            self._disk.exists(self.path_of(suffix)) for suffix in (INDEX, TIME_INDEX)
        ):
            return False
        if not (self.offsets.load(self.size) and self.times.load() and self.aborted.load()):
            return False
        # A finished segment has its highest timestamp there, unless it has none at all.
        return not self.size or len(self.times) > 0

    def reset_indexes(self) -> None:
        """Forget all entries, before they are rebuilt from the batches."""
        self.offsets.reset()
        self.times.reset()
        self.aborted.reset()
        self.first_timestamp = None
        self.max_timestamp, self.max_timestamp_offset = NO_TIMESTAMP, self.base_offset
        self._bytes_since_index = 0
        self._recent_starts.clear()

    def append(
        self, chunks: Sequence[Bytes], size: int, offsets: tuple[int, int], max_timestamp: int
    ) -> None:
        """Write one batch with (base, last) `offsets`. Raises StorageError."""
        position = self.size
        self.file.append(chunks)
        self.size = position + size
        base_offset, last_offset = offsets
        starts = self._recent_starts
        if len(starts) >= RECENT_STARTS_MAX:
            starts.clear()
        starts[base_offset] = position
        self.note(position, size, last_offset, max_timestamp)

    def note(self, position: int, size: int, last_offset: int, max_timestamp: int) -> None:
        """Index a batch that lies at `position`."""
        if self.first_timestamp is None and max_timestamp >= 0:
            self.first_timestamp = max_timestamp
        if max_timestamp > self.max_timestamp:
            self.max_timestamp, self.max_timestamp_offset = max_timestamp, last_offset
        if self._bytes_since_index > self.settings.index_interval_bytes:
            self.offsets.append(last_offset, position)
            self.times.maybe_append(self.max_timestamp, self.max_timestamp_offset)
            self._bytes_since_index = 0
        self._bytes_since_index += size

    def must_roll(self, size: int, last_offset: int, timestamp: int, now_ms: int) -> bool:
        """Whether a batch of these measures belongs in a new segment."""
        settings = self.settings
        if self.size == 0:
            return last_offset - self.base_offset > 0x7FFFFFFF
        if self.size + size > settings.segment_bytes:
            return True
        if self.offsets.is_full or self.times.is_full:
            return True
        if last_offset - self.base_offset > 0x7FFFFFFF:
            return True
        age_max_ms = settings.segment_age_max_ms
        jitter_max = min(settings.segment_jitter_ms, age_max_ms)
        jitter_ms = hash_name(self._path) % jitter_max if jitter_max > 0 else 0
        if self.first_timestamp is not None and timestamp >= 0:
            return timestamp - self.first_timestamp > age_max_ms - jitter_ms
        return now_ms - self.created_ms > age_max_ms - jitter_ms

    def finish(self) -> None:
        """The segment gets no more batches: complete its indexes."""
        self.times.maybe_append(self.max_timestamp, self.max_timestamp_offset)
        self.offsets.drain()
        self.times.drain()
        self.aborted.drain()

    def position_of(
        self, offset: int, position_end: int | None = None, *, cached_only: bool = False
    ) -> int | None:
        """Where the first batch begins that ends at `offset` or later; None when there is none.

        With `cached_only` this and all other reads raise ColdRead rather than wait for the disk.
        """
        start = self._recent_starts.get(offset)
        if start is not None:
            return start
        end = self.size if position_end is None else position_end
        position = self.offsets.position_before(offset)
        while position + BATCH_BOUNDS.size <= end:
            chunk = self._bytes(position, min(SCAN_BYTES, end - position), cached_only)
            if len(chunk) < BATCH_BOUNDS.size:
                raise CorruptBatchError(f"{self.path_of(LOG)} ends at {position}, not {end}")
            chunk_start = position
            while position + BATCH_BOUNDS.size <= chunk_start + len(chunk):
                base, length, delta = BATCH_BOUNDS.unpack_from(chunk, position - chunk_start)
                if base + delta >= offset:
                    return position
                if length < HEADER_BYTES - LOG_OVERHEAD or delta < 0:
                    raise CorruptBatchError(f"no batch at {position} of {self.path_of(LOG)}")
                position += length + LOG_OVERHEAD
        return None

    def read(
        self,
        offset: int,
        bytes_max: int,
        position_end: int,
        min_one: bool,
        cached_only: bool = False,
        as_slice: bool = False,
    ) -> Piece | None:
        """Batches from the one that holds `offset` on; None when the segment has none there.

        The last may be incomplete. With `min_one` the first is whole, however large. What will
        only be sent may be a slice, if it is cached.
        """
        position = self._recent_starts.get(offset)
        if position is None:
            position = self.position_of(offset, position_end, cached_only=cached_only)
        if position is None or position >= position_end:
            return None
        wanted = min(bytes_max, position_end - position) if bytes_max > 0 else 0
        get = self._slice if as_slice and cached_only else self._bytes
        data = get(position, wanted, cached_only)
        if isinstance(data, FileSlice) or wanted < LOG_OVERHEAD:
            head = self._bytes(position, LOG_OVERHEAD, cached_only)
        else:
            head = data
        size = int.from_bytes(head[8:12], "big") + LOG_OVERHEAD
        if len(data) >= size:
            return data
        return get(position, size, cached_only) if min_one else b""

    def load_first_timestamp(self, *, cached_only: bool = False) -> int | None:
        """The first batch's max timestamp, read once; None without a batch."""
        if self.first_timestamp is None and self.size >= HEADER_BYTES:
            head = self._bytes(0, HEADER_BYTES, cached_only)
            self.first_timestamp = read_header(head).max_timestamp
        return self.first_timestamp

    def _slice(self, position: int, size: int, _cached_only: bool) -> Piece:
        found = self.file.slice_cached(position, size)
        if found is None:
            raise ColdRead(self.file, position, size)
        return found

    def _bytes(self, position: int, size: int, cached_only: bool) -> Bytes:
        if not cached_only:
            return self.file.read_at(position, size)
        found = self.file.read_cached(position, size)
        if found is None:
            raise ColdRead(self.file, position, size)
        return found

    def walk(self, position: int = 0, *, cached_only: bool = False) -> Iterator[StoredBatch]:
        """Every whole batch from `position` on. Raises CorruptBatchError at one that is none."""
        while self.size - position >= HEADER_BYTES:
            chunk = self._bytes(position, min(WALK_BYTES, self.size - position), cached_only)
            inside = 0
            while len(chunk) - inside >= HEADER_BYTES:
                header = read_header(chunk, inside)
                if header.size > len(chunk) - inside:
                    break
                yield StoredBatch(header, chunk, position + inside)
                inside += header.size
            if inside == 0:
                header = read_header(chunk)
                if header.size > self.size - position:
                    return
                chunk = self._bytes(position, header.size, cached_only)
                yield StoredBatch(header, chunk, position)
                inside = header.size
            position += inside

    def truncate(self, position: int, offset: int) -> None:
        """Keep the bytes before `position`, which hold the offsets below `offset`."""
        self.file.truncate(position)
        self.size = position
        self.offsets.truncate(offset)
        self.times.truncate(offset)
        self.aborted.truncate(offset)
        self._recent_starts.clear()
        self.max_timestamp, self.max_timestamp_offset = self.times.last
        for batch in self.walk(self.offsets.last_position):
            if batch.header.max_timestamp > self.max_timestamp:
                self.max_timestamp = batch.header.max_timestamp
                self.max_timestamp_offset = batch.header.last_offset

    def sync_log(self) -> None:
        """Make the batches durable; the indexes can be rebuilt from them."""
        self.file.sync()

    def sync(self) -> None:
        """Make the batches and the indexes durable."""
        self.file.sync()
        self.offsets.sync()
        self.times.sync()
        self.aborted.sync()

    def close(self) -> None:
        self.file.close()
        self.offsets.close()
        self.times.close()
        self.aborted.close()

    def retire(self) -> RetiredSegment:
        """Give the files names that no log has; they stay open for who still reads them."""
        renamed = []
        for suffix in SUFFIXES:
            path = self.path_of(suffix)
            if self._disk.exists(path):
                self._disk.rename(path, path + DELETED)
                renamed.append(path + DELETED)
        return RetiredSegment(self._disk, self, renamed)


def rename_segment(disk: Disk, path: str, base_offset: int, old: str, new: str) -> None:
    """Give a segment's files another mark; the log last, so that its name says all are there."""
    for suffix in reversed(SUFFIXES):
        name = f"{path}/{file_name(base_offset, suffix)}"
        if disk.exists(name + old):
            disk.rename(name + old, name + new)


@dataclass(frozen=True, slots=True)
class RetiredSegment:
    """A segment that no log has any more, and the paths of its files."""

    disk: Disk
    segment: Segment
    paths: Sequence[str]

    def close(self) -> None:
        self.segment.close()

    def remove(self) -> None:
        """Close and remove the files."""
        self.close()
        for path in self.paths:
            if self.disk.exists(path):
                self.disk.remove(path)


def hash_name(name: str) -> int:
    """A number that is the same in every process, to spread segments' rolls over partitions."""
    value = 0
    for byte in name.encode():
        value = (value * 31 + byte) & 0x7FFFFFFF
    return value

"""The log of one partition: appends with offsets, reads by offset, its bounds, its segments.

log start ≤ last stable offset ≤ high watermark ≤ log end. A batch is appended by one write, with
its offset and leader epoch set in its first bytes; a read gives the bytes as they lie there. All
calls but `flush` and `sync_names` come from one thread; those may run in another beside appends
and reads. Nothing waits for the disk but them, `open` and `close`: a new log, a new segment and a
new epoch are durable with the next flush, as the records in them are.
"""

from __future__ import annotations

import logging
import posixpath
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple
from uuid import UUID

from streamkit.broker.log import checkpoint
from streamkit.broker.log.epochs import LeaderEpochs
from streamkit.broker.log.errors import LogError
from streamkit.broker.log.index import AbortedTransaction
from streamkit.broker.log.producer_state import InTransaction, Origin, ProducerState
from streamkit.broker.log.recovery import (
    Recovery,
    has_segments,
    load_producers,
    open_segments,
    replay_batch,
    snapshot_offsets,
)
from streamkit.broker.log.segment import (
    LOG,
    SNAPSHOT,
    SWAP,
    RetiredSegment,
    Segment,
    StoredBatch,
    file_name,
    rename_segment,
)
from streamkit.broker.log.settings import LONG_MAX, LogSettings
from streamkit.broker.log.timestamps import TimestampOffset, find_timestamp
from streamkit.broker.log.validator import Prepared, check_batch, prepare
from streamkit.common.errors import CorruptBatchError, StorageError
from streamkit.common.seams import Bytes, Disk, FileSlice, Piece
from streamkit.protocol.errors import ErrorCode
from streamkit.records import BatchHeader, EndTxnMarker, decode, parse_end_txn_marker, scan

__all__ = ["AppendInfo", "Isolation", "Log", "Origin", "ReadResult"]

logger = logging.getLogger(__name__)

NO_TIMESTAMP = -1
NO_TOPIC_ID = UUID(int=0)


class Isolation(Enum):
    """Up to where a reader may read."""

    LOG_END = "log end"
    HIGH_WATERMARK = "high watermark"
    LAST_STABLE = "last stable offset"


@dataclass(frozen=True, slots=True)
class AppendInfo:
    """What an append did; `log_append_time` is -1 when the records keep their own times."""

    base_offset: int
    last_offset: int
    log_append_time: int
    log_start_offset: int
    is_duplicate: bool = False


class ReadResult(NamedTuple):
    """Bytes of the log, its bounds, and the (producer id, first offset) of aborted transactions."""

    records: Piece
    high_watermark: int
    last_stable_offset: int
    log_start_offset: int
    aborted: list[tuple[int, int]]

    @property
    def data(self) -> Bytes:
        """The records, read."""
        return self.records.read() if isinstance(self.records, FileSlice) else self.records


class Log:
    """One partition's log; made by `Log.open`."""

    def __init__(
        self,
        disk: Disk,
        path: str,
        name: str,
        settings: LogSettings,
        now_ms: Callable[[], int],
    ) -> None:
        self.disk = disk
        self.path = path
        self.name = name
        self._settings = settings
        self.topic_id = NO_TOPIC_ID
        self.producers = ProducerState(name)
        self.epochs = LeaderEpochs(disk, f"{path}/{checkpoint.LEADER_EPOCHS}")
        self.segments: list[Segment] = []
        self.log_start_offset = 0
        self.log_end_offset = 0
        self.high_watermark = 0
        self.recovery_point = 0
        self.cleaned_offset = 0
        self.has_failed = False
        self.flushed_ms = now_ms()
        self._now_ms = now_ms
        self._bases: list[int] = []
        self._retired: list[tuple[int, RetiredSegment]] = []
        self._are_names_new = False
        self._is_flushing = False

    @classmethod
    def open(
        cls,
        disk: Disk,
        path: str,
        topic: str,
        partition: int,
        topic_id: UUID | None,
        settings: LogSettings,
        clock_now_ms: Callable[[], int],
        *,
        recovery_point: int = 0,
        log_start_offset: int = 0,
        high_watermark: int = 0,
        cleaned_offset: int = 0,
        clean_shutdown: bool = False,
    ) -> Log:
        """Open or make the log in directory `path`. Raises StorageError."""
        disk.make_dirs(path)
        log = cls(disk, path, f"{topic}-{partition}", settings, clock_now_ms)
        log._open_metadata(topic_id)
        log._are_names_new |= not has_segments(disk, path)
        log.segments = open_segments(disk, path, settings, log_start_offset, clock_now_ms())
        recovery = Recovery(disk, path, log.segments, log.producers, cleaned_offset)
        log.log_end_offset = recovery.run(log.epochs, recovery_point, clean_shutdown)
        log.recovery_point = log.log_end_offset
        log.cleaned_offset = cleaned_offset
        log._note_bases()
        if log.log_end_offset < log_start_offset:
            # Deleting records is durable before the records are (LogLoader.load).
            logger.warning(
                "%s ends at %d, below its start %d, and begins anew there",
                log.name,
                log.log_end_offset,
                log_start_offset,
            )
            log.truncate_fully(log_start_offset)
        log.log_start_offset = max(log_start_offset, log.segments[0].base_offset)
        log.epochs.truncate_end(log.log_end_offset)
        log.epochs.truncate_start(log.log_start_offset)
        log.epochs.persist()
        log.update_high_watermark(high_watermark)
        return log

    def _open_metadata(self, topic_id: UUID | None) -> None:
        self.topic_id = self._read_topic_id()
        if self.topic_id.int == 0:
            self.adopt(topic_id or NO_TOPIC_ID)
        elif topic_id is not None and topic_id != self.topic_id:
            raise StorageError(f"{self.path} belongs to topic id {self.topic_id}")

    def _read_topic_id(self) -> UUID:
        """The id in partition.metadata; none when a crash took the file before its first flush."""
        path = f"{self.path}/{checkpoint.PARTITION_METADATA}"
        if not self.disk.exists(path):
            return NO_TOPIC_ID
        try:
            return checkpoint.parse_partition_metadata(self.disk.read(path))
        except StorageError as error:
            logger.warning("%s: %s", path, error)
            return NO_TOPIC_ID

    def adopt(self, topic_id: UUID) -> None:
        """Let a log that knows no topic id belong to this topic."""
        if topic_id.int == 0:
            return
        path = f"{self.path}/{checkpoint.PARTITION_METADATA}"
        data = checkpoint.format_partition_metadata(topic_id)
        checkpoint.write_unsynced(self.disk, path, data)
        self.topic_id = topic_id
        self._are_names_new = True

    def sync_names(self) -> None:
        """Make the log's folder and the names in it durable. Raises StorageError."""
        if not self._are_names_new:
            return
        self._are_names_new = False
        path = f"{self.path}/{checkpoint.PARTITION_METADATA}"
        if self.disk.exists(path):
            file = self.disk.open(path)
            try:
                file.sync()
            finally:
                file.close()
        self.disk.sync_dir(self.path)
        self.disk.sync_dir(posixpath.dirname(self.path))

    @property
    def settings(self) -> LogSettings:
        """The topic's settings; they may change while the log is open."""
        return self._settings

    @settings.setter
    def settings(self, settings: LogSettings) -> None:
        self._settings = settings
        for segment in self.segments:
            segment.settings = settings

    @property
    def last_stable_offset(self) -> int:
        """Readers of committed data read up to here."""
        unstable = self.producers.first_unstable_offset(self.high_watermark)
        if unstable is None:
            return self.high_watermark
        return min(max(unstable, self.log_start_offset), self.high_watermark)

    @property
    def active(self) -> Segment:
        """The segment that is appended to."""
        return self.segments[-1]

    @property
    def size(self) -> int:
        """The bytes of all segments."""
        return sum(segment.size for segment in self.segments)

    @property
    def needs_flush(self) -> bool:
        """Whether as many records as `flush.messages` are not flushed."""
        return self.log_end_offset - self.recovery_point >= self.settings.flush_messages

    def is_flush_due(self, now_ms: int) -> bool:
        """Whether `flush.ms` is over, or a finished segment or a name is not durable yet."""
        if self._are_names_new or self.recovery_point < self.active.base_offset:
            return True
        is_dirty = self.recovery_point < self.log_end_offset
        return is_dirty and now_ms - self.flushed_ms >= self.settings.flush_ms

    @property
    def leader_epoch_cache(self) -> LeaderEpochs:
        return self.epochs

    def append_as_leader(
        self,
        records: Bytes,
        leader_epoch: int,
        now_ms: int,
        *,
        acks: int = -1,
        origin: Origin = Origin.CLIENT,
        transaction: InTransaction | None = None,
        prepared: Prepared | LogError | None = None,
    ) -> AppendInfo:
        """Check a batch, give it the next offsets and append it.

        Raises LogError when it is refused, and StorageError when the disk fails. Only clients are
        held to one batch; a batch that its producer sent before is answered with its old offsets.
        With `transaction` a transaction must be open here or verified, see `producer_state`.
        A client's batch may have been prepared before, see `is_heavy`.
        """
        if isinstance(prepared, LogError):
            raise prepared
        if prepared is not None:
            now = prepared.at(now_ms)
            return self._append_prepared(records, now, leader_epoch, now_ms, origin, transaction)
        header = check_batch(records, 0, self.settings, origin)
        info = self._append_one(records, header, leader_epoch, now_ms, origin, transaction)
        position = header.position + header.size
        while position < len(records):
            header = check_batch(records, position, self.settings, origin)
            last = self._append_one(records, header, leader_epoch, now_ms, origin, transaction)
            info = AppendInfo(
                info.base_offset, last.last_offset, info.log_append_time, info.log_start_offset
            )
            position += header.size
        return info

    def _append_one(
        self,
        records: Bytes,
        header: BatchHeader,
        leader_epoch: int,
        now_ms: int,
        origin: Origin,
        transaction: InTransaction | None,
    ) -> AppendInfo:
        prepared = prepare(records, header, self.settings, now_ms, origin)
        return self._append_prepared(records, prepared, leader_epoch, now_ms, origin, transaction)

    def _append_prepared(
        self,
        records: Bytes,
        prepared: Prepared,
        leader_epoch: int,
        now_ms: int,
        origin: Origin,
        transaction: InTransaction | None,
    ) -> AppendInfo:
        header = prepared.header
        marker = None
        if header.producer_id >= 0:
            if header.is_control:
                marker = self._marker_of(records, header)
            elif origin is Origin.CLIENT:
                duplicate = self.producers.find_duplicate(header)
                if duplicate is not None:
                    time = duplicate.timestamp if self.settings.is_log_append_time else NO_TIMESTAMP
                    first, last = duplicate.first_offset, duplicate.last_offset
                    return AppendInfo(first, last, time, self.log_start_offset, True)
            if marker is None:
                self.producers.check(header, origin, transaction)
            else:
                version = 0 if transaction is None else transaction.version
                self.producers.check_marker(header, marker, version)
        return self._write(prepared, marker, leader_epoch, now_ms)

    @staticmethod
    def _marker_of(records: Bytes, header: BatchHeader) -> EndTxnMarker | None:
        decoded = decode(records, header, check_crc=False)
        return parse_end_txn_marker(decoded.keys[0], decoded.values[0])

    def _write(
        self, prepared: Prepared, marker: EndTxnMarker | None, leader_epoch: int, now_ms: int
    ) -> AppendInfo:
        header = prepared.header
        base = self.log_end_offset
        last = base + header.last_offset_delta
        if self.active.must_roll(prepared.size, last, prepared.max_timestamp, now_ms):
            self.roll()
        self.epochs.assign(leader_epoch, base)
        chunks = prepared.chunks(base, leader_epoch)
        self.active.append(chunks, prepared.size, (base, last), prepared.max_timestamp)
        if marker is not None:
            time = max(prepared.max_timestamp, 0)
            self._note_aborted(self.producers.update_marker(header, base, marker, time))
        elif header.is_control:
            self.producers.skip(last + 1)
        else:
            self.producers.update(header, base, prepared.max_timestamp)
        self.log_end_offset = last + 1
        return AppendInfo(base, last, prepared.log_append_time, self.log_start_offset)

    def _note_aborted(self, aborted: AbortedTransaction | None) -> None:
        if aborted is not None:
            self.active.aborted.append(aborted)

    def append_as_follower(self, records: Bytes) -> AppendInfo:
        """Append batches that a leader wrote, as they are.

        Raises LogError CORRUPT_MESSAGE, with nothing appended, for batches that are damaged,
        incomplete or do not follow on the log's end.
        """
        try:
            headers = scan(records)
        except CorruptBatchError as error:
            raise LogError(ErrorCode.corrupt_message, str(error)) from None
        if not headers:
            raise LogError(ErrorCode.corrupt_message, "there is no whole batch")
        data = bytes(records)
        expected = self.log_end_offset
        for header in headers:
            check_batch(data, header.position, self.settings, Origin.RAFT_LEADER)
            if header.base_offset < expected:
                raise LogError(
                    ErrorCode.corrupt_message,
                    f"batch at offset {header.base_offset} does not follow on {expected}",
                )
            expected = header.last_offset + 1
        for header in headers:
            self._write_verbatim(data, header)
        return AppendInfo(
            headers[0].base_offset, headers[-1].last_offset, NO_TIMESTAMP, self.log_start_offset
        )

    def _write_verbatim(self, data: bytes, header: BatchHeader) -> None:
        last, timestamp = header.last_offset, header.max_timestamp
        if self.active.must_roll(header.size, last, timestamp, self._now_ms()):
            self.roll(header.base_offset)
        self.epochs.assign(header.leader_epoch, header.base_offset)
        position = self.active.size
        batch = memoryview(data)[header.position : header.position + header.size]
        self.active.append((batch,), header.size, (header.base_offset, last), timestamp)
        self._note_aborted(replay_batch(self.producers, StoredBatch(header, data, position)))
        self.log_end_offset = last + 1

    def read(
        self,
        offset: int,
        bytes_max: int,
        *,
        isolation: Isolation = Isolation.HIGH_WATERMARK,
        min_one: bool = True,
        cached_only: bool = False,
        as_slice: bool = False,
    ) -> ReadResult:
        """Batches from the one that holds `offset` on, at most to the end of a segment.

        Raises LogError OFFSET_OUT_OF_RANGE below the log's start or above its end; and with
        `cached_only` ColdRead rather than wait for the disk. `as_slice`: they are only sent.
        """
        if not self.log_start_offset <= offset <= self.log_end_offset:
            raise LogError(
                ErrorCode.offset_out_of_range,
                f"offset {offset} is not in {self.name}, which has {self.log_start_offset} to "
                f"{self.log_end_offset}",
            )
        stable = self.last_stable_offset
        limit = self.limit_of(isolation)
        records: Piece = b""
        segments = self.segments
        index = bisect_right(self._bases, offset) - 1
        while offset < limit and index < len(segments):
            segment = segments[index]
            is_whole = limit == self.log_end_offset
            end = segment.size if is_whole else self._position_end(index, limit, cached_only)
            found = segment.read(offset, bytes_max, end, min_one, cached_only, as_slice)
            if found is not None:
                records = found
                break
            index += 1
        aborted: list[tuple[int, int]] = []
        if isolation is Isolation.LAST_STABLE and records:
            upper = self._upper_offset(index, offset, len(records), limit)
            aborted = self._aborted(index, offset, upper)
        return ReadResult(records, self.high_watermark, stable, self.log_start_offset, aborted)

    def limit_of(self, isolation: Isolation) -> int:
        """The offset that a reader with this isolation may not reach."""
        if isolation is Isolation.LOG_END:
            return self.log_end_offset
        if isolation is Isolation.HIGH_WATERMARK:
            return self.high_watermark
        return self.last_stable_offset

    def _end_of(self, index: int) -> int:
        is_last = index == len(self.segments) - 1
        return self.log_end_offset if is_last else self.segments[index + 1].base_offset

    def _position_end(self, index: int, limit: int, cached_only: bool) -> int:
        segment = self.segments[index]
        if limit >= self._end_of(index):
            return segment.size
        position = segment.position_of(limit, cached_only=cached_only)
        return segment.size if position is None else position

    def _upper_offset(self, index: int, offset: int, size: int, limit: int) -> int:
        segment = self.segments[index]
        position = segment.position_of(offset)
        assert position is not None, f"offset {offset} was just read"
        found = segment.offsets.offset_after(position + size)
        return min(limit, self._end_of(index) if found is None else found)

    def _aborted(self, index: int, start: int, end: int) -> list[tuple[int, int]]:
        """The aborted transactions with records in [start, end), oldest first."""
        found: list[tuple[int, int]] = []
        for segment in self.segments[index:]:
            overlapping = list(segment.aborted.overlapping(start, end))
            found += [(entry.producer_id, entry.first_offset) for entry in overlapping]
            entries = segment.aborted.entries
            if entries and entries[-1].last_stable_offset >= end:
                break
        return sorted(found, key=lambda entry: entry[1])

    def offset_for_timestamp(
        self,
        timestamp: int,
        isolation: Isolation = Isolation.HIGH_WATERMARK,
        *,
        cached_only: bool = False,
    ) -> TimestampOffset:
        """The first offset at `timestamp` or later below the limit, or a special lookup's answer.

        Special are -1 latest, -2 earliest, -3 the record with the highest timestamp, -4 earliest
        local, -5 and -6 tiered. (-1, -1, -1) when there is none.
        """
        return find_timestamp(self, timestamp, self.limit_of(isolation), cached_only)

    def end_offset_for_epoch(self, epoch: int) -> tuple[int, int]:
        """The largest known epoch up to `epoch` and where it ends; (-1, -1) when unknown."""
        return self.epochs.end_offset_for(epoch, self.log_end_offset)

    def assign_epoch_start(self, epoch: int) -> None:
        """From the log's end on `epoch` leads."""
        self.epochs.assign(epoch, self.log_end_offset)

    def update_high_watermark(self, offset: int) -> None:
        """Set the high watermark, held between the log's start and end."""
        self.high_watermark = min(max(offset, self.log_start_offset), self.log_end_offset)
        self.producers.forget_replicated(self.high_watermark)

    def advance_log_start(self, offset: int) -> bool:
        """Move the log's start up; False when it is there already. Raises LogError beyond HW."""
        if offset > self.high_watermark:
            raise LogError(
                ErrorCode.offset_out_of_range,
                f"offset {offset} is above the high watermark {self.high_watermark} of {self.name}",
            )
        if offset <= self.log_start_offset:
            return False
        self.log_start_offset = offset
        self.epochs.truncate_start(offset)
        return True

    def roll(self, offset: int | None = None) -> None:
        """Finish the active segment and begin a new one at `offset`, by default the log's end."""
        base = self.log_end_offset if offset is None else offset
        if self.active.size == 0 and self.active.base_offset == base:
            return
        self.active.finish()
        self.take_snapshot()
        if self.active.size == 0:
            self._retire(self.segments.pop())
        segment = Segment(self.disk, self.path, base, self.settings, self._now_ms())
        segment.load_indexes()
        self.segments.append(segment)
        self._are_names_new = True
        self._note_bases()

    def take_snapshot(self) -> None:
        """Keep the producers' state of now; only that of segments and the newest stay."""
        path = f"{self.path}/{file_name(self.log_end_offset, SNAPSHOT)}"
        if not self.disk.exists(path):
            checkpoint.write_unsynced(self.disk, path, self.producers.snapshot())
        kept = {segment.base_offset for segment in self.segments} | {self.log_end_offset}
        for offset in snapshot_offsets(self.disk, self.path):
            if offset not in kept:
                self.disk.remove(f"{self.path}/{file_name(offset, SNAPSHOT)}")

    def flush(self) -> None:
        """Make all appended records durable. Raises StorageError; may run in a thread."""
        self._is_flushing = True
        try:
            offset_end = self.log_end_offset
            segments = self.segments[:]
            self.sync_names()
            for segment in segments[self._index_of(self.recovery_point) : -1]:
                segment.sync()
            segments[-1].sync_log()
            self.epochs.persist()
        except FileNotFoundError as error:
            raise StorageError(f"{self.path} is gone: {error}") from error
        finally:
            self._is_flushing = False
        self.recovery_point = max(self.recovery_point, offset_end)
        self.flushed_ms = self._now_ms()

    def _index_of(self, offset: int) -> int:
        return max(0, bisect_right(self._bases, offset) - 1)

    def _note_bases(self) -> None:
        self._bases = [segment.base_offset for segment in self.segments]

    def truncate_to(self, offset: int) -> None:
        """Drop the records at `offset` and above; a batch that holds it goes as a whole."""
        if offset >= self.log_end_offset:
            return
        while len(self.segments) > 1 and self.active.base_offset >= offset:
            self._retire(self.segments.pop())
        segment = self.active
        position = segment.position_of(offset)
        offset_end = max(offset, segment.base_offset)
        if position is not None:
            first = next(segment.walk(position))
            offset_end = max(first.header.base_offset, segment.base_offset)
            segment.truncate(position, offset_end)
        self._note_bases()
        self.log_end_offset = offset_end
        self.epochs.truncate_end(offset_end)
        self.recovery_point = min(self.recovery_point, offset_end)
        self.high_watermark = min(self.high_watermark, offset_end)
        self.log_start_offset = min(self.log_start_offset, offset_end)
        load_producers(self.disk, self.path, self.segments, self.producers, offset_end)

    def truncate_fully(self, offset: int) -> None:
        """Drop everything and begin again at `offset`."""
        for segment in self.segments:
            self._retire(segment)
        for old in snapshot_offsets(self.disk, self.path):
            self.disk.remove(f"{self.path}/{file_name(old, SNAPSHOT)}")
        self.segments = [Segment(self.disk, self.path, offset, self.settings, self._now_ms())]
        self._note_bases()
        self.epochs.truncate_end(0)
        self.producers.restart(offset)
        self.log_start_offset = self.log_end_offset = offset
        self.high_watermark = self.recovery_point = offset

    def delete_old_segments(self, now_ms: int) -> int:
        """Retention: drop the oldest segments that are below the log's start, too much or too old.

        Returns how many went. Nothing at or above the high watermark goes.
        """
        count = self._retired_count(now_ms)
        if count == 0:
            return 0
        if count == len(self.segments):
            self.roll()
        for segment in self.segments[:count]:
            self._retire(segment)
        del self.segments[:count]
        self._note_bases()
        start = self.segments[0].base_offset
        if start > self.log_start_offset:
            self.log_start_offset = start
            self.epochs.truncate_start(start)
        return count

    def _retired_count(self, now_ms: int) -> int:
        settings = self.settings
        excess = self.size - settings.retention_bytes
        by_size = settings.is_deleted and settings.retention_bytes >= 0
        by_time = settings.is_deleted and settings.retention_ms >= 0
        count = 0
        for index, segment in enumerate(self.segments):
            end = self._end_of(index)
            is_active = index == len(self.segments) - 1
            if (segment.size == 0 and is_active) or end > self.high_watermark:
                break
            is_before_start = not is_active and end <= self.log_start_offset
            is_too_much = by_size and excess >= segment.size
            is_too_old = by_time and now_ms - _newest(segment) > settings.retention_ms
            if not (is_before_start or is_too_much or is_too_old):
                break
            excess -= segment.size
            count += 1
        return count

    def replace_segments(self, bases: Sequence[int]) -> None:
        """Let the compacted segment take the place of its sources, whose bases these are.

        Its files are marked as swap. Raises LogError when a source is gone by now: then the
        rest of the pass is void, too.
        """
        count = len(bases)
        first = self._index_of(bases[0])
        if self._bases[first : first + count] != list(bases) or first + count >= len(self._bases):
            raise LogError(ErrorCode.unknown_server_error, f"{self.name} lost segments meanwhile")
        old = self.segments[first : first + count]
        for segment in old:
            self._retire(segment, is_snapshot_kept=segment.base_offset == bases[0])
        rename_segment(self.disk, self.path, bases[0], SWAP, "")
        compacted = Segment(self.disk, self.path, bases[0], self.settings, self._now_ms())
        if not compacted.load_indexes():
            raise StorageError(f"the indexes of {compacted.path_of(LOG)} do not fit it")
        self.segments[first : first + count] = [compacted]
        self._note_bases()
        self._are_names_new = True

    def _retire(self, segment: Segment, *, is_snapshot_kept: bool = False) -> None:
        due_ms = self._now_ms() + self.settings.file_delete_delay_ms
        self._retired.append((due_ms, segment.retire()))
        snapshot = f"{self.path}/{file_name(segment.base_offset, SNAPSHOT)}"
        if self.disk.exists(snapshot) and not is_snapshot_kept:
            self.disk.remove(snapshot)

    def purge(self, now_ms: int) -> None:
        """Remove the files of dropped segments whose delay is over."""
        for retired in self.take_retired(now_ms):
            retired.remove()

    def take_retired(self, now_ms: int) -> list[RetiredSegment]:
        """The dropped segments whose delay is over; the caller removes them, in any thread.

        None while a flush runs, which may be at one of them.
        """
        if self._is_flushing:
            return []
        due = [retired for due_ms, retired in self._retired if due_ms <= now_ms]
        self._retired = [entry for entry in self._retired if entry[0] > now_ms]
        return due

    def close(self, clean: bool = True) -> None:
        """Close the files; a clean close flushes and leaves a producer snapshot at the end."""
        if clean:
            self.take_snapshot()
            for segment in self.segments:
                segment.finish()
                segment.sync()
            self.sync_names()
            self.epochs.persist()
            self.recovery_point = self.log_end_offset
            self.purge(LONG_MAX)
        for segment in self.segments:
            segment.close()
        for _, retired in self._retired:
            retired.close()

    def delete(self) -> None:
        """Close the files and remove the log's directory."""
        self.close(clean=False)
        self.disk.remove_tree(self.path)


def _newest(segment: Segment) -> int:
    return segment.max_timestamp if segment.max_timestamp >= 0 else segment.created_ms

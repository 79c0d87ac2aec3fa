"""What is done when a log is opened: find its end, rebuild what a crash left behind.

After a clean shutdown everything on disk is trusted. Otherwise each segment from the one with the
recovery point on is walked with every crc checked; at the first batch that is not whole and
intact the segment is cut, and what lies behind it is dropped (Kafka's LogLoader). So is what
follows a hole between two segments, unless it lies where compaction makes holes. The producers'
state is the newest snapshot that is not beyond the end, and the batches after it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from streamkit.broker.log.epochs import LeaderEpochs
from streamkit.broker.log.index import AbortedTransaction
from streamkit.broker.log.producer_state import ProducerState
from streamkit.broker.log.segment import (
    CLEANED,
    DELETED,
    LOG,
    SNAPSHOT,
    SUFFIXES,
    SWAP,
    Segment,
    StoredBatch,
    file_name,
    rename_segment,
)
from streamkit.broker.log.settings import LogSettings
from streamkit.common.errors import CorruptBatchError, StorageError
from streamkit.common.seams import Disk
from streamkit.records import decode, parse_end_txn_marker, verify_crc

logger = logging.getLogger(__name__)

TEMPORARY = (DELETED, CLEANED, ".tmp")


def has_segments(disk: Disk, path: str) -> bool:
    """Whether a log is there already."""
    return any(offset_of(name, LOG) is not None for name in disk.list(path))


def open_segments(
    disk: Disk, path: str, settings: LogSettings, log_start: int, now_ms: int
) -> list[Segment]:
    """The segments that are there in order of offset; a new one when there is none."""
    for name in disk.list(path):
        if name.endswith(TEMPORARY):
            disk.remove(f"{path}/{name}")
    _finish_swaps(disk, path, settings, now_ms)
    names = disk.list(path)
    bases = sorted(offset for name in names if (offset := offset_of(name, LOG)) is not None)
    for name in names:
        for suffix in SUFFIXES:
            offset = offset_of(name, suffix)
            if offset is not None and offset not in bases:
                disk.remove(f"{path}/{name}")
    return [Segment(disk, path, base, settings, now_ms) for base in bases or [log_start]]


def _finish_swaps(disk: Disk, path: str, settings: LogSettings, now_ms: int) -> None:
    """Let compacted segments that were complete before the crash replace their sources."""
    swaps = [name for name in disk.list(path) if name.endswith(SWAP)]
    complete = [base for name in swaps if (base := offset_of(name, LOG + SWAP)) is not None]
    for base in complete:
        swap = Segment(disk, path, base, settings, now_ms, mark=SWAP)
        end = max((batch.header.last_offset + 1 for batch in swap.walk()), default=base)
        swap.close()
        for name in disk.list(path):
            offset = offset_of(name, LOG)
            if offset is not None and base < offset < end:
                disk.remove(f"{path}/{name}")
        rename_segment(disk, path, base, SWAP, "")
    for name in swaps:
        if disk.exists(f"{path}/{name}"):
            disk.remove(f"{path}/{name}")
    if swaps:
        disk.sync_dir(path)


def offset_of(name: str, suffix: str) -> int | None:
    """The offset in the name of a segment's file with this suffix; None for another name."""
    stem = name.removesuffix(suffix)
    return int(stem) if name.endswith(suffix) and len(stem) == 20 and stem.isdigit() else None


class Recovery:
    """One pass over the segments of a log that is being opened."""

    def __init__(
        self,
        disk: Disk,
        path: str,
        segments: list[Segment],
        producers: ProducerState,
        cleaned_offset: int,
    ) -> None:
        self._disk = disk
        self._path = path
        self._segments = segments
        self._producers = producers
        self._cleaned_offset = cleaned_offset

    def run(self, epochs: LeaderEpochs, recovery_point: int, is_clean: bool) -> int:
        """Make the segments consistent; returns the log's end offset."""
        first = self._first_to_rebuild(recovery_point, is_clean)
        if first is None:
            offset_end = self._find_end(self._segments[-1])
            if offset_end is not None:
                self._load_producers(offset_end)
                return offset_end
            first = len(self._segments) - 1
        base = self._segments[first].base_offset
        self._load_producers(base)
        return self._rebuild_from(first, epochs, max(recovery_point, self._cleaned_offset))

    def _load_producers(self, offset_end: int) -> None:
        load_producers(self._disk, self._path, self._segments, self._producers, offset_end)

    def _first_to_rebuild(self, recovery_point: int, is_clean: bool) -> int | None:
        first = None
        for index, segment in enumerate(self._segments):
            is_last = index == len(self._segments) - 1
            end = None if is_last else self._segments[index + 1].base_offset
            is_flushed = is_clean or (end is not None and end <= recovery_point)
            if not segment.load_indexes() or not is_flushed:
                first = index if first is None else first
        return first

    def _find_end(self, segment: Segment) -> int | None:
        """The offset after the last batch; None when the file ends in something else."""
        offset_end, position = segment.base_offset, segment.offsets.last_position
        try:
            for batch in segment.walk(position):
                offset_end, position = batch.header.last_offset + 1, batch.position_end
                if batch.header.max_timestamp > segment.max_timestamp:
                    segment.max_timestamp = batch.header.max_timestamp
                    segment.max_timestamp_offset = batch.header.last_offset
        except CorruptBatchError:
            return None
        if position != segment.size or offset_end < segment.base_offset:
            return None
        first = next(segment.walk(), None)
        if first is not None and first.header.max_timestamp >= 0:
            segment.first_timestamp = first.header.max_timestamp
        return offset_end

    def _rebuild_from(self, first: int, epochs: LeaderEpochs, holes_end: int) -> int:
        offset_end = self._segments[first].base_offset
        for index in range(first, len(self._segments)):
            segment = self._segments[index]
            if segment.base_offset < offset_end:
                raise StorageError(
                    f"segment {segment.path_of(LOG)} begins before the end of the one before it"
                )
            if segment.base_offset > max(offset_end, holes_end):
                self._drop_from(index)
                break
            offset_end, is_whole = self._rebuild(segment, epochs)
            if not is_whole:
                self._drop_from(index + 1)
                break
        return offset_end

    def _drop_from(self, index: int) -> None:
        for dropped in self._segments[index:]:
            logger.warning("%s is dropped: it follows on a hole", dropped.path_of(LOG))
            dropped.retire().remove()
        del self._segments[index:]

    def _rebuild(self, segment: Segment, epochs: LeaderEpochs) -> tuple[int, bool]:
        """Walk the segment and cut it at the first bad batch: (end offset, was it all good)."""
        segment.reset_indexes()
        offset_end, position, size = segment.base_offset, 0, segment.size
        for batch in _intact_batches(segment):
            header = batch.header
            aborted = replay_batch(self._producers, batch)
            if aborted is not None:
                segment.aborted.append(aborted)
            epochs.assign(header.leader_epoch, header.base_offset)
            segment.note(batch.position, header.size, header.last_offset, header.max_timestamp)
            offset_end, position = header.last_offset + 1, batch.position_end
        if position != size:
            logger.warning("cut %s from %d to %d bytes", segment.path_of(LOG), size, position)
            segment.truncate(position, offset_end)
        segment.sync()
        return offset_end, position == size


def _intact_batches(segment: Segment) -> Iterator[StoredBatch]:
    """The batches up to the first that is damaged, incomplete or out of order."""
    offset_end = segment.base_offset
    walk = segment.walk()
    while True:
        try:
            batch = next(walk, None)
            if batch is None:
                return
            verify_crc(batch.buffer, batch.header)
        except CorruptBatchError as error:
            logger.warning("in %s: %s", segment.path_of(LOG), error)
            return
        if batch.header.base_offset < offset_end:
            return
        offset_end = batch.header.last_offset + 1
        yield batch


def snapshot_offsets(disk: Disk, path: str) -> list[int]:
    """The offsets of the producer snapshots in a log's directory, growing."""
    found = (offset_of(name, SNAPSHOT) for name in disk.list(path))
    return sorted(offset for offset in found if offset is not None)


def load_producers(
    disk: Disk, path: str, segments: Sequence[Segment], producers: ProducerState, offset_end: int
) -> None:
    """Bring the producers' state to `offset_end`: a snapshot, and the batches after it."""
    start = segments[0].base_offset
    producers.restart(start)
    for offset in reversed(snapshot_offsets(disk, path)):
        name = f"{path}/{file_name(offset, SNAPSHOT)}"
        if offset > offset_end:
            disk.remove(name)
            continue
        try:
            producers.load(disk.read(name), offset)
            break
        except StorageError as error:
            logger.warning("%s is dropped: %s", name, error)
            disk.remove(name)
            producers.restart(start)
    for segment, segment_end in _with_ends(segments, offset_end):
        if segment.base_offset >= offset_end or segment_end <= producers.offset_end:
            continue
        for batch in segment.walk(segment.position_of(producers.offset_end) or 0):
            if producers.offset_end <= batch.header.base_offset < offset_end:
                replay_batch(producers, batch)


def _with_ends(segments: Sequence[Segment], offset_end: int) -> Iterator[tuple[Segment, int]]:
    for index, segment in enumerate(segments):
        is_last = index == len(segments) - 1
        yield segment, (offset_end if is_last else segments[index + 1].base_offset)


def replay_batch(producers: ProducerState, batch: StoredBatch) -> AbortedTransaction | None:
    """Tell the producers' state of a batch in the log; the transaction it aborts, if any."""
    header = batch.header
    if header.is_control and header.producer_id >= 0 and header.count > 0:
        decoded = decode(batch.buffer, header, check_crc=False)
        marker = parse_end_txn_marker(decoded.keys[0], decoded.values[0])
        if marker is not None:
            return producers.update_marker(
                header, header.base_offset, marker, decoded.timestamps[0]
            )
    if header.is_control:
        producers.skip(header.last_offset + 1)
    else:
        producers.update(header, header.base_offset, header.max_timestamp)
    return None

"""Compaction of one log: the newest value of each key stays, offsets never change.

Two passes (Kafka's Cleaner). The first maps each key of the dirty range to its newest offset; the
second copies all segments below the map's end, without the records that a later one replaces.
A tombstone or a marker without data is given a delete horizon by the first pass that meets it and
goes in one that comes after (KIP-534). Aborted data goes at once. A batch with a producer's last
sequence, and the last one of the pass, stay even when they are empty.

It runs in a process or a thread of its own over finished segments, which nobody changes; it
writes `.cleaned` files, which the log takes over when they are complete.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from streamkit.broker.log.index import AbortedTransaction
from streamkit.broker.log.segment import CLEANED, Segment, StoredBatch
from streamkit.broker.log.settings import LogSettings
from streamkit.common.seams import Disk
from streamkit.records import (
    BatchHeader,
    DecodedBatch,
    decode,
    parse_end_txn_marker,
    read_header,
    verify_crc,
)
from streamkit.records.codec import DELETE_HORIZON
from streamkit.records.rewrite import keep_records, without_records

PLAIN_KEY_BYTES_MAX = 32
"""Longer keys are held in the map by their digest."""
OFFSET_SPAN_MAX = 0x7FFFFFFF
NO_OFFSET = -1


@dataclass(frozen=True, slots=True)
class CleanJob:
    """What to compact: the finished segments of a log and the bounds of the pass.

    `segments` are the base offsets of those that begin below `end`; `producers` says of each
    active one its last data offset (-1 for none) and its epoch; `aborted` are the aborted
    transactions that began below `end`, wherever their markers are.
    """

    path: str
    segments: tuple[int, ...]
    first_dirty: int
    end: int
    now_ms: int
    delete_retention_ms: int
    keys_max: int
    segment_bytes: int
    segment_index_bytes: int
    index_interval_bytes: int
    producers: Mapping[int, tuple[int, int]]
    aborted: tuple[AbortedTransaction, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> CleanJob:
        values = json.loads(text)
        values["segments"] = tuple(values["segments"])
        values["producers"] = {int(key): tuple(at) for key, at in values["producers"].items()}
        values["aborted"] = tuple(AbortedTransaction(**each) for each in values["aborted"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class CleanResult:
    """What a pass did: the log is clean below `end`; each group of segments became its first."""

    end: int
    groups: tuple[tuple[int, ...], ...]
    bytes_before: int
    bytes_after: int

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> CleanResult:
        values = json.loads(text)
        values["groups"] = tuple(tuple(group) for group in values["groups"])
        return cls(**values)


def clean(disk: Disk, job: CleanJob) -> CleanResult:
    """Write the cleaned segments. Raises StorageError, CorruptBatchError, FileNotFoundError."""
    settings = replace(
        LogSettings(),
        segment_bytes=job.segment_bytes,
        segment_index_bytes=job.segment_index_bytes,
        index_interval_bytes=job.index_interval_bytes,
    )
    sources = [_opened(disk, job, base, settings) for base in job.segments]
    try:
        newest, batch_end, is_complete = _map_keys(sources, job)
        end = job.end if is_complete else batch_end
        kept = [source for source in sources if source.base_offset < end]
        groups = list(_groups(kept, job))
        sieve = _Sieve(job, newest, batch_end)
        after = sum(_clean_group(disk, job, group, settings, sieve) for group in groups)
        return CleanResult(
            end,
            tuple(tuple(source.base_offset for source in group) for group in groups),
            sum(source.size for source in kept),
            after,
        )
    finally:
        for source in sources:
            source.close()


def _opened(disk: Disk, job: CleanJob, base: int, settings: LogSettings) -> Segment:
    return Segment(disk, job.path, base, settings, job.now_ms, create=False)


def _map_keys(sources: Sequence[Segment], job: CleanJob) -> tuple[dict[bytes, int], int, bool]:
    """The newest offset of each key in the dirty range: (map, where it ends, is that all)."""
    newest: dict[bytes, int] = {}
    transactions = _Transactions(job.aborted)
    end = job.first_dirty
    for batch in _batches(sources, job.first_dirty):
        header = batch.header
        if header.base_offset >= job.end:
            break
        if header.is_control:
            transactions.control(batch)
        elif not transactions.data(header) and header.count:
            if len(newest) + header.count > job.keys_max and newest:
                return newest, end, False
            decoded = decode(batch.buffer, header, check_crc=False)
            for key, offset in zip(decoded.keys, decoded.offsets, strict=True):
                if key is not None and offset >= job.first_dirty:
                    newest[_name(key)] = offset
        end = header.last_offset + 1
    return newest, end, True


def _batches(sources: Sequence[Segment], start: int) -> Iterator[StoredBatch]:
    for index, source in enumerate(sources):
        following = sources[index + 1].base_offset if index + 1 < len(sources) else None
        if following is not None and following <= start:
            continue
        for batch in source.walk():
            if batch.header.last_offset >= start:
                verify_crc(batch.buffer, batch.header)
                yield batch


def _name(key: bytes) -> bytes:
    return key if len(key) <= PLAIN_KEY_BYTES_MAX else hashlib.sha256(key).digest() + b"#"


def _groups(sources: Sequence[Segment], job: CleanJob) -> Iterator[list[Segment]]:
    """Neighbours that fit into one segment together."""
    group: list[Segment] = []
    size = 0
    for index, source in enumerate(sources):
        end = sources[index + 1].base_offset if index + 1 < len(sources) else job.end
        is_too_much = size + source.size > job.segment_bytes
        if group and (is_too_much or end - group[0].base_offset > OFFSET_SPAN_MAX):
            yield group
            group, size = [], 0
        group.append(source)
        size += source.size
    if group:
        yield group


def _clean_group(
    disk: Disk, job: CleanJob, group: Sequence[Segment], settings: LogSettings, sieve: _Sieve
) -> int:
    base = group[0].base_offset
    cleaned = Segment(disk, job.path, base, settings, job.now_ms, mark=CLEANED)
    try:
        cleaned.truncate(0, base)
        for source in group:
            for batch in source.walk():
                verify_crc(batch.buffer, batch.header)
                data, aborted = sieve.pass_through(batch)
                if aborted is not None:
                    cleaned.aborted.append(aborted)
                if data:
                    header = batch.header
                    bounds = (header.base_offset, header.last_offset)
                    newest = read_header(data).max_timestamp
                    cleaned.append((data,), len(data), bounds, newest)
        cleaned.finish()
        cleaned.sync()
        return cleaned.size
    finally:
        cleaned.close()


class _Transactions:
    """Which data batches are aborted, and which markers still have data before them."""

    def __init__(self, aborted: Sequence[AbortedTransaction]) -> None:
        self._waiting = sorted(aborted, key=lambda entry: entry.first_offset, reverse=True)
        self._aborted: dict[int, AbortedTransaction] = {}
        self._has_data: set[int] = set()
        self._committed: set[int] = set()

    def data(self, header: BatchHeader) -> bool:
        """Meet a batch of data: whether it was aborted."""
        self._begin(header.last_offset)
        if not header.is_transactional:
            return False
        if header.producer_id in self._aborted:
            self._has_data.add(header.producer_id)
            return True
        self._committed.add(header.producer_id)
        return False

    def control(self, batch: StoredBatch) -> tuple[bool, AbortedTransaction | None]:
        """Meet a control batch: whether nothing needs it, and the transaction it aborts."""
        header = batch.header
        self._begin(header.last_offset)
        if header.count == 0:
            return True, None
        decoded = decode(batch.buffer, header, check_crc=False)
        marker = parse_end_txn_marker(decoded.keys[0], decoded.values[0])
        if marker is None:
            return False, None
        producer_id = header.producer_id
        if marker.is_commit:
            had_data = producer_id in self._committed
            self._committed.discard(producer_id)
            return not had_data, None
        entry = self._aborted.pop(producer_id, None)
        if entry is None or producer_id not in self._has_data:
            return True, None
        self._has_data.discard(producer_id)
        return False, entry

    def _begin(self, offset: int) -> None:
        while self._waiting and self._waiting[-1].first_offset <= offset:
            entry = self._waiting.pop()
            self._aborted.setdefault(entry.producer_id, entry)


class _Sieve:
    """Decides what stays of each batch, in the order of the log."""

    def __init__(self, job: CleanJob, newest: Mapping[bytes, int], end: int) -> None:
        self._job = job
        self._newest = newest
        self._end = end
        self._transactions = _Transactions(job.aborted)

    def pass_through(self, batch: StoredBatch) -> tuple[bytes, AbortedTransaction | None]:
        """The bytes that stay of a batch, and the aborted transaction its marker ends."""
        header = batch.header
        entry = None
        if header.is_control:
            is_needless, entry = self._transactions.control(batch)
            is_discarded = is_needless and self._is_past_horizon(header)
            is_marked = is_needless
        else:
            is_discarded, is_marked = self._transactions.data(header), False
        data = memoryview(batch.buffer)[header.position : header.position + header.size]
        if is_discarded or header.count == 0:
            return self._emptied(header), entry
        decoded = decode(batch.buffer, header, check_crc=False)
        kept = list(range(header.count)) if header.is_control else self._kept(header, decoded)
        if not kept:
            return self._emptied(header), entry
        is_marked |= not header.is_control and any(decoded.values[at] is None for at in kept)
        horizon = NO_OFFSET
        if is_marked and not header.attributes & DELETE_HORIZON:
            horizon = self._job.now_ms + self._job.delete_retention_ms
        if horizon < 0 and len(kept) == header.count:
            return bytes(data), entry
        return keep_records(data, header, decoded, kept, horizon), entry

    def _kept(self, header: BatchHeader, decoded: DecodedBatch) -> list[int]:
        newest, end = self._newest, self._end
        keeps_tombstones = not self._is_past_horizon(header)
        kept = []
        rows = zip(decoded.offsets, decoded.keys, decoded.values, strict=True)
        for index, (offset, key, value) in enumerate(rows):
            if offset >= end or (
                key is not None
                and offset >= newest.get(_name(key), NO_OFFSET)
                and (value is not None or keeps_tombstones)
            ):
                kept.append(index)
        return kept

    def _is_past_horizon(self, header: BatchHeader) -> bool:
        has_horizon = bool(header.attributes & DELETE_HORIZON)
        return has_horizon and header.base_timestamp <= self._job.now_ms

    def _emptied(self, header: BatchHeader) -> bytes:
        """Nothing, or the batch without its records where somebody needs its numbers."""
        is_last = header.last_offset + 1 == self._end
        return without_records(header) if is_last or self._is_last_of_producer(header) else b""

    def _is_last_of_producer(self, header: BatchHeader) -> bool:
        last = self._job.producers.get(header.producer_id)
        if last is None:
            return False
        offset, epoch = last
        if offset >= 0:
            return header.last_offset == offset
        return header.is_control and header.producer_epoch == epoch

"""Which part of a log is due for compaction, and how the log takes over what came of it.

Decisions only (Kafka's LogCleanerManager): the work itself is in `cleaning`. Clean is what lies
below the log's cleaned offset; what lies from there to the active segment, to the first unstable
offset and to the first segment that is too young is cleanable.
"""

from __future__ import annotations

from dataclasses import dataclass

from streamkit.broker.log.cleaning import CleanJob, CleanResult
from streamkit.broker.log.log import Log
from streamkit.broker.log.segment import (
    CLEANED,
    SUFFIXES,
    SWAP,
    file_name,
    rename_segment,
)
from streamkit.common.seams import Disk

KEY_BYTES_IN_MAP = 160
"""What a key takes in the map, by which the size of `log.cleaner.dedupe.buffer.size` is meant."""


@dataclass(frozen=True, slots=True)
class Cleanable:
    """The range that a pass would make clean, and whether that is due."""

    first_dirty: int
    end: int
    dirty_ratio: float
    is_due: bool


def cleanable(log: Log, now_ms: int, *, cached_only: bool = False) -> Cleanable | None:
    """What of a compacted log may be cleaned now; None when there is nothing.

    With `cached_only` it raises ColdRead rather than wait for the disk.
    """
    settings = log.settings
    if not settings.is_compacted:
        return None
    first_dirty = max(log.cleaned_offset, log.log_start_offset)
    if first_dirty > log.active.base_offset:
        first_dirty = log.log_start_offset
    end = min(log.active.base_offset, log.last_stable_offset)
    clean_bytes = dirty_bytes = 0
    oldest: int | None = None
    for segment, following in zip(log.segments, log.segments[1:], strict=False):
        if following.base_offset <= first_dirty:
            clean_bytes += segment.size
            continue
        youngest_ms = segment.max_timestamp
        if settings.min_compaction_lag_ms > 0 and (
            youngest_ms > now_ms - settings.min_compaction_lag_ms
        ):
            end = min(end, segment.base_offset)
        if segment.base_offset >= end:
            break
        dirty_bytes += segment.size
        if oldest is None and settings.max_compaction_lag_ms < now_ms:
            oldest = segment.load_first_timestamp(cached_only=cached_only)
    if dirty_bytes == 0 or end <= first_dirty:
        return None
    ratio = dirty_bytes / (clean_bytes + dirty_bytes)
    is_late = oldest is not None and oldest < now_ms - settings.max_compaction_lag_ms
    is_due = is_late or ratio > settings.min_cleanable_dirty_ratio
    return Cleanable(first_dirty, end, ratio, is_due)


def make_job(log: Log, found: Cleanable, now_ms: int, buffer_bytes: int) -> CleanJob:
    """A pass over what `cleanable` found."""
    settings = log.settings
    aborted = [
        entry
        for segment in log.segments
        for entry in segment.aborted.entries
        if entry.first_offset < found.end
    ]
    producers = {
        producer_id: (producer.batches[-1].last_offset if producer.batches else -1, producer.epoch)
        for producer_id, producer in log.producers.producers.items()
    }
    bases = [segment.base_offset for segment in log.segments[:-1]]
    return CleanJob(
        path=log.path,
        segments=tuple(base for base in bases if base < found.end),
        first_dirty=found.first_dirty,
        end=found.end,
        now_ms=now_ms,
        delete_retention_ms=settings.delete_retention_ms,
        keys_max=max(1, buffer_bytes // KEY_BYTES_IN_MAP),
        segment_bytes=settings.segment_bytes,
        segment_index_bytes=settings.segment_index_bytes,
        index_interval_bytes=settings.index_interval_bytes,
        producers=producers,
        aborted=tuple(aborted),
    )


def mark_complete(disk: Disk, job: CleanJob, result: CleanResult) -> None:
    """From now on a crash leads to the compacted segments; may run in a thread.

    In the log's order: a crash in between leaves later groups as they were, so that a tombstone
    never goes before what it deletes.
    """
    for group in result.groups:
        rename_segment(disk, job.path, group[0], CLEANED, SWAP)
    disk.sync_dir(job.path)


def take_over(log: Log, result: CleanResult) -> None:
    """Put the compacted segments in place. Raises LogError when the log changed meanwhile."""
    for group in result.groups:
        log.replace_segments(group)
    log.cleaned_offset = result.end


def discard(disk: Disk, job: CleanJob) -> None:
    """Remove what a pass left that came to nothing."""
    for base in job.segments:
        for suffix in SUFFIXES:
            for mark in (CLEANED, SWAP):
                path = f"{job.path}/{file_name(base, suffix)}{mark}"
                if disk.exists(path):
                    disk.remove(path)

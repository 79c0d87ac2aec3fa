"""ListOffsets: from a timestamp, or a number that stands for a place, to an offset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from streamkit.broker.log.epochs import LeaderEpochs
from streamkit.broker.log.segment import Segment
from streamkit.records import decode

LATEST = -1
EARLIEST = -2
MAX_TIMESTAMP = -3
EARLIEST_LOCAL = -4
LATEST_TIERED = -5
EARLIEST_PENDING_UPLOAD = -6


@dataclass(frozen=True, slots=True)
class TimestampOffset:
    """A record's timestamp and offset, and the leader epoch that wrote it; -1 for unknown."""

    timestamp: int = -1
    offset: int = -1
    leader_epoch: int = -1


NOT_FOUND = TimestampOffset()


class Timeline(Protocol):
    """What of a log a lookup needs."""

    @property
    def segments(self) -> Sequence[Segment]: ...

    @property
    def log_start_offset(self) -> int: ...

    @property
    def epochs(self) -> LeaderEpochs: ...


def find_timestamp(
    log: Timeline, timestamp: int, limit: int, cached_only: bool = False
) -> TimestampOffset:
    """The answer to ListOffsets for `timestamp` when `limit` may not be reached."""
    if timestamp == LATEST:
        return TimestampOffset(-1, limit, log.epochs.latest)
    if timestamp in (EARLIEST, EARLIEST_LOCAL):
        start = log.log_start_offset
        return TimestampOffset(-1, start, log.epochs.epoch_for(start))
    if timestamp == MAX_TIMESTAMP:
        newest = max(log.segments, key=lambda segment: segment.max_timestamp)
        if newest.max_timestamp < 0:
            return NOT_FOUND
        found = _first_at(newest, newest.max_timestamp, log.log_start_offset, cached_only)
        return NOT_FOUND if found.offset >= limit else found
    if timestamp < 0:
        return NOT_FOUND
    for segment in log.segments:
        if segment.max_timestamp >= timestamp:
            found = _first_at(segment, timestamp, log.log_start_offset, cached_only)
            if found.offset >= 0:
                return NOT_FOUND if found.offset >= limit else found
    return NOT_FOUND


def _first_at(
    segment: Segment, timestamp: int, log_start: int, cached_only: bool
) -> TimestampOffset:
    """The first record of the segment at `timestamp` or later."""
    start = max(segment.times.offset_before(timestamp), log_start)
    position = segment.position_of(start, cached_only=cached_only)
    if position is None:
        return NOT_FOUND
    for stored in segment.walk(position, cached_only=cached_only):
        if stored.header.max_timestamp < timestamp:
            continue
        batch = decode(stored.buffer, stored.header, check_crc=False)
        for offset, at in zip(batch.offsets, batch.timestamps, strict=True):
            if at >= timestamp and offset >= log_start:
                return TimestampOffset(at, offset, stored.header.leader_epoch)
    return NOT_FOUND

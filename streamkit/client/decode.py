"""What a fetch brought, and its way into records: control and aborted batches left out; pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from streamkit.common.errors import StreamkitError
from streamkit.common.model import TopicPartition
from streamkit.records import (
    BatchHeader,
    ControlType,
    DecodedBatch,
    decode,
    parse_control_key,
)

AbortedTransactions = tuple[tuple[int, int], ...]
"""(producer id, first offset) of each aborted transaction that overlaps the records."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """Whole batches of one partition, as the broker keeps them.

    `next_offset` is the position behind them; it moves also where no record is for the user.
    `aborted` is empty unless the isolation is read_committed.
    """

    tp: TopicPartition
    records: bytes
    batches: tuple[BatchHeader, ...]
    fetch_offset: int
    next_offset: int
    high_watermark: int
    last_stable_offset: int
    log_start_offset: int
    aborted: AbortedTransactions = ()
    check_crc: bool = True

    @property
    def size(self) -> int:
        """Bytes of the batches."""
        return len(self.records)


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """A partition is not fetched any more until it is sought or assigned again.

    `error` is OffsetOutOfRangeError when `position` lies outside of the log, which begins at
    `log_start_offset`; AuthorizationError, CorruptBatchError and others say so by their class.
    """

    tp: TopicPartition
    position: int
    error: StreamkitError
    log_start_offset: int = -1


def decode_fetched(fetched: Fetched, position: int | None = None) -> Iterator[DecodedBatch]:
    """The batches with records for the user, from `position` (default: the fetch offset) on.

    Batches are decoded one by one as the iterator advances. Raises CorruptBatchError.
    """
    start = fetched.fetch_offset if position is None else position
    pending = sorted(fetched.aborted, key=lambda transaction: transaction[1], reverse=True)
    open_aborted: set[int] = set()
    for header in fetched.batches:
        while pending and pending[-1][1] <= header.last_offset:
            open_aborted.add(pending.pop()[0])
        if header.is_control:
            if header.producer_id in open_aborted and _is_abort(fetched, header):
                open_aborted.discard(header.producer_id)
            continue
        if header.is_transactional and header.producer_id in open_aborted:
            continue
        if header.last_offset < start or header.count == 0:
            continue
        batch = decode(fetched.records, header, check_crc=fetched.check_crc)
        if header.base_offset < start:
            batch.drop_before(start)
        if len(batch):
            yield batch


def _is_abort(fetched: Fetched, header: BatchHeader) -> bool:
    keys = decode(fetched.records, header, check_crc=fetched.check_crc).keys
    return any(parse_control_key(key) is ControlType.ABORT for key in keys)

"""What a log knows of its producers: sequences for idempotence, open transactions for the LSO.

Pure: it is told of each batch that is appended or replayed. Per producer it keeps the epoch and
the last five batches (Kafka's ProducerStateManager and ProducerAppendInfo). An offset is unstable
while a transaction that began at or below it is open, or ended by a marker that is not below the
high watermark.

A transaction begins in a log with a batch whose producer's coordinator was asked before
(KIP-890): `begin_verification` gives out a guard, which the append must still find in place. A
marker that comes in between takes it away, so that no transaction is left hanging.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

import crc32c

from streamkit.broker.log.errors import LogError
from streamkit.broker.log.index import AbortedTransaction
from streamkit.common.errors import StorageError
from streamkit.protocol.errors import ErrorCode
from streamkit.records import BatchHeader, EndTxnMarker

BATCHES_KEPT = 5
SEQUENCE_MASK = 0x7FFFFFFF
NO_EPOCH = -1
SNAPSHOT_VERSION = 1
SNAPSHOT_HEADER = struct.Struct(">hIi")
SNAPSHOT_CRC_START = 6
SNAPSHOT_ENTRY = struct.Struct(">qhiqiqiq")


class Origin(Enum):
    """Who asks for an append, and so what is checked."""

    CLIENT = "client"
    COORDINATOR = "coordinator"
    RAFT_LEADER = "raft leader"
    REPLICATION = "replication"


@dataclass(frozen=True, slots=True)
class AppendedBatch:
    """One of a producer's last batches."""

    last_sequence: int
    last_offset: int
    offset_delta: int
    timestamp: int

    @property
    def first_sequence(self) -> int:
        return (self.last_sequence - self.offset_delta) & SEQUENCE_MASK

    @property
    def first_offset(self) -> int:
        return self.last_offset - self.offset_delta


@dataclass(slots=True)
class Producer:
    """What is known of one producer id."""

    epoch: int = NO_EPOCH
    batches: deque[AppendedBatch] = field(default_factory=lambda: deque(maxlen=BATCHES_KEPT))
    coordinator_epoch: int = -1
    timestamp: int = -1
    transaction_start: int = -1

    @property
    def last_sequence(self) -> int:
        return self.batches[-1].last_sequence if self.batches else -1


@dataclass(slots=True, eq=False)
class Verification:
    """A guard: a transaction that its coordinator was asked about, while it has no data here."""

    epoch: int
    lowest_sequence: int
    timestamp: int
    starts_at_zero: bool
    """Whether a producer that nothing is known of must begin at sequence 0 (KIP-890)."""


@dataclass(frozen=True, slots=True)
class InTransaction:
    """How an append stands to its transaction."""

    guard: Verification | None = None
    version: int = 0
    """A marker's transaction.version; from 2 on each transaction has an epoch of its own."""


UNVERIFIED = InTransaction()
EPOCH_PER_TRANSACTION = 2


class ProducerState:
    """The producers of one log, as of `offset_end`."""

    def __init__(self, log_name: str) -> None:
        self.producers: dict[int, Producer] = {}
        self.verifications: dict[int, Verification] = {}
        self.offset_end = 0
        self._log_name = log_name
        self._open: dict[int, int] = {}
        self.unreplicated: deque[tuple[int, int]] = deque()
        """Where transactions began and where their marker is, not below the high watermark."""

    def __len__(self) -> int:
        return len(self.producers)

    def find_duplicate(self, header: BatchHeader) -> AppendedBatch | None:
        """The batch that was appended before with the same epoch and sequences."""
        producer = self.producers.get(header.producer_id)
        if producer is None or producer.epoch != header.producer_epoch:
            return None
        for batch in producer.batches:
            if (
                batch.first_sequence == header.base_sequence
                and batch.last_sequence == header.last_sequence
            ):
                return batch
        return None

    def has_open_transaction(self, producer_id: int, epoch: int) -> bool:
        """Whether a transaction of this epoch has data here and no marker."""
        producer = self.producers.get(producer_id)
        return producer is not None and producer.transaction_start >= 0 and producer.epoch == epoch

    def begin_verification(
        self, producer_id: int, epoch: int, sequence: int, now_ms: int, *, starts_at_zero: bool
    ) -> Verification | None:
        """The guard for a transaction's first batch here; None when it has begun already.

        A batch that fails keeps those behind it out: the lowest sequence asked for comes first.
        """
        if self.has_open_transaction(producer_id, epoch):
            return None
        known = self.verifications.get(producer_id)
        if known is None:
            known = Verification(epoch, sequence, now_ms, starts_at_zero)
            self.verifications[producer_id] = known
        elif epoch > known.epoch:
            known.epoch, known.lowest_sequence = epoch, sequence
        elif epoch == known.epoch:
            known.lowest_sequence = min(known.lowest_sequence, sequence)
        return known

    def check(
        self, header: BatchHeader, origin: Origin, transaction: InTransaction | None = None
    ) -> None:
        """Raises LogError when a batch of data may not be appended next.

        Without `transaction` nobody asks whether the coordinator knows of it.
        """
        producer = self.producers.get(header.producer_id)
        if producer is not None:
            self._check_epoch(header, producer)
        if transaction is not None and header.is_transactional:
            self._check_verified(header, transaction)
        if origin is Origin.CLIENT:
            self._check_begin(header, producer)
            if producer is not None:
                self._check_sequence(header, producer)
        if producer is None:
            return
        if producer.transaction_start >= 0 and not header.is_transactional:
            raise LogError(
                ErrorCode.invalid_txn_state,
                f"producer {header.producer_id} has an open transaction in {self._log_name} and "
                "sent a batch that is not part of it",
            )

    def _check_verified(self, header: BatchHeader, transaction: InTransaction) -> None:
        if self.has_open_transaction(header.producer_id, header.producer_epoch):
            return
        known = self.verifications.get(header.producer_id)
        if known is None or known is not transaction.guard:
            raise LogError(
                ErrorCode.invalid_txn_state,
                f"producer {header.producer_id} with epoch {header.producer_epoch} has no "
                f"verified transaction in {self._log_name}",
            )

    def _check_begin(self, header: BatchHeader, producer: Producer | None) -> None:
        known = self.verifications.get(header.producer_id)
        if known is None:
            return
        first = header.base_sequence
        must_be_zero = producer is None and known.starts_at_zero
        if (must_be_zero and first != 0) or first > known.lowest_sequence:
            expected = 0 if must_be_zero else known.lowest_sequence
            raise LogError(
                ErrorCode.out_of_order_sequence_number,
                f"producer {header.producer_id} in {self._log_name} sent sequence {first} first "
                f"in its transaction, {expected} is expected",
            )

    def check_marker(
        self, header: BatchHeader, marker: EndTxnMarker, transaction_version: int = 0
    ) -> None:
        """Raises LogError when a transaction may not be ended by this marker."""
        producer = self.producers.get(header.producer_id)
        if producer is None:
            return
        self._check_epoch(header, producer)
        is_same_epoch = header.producer_epoch == producer.epoch
        has_own_epoch = transaction_version >= EPOCH_PER_TRANSACTION
        if has_own_epoch and is_same_epoch and producer.transaction_start >= 0:
            # A late marker of the transaction before must not end this one.
            raise LogError(
                ErrorCode.invalid_producer_epoch,
                f"marker of producer {header.producer_id} in {self._log_name} has epoch "
                f"{header.producer_epoch} of a transaction that is still open",
            )
        if producer.coordinator_epoch > marker.coordinator_epoch:
            raise LogError(
                ErrorCode.transaction_coordinator_fenced,
                f"marker of producer {header.producer_id} in {self._log_name} has coordinator "
                f"epoch {marker.coordinator_epoch}, {producer.coordinator_epoch} was seen",
            )

    def _check_epoch(self, header: BatchHeader, producer: Producer) -> None:
        if header.producer_epoch < producer.epoch:
            raise LogError(
                ErrorCode.invalid_producer_epoch,
                f"producer {header.producer_id} in {self._log_name} has epoch "
                f"{header.producer_epoch}, {producer.epoch} was seen",
            )

    def _check_sequence(self, header: BatchHeader, producer: Producer) -> None:
        first = header.base_sequence
        if header.producer_epoch != producer.epoch:
            is_next = first == 0 or producer.epoch == NO_EPOCH
        else:
            last = producer.last_sequence
            is_next = first == last + 1 or (first == 0 and last == SEQUENCE_MASK)
        if not is_next:
            raise LogError(
                ErrorCode.out_of_order_sequence_number,
                f"producer {header.producer_id} in {self._log_name} sent sequence {first} with "
                f"epoch {header.producer_epoch} after sequence {producer.last_sequence} with "
                f"epoch {producer.epoch}",
            )

    def update(self, header: BatchHeader, base_offset: int, timestamp: int) -> None:
        """A batch of data was appended at `base_offset`."""
        self.offset_end = base_offset + header.last_offset_delta + 1
        if header.producer_id < 0:
            return
        producer = self.producers.get(header.producer_id)
        if producer is None:
            producer = self.producers[header.producer_id] = Producer()
        self.verifications.pop(header.producer_id, None)
        self._renew_epoch(producer, header.producer_epoch)
        delta = header.last_offset_delta
        last_offset = base_offset + delta
        producer.batches.append(AppendedBatch(header.last_sequence, last_offset, delta, timestamp))
        producer.timestamp = timestamp
        if header.is_transactional and producer.transaction_start < 0:
            producer.transaction_start = base_offset
            self._open[header.producer_id] = base_offset

    def update_marker(
        self, header: BatchHeader, base_offset: int, marker: EndTxnMarker, timestamp: int
    ) -> AbortedTransaction | None:
        """A marker was appended; the transaction it aborts, if one was open."""
        self.offset_end = base_offset + header.last_offset_delta + 1
        self.verifications.pop(header.producer_id, None)
        producer = self.producers.setdefault(header.producer_id, Producer())
        self._renew_epoch(producer, header.producer_epoch)
        producer.coordinator_epoch = marker.coordinator_epoch
        producer.timestamp = timestamp
        start = producer.transaction_start
        producer.transaction_start = -1
        self._open.pop(header.producer_id, None)
        if start < 0:
            return None
        self.unreplicated.append((start, base_offset))
        if marker.is_commit:
            return None
        stable = self.first_open_offset
        last_stable = base_offset + 1 if stable is None else stable
        return AbortedTransaction(header.producer_id, start, base_offset, last_stable)

    def skip(self, offset_end: int) -> None:
        """Other batches were appended."""
        self.offset_end = offset_end

    @staticmethod
    def _renew_epoch(producer: Producer, epoch: int) -> None:
        if epoch != producer.epoch:
            producer.batches.clear()
            producer.epoch = epoch

    @property
    def first_open_offset(self) -> int | None:
        """Where the oldest open transaction begins."""
        return min(self._open.values()) if self._open else None

    def first_unstable_offset(self, high_watermark: int) -> int | None:
        """The first offset whose outcome is open, or not below the high watermark."""
        if not self.unreplicated and not self._open:
            return None
        starts = [start for start, marker in self.unreplicated if marker >= high_watermark]
        if self._open:
            starts.append(min(self._open.values()))
        return min(starts) if starts else None

    def forget_replicated(self, high_watermark: int) -> None:
        """Forget transactions whose marker is below the high watermark."""
        while self.unreplicated and self.unreplicated[0][1] < high_watermark:
            self.unreplicated.popleft()

    def expire(self, now_ms: int, expiration_ms: int) -> None:
        """Forget producers that were silent for long and have no transaction open."""
        silent = [
            producer_id
            for producer_id, producer in self.producers.items()
            if producer.transaction_start < 0 and now_ms - producer.timestamp >= expiration_ms
        ]
        for producer_id in silent:
            del self.producers[producer_id]
        self.verifications = {
            producer_id: each
            for producer_id, each in self.verifications.items()
            if now_ms - each.timestamp < expiration_ms
        }

    def snapshot(self) -> bytes:
        """The bytes of a `.snapshot` file; of each producer's batches only the last is in it."""
        entries = []
        for producer_id, producer in self.producers.items():
            last = producer.batches[-1] if producer.batches else None
            entries.append(
                SNAPSHOT_ENTRY.pack(
                    producer_id,
                    producer.epoch,
                    -1 if last is None else last.last_sequence,
                    -1 if last is None else last.last_offset,
                    0 if last is None else last.offset_delta,
                    producer.timestamp,
                    producer.coordinator_epoch,
                    producer.transaction_start,
                )
            )
        body = struct.pack(">i", len(entries)) + b"".join(entries)
        return struct.pack(">hI", SNAPSHOT_VERSION, crc32c.crc32c(body)) + body

    def load(self, data: bytes, offset_end: int) -> None:
        """Become what a snapshot at `offset_end` says. Raises StorageError when it is damaged."""
        self.restart(offset_end)
        for values in _snapshot_entries(data):
            producer_id, epoch, sequence, offset, delta, timestamp, coordinator, start = values
            producer = Producer(epoch, deque(maxlen=BATCHES_KEPT), coordinator, timestamp, start)
            if offset >= 0:
                producer.batches.append(AppendedBatch(sequence, offset, delta, timestamp))
            self.producers[producer_id] = producer
            if start >= 0:
                self._open[producer_id] = start

    def restart(self, offset_end: int) -> None:
        """Know nothing, as of `offset_end`."""
        self.producers.clear()
        self.verifications.clear()
        self._open.clear()
        self.unreplicated.clear()
        self.offset_end = offset_end


def _snapshot_entries(data: bytes) -> Iterable[tuple[int, ...]]:
    if len(data) < SNAPSHOT_HEADER.size:
        raise StorageError(f"producer snapshot has {len(data)} bytes")
    version, crc, count = SNAPSHOT_HEADER.unpack_from(data)
    if version != SNAPSHOT_VERSION:
        raise StorageError(f"producer snapshot has version {version}")
    if crc32c.crc32c(memoryview(data)[SNAPSHOT_CRC_START:]) != crc:
        raise StorageError("producer snapshot does not match its crc")
    if count < 0 or count * SNAPSHOT_ENTRY.size != len(data) - SNAPSHOT_HEADER.size:
        raise StorageError(f"producer snapshot claims {count} producers in {len(data)} bytes")
    return SNAPSHOT_ENTRY.iter_unpack(memoryview(data)[SNAPSHOT_HEADER.size :])

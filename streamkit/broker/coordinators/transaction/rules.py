"""What each request does to a transaction: (state, request, now) to (records, response, effects).

Pure; the rules of Kafka's TransactionCoordinator. Errors are raised as ApiError. An operation
that has to give out a producer id and was given none answers None: it is run again with one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from streamkit.broker.coordinators.runtime import Result
from streamkit.broker.coordinators.transaction.model import (
    EPOCH_EXHAUSTED,
    EPOCH_PER_TRANSACTION,
    NO_EPOCH,
    NO_PRODUCER_ID,
    Transaction,
    TransactionState,
)
from streamkit.broker.coordinators.transaction.records import Record
from streamkit.broker.coordinators.transaction.shard import TransactionShard
from streamkit.common.model import TopicPartition
from streamkit.protocol.errors import ApiError, ErrorCode

SWEEP_MAX = 500
"""Transactions that one write aborts or forgets; the rest waits for the next."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an operation may know besides the state."""

    now_ms: int
    transaction_version: int
    """The finalized level of the feature."""
    new_producer_id: int | None = None


@dataclass(frozen=True, slots=True)
class InitRequest:
    """A producer takes its id over; with `producer_id` and epoch it goes on (KIP-360)."""

    transactional_id: str
    timeout_ms: int
    producer_id: int = NO_PRODUCER_ID
    producer_epoch: int = NO_EPOCH

    @property
    def has_producer(self) -> bool:
        return self.producer_id != NO_PRODUCER_ID


@dataclass(frozen=True, slots=True)
class Initialized:
    """The producer id and epoch; with an error neither."""

    producer_id: int = NO_PRODUCER_ID
    producer_epoch: int = NO_EPOCH
    error: ErrorCode = ErrorCode.none


@dataclass(frozen=True, slots=True)
class AddRequest:
    """Partitions that a transaction writes to; `version` is the transaction.version it is under."""

    transactional_id: str
    producer_id: int
    producer_epoch: int
    partitions: frozenset[TopicPartition]
    version: int = 0


@dataclass(frozen=True, slots=True)
class EndRequest:
    """A producer commits or aborts; `version` is the transaction.version it is under."""

    transactional_id: str
    producer_id: int
    producer_epoch: int
    is_commit: bool
    version: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """The producer id and epoch for the next transaction."""

    producer_id: int
    producer_epoch: int


@dataclass(frozen=True, slots=True)
class SendMarkers:
    """Effect: write the markers of a prepared transaction, then complete it."""

    transaction: Transaction


Shard = TransactionShard


def init_producer_id(
    shard: Shard, request: InitRequest, around: Surroundings
) -> Result[Shard, Initialized | None]:
    """InitProducerId for a transactional id."""
    known = shard.transactions.get(request.transactional_id)
    if known is None:
        return _first_producer(request, around)
    if request.has_producer and not _is_own_producer(known, request):
        raise _fenced(known, request.producer_epoch)
    if known.state.is_prepared:
        raise _concurrent(known)
    if known.state is TransactionState.ONGOING:
        return _fence(known, request, around)
    if known.is_epoch_exhausted and request.producer_epoch in (NO_EPOCH, known.producer_epoch):
        if around.new_producer_id is None:
            return Result(None)
        last = known.producer_epoch if request.has_producer else NO_EPOCH
        return _initialized(
            known.initialized(around.new_producer_id, 0, last, request.timeout_ms, around.now_ms)
        )
    epoch, last = _next_epoch(known, request)
    return _initialized(
        known.initialized(known.producer_id, epoch, last, request.timeout_ms, around.now_ms)
    )


def _first_producer(
    request: InitRequest, around: Surroundings
) -> Result[Shard, Initialized | None]:
    if around.new_producer_id is None:
        return Result(None)
    fresh = Transaction(
        transactional_id=request.transactional_id,
        producer_id=around.new_producer_id,
        producer_epoch=NO_EPOCH,
        timeout_ms=request.timeout_ms,
    )
    return _initialized(
        fresh.initialized(fresh.producer_id, 0, NO_EPOCH, request.timeout_ms, around.now_ms)
    )


def _initialized(transaction: Transaction) -> Result[Shard, Initialized | None]:
    response = Initialized(transaction.producer_id, transaction.producer_epoch)
    return Result(response, (_record(transaction),))


def _is_own_producer(known: Transaction, request: InitRequest) -> bool:
    """A retry may come with the id from before the epochs were used up."""
    if request.producer_id == known.producer_id:
        return True
    is_previous = request.producer_id == known.previous_producer_id
    return is_previous and request.producer_epoch >= EPOCH_EXHAUSTED


def _fence(
    known: Transaction, request: InitRequest, around: Surroundings
) -> Result[Shard, Initialized | None]:
    """Abort what is open, with an epoch that no client gets; the caller comes again."""
    if request.has_producer and request.producer_epoch != known.producer_epoch:
        raise _fenced(known, request.producer_epoch)
    last = known.producer_epoch if request.has_producer else NO_EPOCH
    prepared = known.fenced(around.transaction_version, around.now_ms, last)
    response = Initialized(error=ErrorCode.concurrent_transactions)
    return Result(response, (_record(prepared),), (SendMarkers(prepared),))


def _next_epoch(known: Transaction, request: InitRequest) -> tuple[int, int]:
    """The epoch to give out, and the one whose owner may retry."""
    if not request.has_producer:
        return known.producer_epoch + 1, NO_EPOCH
    if request.producer_epoch == known.producer_epoch:
        return known.producer_epoch + 1, known.producer_epoch
    if request.producer_epoch == known.last_producer_epoch:
        return known.producer_epoch, known.last_producer_epoch
    raise _fenced(known, request.producer_epoch)


def add_partitions(
    shard: Shard, request: AddRequest, around: Surroundings
) -> Result[Shard, ErrorCode]:
    """Begin a transaction, or let it reach further partitions."""
    known = _own(shard, request.transactional_id, request.producer_id, request.producer_epoch)
    if known.state.is_prepared:
        raise _concurrent(known)
    if known.state is TransactionState.ONGOING and request.partitions <= known.partitions:
        return Result(ErrorCode.none)
    grown = known.with_partitions(request.partitions, request.version, around.now_ms)
    return Result(ErrorCode.none, (_record(grown),))


def verify(shard: Shard, request: AddRequest) -> Mapping[TopicPartition, ErrorCode]:
    """Whether each partition is part of the producer's open transaction."""
    known = _own(shard, request.transactional_id, request.producer_id, request.producer_epoch)
    if known.state.is_prepared:
        raise _concurrent(known)
    absent = ErrorCode.transaction_abortable
    return {
        partition: ErrorCode.none if partition in known.partitions else absent
        for partition in sorted(request.partitions)
    }


def end(shard: Shard, request: EndRequest, around: Surroundings) -> Result[Shard, Ended | None]:
    """Decide a transaction's outcome; the markers follow."""
    known = shard.transactions.get(request.transactional_id)
    if known is None:
        raise _unknown(request.transactional_id, request.producer_id)
    if request.version >= EPOCH_PER_TRANSACTION:
        return _end_and_bump(known, request, around)
    if known.producer_id != request.producer_id:
        raise _unknown(request.transactional_id, request.producer_id)
    if known.producer_epoch != request.producer_epoch:
        raise _fenced(known, request.producer_epoch)
    if known.state is TransactionState.ONGOING:
        return _prepare(known, request, around)
    if known.state.is_complete and _has_outcome(known, request):
        return Result(Ended(known.producer_id, known.producer_epoch))
    if known.state.is_prepared and _has_outcome(known, request):
        raise _concurrent(known)
    raise _wrong_state(known, request)


def _end_and_bump(
    known: Transaction, request: EndRequest, around: Surroundings
) -> Result[Shard, Ended | None]:
    """transaction.version 2: the same epoch is a new request, the one before it a retry."""
    has_overflowed = (
        request.producer_id == known.previous_producer_id
        and request.producer_epoch == EPOCH_EXHAUSTED
        and known.producer_epoch == 0
        and known.state.is_complete
    )
    if known.producer_id != request.producer_id and not has_overflowed:
        raise _unknown(request.transactional_id, request.producer_id)
    is_retry = has_overflowed or known.producer_epoch == request.producer_epoch + 1
    is_current = known.producer_epoch == request.producer_epoch and not has_overflowed
    if known.state.is_prepared:
        if not is_retry:
            raise _fenced(known, request.producer_epoch)
        if _has_outcome(known, request):
            raise _concurrent(known)
        raise _wrong_state(known, request)
    if known.state.is_complete and is_retry:
        if _has_outcome(known, request):
            return Result(Ended(known.producer_id, known.producer_epoch))
        raise _wrong_state(known, request)
    if not is_current:
        raise _fenced(known, request.producer_epoch)
    if known.state is not TransactionState.ONGOING and request.is_commit:
        raise _wrong_state(known, request)
    return _prepare(known, request, around)


def _prepare(
    known: Transaction, request: EndRequest, around: Surroundings
) -> Result[Shard, Ended | None]:
    next_id = NO_PRODUCER_ID
    if request.version >= EPOCH_PER_TRANSACTION and known.is_epoch_exhausted:
        if around.new_producer_id is None:
            return Result(None)
        next_id = around.new_producer_id
    prepared = known.prepared(
        is_commit=request.is_commit,
        version=request.version,
        next_producer_id=next_id,
        now_ms=around.now_ms,
    )
    response = Ended(*prepared.next_producer)
    return Result(response, (_record(prepared),), (SendMarkers(prepared),))


def _has_outcome(known: Transaction, request: EndRequest) -> bool:
    commits = (TransactionState.PREPARE_COMMIT, TransactionState.COMPLETE_COMMIT)
    return (known.state in commits) == request.is_commit


def complete(shard: Shard, prepared: Transaction, now_ms: int) -> Result[Shard, None]:
    """All markers of a prepared transaction are written, or cannot be and need not."""
    known = shard.transactions.get(prepared.transactional_id)
    if known is None or not _is_same(known, prepared):
        return Result(None)
    return Result(None, (_record(known.completed(now_ms)),))


def _is_same(known: Transaction, prepared: Transaction) -> bool:
    return (known.state, known.producer_id, known.producer_epoch) == (
        prepared.state,
        prepared.producer_id,
        prepared.producer_epoch,
    )


def abort_timed_out(shard: Shard, around: Surroundings) -> Result[Shard, None]:
    """Abort the transactions that are open for too long, and fence their producers."""
    late = [each for each in _sorted(shard) if each.is_timed_out(around.now_ms)]
    fenced = [each.fenced(around.transaction_version, around.now_ms) for each in late[:SWEEP_MAX]]
    records = tuple(_record(each) for each in fenced)
    return Result(None, records, tuple(SendMarkers(each) for each in fenced))


def forget_expired(shard: Shard, now_ms: int, expiration_ms: int) -> Result[Shard, None]:
    """Forget the ids that nobody uses any more."""
    gone = [each for each in _sorted(shard) if each.is_expired(now_ms, expiration_ms)]
    return Result(None, tuple(Record(each.transactional_id, None) for each in gone[:SWEEP_MAX]))


def markers_to_send(shard: Shard) -> Sequence[SendMarkers]:
    """What was decided before this node led, and is not complete."""
    return [SendMarkers(each) for each in shard.prepared()]


def _sorted(shard: Shard) -> Iterable[Transaction]:
    return (each for _, each in sorted(shard.transactions.items()))


def _own(shard: Shard, transactional_id: str, producer_id: int, epoch: int) -> Transaction:
    known = shard.transactions.get(transactional_id)
    if known is None or known.producer_id != producer_id:
        raise _unknown(transactional_id, producer_id)
    if known.producer_epoch != epoch:
        raise _fenced(known, epoch)
    return known


def _record(transaction: Transaction) -> Record:
    return Record(transaction.transactional_id, transaction)


def _unknown(transactional_id: str, producer_id: int) -> ApiError:
    return ApiError(
        ErrorCode.invalid_producer_id_mapping,
        f"producer id {producer_id} is not that of {transactional_id}",
    )


def _fenced(known: Transaction, epoch: int) -> ApiError:
    return ApiError(
        ErrorCode.producer_fenced,
        f"epoch {epoch} of {known.transactional_id} is not current, {known.producer_epoch} is",
    )


def _concurrent(known: Transaction) -> ApiError:
    return ApiError(
        ErrorCode.concurrent_transactions,
        f"{known.transactional_id} is in state {known.state.value}",
    )


def _wrong_state(known: Transaction, request: EndRequest) -> ApiError:
    what = "commit" if request.is_commit else "abort"
    return ApiError(
        ErrorCode.invalid_txn_state,
        f"{known.transactional_id} in state {known.state.value} cannot {what}",
    )

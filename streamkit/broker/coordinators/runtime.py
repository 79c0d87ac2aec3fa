"""The runtime of coordinators: state machines replicated over the partitions of an internal topic.

A write is an operation (state) → (response, records, effects). Only `replay` changes state, and
it runs when the records are committed; then the effects happen and the response leaves. Writes
of one partition run one after the other, so that an operation always sees the committed state,
and needs no snapshot to go back to when the append fails: reads see exactly what every later
leader will see. Partitions do not wait for each other. An operation's records are one batch, so
they are committed together or not at all. Timers belong to the leadership they were set in.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, Protocol, TypeVar

from streamkit import records as batches
from streamkit.broker.coordinators.seams import Cancel, PartitionLog, StartTask, Timers
from streamkit.broker.log.producer_state import InTransaction, Verification
from streamkit.common.errors import StorageError, StreamkitError
from streamkit.common.metrics import Distribution
from streamkit.common.seams import Bytes, Clock
from streamkit.protocol.errors import ApiError, ErrorCode

logger = logging.getLogger(__name__)

NO_PRODUCER = -1
WAITING_MAX = 100_000
"""Writes of one partition that may wait for their turn; more get COORDINATOR_NOT_AVAILABLE."""


class StateMachine(Protocol):
    """The state of one partition."""

    def replay(self, record: Any, offset: int, producer_id: int) -> None:
        """Apply a committed record; `producer_id` is not -1 inside a transaction."""

    def end_transaction(self, producer_id: int, *, is_commit: bool) -> None:
        """Apply a transaction's marker."""


S = TypeVar("S", bound=StateMachine)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class StartTimer(Generic[S]):
    """Run `operation` as a write in `delay_ms`, in place of an older timer with this key."""

    key: Hashable
    delay_ms: float
    operation: Callable[[S], Result[S, None]]


@dataclass(frozen=True, slots=True)
class CancelTimer:
    """Forget the timer with this key, if there is one."""

    key: Hashable


@dataclass(frozen=True, slots=True)
class WithinTransaction:
    """An operation's records are part of a producer's transaction."""

    producer_id: int
    producer_epoch: int
    guard: Verification | None = None


@dataclass(frozen=True, slots=True)
class TransactionEnd:
    """An operation ends a producer's transaction with a marker, and has no records."""

    producer_id: int
    producer_epoch: int
    is_commit: bool
    coordinator_epoch: int
    transaction_version: int = 0


@dataclass(frozen=True, slots=True)
class Result(Generic[S, R]):
    """What an operation comes to; `effects` the runtime does not know go to its owner."""

    response: R
    records: Sequence[Any] = ()
    effects: Sequence[Any] = ()
    transaction: WithinTransaction | TransactionEnd | None = None

    @property
    def is_written(self) -> bool:
        """Whether anything goes to the log."""
        return bool(self.records) or isinstance(self.transaction, TransactionEnd)


Operation = Callable[[S], Result[S, R]]


class RecordCodec(Protocol):
    """How records become keys and values."""

    def encode(self, record: Any) -> tuple[bytes, bytes | None]: ...

    def decode(self, key: bytes, value: bytes | None) -> Any | None:
        """None for a record that this version does not know."""


class Owner(Protocol[S]):
    """What a runtime's coordinator adds to it."""

    @property
    def codec(self) -> RecordCodec: ...

    def make_state(self) -> S: ...

    def loaded(self, state: S) -> Sequence[Any]:
        """Effects to start with when a partition was loaded."""

    def unloaded(self, state: S) -> Sequence[Any]:
        """Effects to end with when a state is forgotten: those who wait on it are told."""

    def perform(self, partition: int, effect: Any) -> None:
        """An effect that the runtime does not know."""


class RuntimeTimes:
    """Milliseconds that writes wait for their turn and then take, and that partitions load."""

    __slots__ = ("load", "processing", "queue")

    def __init__(self) -> None:
        self.queue = Distribution()
        self.processing = Distribution()
        self.load = Distribution()


class _Phase(Enum):
    LOADING = "loading"
    ACTIVE = "active"
    CLOSED = "failed"


_REFUSALS = {
    _Phase.LOADING: ErrorCode.coordinator_load_in_progress,
    _Phase.CLOSED: ErrorCode.not_coordinator,
}


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[S]):
    """A write that waits for its turn."""

    operation: Callable[[S], Result[S, Any]]
    turn: asyncio.Future[Any]
    since_ms: float


@dataclass(slots=True)
class _Shard(Generic[S]):
    """One partition under one leadership."""

    partition: int
    leader_epoch: int
    log: PartitionLog
    state: S
    phase: _Phase = _Phase.LOADING
    is_busy: bool = False
    waiting: deque[_Waiting[S]] = field(default_factory=deque)
    timers: dict[Hashable, Cancel] = field(default_factory=dict)


class Runtime(Generic[S]):
    """The partitions that this node leads, and the writes, reads and timers on them."""

    def __init__(
        self,
        owner: Owner[S],
        clock: Clock,
        timers: Timers,
        start_task: StartTask,
        on_written: Callable[[Sequence[Any]], None] | None = None,
    ) -> None:
        """`on_written` is told the records of operations, not of what is loaded."""
        self.times = RuntimeTimes()
        self._on_written = on_written
        self._owner = owner
        self._clock = clock
        self._timers = timers
        self._start_task = start_task
        self._shards: dict[int, _Shard[S]] = {}

    async def on_elected(self, partition: int, leader_epoch: int, log: PartitionLog) -> None:
        """Load a partition; until then requests get COORDINATOR_LOAD_IN_PROGRESS."""
        known = self._shards.get(partition)
        if known is not None and known.leader_epoch >= leader_epoch:
            return
        self.on_resigned(partition)
        shard = _Shard(partition, leader_epoch, log, self._owner.make_state())
        self._shards[partition] = shard
        await self._load(shard)

    def on_resigned(self, partition: int, leader_epoch: int | None = None) -> None:
        """Forget a partition; what waits gets NOT_COORDINATOR. A stale epoch is ignored."""
        shard = self._shards.get(partition)
        if shard is None or (leader_epoch is not None and leader_epoch < shard.leader_epoch):
            return
        del self._shards[partition]
        self._close(shard)

    def leader_epoch(self, partition: int) -> int:
        """The epoch of the leadership. Raises ApiError when this node does not coordinate it."""
        return self._shard(partition).leader_epoch

    @property
    def is_loading(self) -> bool:
        """Whether a partition that this node leads is not loaded yet."""
        return any(shard.phase is _Phase.LOADING for shard in self._shards.values())

    def phases(self) -> Mapping[str, int]:
        """How many partitions are in which phase: loading, active or failed."""
        return Counter(shard.phase.value for shard in self._shards.values())

    @property
    def waiting_count(self) -> int:
        """How many writes wait for their turn."""
        return sum(len(shard.waiting) for shard in self._shards.values())

    def active(self) -> Iterator[tuple[int, S]]:
        """The partitions that are loaded, with their states."""
        for partition, shard in sorted(self._shards.items()):
            if shard.phase is _Phase.ACTIVE:
                yield partition, shard.state

    def read(self, partition: int, operation: Callable[[S], R]) -> R:
        """Read the committed state. Raises ApiError when this node does not coordinate it."""
        return operation(self._shard(partition).state)

    async def write(self, partition: int, operation: Operation[S, R]) -> R:
        """Run an operation; returns its response once its records are committed.

        Raises ApiError: what the operation raised, or that this node does not coordinate.
        """
        shard = self._shard(partition)
        if shard.is_busy:
            if len(shard.waiting) >= WAITING_MAX:
                raise ApiError(ErrorCode.coordinator_not_available, "too many writes wait")
            turn: asyncio.Future[R] = asyncio.get_running_loop().create_future()
            shard.waiting.append(_Waiting(operation, turn, self._clock.monotonic_ms()))
            return await turn
        self.times.queue.observe(0.0)
        result = operation(shard.state)
        if not result.is_written:
            self._perform(shard, result.effects)
            return result.response
        shard.is_busy = True
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        # In a task of its own: a caller that goes away must not keep a committed record from
        # being replayed.
        self._start_task(self._drain(shard, result, done))
        return await done

    def _shard(self, partition: int) -> _Shard[S]:
        shard = self._shards.get(partition)
        if shard is None:
            raise ApiError(ErrorCode.not_coordinator, f"partition {partition} is not led here")
        if shard.phase is not _Phase.ACTIVE:
            raise ApiError(_REFUSALS[shard.phase], f"partition {partition} is {shard.phase.value}")
        return shard

    async def _drain(
        self, shard: _Shard[S], result: Result[S, Any], done: asyncio.Future[Any]
    ) -> None:
        """Commit one result, then run what came in meanwhile."""
        await self._commit(shard, result, done)
        while shard.waiting and shard.phase is _Phase.ACTIVE:
            waiting = shard.waiting.popleft()
            turn = waiting.turn
            if turn.cancelled():
                continue
            self.times.queue.observe(self._clock.monotonic_ms() - waiting.since_ms)
            try:
                result = waiting.operation(shard.state)
            except Exception as error:
                # This is the edge of the request that waits: the error is its own, not ours.
                _fail(turn, error)
            else:
                await self._commit(shard, result, turn)
        shard.is_busy = False

    async def _commit(
        self, shard: _Shard[S], result: Result[S, Any], done: asyncio.Future[Any]
    ) -> None:
        started_ms = self._clock.monotonic_ms()
        try:
            if result.is_written:
                await self._append(shard, result)
        except ApiError as error:
            _fail(done, _translated(error))
            if error.code not in _REFUSED_UNWRITTEN:
                await self._recover(shard)
            return
        if shard.phase is _Phase.CLOSED:
            _fail(done, ApiError(ErrorCode.not_coordinator, "leadership was lost"))
            return
        self.times.processing.observe(self._clock.monotonic_ms() - started_ms)
        self._perform(shard, result.effects)
        if not done.done():
            done.set_result(result.response)

    async def _append(self, shard: _Shard[S], result: Result[S, Any]) -> None:
        transaction = result.transaction
        if isinstance(transaction, TransactionEnd):
            await self._append_marker(shard, transaction)
            return
        now_ms = self._clock.now_ms()
        pairs = [self._owner.codec.encode(record) for record in result.records]
        rows = [(key, value, now_ms, ()) for key, value in pairs]
        producer_id = NO_PRODUCER
        if transaction is None:
            base_offset = await shard.log.append(batches.encode(rows))
        else:
            producer_id, epoch = transaction.producer_id, transaction.producer_epoch
            batch = batches.encode(
                rows, producer_id=producer_id, producer_epoch=epoch, transactional=True
            )
            base_offset = await shard.log.append(batch, InTransaction(transaction.guard))
        if shard.phase is _Phase.ACTIVE:
            for index, record in enumerate(result.records):
                shard.state.replay(record, base_offset + index, producer_id)
            if self._on_written is not None:
                self._on_written(result.records)

    async def _append_marker(self, shard: _Shard[S], end: TransactionEnd) -> None:
        batch = batches.end_txn_marker(
            is_commit=end.is_commit,
            producer_id=end.producer_id,
            producer_epoch=end.producer_epoch,
            coordinator_epoch=end.coordinator_epoch,
            timestamp=self._clock.now_ms(),
        )
        await shard.log.append(batch, InTransaction(version=end.transaction_version))
        if shard.phase is _Phase.ACTIVE:
            shard.state.end_transaction(end.producer_id, is_commit=end.is_commit)

    async def _recover(self, shard: _Shard[S]) -> None:
        """After a failed append nobody knows what is in the log: load it again."""
        if shard.phase is _Phase.ACTIVE:
            self._cancel_timers(shard)
            self._fail_waiting(shard, ErrorCode.coordinator_load_in_progress)
            self._perform(shard, self._owner.unloaded(shard.state))
            shard.state = self._owner.make_state()
            await self._load(shard)

    async def _load(self, shard: _Shard[S]) -> None:
        shard.phase = _Phase.LOADING
        started_ms = self._clock.monotonic_ms()
        try:
            async for chunk in shard.log.read_all():
                if shard.phase is not _Phase.LOADING:
                    return
                self._replay(shard.state, chunk)
        except StreamkitError as error:
            logger.error(
                "partition %d could not be loaded, so its requests are refused until this node "
                "leads it anew: %s",
                shard.partition,
                error,
            )
            self._close(shard)
            return
        # `on_resigned` may have run meanwhile.
        if shard.phase is _Phase.LOADING:
            shard.phase = _Phase.ACTIVE
            self.times.load.observe(self._clock.monotonic_ms() - started_ms)
            self._perform(shard, self._owner.loaded(shard.state))

    def _replay(self, state: S, chunk: Bytes) -> None:
        for header in batches.scan(chunk):
            batch = batches.decode(chunk, header)
            if header.is_control:
                self._replay_marker(state, batch)
                continue
            producer_id = header.producer_id if header.is_transactional else NO_PRODUCER
            for offset, key, value in zip(batch.offsets, batch.keys, batch.values, strict=True):
                record = None if key is None else self._decoded(key, value, offset)
                if record is not None:
                    state.replay(record, offset, producer_id)

    def _decoded(self, key: bytes, value: bytes | None, offset: int) -> Any | None:
        try:
            return self._owner.codec.decode(key, value)
        except StorageError as error:
            raise StorageError(f"offset {offset}: {error}") from error

    @staticmethod
    def _replay_marker(state: S, batch: batches.DecodedBatch) -> None:
        for key in batch.keys:
            marker = batches.parse_control_key(key or b"")
            if marker in (batches.ControlType.COMMIT, batches.ControlType.ABORT):
                is_commit = marker is batches.ControlType.COMMIT
                state.end_transaction(batch.header.producer_id, is_commit=is_commit)

    def _perform(self, shard: _Shard[S], effects: Sequence[Any]) -> None:
        for effect in effects:
            if isinstance(effect, StartTimer):
                self._start_timer(shard, effect)
            elif isinstance(effect, CancelTimer):
                cancel = shard.timers.pop(effect.key, None)
                if cancel is not None:
                    cancel()
            else:
                self._owner.perform(shard.partition, effect)

    def _start_timer(self, shard: _Shard[S], timer: StartTimer[S]) -> None:
        older = shard.timers.pop(timer.key, None)
        if older is not None:
            older()

        def expired() -> None:
            shard.timers.pop(timer.key, None)
            if shard.phase is _Phase.ACTIVE:
                self._start_task(self._run_timer(shard, timer))

        shard.timers[timer.key] = self._timers.call_later(timer.delay_ms, expired)

    async def _run_timer(self, shard: _Shard[S], timer: StartTimer[S]) -> None:
        if self._shards.get(shard.partition) is not shard:
            return
        try:
            await self.write(shard.partition, timer.operation)
        except StreamkitError as error:
            logger.info("timer %s of partition %d: %s", timer.key, shard.partition, error)

    def _close(self, shard: _Shard[S]) -> None:
        shard.phase = _Phase.CLOSED
        self._cancel_timers(shard)
        self._fail_waiting(shard, ErrorCode.not_coordinator)
        self._perform(shard, self._owner.unloaded(shard.state))

    @staticmethod
    def _cancel_timers(shard: _Shard[S]) -> None:
        for cancel in shard.timers.values():
            cancel()
        shard.timers.clear()

    @staticmethod
    def _fail_waiting(shard: _Shard[S], code: ErrorCode) -> None:
        while shard.waiting:
            turn = shard.waiting.popleft().turn
            _fail(turn, ApiError(code, f"partition {shard.partition} changed hands"))


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


_REFUSED_UNWRITTEN = frozenset(
    {
        ErrorCode.invalid_producer_epoch,
        ErrorCode.invalid_txn_state,
        ErrorCode.transaction_coordinator_fenced,
        ErrorCode.not_enough_replicas,
    }
)
"""With these the log says that it took nothing in, so the state is what it was."""

_TRANSLATIONS = {
    ErrorCode.not_leader_or_follower: ErrorCode.not_coordinator,
    ErrorCode.kafka_storage_error: ErrorCode.not_coordinator,
    ErrorCode.unknown_topic_or_partition: ErrorCode.coordinator_not_available,
    ErrorCode.not_enough_replicas: ErrorCode.coordinator_not_available,
    ErrorCode.not_enough_replicas_after_append: ErrorCode.coordinator_not_available,
    ErrorCode.request_timed_out: ErrorCode.coordinator_not_available,
    ErrorCode.record_list_too_large: ErrorCode.unknown_server_error,
    ErrorCode.message_too_large: ErrorCode.unknown_server_error,
}


def _translated(error: ApiError) -> ApiError:
    """A log's error as a coordinator's (CoordinatorOperationExceptionHelper)."""
    return ApiError(_TRANSLATIONS.get(error.code, error.code), error.message)

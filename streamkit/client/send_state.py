"""The batches of a producer: order, sequences, retries and time limits per partition; pure.

Invariants. Batches of a partition are sent in the order of `submit`. With idempotence a batch
keeps its sequence over all retries; at most `IN_FLIGHT_MAX` of a partition are unresolved; one
that is sent again waits until it is the oldest unresolved one. A real gap (the oldest unresolved
batch is refused as out of order, or an earlier one failed for good) bumps the epoch and numbers
the rest anew, once nothing of the partition is on the wire (Kafka's TransactionManager).

A broker without state of a producer takes any first sequence. So the first batch under an
identity goes alone: were it refused, the next one would be taken in its place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple

from streamkit.client.backoff import Backoff
from streamkit.client.batch import NO_IDENTITY, SEQUENCES, Batch, OnDone, ProducerIdentity
from streamkit.client.errors import DeliveryTimeoutError, code_of, error_for
from streamkit.client.metadata import ClusterView
from streamkit.client.splitting import halves_of
from streamkit.common.errors import RetriableError, StreamkitError
from streamkit.common.model import TopicPartition
from streamkit.protocol.errors import ErrorCode
from streamkit.records import BatchBuilder

IN_FLIGHT_MAX: Final = 5
"""The broker remembers so many batches of a producer in a partition."""

EPOCH_MAX: Final = 2**15 - 2

CONCURRENT_BACKOFF_MS: Final = 20
"""The wait of a batch while its producer's last transaction is being finished."""

_GAP: Final = (ErrorCode.out_of_order_sequence_number, ErrorCode.unknown_producer_id)


class Done(NamedTuple):
    """A batch that is over: acknowledged at `base_offset`, or failed."""

    batch: Batch
    base_offset: int
    error: StreamkitError | None


@dataclass(slots=True)
class PartitionQueue:
    """One partition's batches: `waiting` to be sent, and `unresolved` with a sequence."""

    tp: TopicPartition
    waiting: deque[Batch] = field(default_factory=deque)
    unresolved: list[Batch] = field(default_factory=list)
    identity: ProducerIdentity = NO_IDENTITY
    next_sequence: int = 0
    on_wire: int = 0
    needs_bump: bool = False
    is_known: bool = False


@dataclass(frozen=True, slots=True)
class SendLimits:
    """The rules of one sender."""

    is_idempotent: bool
    is_transactional: bool
    delivery_timeout_ms: int
    retries_max: int
    request_bytes_max: int
    retry_backoff: Backoff


class SendState:
    """All partitions of one sender."""

    def __init__(self, limits: SendLimits) -> None:
        self._limits = limits
        self._queues: dict[TopicPartition, PartitionQueue] = {}
        self._identity = NO_IDENTITY
        self._submitted = 0
        self.pending_bytes = 0
        self.pending_batches = 0
        self.wants_identity = limits.is_idempotent
        self.gate: Callable[[TopicPartition], bool] | None = None
        """Says whether a partition's batches may go out yet; None: all may."""
        self.is_aborting = False
        """Nothing is sent again: the transaction that the batches belong to is over."""

    @property
    def identity(self) -> ProducerIdentity:
        """The current producer id and epoch."""
        return self._identity

    def set_identity(self, identity: ProducerIdentity) -> None:
        """A coordinator or broker gave this producer id and epoch."""
        self._identity = identity
        self.wants_identity = False
        self.is_aborting = False

    def abort_pending(self, error: StreamkitError) -> list[Done]:
        """Give up on what is not on the wire; what is will not be sent again, until there is a new
        identity."""
        self.is_aborting = True
        done: list[Done] = []
        for queue in self._queues.values():
            for batch in (*queue.unresolved, *queue.waiting):
                if not batch.is_on_wire:
                    done += self._done(batch, -1, error)
        return done

    def submit(
        self, tp: TopicPartition, builder: BatchBuilder, on_done: OnDone, now_ms: float
    ) -> None:
        """Queue a batch behind the others of its partition."""
        deadline = now_ms + self._limits.delivery_timeout_ms
        self._submitted += 1
        batch = Batch(tp, builder, on_done, deadline, builder.size, self._submitted)
        queue = self._queues.get(tp)
        if queue is None:
            queue = self._queues[tp] = PartitionQueue(tp)
        queue.waiting.append(batch)
        self.pending_bytes += batch.size
        self.pending_batches += 1

    def nodes(self, view: ClusterView, now_ms: float) -> list[int]:
        """The leaders of the partitions that have something to send now, sorted."""
        found = {view.leader_of(q.tp) for q in self._queues.values() if self._next(q, now_ms)}
        return sorted(found - {-1})

    def leaderless(self, view: ClusterView) -> list[TopicPartition]:
        """Partitions with waiting batches but no known leader."""
        return [q.tp for q in self._queues.values() if q.waiting and view.leader_of(q.tp) < 0]

    def collect(self, node_id: int, view: ClusterView, now_ms: float) -> list[Batch]:
        """The batches of the next request to a broker, one of each partition; now on the wire."""
        batches: list[Batch] = []
        size = 0
        for queue in list(self._queues.values()):
            batch = self._next(queue, now_ms)
            if batch is None or view.leader_of(queue.tp) != node_id:
                continue
            if batches and size + batch.wire_size > self._limits.request_bytes_max:
                break
            self._prepare(queue, batch)
            size += len(batch.data)
            self._put_on_wire(queue, batch)
            batches.append(batch)
        for batch in batches:
            # The one that was served goes to the back, so that all get their turn.
            self._queues[batch.tp] = self._queues.pop(batch.tp)
        return batches

    def on_acknowledged(self, batch: Batch, base_offset: int) -> list[Done]:
        """The broker has the batch."""
        queue = self._off_wire(batch)
        queue.is_known = queue.is_known or batch.identity == queue.identity
        return self._done(batch, base_offset, None)

    def on_refused(
        self, batch: Batch, code: int, message: str | None, now_ms: float, chance: float
    ) -> list[Done]:
        """The broker answered with an error code."""
        if code == ErrorCode.duplicate_sequence_number:
            return self.on_acknowledged(batch, -1)
        queue = self._off_wire(batch)
        if batch.is_done:
            return []
        if code == ErrorCode.message_too_large and batch.builder.count > 1:
            self._split(queue, batch)
            return []
        error = error_for(code, f"produce of {batch.builder.count} records to {batch.tp}", message)
        if code in _GAP and self._limits.is_transactional and queue.unresolved[0] is not batch:
            return self._retry(queue, batch, error, now_ms, chance)
        if code in _GAP and self._limits.is_idempotent and not self._limits.is_transactional:
            queue.needs_bump = queue.needs_bump or queue.unresolved[0] is batch
            return self._retry(queue, batch, error, now_ms, chance)
        if isinstance(error, RetriableError):
            return self._retry(queue, batch, error, now_ms, chance)
        # It certainly was not appended, so those behind it cannot be either.
        queue.needs_bump = self._limits.is_idempotent and not self._limits.is_transactional
        return self._done(batch, -1, error)

    def on_lost(
        self, batch: Batch, error: StreamkitError, now_ms: float, chance: float
    ) -> list[Done]:
        """No answer came: the batch may be there or not, so it is sent again as it was."""
        queue = self._off_wire(batch)
        if batch.is_done:
            return []
        return self._retry(queue, batch, error, now_ms, chance)

    def expire(self, now_ms: float) -> list[Done]:
        """Batches beyond `delivery.timeout.ms`, on the wire or not."""
        done: list[Done] = []
        for queue in self._queues.values():
            late = [b for b in (*queue.unresolved, *queue.waiting) if b.deadline_ms <= now_ms]
            for batch in late:
                done += self._done(batch, -1, self._timeout_error(batch))
        return done

    def fail(self, partitions: Iterable[TopicPartition], error: StreamkitError) -> list[Done]:
        """Give up on all batches of some partitions."""
        done: list[Done] = []
        for tp in list(partitions):
            queue = self._queues[tp]
            for batch in (*queue.unresolved, *queue.waiting):
                done += self._done(batch, -1, error)
        return done

    def fail_all(self, error: StreamkitError) -> list[Done]:
        """Give up on everything."""
        return self.fail(self._queues, error)

    def bump(self) -> None:
        """Bump the epoch where a gap asks for it and nothing is on the wire any more."""
        due = [q for q in self._queues.values() if q.needs_bump and not q.on_wire]
        if not due or self.wants_identity:
            return
        if any(queue.identity == self._identity for queue in due):
            if self._identity.epoch >= EPOCH_MAX:
                self.wants_identity = True
                return
            self._identity = self._identity._replace(epoch=self._identity.epoch + 1)
        for queue in due:
            self._renumber(queue)

    def due_ms(self, now_ms: float) -> float | None:
        """When to look again although nothing happens: at a retry or a deadline."""
        due: float | None = None
        for queue in self._queues.values():
            for batch in (*queue.unresolved[:1], *islice(queue.waiting, 1)):
                time = batch.deadline_ms
                if now_ms < batch.retry_at_ms < time and not batch.is_on_wire:
                    time = batch.retry_at_ms
                due = time if due is None else min(due, time)
        return due

    def _next(self, queue: PartitionQueue, now_ms: float) -> Batch | None:
        if not queue.waiting:
            return None
        batch = queue.waiting[0]
        if batch.retry_at_ms > now_ms or (self.gate is not None and not self.gate(queue.tp)):
            return None
        if self._limits.is_idempotent and not self._may_send(queue, batch):
            return None
        return batch

    def _may_send(self, queue: PartitionQueue, batch: Batch) -> bool:
        if queue.needs_bump or self._identity is NO_IDENTITY or self.wants_identity:
            return False
        if batch.sequence >= 0:
            return queue.unresolved[0] is batch
        if len(queue.unresolved) >= IN_FLIGHT_MAX:
            return False
        return not queue.unresolved or (queue.is_known and queue.identity == self._identity)

    def _prepare(self, queue: PartitionQueue, batch: Batch) -> None:
        """Give the batch its sequence and its bytes, unless it has them."""
        if self._limits.is_idempotent and batch.sequence < 0:
            if queue.identity != self._identity:
                self._adopt(queue)
            self._number(queue, batch)
            queue.unresolved.append(batch)
        if not batch.data:
            batch.data = batch.builder.build(
                producer_id=batch.identity.producer_id,
                producer_epoch=batch.identity.epoch,
                base_sequence=batch.sequence,
                transactional=self._limits.is_transactional,
            )

    def _number(self, queue: PartitionQueue, batch: Batch) -> None:
        batch.identity, batch.sequence = queue.identity, queue.next_sequence
        queue.next_sequence = (queue.next_sequence + batch.builder.count) % SEQUENCES

    def _adopt(self, queue: PartitionQueue) -> None:
        """Begin at sequence 0 under the current identity."""
        queue.identity, queue.next_sequence, queue.is_known = self._identity, 0, False

    def _renumber(self, queue: PartitionQueue) -> None:
        queue.needs_bump = False
        self._adopt(queue)
        for batch in queue.unresolved:
            assert not batch.is_on_wire, f"{batch.tp}: a batch on the wire keeps its sequence"
            self._number(queue, batch)
            batch.data = b""

    def _put_on_wire(self, queue: PartitionQueue, batch: Batch) -> None:
        queue.waiting.popleft()
        queue.on_wire += 1
        batch.is_on_wire = True
        batch.attempts += 1

    def _off_wire(self, batch: Batch) -> PartitionQueue:
        queue = self._queues[batch.tp]
        queue.on_wire -= 1
        batch.is_on_wire = False
        return queue

    def _retry(
        self,
        queue: PartitionQueue,
        batch: Batch,
        error: StreamkitError,
        now_ms: float,
        chance: float,
    ) -> list[Done]:
        if self.is_aborting or batch.attempts > self._limits.retries_max:
            return self._done(batch, -1, error)
        batch.last_error = error
        delay_ms = self._limits.retry_backoff.delay_ms(batch.attempts, chance)
        if code_of(error) == ErrorCode.concurrent_transactions:
            delay_ms = CONCURRENT_BACKOFF_MS
        batch.retry_at_ms = now_ms + delay_ms
        self._put_back(queue, batch)
        return []

    def _split(self, queue: PartitionQueue, batch: Batch) -> None:
        """Have two halves take the place of a batch that is too large for the topic."""
        pieces = halves_of(batch)
        if batch in queue.unresolved:
            place = queue.unresolved.index(batch)
            queue.unresolved[place : place + 1] = pieces
        for piece in pieces:
            self._put_back(queue, piece)
        batch.is_done = True
        self.pending_batches += 1
        self.pending_bytes += sum(piece.size for piece in pieces) - batch.size

    def _put_back(self, queue: PartitionQueue, batch: Batch) -> None:
        """To the front, behind the batches that were submitted before it."""
        place = 0
        for other in queue.waiting:
            if (other.number, other.part) > (batch.number, batch.part):
                break
            place += 1
        queue.waiting.insert(place, batch)

    def _done(self, batch: Batch, base_offset: int, error: StreamkitError | None) -> list[Done]:
        if batch.is_done:
            return []
        batch.is_done = True
        queue = self._queues[batch.tp]
        if batch in queue.unresolved:
            queue.unresolved.remove(batch)
        if not batch.is_on_wire and error is not None and batch in queue.waiting:
            queue.waiting.remove(batch)
        self.pending_bytes -= batch.size
        self.pending_batches -= 1
        return [Done(batch, base_offset, error)]

    def _timeout_error(self, batch: Batch) -> DeliveryTimeoutError:
        cause = f"; the last error was: {batch.last_error}" if batch.last_error else ""
        return DeliveryTimeoutError(
            f"{batch.builder.count} records to {batch.tp} were not acknowledged within "
            f"delivery.timeout.ms={self._limits.delivery_timeout_ms} "
            f"({batch.attempts} attempts){cause}"
        )

"""The transaction coordinator as the rest of the node sees it.

Each transactional id lives on one partition of `__transaction_state`; the partition's leader
coordinates it. Once an outcome is in the log the client is answered, and the markers are written
until they are all there, over elections and restarts. Errors are raised as ApiError.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from streamkit.broker.coordinators.group.coordinator import partition_for_group
from streamkit.broker.coordinators.runtime import (
    Operation,
    Result,
    Runtime,
    RuntimeTimes,
    StartTimer,
    TransactionEnd,
)
from streamkit.broker.coordinators.seams import PartitionLog, StartTask, Timers
from streamkit.broker.coordinators.transaction import records as rec
from streamkit.broker.coordinators.transaction import rules
from streamkit.broker.coordinators.transaction.model import Transaction, TransactionState
from streamkit.broker.coordinators.transaction.queries import Filters, Listing, list_transactions
from streamkit.broker.coordinators.transaction.rules import (
    AddRequest,
    Ended,
    EndRequest,
    Initialized,
    InitRequest,
    SendMarkers,
    Surroundings,
)
from streamkit.broker.coordinators.transaction.shard import TransactionShard
from streamkit.broker.settings import BrokerSettings
from streamkit.common.model import TopicPartition
from streamkit.common.seams import Clock
from streamkit.protocol.errors import ApiError, ErrorCode

logger = logging.getLogger(__name__)

MARKER_RETRY_S = 0.1
_TIMEOUTS, _EXPIRY = "time-outs", "expiry"
_CANCELS = (ErrorCode.invalid_producer_epoch, ErrorCode.transaction_coordinator_fenced)
"""Somebody else has ended the transaction in that partition, or coordinates by now."""

NextProducerId = Callable[[], Awaitable[int]]
WriteMarkers = Callable[
    [TransactionEnd, Sequence[TopicPartition]], Awaitable[Mapping[TopicPartition, ErrorCode]]
]
"""Writes a marker to partitions wherever they are; an error for each, none for deleted ones."""

R = TypeVar("R")


class _Codec:
    """The records of `__transaction_state` for the runtime."""

    def __init__(self, transaction_version: Callable[[], int]) -> None:
        self._transaction_version = transaction_version

    def encode(self, record: rec.Record) -> tuple[bytes, bytes | None]:
        return rec.encode(record, rec.value_version(self._transaction_version()))

    def decode(self, key: bytes, value: bytes | None) -> rec.Record | None:
        return rec.decode(key, value)


class TransactionCoordinator:
    """All transactional ids whose partition this node leads."""

    def __init__(
        self,
        settings: BrokerSettings,
        clock: Clock,
        timers: Timers,
        start_task: StartTask,
        *,
        next_producer_id: NextProducerId,
        transaction_version: Callable[[], int],
        partition_count: Callable[[], int | None],
        write_markers: WriteMarkers,
    ) -> None:
        self.codec = _Codec(transaction_version)
        self._settings = settings
        self._clock = clock
        self._start_task = start_task
        self._next_producer_id = next_producer_id
        self._transaction_version = transaction_version
        self._partition_count = partition_count
        self._write_markers = write_markers
        self._runtime: Runtime[TransactionShard] = Runtime(self, clock, timers, start_task)
        self._finishing: dict[str, Transaction] = {}
        """The prepared transactions whose markers are being written; a later effect takes over."""

    def partition_for(self, transactional_id: str) -> int:
        """The partition of `__transaction_state` that a transactional id lives on."""
        # The setting is for the topic that is yet to be made: it may have changed since.
        partitions = self._partition_count()
        return partition_for_group(
            transactional_id, partitions or self._settings.transaction_state_log_num_partitions
        )

    async def on_elected(self, partition: int, leader_epoch: int, log: PartitionLog) -> None:
        """This node leads a partition from `leader_epoch` on: load its ids by replay."""
        await self._runtime.on_elected(partition, leader_epoch, log)

    def known(self) -> Iterator[Transaction]:
        """All transactions of the loaded partitions."""
        for _, shard in self._runtime.active():
            yield from shard.transactions.values()

    def phases(self) -> Mapping[str, int]:
        """How many partitions are loading, active or failed."""
        return self._runtime.phases()

    @property
    def times(self) -> RuntimeTimes:
        """How long writes and loading take."""
        return self._runtime.times

    def on_resigned(self, partition: int, leader_epoch: int | None = None) -> None:
        """This node leads a partition no more: forget its ids."""
        self._runtime.on_resigned(partition, leader_epoch)

    async def init_producer_id(self, request: InitRequest) -> Initialized:
        """Give a transactional id to a producer, and fence the one before it."""
        if not 0 < request.timeout_ms <= self._settings.transaction_max_timeout_ms:
            raise ApiError(
                ErrorCode.invalid_transaction_timeout,
                f"transaction.timeout.ms is {request.timeout_ms}, the broker's "
                f"transaction.max.timeout.ms {self._settings.transaction_max_timeout_ms}",
            )
        return await self._write_with_id(
            request.transactional_id,
            lambda shard, around: rules.init_producer_id(shard, request, around),
        )

    async def add_partitions(self, request: AddRequest) -> None:
        """Let a transaction reach partitions."""
        partition = self._partition_of(request.transactional_id)
        await self._runtime.write(
            partition,
            self._in_surroundings(
                lambda shard, around: rules.add_partitions(shard, request, around)
            ),
        )

    def verify(self, request: AddRequest) -> Mapping[TopicPartition, ErrorCode]:
        """Whether partitions are part of a producer's open transaction."""
        partition = self._partition_of(request.transactional_id)
        return self._runtime.read(partition, lambda shard: rules.verify(shard, request))

    async def end(self, request: EndRequest) -> Ended:
        """Commit or abort; returns when the outcome is final."""
        return await self._write_with_id(
            request.transactional_id, lambda shard, around: rules.end(shard, request, around)
        )

    def describe(self, transactional_id: str) -> Transaction:
        """One transaction. Raises ApiError TRANSACTIONAL_ID_NOT_FOUND."""
        partition = self._partition_of(transactional_id)
        found = self._runtime.read(
            partition, lambda shard: shard.transactions.get(transactional_id)
        )
        if found is None or found.state is TransactionState.DEAD:
            raise ApiError(
                ErrorCode.transactional_id_not_found, f"nobody has used {transactional_id}"
            )
        return found

    def list(self, filters: Filters) -> Listing:
        """The transactions coordinated here that pass `filters`."""
        if self._runtime.is_loading:
            raise ApiError(ErrorCode.coordinator_load_in_progress, "not all ids are loaded")
        known = [
            transaction
            for _, shard in self._runtime.active()
            for transaction in shard.transactions.values()
            if transaction.state is not TransactionState.DEAD
        ]
        known.sort(key=lambda each: each.transactional_id)
        return list_transactions(known, filters, self._clock.now_ms())

    def make_state(self) -> TransactionShard:
        """An empty partition, for the runtime."""
        return TransactionShard()

    def loaded(self, state: TransactionShard) -> Sequence[Any]:
        """Go on where the node before stopped."""
        return [*rules.markers_to_send(state), self._time_out_timer(), self._expiry_timer()]

    def unloaded(self, _state: TransactionShard) -> Sequence[Any]:
        """Nobody waits on a state, for the runtime."""
        return ()

    def perform(self, partition: int, effect: Any) -> None:
        """Effects beyond timers, for the runtime."""
        assert isinstance(effect, SendMarkers), f"no such effect: {effect}"
        prepared = effect.transaction
        self._finishing[prepared.transactional_id] = prepared
        self._start_task(self._finish(partition, prepared))

    def _partition_of(self, transactional_id: str) -> int:
        if not transactional_id:
            raise ApiError(ErrorCode.invalid_request, "the transactional id is empty")
        return self.partition_for(transactional_id)

    async def _write_with_id(
        self,
        transactional_id: str,
        operation: Callable[[TransactionShard, Surroundings], Result[TransactionShard, R | None]],
    ) -> R:
        """Run an operation; once more with a producer id when it turns out to need one."""
        partition = self._partition_of(transactional_id)
        producer_id: int | None = None
        while True:
            response = await self._runtime.write(
                partition, self._in_surroundings(operation, producer_id)
            )
            if response is not None:
                return response
            producer_id = await self._next_producer_id()

    def _in_surroundings(
        self,
        operation: Callable[[TransactionShard, Surroundings], Result[TransactionShard, R]],
        producer_id: int | None = None,
    ) -> Operation[TransactionShard, R]:
        return lambda shard: operation(
            shard, Surroundings(self._clock.now_ms(), self._transaction_version(), producer_id)
        )

    async def _finish(self, partition: int, prepared: Transaction) -> None:
        """Write the markers of a prepared transaction, and complete it."""
        name = prepared.transactional_id
        try:
            if await self._send_markers(partition, prepared):
                await self._runtime.write(
                    partition,
                    lambda shard: rules.complete(shard, prepared, self._clock.now_ms()),
                )
        except ApiError as error:
            # Whoever leads the partition next does it.
            logger.info("%s stays unfinished: %s", name, error)
        if self._finishing.get(name) is prepared:
            del self._finishing[name]

    async def _send_markers(self, partition: int, prepared: Transaction) -> bool:
        """Whether all are written. Raises ApiError when leadership is lost."""
        epoch = self._runtime.leader_epoch(partition)
        end = TransactionEnd(
            prepared.producer_id,
            prepared.producer_epoch,
            prepared.state is TransactionState.PREPARE_COMMIT,
            epoch,
            prepared.client_transaction_version,
        )
        waiting: Sequence[TopicPartition] = sorted(prepared.partitions)
        while waiting:
            errors = await self._write_markers(end, waiting)
            cancelled = [each for each in waiting if errors[each] in _CANCELS]
            if cancelled:
                logger.warning(
                    "markers of %s are not wanted: %s",
                    prepared.transactional_id,
                    {str(each): errors[each].name for each in cancelled},
                )
                return False
            waiting = [each for each in waiting if errors[each] is not ErrorCode.none]
            if waiting:
                await asyncio.sleep(MARKER_RETRY_S)
            if not self._is_mine(partition, epoch, prepared):
                return False
        return True

    def _is_mine(self, partition: int, epoch: int, prepared: Transaction) -> bool:
        """Whether nobody else finishes the transaction by now.

        A late marker would end the next one of a client whose epoch stays the same.
        """
        is_newest = self._finishing.get(prepared.transactional_id) is prepared
        return is_newest and self._runtime.leader_epoch(partition) == epoch

    def _time_out_timer(self) -> StartTimer[TransactionShard]:
        """Abort what is open for too long, as long as the partition is led here."""

        def operation(shard: TransactionShard) -> Result[TransactionShard, None]:
            around = Surroundings(self._clock.now_ms(), self._transaction_version())
            result = rules.abort_timed_out(shard, around)
            for each in result.effects:
                logger.info("%s timed out and is aborted", each.transaction.transactional_id)
            return Result(None, result.records, (*result.effects, self._time_out_timer()))

        interval_ms = self._settings.transaction_abort_timed_out_transaction_cleanup_interval_ms
        return StartTimer(_TIMEOUTS, interval_ms, operation)

    def _expiry_timer(self) -> StartTimer[TransactionShard]:
        """Forget unused ids now and then, as long as the partition is led here."""
        expiration_ms = self._settings.transactional_id_expiration_ms

        def operation(shard: TransactionShard) -> Result[TransactionShard, None]:
            result = rules.forget_expired(shard, self._clock.now_ms(), expiration_ms)
            return Result(None, result.records, (self._expiry_timer(),))

        interval_ms = self._settings.transaction_remove_expired_transaction_cleanup_interval_ms
        return StartTimer(_EXPIRY, interval_ms, operation)

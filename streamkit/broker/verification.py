"""The partition leader asks the transaction coordinator before a transaction begins in a log.

Older clients add partitions themselves, and the leader only checks that they did; from
transaction.version 2 on the leader adds the partition with its first batch (KIP-890).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from streamkit.broker.coordinators.transaction.coordinator import TransactionCoordinator
from streamkit.broker.coordinators.transaction.model import EPOCH_PER_TRANSACTION
from streamkit.broker.coordinators.transaction.rules import AddRequest
from streamkit.broker.log.producer_state import UNVERIFIED, InTransaction, Verification
from streamkit.broker.partitions import Partition
from streamkit.broker.settings import BrokerSettings
from streamkit.common.model import TopicPartition
from streamkit.common.seams import Clock
from streamkit.protocol.errors import ApiError, ErrorCode


class Verifying(Enum):
    """What the client's version of Produce or TxnOffsetCommit asks for."""

    FOR_OLD_CLIENT = "it added the partition, and does not know TRANSACTION_ABORTABLE"
    ADDED = "it added the partition"
    ADD = "the leader adds the partition"

    @classmethod
    def of(cls, version: int, *, abortable_since: int) -> Verifying:
        """`abortable_since` is the version before the one from which the leader adds."""
        if version < abortable_since:
            return cls.FOR_OLD_CLIENT
        return cls.ADDED if version == abortable_since else cls.ADD


@dataclass(frozen=True, slots=True)
class FirstBatch:
    """A producer's batch, before it is appended."""

    partition: Partition
    sequence: int

    @property
    def topic_partition(self) -> TopicPartition:
        return TopicPartition(self.partition.topic, self.partition.index)


Verdict = InTransaction | ApiError

_COORDINATOR_AWAY = (
    ErrorCode.not_coordinator,
    ErrorCode.coordinator_load_in_progress,
    ErrorCode.coordinator_not_available,
)


class TransactionVerifier:
    """Asks the coordinator on this node; another node's is, as yet, not reached."""

    def __init__(
        self,
        coordinator: TransactionCoordinator,
        live_settings: Callable[[], BrokerSettings],
        clock: Clock,
    ) -> None:
        self._coordinator = coordinator
        self._live_settings = live_settings
        self._clock = clock

    async def verify(
        self,
        transactional_id: str,
        producer_id: int,
        epoch: int,
        batches: list[FirstBatch],
        verifying: Verifying,
    ) -> Mapping[TopicPartition, Verdict]:
        """With what each batch may be appended, or why not; errors as the coordinator has them."""
        guards = self._begin(producer_id, epoch, batches, verifying)
        verdicts = _verdicts(batches, guards)
        is_needed = self._live_settings().transaction_partition_verification_enable
        if not guards or (verifying is not Verifying.ADD and not is_needed):
            return verdicts
        request = AddRequest(
            transactional_id, producer_id, epoch, frozenset(guards), EPOCH_PER_TRANSACTION
        )
        try:
            errors = await self._ask(request, verifying)
        except ApiError as error:
            return verdicts | dict.fromkeys(guards, error)
        if verifying is Verifying.ADD:
            # The marker of the transaction before, which was waited for, has ended those guards.
            # A marker of this one would bring a higher epoch, so a late append fails all the same.
            verdicts = _verdicts(batches, self._begin(producer_id, epoch, batches, verifying))
        for partition, code in errors.items():
            if code is not ErrorCode.none:
                why = f"{partition} is not part of the transaction of {transactional_id}"
                verdicts[partition] = ApiError(code, why)
        return verdicts

    def _begin(
        self, producer_id: int, epoch: int, batches: list[FirstBatch], verifying: Verifying
    ) -> dict[TopicPartition, Verification]:
        """The guards of the partitions in which the transaction has not begun yet."""
        guards: dict[TopicPartition, Verification] = {}
        for batch in batches:
            guard = batch.partition.log.producers.begin_verification(
                producer_id,
                epoch,
                batch.sequence,
                self._clock.now_ms(),
                starts_at_zero=verifying is Verifying.ADD,
            )
            if guard is not None:
                guards[batch.topic_partition] = guard
        return guards

    async def _ask(
        self, request: AddRequest, verifying: Verifying
    ) -> Mapping[TopicPartition, ErrorCode]:
        if verifying is not Verifying.ADD:
            return self._coordinator.verify(request)
        clock, settings = self._clock, self._live_settings()
        deadline = clock.monotonic_ms() + settings.add_partitions_to_txn_retry_backoff_max_ms
        backoff_ms = settings.add_partitions_to_txn_retry_backoff_ms
        while True:
            try:
                await self._coordinator.add_partitions(request)
                return {}
            except ApiError as error:
                is_last = clock.monotonic_ms() + backoff_ms > deadline
                if error.code is not ErrorCode.concurrent_transactions or is_last:
                    raise
            # The markers of the transaction before are still on their way.
            await asyncio.sleep(backoff_ms / 1000)


def _verdicts(
    batches: list[FirstBatch], guards: Mapping[TopicPartition, Verification]
) -> dict[TopicPartition, Verdict]:
    partitions = [batch.topic_partition for batch in batches]
    return {tp: InTransaction(guards[tp]) if tp in guards else UNVERIFIED for tp in partitions}


def produce_error(error: ApiError, verifying: Verifying) -> ApiError:
    """The coordinator's verdict as Produce gives it; old clients retry NOT_ENOUGH_REPLICAS."""
    code = _common_error(error.code, verifying)
    is_concurrent = code is ErrorCode.concurrent_transactions
    if code in _COORDINATOR_AWAY or (is_concurrent and verifying is not Verifying.ADD):
        code = ErrorCode.not_enough_replicas
    return ApiError(code, error.message)


def commit_error(error: ApiError, verifying: Verifying) -> ApiError:
    """The coordinator's verdict as TxnOffsetCommit gives it; nobody shall look for a new group
    coordinator because of it."""
    code = _common_error(error.code, verifying)
    is_concurrent = code is ErrorCode.concurrent_transactions
    if code in _COORDINATOR_AWAY or (is_concurrent and verifying is not Verifying.ADD):
        code = ErrorCode.coordinator_load_in_progress
    return ApiError(code, error.message)


def _common_error(code: ErrorCode, verifying: Verifying) -> ErrorCode:
    if code is ErrorCode.producer_fenced:
        return ErrorCode.invalid_producer_epoch
    if code is ErrorCode.transaction_abortable and verifying is Verifying.FOR_OLD_CLIENT:
        return ErrorCode.invalid_txn_state
    return code

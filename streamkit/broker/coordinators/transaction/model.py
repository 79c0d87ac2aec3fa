"""A transactional id: its producer, its transaction's state, and the moves between states.

Pure. A `Transaction` is a value; each move gives a new one, checked against the table of
`ALLOWED_BEFORE`. Prepare* in the log is final: from there the only way leads to Complete*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType

from streamkit.common.model import TopicPartition

NO_PRODUCER_ID = -1
NO_EPOCH = -1
NO_TIME = -1
EPOCH_EXHAUSTED = 32766
"""No client gets a higher epoch, so that there is one left to fence it with."""

EPOCH_PER_TRANSACTION = 2
"""From this transaction.version on each transaction ends with a new epoch (KIP-890)."""


class TransactionState(Enum):
    """The states, by the names that users see, with the numbers in the log."""

    EMPTY = "Empty"
    ONGOING = "Ongoing"
    PREPARE_COMMIT = "PrepareCommit"
    PREPARE_ABORT = "PrepareAbort"
    COMPLETE_COMMIT = "CompleteCommit"
    COMPLETE_ABORT = "CompleteAbort"
    DEAD = "Dead"
    PREPARE_EPOCH_FENCE = "PrepareEpochFence"

    @property
    def number(self) -> int:
        """The state's number in the log."""
        return _NUMBERS[self]

    @classmethod
    def of(cls, number: int) -> TransactionState:
        """The state with a number from 0 to 7."""
        return _STATES[number]

    @property
    def is_prepared(self) -> bool:
        """Whether the outcome is decided and markers are on their way."""
        return self in (TransactionState.PREPARE_COMMIT, TransactionState.PREPARE_ABORT)

    @property
    def is_complete(self) -> bool:
        """Whether the last transaction has ended."""
        return self in (TransactionState.COMPLETE_COMMIT, TransactionState.COMPLETE_ABORT)


_STATES = tuple(TransactionState)
_NUMBERS = {state: number for number, state in enumerate(_STATES)}

_E, _O = TransactionState.EMPTY, TransactionState.ONGOING
_PC, _PA = TransactionState.PREPARE_COMMIT, TransactionState.PREPARE_ABORT
_CC, _CA = TransactionState.COMPLETE_COMMIT, TransactionState.COMPLETE_ABORT

ALLOWED_BEFORE: Mapping[TransactionState, frozenset[TransactionState]] = MappingProxyType(
    {
        _E: frozenset({_E, _CC, _CA}),
        _O: frozenset({_O, _E, _CC, _CA}),
        _PC: frozenset({_O}),
        # An abort of nothing bumps the epoch (KIP-890).
        _PA: frozenset({_O, _E, _CC, _CA}),
        _CC: frozenset({_PC}),
        _CA: frozenset({_PA}),
    }
)
"""The states that may come before each state that is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """One transactional id and its last transaction."""

    transactional_id: str
    producer_id: int
    producer_epoch: int
    timeout_ms: int
    state: TransactionState = TransactionState.EMPTY
    partitions: frozenset[TopicPartition] = frozenset()
    updated_ms: int = NO_TIME
    started_ms: int = NO_TIME
    previous_producer_id: int = NO_PRODUCER_ID
    next_producer_id: int = NO_PRODUCER_ID
    """The id that takes over when this transaction is complete: the epochs are used up."""
    client_transaction_version: int = 0
    last_producer_epoch: int = NO_EPOCH
    """The epoch before, when its owner may retry with it. It is not in the log, as with Kafka."""

    @property
    def is_epoch_exhausted(self) -> bool:
        return self.producer_epoch >= EPOCH_EXHAUSTED

    @property
    def bumps_epochs(self) -> bool:
        """Whether its client gets a new epoch with each transaction."""
        return self.client_transaction_version >= EPOCH_PER_TRANSACTION

    def is_timed_out(self, now_ms: int) -> bool:
        """Whether the transaction is open for too long."""
        is_open = self.state is TransactionState.ONGOING
        return is_open and self.started_ms + self.timeout_ms < now_ms

    def is_expired(self, now_ms: int, expiration_ms: int) -> bool:
        """Whether nobody used the id for so long that it is forgotten."""
        is_idle = self.state is TransactionState.EMPTY or self.state.is_complete
        return is_idle and self.updated_ms + expiration_ms <= now_ms

    def initialized(
        self, producer_id: int, epoch: int, last_epoch: int, timeout_ms: int, now_ms: int
    ) -> Transaction:
        """A producer took the id over, or came back."""
        return self._to(
            TransactionState.EMPTY,
            now_ms,
            producer_id=producer_id,
            producer_epoch=epoch,
            last_producer_epoch=last_epoch,
            timeout_ms=timeout_ms,
            partitions=frozenset(),
            started_ms=NO_TIME,
            client_transaction_version=0,
        )

    def with_partitions(
        self, added: frozenset[TopicPartition], version: int, now_ms: int
    ) -> Transaction:
        """The transaction goes on, or begins, with more partitions."""
        is_open = self.state is TransactionState.ONGOING
        return self._to(
            TransactionState.ONGOING,
            now_ms,
            partitions=self.partitions | added,
            started_ms=self.started_ms if is_open else now_ms,
            client_transaction_version=version,
        )

    def prepared(
        self, *, is_commit: bool, version: int, next_producer_id: int, now_ms: int
    ) -> Transaction:
        """Its outcome is decided by the client."""
        is_open = self.state is TransactionState.ONGOING
        bump = 1 if version >= EPOCH_PER_TRANSACTION else 0
        return self._to(
            _PC if is_commit else _PA,
            now_ms,
            producer_epoch=self.producer_epoch + bump,
            last_producer_epoch=self.producer_epoch if bump else self.last_producer_epoch,
            next_producer_id=next_producer_id,
            started_ms=self.started_ms if is_open else now_ms,
            client_transaction_version=version,
        )

    def fenced(self, version: int, now_ms: int, last_epoch: int = NO_EPOCH) -> Transaction:
        """It is aborted by the coordinator, with an epoch that fences its producer.

        `last_epoch` is for a producer that asked for it itself and comes again.
        """
        return self._to(
            _PA,
            now_ms,
            producer_epoch=self.producer_epoch + 1,
            last_producer_epoch=last_epoch,
            next_producer_id=NO_PRODUCER_ID,
            client_transaction_version=version,
        )

    def completed(self, now_ms: int) -> Transaction:
        """All markers are written."""
        state = _CC if self.state is _PC else _CA
        producer_id, epoch = self.next_producer
        return self._to(
            state,
            now_ms,
            producer_id=producer_id,
            producer_epoch=epoch,
            next_producer_id=NO_PRODUCER_ID,
            partitions=frozenset(),
        )

    @property
    def next_producer(self) -> tuple[int, int]:
        """The producer id and epoch after a prepared transaction."""
        if self.bumps_epochs and self.next_producer_id != NO_PRODUCER_ID:
            return self.next_producer_id, 0
        return self.producer_id, self.producer_epoch

    def _to(self, state: TransactionState, now_ms: int, **changes: object) -> Transaction:
        assert self.state in ALLOWED_BEFORE[state], f"{self.state} to {state} of {self}"
        return replace(
            self,
            state=state,
            updated_ms=now_ms,
            previous_producer_id=self.producer_id,
            **changes,  # type: ignore[arg-type]  # the names are the fields'
        )

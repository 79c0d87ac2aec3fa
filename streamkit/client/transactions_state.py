"""Where a transactional producer stands, and what each error code asks of it; pure.

`sort` is the table of Kafka's error classes for transactions (KIP-360, KIP-691, KIP-1050): the
same request again, the same after looking up the coordinator, abort, begin anew with a new
producer epoch, or stop. Three invariants: a transaction in which anything failed cannot commit; an
abort that fails is not repeated in another way; only `initialised` leads out of FENCED.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from streamkit.client.batch import NO_IDENTITY, ProducerIdentity
from streamkit.client.errors import (
    BrokerAbortError,
    BrokerFatalError,
    BrokerRefreshError,
    BrokerRejoinError,
    BrokerRetriableError,
    CodedError,
    UnsupportedByBrokerError,
    code_of,
    error_for,
)
from streamkit.common.errors import (
    AbortTransactionError,
    FatalError,
    RejoinError,
    StreamkitError,
    UsageError,
)
from streamkit.common.model import TopicPartition
from streamkit.protocol.errors import ErrorCode, ErrorKind, error_code, kind_of


class Verdict(Enum):
    """What an error asks of a transactional producer."""

    RETRY = "send the same again after a back-off"
    REFRESH = "look up the coordinator or leader, then send the same again"
    ABORT = "abort the transaction"
    FENCED = "initialise the producer again: this one is over"
    STOP = "stop"


class Step(Enum):
    """The requests of a transaction."""

    INITIALISE = "initialise"
    ADD_PARTITIONS = "add partitions"
    ADD_OFFSETS = "add offsets"
    COMMIT_OFFSETS = "commit offsets"
    COMMIT = "commit"
    ABORT = "abort"
    PRODUCE = "produce"


_FENCED: Final = (
    ErrorCode.producer_fenced,
    ErrorCode.invalid_producer_epoch,
    ErrorCode.invalid_txn_state,
    ErrorCode.invalid_producer_id_mapping,
)
_ABORTABLE: Final = (
    ErrorCode.transaction_abortable,
    ErrorCode.topic_authorization_failed,
    ErrorCode.group_authorization_failed,
    ErrorCode.unknown_producer_id,
)
_NO_MEMBER: Final = (
    ErrorCode.unknown_member_id,
    ErrorCode.illegal_generation,
    ErrorCode.fenced_instance_id,
    ErrorCode.stale_member_epoch,
    ErrorCode.fenced_member_epoch,
)
_MEMBER_LOST: Final = (
    ErrorCode.unknown_member_id,
    ErrorCode.fenced_instance_id,
    ErrorCode.fenced_member_epoch,
)
_PRODUCE_FENCED: Final = (ErrorCode.producer_fenced, ErrorCode.invalid_producer_id_mapping)
_PRODUCE_STOP: Final = (
    ErrorCode.transactional_id_authorization_failed,
    ErrorCode.cluster_authorization_failed,
    ErrorCode.unsupported_version,
)
_AUTHORIZATION: Final = (
    ErrorCode.topic_authorization_failed,
    ErrorCode.group_authorization_failed,
    ErrorCode.cluster_authorization_failed,
    ErrorCode.transactional_id_authorization_failed,
)
_INITIALISE_AGAIN: Final = (
    ErrorCode.transaction_abortable,
    ErrorCode.transactional_id_authorization_failed,
    ErrorCode.cluster_authorization_failed,
)
"""After these an initialisation may be tried again: the producer is as it was before."""


def sort(step: Step, code: int) -> Verdict:
    """What an error code asks for, by the request it answers."""
    known = error_code(code)
    if step is Step.PRODUCE:
        return _sort_produce(known)
    kind = kind_of(known)
    if kind is ErrorKind.REFRESH_METADATA:
        return Verdict.REFRESH
    if kind is ErrorKind.RETRIABLE:
        return Verdict.RETRY
    if known in _FENCED:
        return Verdict.FENCED
    if step is Step.INITIALISE:
        return Verdict.ABORT if known in _INITIALISE_AGAIN else Verdict.STOP
    if step is Step.ABORT:
        return Verdict.STOP
    if known in _ABORTABLE or (step is Step.COMMIT_OFFSETS and known in _NO_MEMBER):
        return Verdict.ABORT
    return Verdict.STOP


def _sort_produce(known: ErrorCode) -> Verdict:
    """A batch that the sender gave up on; what may be retried was."""
    if known in _PRODUCE_FENCED:
        return Verdict.FENCED
    return Verdict.STOP if known in _PRODUCE_STOP else Verdict.ABORT


_CLASSES: Final[dict[Verdict, type[CodedError]]] = {
    Verdict.RETRY: BrokerRetriableError,
    Verdict.REFRESH: BrokerRefreshError,
    Verdict.ABORT: BrokerAbortError,
    Verdict.FENCED: BrokerRejoinError,
    Verdict.STOP: BrokerFatalError,
}


def transaction_error(step: Step, code: int, what: str, message: str | None = None) -> CodedError:
    """The exception of a code; a missing permission is told as such, whatever it asks for."""
    known = error_code(code)
    if known in _AUTHORIZATION:
        return error_for(code, what, message)
    text = f" ({message})" if message else ""
    error = _CLASSES[sort(step, code)](f"{what}: {known.name.upper()}{text}")
    error.code = known
    return error


def batch_error(error: StreamkitError) -> StreamkitError:
    """What the failure of a batch means for its transaction.

    A UsageError (a record too large, no permission) stays one: it would fail again.
    """
    code = code_of(error)
    if isinstance(error, UsageError | UnsupportedByBrokerError | AbortTransactionError):
        return error
    verdict = Verdict.ABORT if code is None else sort(Step.PRODUCE, code)
    found: StreamkitError
    if verdict is Verdict.FENCED:
        found = RejoinError(str(error))
    elif verdict is Verdict.STOP:
        found = FatalError(str(error))
    else:
        found = AbortTransactionError(str(error))
    found.__cause__ = error
    return found


def is_member_lost(error: StreamkitError) -> bool:
    """Whether refused offsets mean that their member is out of the group, not merely outdated."""
    return code_of(error) in _MEMBER_LOST


class TransactionPhase(Enum):
    """Where a transactional producer is in its life; `_MOVES` says where it may go."""

    UNINITIALISED = "uninitialised"
    INITIALISING = "initialising"
    READY = "ready"
    IN_TRANSACTION = "in a transaction"
    COMMITTING = "committing"
    ABORTING = "aborting"
    ABORTABLE = "to be aborted"
    FENCED = "fenced"
    STOPPED = "stopped"


_P = TransactionPhase
_END = (_P.INITIALISING, _P.FENCED, _P.STOPPED)
_MOVES: dict[TransactionPhase, tuple[TransactionPhase, ...]] = {
    _P.UNINITIALISED: (_P.INITIALISING, _P.STOPPED),
    _P.INITIALISING: (_P.READY, _P.UNINITIALISED, _P.FENCED, _P.STOPPED),
    _P.READY: (_P.IN_TRANSACTION, *_END),
    _P.IN_TRANSACTION: (_P.COMMITTING, _P.ABORTING, _P.ABORTABLE, *_END),
    _P.COMMITTING: (_P.READY, _P.ABORTABLE, *_END),
    _P.ABORTABLE: (_P.ABORTING, *_END),
    _P.ABORTING: (_P.READY, *_END),
    _P.FENCED: (_P.INITIALISING, _P.STOPPED),
    _P.STOPPED: (),
}

_MAY_ABORT = (_P.IN_TRANSACTION, _P.ABORTABLE, _P.ABORTING)


class TransactionState:
    """One transactional producer: its phase, its identity, and what its transaction holds."""

    def __init__(self, transactional_id: str) -> None:
        self.transactional_id = transactional_id
        self.phase = TransactionPhase.UNINITIALISED
        self.identity = NO_IDENTITY
        self.error: StreamkitError | None = None
        self.adds_implicitly = False
        """Whether brokers add partitions and offsets to the transaction themselves (KIP-890)."""
        self.is_started = False
        """Whether the coordinator may know of this transaction."""
        self._added: dict[TopicPartition, None] = {}
        self._wanted: dict[TopicPartition, None] = {}
        self._groups: dict[str, None] = {}

    def initialising(self) -> None:
        """A producer id is being asked for. Raises the error that stopped the producer."""
        if self.phase is TransactionPhase.STOPPED and self.error is not None:
            raise self.error
        self._to(TransactionPhase.INITIALISING)
        self.identity = NO_IDENTITY
        self._forget()

    def initialised(self, identity: ProducerIdentity, *, adds_implicitly: bool) -> None:
        """The coordinator gave a producer id and epoch; what was open is aborted."""
        self._to(TransactionPhase.READY)
        self.identity = identity
        self.adds_implicitly = adds_implicitly

    def begin(self) -> None:
        """Begin a transaction. Raises UsageError while another one is open."""
        if self.phase is not TransactionPhase.READY:
            raise self._refusal("begin a transaction")
        self._to(TransactionPhase.IN_TRANSACTION)

    @property
    def may_abort(self) -> bool:
        """Whether there is a transaction to abort."""
        return self.phase in _MAY_ABORT

    def check_open(self, what: str) -> None:
        """Raise UsageError outside of a transaction, and the failure of one that has failed."""
        if self.phase is not TransactionPhase.IN_TRANSACTION:
            raise self._refusal(what)

    def add(self, tp: TopicPartition) -> None:
        """A batch of this partition belongs to the transaction; for errors see `check_open`."""
        self.check_open(f"send to {tp}")
        if self.adds_implicitly:
            self.is_started = True
        elif tp not in self._added:
            self._wanted[tp] = None

    def may_send(self, tp: TopicPartition) -> bool:
        """Whether a batch may go out: its partition is part of the transaction."""
        return self.adds_implicitly or tp in self._added

    def to_add(self) -> list[TopicPartition]:
        """Partitions that must be added before their batches are sent."""
        return list(self._wanted)

    def added(self, partitions: list[TopicPartition]) -> None:
        """The coordinator has added these."""
        for tp in partitions:
            self._wanted.pop(tp, None)
            self._added[tp] = None

    def needs_group(self, group_id: str) -> bool:
        """Whether the group's offsets partition must be added; for errors see `check_open`."""
        self.check_open(f"commit offsets of group {group_id!r}")
        self.is_started = True
        return not self.adds_implicitly and group_id not in self._groups

    def added_group(self, group_id: str) -> None:
        """The coordinator has added the group's offsets partition."""
        self._groups[group_id] = None

    def committing(self) -> None:
        """Commit is asked for, maybe again. Raises what failed, or UsageError outside of one."""
        if self.phase not in (TransactionPhase.IN_TRANSACTION, TransactionPhase.COMMITTING):
            raise self._refusal("commit")
        self._to(TransactionPhase.COMMITTING)

    def aborting(self) -> None:
        """Abort is asked for, maybe again. Raises UsageError when there is nothing to abort."""
        if self.phase not in _MAY_ABORT:
            raise self._refusal("abort")
        self._to(TransactionPhase.ABORTING)

    def ended(self, identity: ProducerIdentity | None) -> None:
        """The transaction is over; `identity` is that of the next one, None for the same."""
        self._to(TransactionPhase.READY)
        if identity is not None:
            self.identity = identity
        self._forget()

    def failed(self, verdict: Verdict, error: StreamkitError) -> None:
        """Something failed; a later, milder failure changes nothing."""
        if verdict in (Verdict.RETRY, Verdict.REFRESH):
            return
        if verdict is Verdict.ABORT:
            self._abortable(error)
        elif self.phase is not TransactionPhase.STOPPED:
            is_fenced = verdict is Verdict.FENCED
            if is_fenced and self.phase is TransactionPhase.UNINITIALISED:
                return
            self._to(TransactionPhase.FENCED if is_fenced else TransactionPhase.STOPPED)
            self.error = error

    @property
    def needs_new_epoch(self) -> bool:
        """Whether sequences can go on after an abort only under a new epoch (KIP-360)."""
        return not self.adds_implicitly

    def _abortable(self, error: StreamkitError) -> None:
        if self.phase is TransactionPhase.INITIALISING:
            self._to(TransactionPhase.UNINITIALISED)
        elif self.phase in (TransactionPhase.IN_TRANSACTION, TransactionPhase.COMMITTING):
            self._to(TransactionPhase.ABORTABLE)
            self.error = error

    def _forget(self) -> None:
        self.error = None
        self.is_started = False
        self._added.clear()
        self._wanted.clear()
        self._groups.clear()

    def _refusal(self, what: str) -> StreamkitError:
        """Why something cannot be done in this phase: the failure before it, or a wrong call."""
        if self.error is not None:
            return self.error
        return UsageError(
            f"transactional id {self.transactional_id!r}: cannot {what} while {self.phase.value}"
        )

    def _to(self, phase: TransactionPhase) -> None:
        if phase is self.phase:
            return
        assert phase in _MOVES[self.phase], (
            f"a transactional producer cannot go from {self.phase} to {phase}"
        )
        self.phase = phase

"""What each error code asks of a transactional producer, and the life of one."""

from __future__ import annotations

import pytest

from streamkit.client.batch import ProducerIdentity
from streamkit.client.errors import AuthorizationError, RecordTooLargeError, error_for
from streamkit.client.transactions_state import (
    Step,
    TransactionPhase,
    TransactionState,
    Verdict,
    batch_error,
    sort,
    transaction_error,
)
from streamkit.common.errors import (
    AbortTransactionError,
    FatalError,
    RefreshMetadataError,
    RejoinError,
    RetriableError,
    UsageError,
)
from streamkit.common.model import TopicPartition
from streamkit.protocol.errors import ErrorCode as E  # a table of codes

TP = TopicPartition("orders", 3)
ANY_STEP = (
    Step.INITIALISE, Step.ADD_PARTITIONS, Step.ADD_OFFSETS, Step.COMMIT_OFFSETS, Step.COMMIT,
    Step.ABORT,
)  # fmt: skip
INSIDE = (Step.ADD_PARTITIONS, Step.ADD_OFFSETS, Step.COMMIT_OFFSETS, Step.COMMIT)

ROWS = [
    (ANY_STEP, E.not_coordinator, Verdict.REFRESH),
    (ANY_STEP, E.coordinator_not_available, Verdict.REFRESH),
    (ANY_STEP, E.coordinator_load_in_progress, Verdict.RETRY),
    (ANY_STEP, E.concurrent_transactions, Verdict.RETRY),
    (ANY_STEP, E.request_timed_out, Verdict.RETRY),
    (ANY_STEP, E.producer_fenced, Verdict.FENCED),
    (ANY_STEP, E.invalid_producer_epoch, Verdict.FENCED),
    (INSIDE, E.invalid_txn_state, Verdict.FENCED),
    (INSIDE, E.invalid_producer_id_mapping, Verdict.FENCED),
    (INSIDE, E.transaction_abortable, Verdict.ABORT),
    (INSIDE, E.topic_authorization_failed, Verdict.ABORT),
    (INSIDE, E.group_authorization_failed, Verdict.ABORT),
    (INSIDE, E.unknown_producer_id, Verdict.ABORT),
    (INSIDE, E.transactional_id_authorization_failed, Verdict.STOP),
    (INSIDE, E.unsupported_version, Verdict.STOP),
    ((Step.COMMIT_OFFSETS,), E.unknown_member_id, Verdict.ABORT),
    ((Step.COMMIT_OFFSETS,), E.illegal_generation, Verdict.ABORT),
    ((Step.COMMIT_OFFSETS,), E.fenced_instance_id, Verdict.ABORT),
    ((Step.ABORT,), E.transaction_abortable, Verdict.STOP),
    ((Step.INITIALISE,), E.transaction_abortable, Verdict.ABORT),
    ((Step.INITIALISE,), E.transactional_id_authorization_failed, Verdict.ABORT),
    ((Step.INITIALISE,), E.invalid_transaction_timeout, Verdict.STOP),
    ((Step.PRODUCE,), E.producer_fenced, Verdict.FENCED),
    ((Step.PRODUCE,), E.invalid_producer_id_mapping, Verdict.FENCED),
    ((Step.PRODUCE,), E.invalid_producer_epoch, Verdict.ABORT),
    ((Step.PRODUCE,), E.out_of_order_sequence_number, Verdict.ABORT),
    ((Step.PRODUCE,), E.request_timed_out, Verdict.ABORT),
    ((Step.PRODUCE,), E.transaction_abortable, Verdict.ABORT),
    ((Step.PRODUCE,), E.cluster_authorization_failed, Verdict.STOP),
    ((Step.PRODUCE,), E.unsupported_version, Verdict.STOP),
]
CLASSES = {
    Verdict.RETRY: RetriableError,
    Verdict.REFRESH: RefreshMetadataError,
    Verdict.ABORT: AbortTransactionError,
    Verdict.FENCED: RejoinError,
    Verdict.STOP: FatalError,
}


@pytest.mark.parametrize(
    ("step", "code", "verdict"),
    [(step, code, verdict) for steps, code, verdict in ROWS for step in steps],
    ids=lambda value: getattr(value, "name", ""),
)
def test_code_asks_for(step: Step, code: E, verdict: Verdict) -> None:
    assert sort(step, code) is verdict
    error = transaction_error(step, code, "transactional id 'shop'")
    if "authorization" in code.name:
        assert isinstance(error, AuthorizationError)
    else:
        assert isinstance(error, CLASSES[verdict])
    assert code.name.upper() in str(error)


def test_failed_batch_asks_for_an_abort_unless_it_would_fail_again() -> None:
    assert isinstance(batch_error(RetriableError("too late")), AbortTransactionError)
    fenced = error_for(E.producer_fenced, "produce")
    assert isinstance(batch_error(fenced), RejoinError)
    large = error_for(E.message_too_large, "produce")
    assert isinstance(batch_error(large), RecordTooLargeError)
    assert isinstance(
        batch_error(error_for(E.out_of_order_sequence_number, "p")), CLASSES[Verdict.ABORT]
    )


def ready(*, implicit: bool = True) -> TransactionState:
    state = TransactionState("shop")
    state.initialising()
    state.initialised(ProducerIdentity(4_007, 12), adds_implicitly=implicit)
    return state


def test_failed_transaction_can_only_be_aborted() -> None:
    state = ready()
    state.begin()
    error = AbortTransactionError("a batch failed")
    state.failed(Verdict.ABORT, error)
    for call in (state.committing, state.begin, lambda: state.add(TP)):
        with pytest.raises(AbortTransactionError, match="a batch failed"):
            call()
    state.aborting()
    state.ended(ProducerIdentity(4_007, 13))
    assert state.phase is TransactionPhase.READY
    assert state.identity.epoch == 13


def test_batch_that_fails_while_committing_stops_the_commit() -> None:
    state = ready()
    state.begin()
    state.add(TP)
    state.committing()
    state.failed(Verdict.ABORT, AbortTransactionError("too late"))
    assert state.phase is TransactionPhase.ABORTABLE


def test_fenced_producer_does_nothing_until_it_is_initialised_again() -> None:
    state = ready()
    state.begin()
    state.failed(Verdict.FENCED, RejoinError("fenced"))
    state.failed(Verdict.ABORT, AbortTransactionError("a batch failed"))
    for call in (state.begin, state.committing, state.aborting):
        with pytest.raises(RejoinError):
            call()
    state.initialising()
    state.initialised(ProducerIdentity(4_007, 15), adds_implicitly=True)
    state.begin()


def test_stopped_producer_stays_stopped() -> None:
    state = ready()
    state.failed(Verdict.STOP, FatalError("no permission"))
    with pytest.raises(FatalError, match="no permission"):
        state.initialising()


def test_commit_may_be_asked_for_again_while_its_outcome_is_unknown() -> None:
    state = ready()
    state.begin()
    state.committing()
    state.committing()
    with pytest.raises(UsageError, match="cannot abort while committing"):
        state.aborting()


def test_calls_out_of_order_say_what_is_wrong() -> None:
    state = ready()
    for call, what in ((state.committing, "commit"), (lambda: state.add(TP), "send to orders-3")):
        with pytest.raises(UsageError, match=f"cannot {what} while ready"):
            call()
    state.begin()
    with pytest.raises(UsageError, match="cannot begin a transaction while in a transaction"):
        state.begin()


def test_partitions_are_added_once_where_the_broker_does_not() -> None:
    state = ready(implicit=False)
    state.begin()
    state.add(TP)
    assert not state.may_send(TP)
    assert not state.is_started
    assert state.to_add() == [TP]
    state.added([TP])
    state.add(TP)
    assert state.may_send(TP)
    assert state.to_add() == []
    assert state.needs_group("shop")
    state.added_group("shop")
    assert not state.needs_group("shop")
    state.committing()
    state.ended(None)
    assert not state.may_send(TP)


def test_nothing_is_added_where_the_broker_does_it() -> None:
    state = ready()
    state.begin()
    state.add(TP)
    assert state.may_send(TP)
    assert state.to_add() == []
    assert not state.needs_group("shop")
    assert state.is_started

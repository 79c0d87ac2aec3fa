"""The transaction coordinator's tables, row by row: what each request does in each state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from streamkit.broker.coordinators.runtime import Result
from streamkit.broker.coordinators.transaction import rules
from streamkit.broker.coordinators.transaction.model import Transaction, TransactionState
from streamkit.broker.coordinators.transaction.queries import Filters, list_transactions
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
from streamkit.common.model import TopicPartition
from streamkit.protocol.errors import ApiError, ErrorCode

ID, PID, NEW_PID, EPOCH = "shop-3", 7001, 7777, 12
NOW = 1_700_000_000_000
TIMEOUT = 45_000
HERE = TopicPartition("orders", 3)
THERE = TopicPartition("orders", 4)
EXHAUSTED = 32766

EMPTY, ONGOING = TransactionState.EMPTY, TransactionState.ONGOING
PREPARE_COMMIT, PREPARE_ABORT = TransactionState.PREPARE_COMMIT, TransactionState.PREPARE_ABORT
COMPLETE_COMMIT = TransactionState.COMPLETE_COMMIT
COMPLETE_ABORT = TransactionState.COMPLETE_ABORT
IDLE = [EMPTY, COMPLETE_COMMIT, COMPLETE_ABORT]
PREPARED = [PREPARE_COMMIT, PREPARE_ABORT]


def shard_in(state: TransactionState, epoch: int = EPOCH, **fields: Any) -> TransactionShard:
    """A shard whose id is in a state, as it comes from the log."""
    is_open = state is ONGOING or state.is_prepared
    shard = TransactionShard()
    shard.transactions[ID] = replace(
        Transaction(
            transactional_id=ID,
            producer_id=PID,
            producer_epoch=epoch,
            timeout_ms=TIMEOUT,
            state=state,
            partitions=frozenset({HERE}) if is_open else frozenset(),
            updated_ms=NOW - 70,
            started_ms=-1 if state is EMPTY else NOW - 90,
            previous_producer_id=PID,
        ),
        **fields,
    )
    return shard


def around(*, version: int = 2, new_pid: int | None = NEW_PID) -> Surroundings:
    return Surroundings(NOW, version, new_pid)


def init(pid: int = -1, epoch: int = -1) -> InitRequest:
    return InitRequest(ID, TIMEOUT, pid, epoch)


def applied(shard: TransactionShard, result: Result[Any, Any]) -> Transaction:
    """The transaction after a result's records are committed."""
    for record in result.records:
        shard.replay(record, 55, -1)
    return shard.transactions[ID]


def code_of(operation: Callable[[], object]) -> ErrorCode:
    with pytest.raises(ApiError) as caught:
        operation()
    return caught.value.code


# InitProducerId


def test_first_producer_needs_an_id() -> None:
    shard = TransactionShard()
    assert rules.init_producer_id(shard, init(), around(new_pid=None)).response is None
    result = rules.init_producer_id(shard, init(), around())
    assert result.response == Initialized(NEW_PID, 0)
    assert applied(shard, result).state is EMPTY


@pytest.mark.parametrize("state", IDLE)
def test_next_producer_gets_the_next_epoch(state: TransactionState) -> None:
    shard = shard_in(state)
    result = rules.init_producer_id(shard, init(), around())
    assert result.response == Initialized(PID, EPOCH + 1)
    after = applied(shard, result)
    assert (after.state, after.producer_epoch, after.last_producer_epoch) == (EMPTY, EPOCH + 1, -1)


@pytest.mark.parametrize("state", PREPARED)
def test_producer_waits_for_the_markers(state: TransactionState) -> None:
    code = code_of(lambda: rules.init_producer_id(shard_in(state), init(), around()))
    assert code is ErrorCode.concurrent_transactions


@pytest.mark.parametrize("version", [0, 1, 2])
def test_open_transaction_is_aborted_with_a_fencing_epoch(version: int) -> None:
    shard = shard_in(ONGOING)
    result = rules.init_producer_id(shard, init(), around(version=version))
    assert result.response == Initialized(error=ErrorCode.concurrent_transactions)
    after = applied(shard, result)
    assert (after.state, after.producer_epoch) == (PREPARE_ABORT, EPOCH + 1)
    assert after.client_transaction_version == version
    assert list(result.effects) == [SendMarkers(after)]
    applied(shard, rules.complete(shard, after, NOW))
    again = rules.init_producer_id(shard, init(), around(version=version))
    assert again.response == Initialized(PID, EPOCH + 2)


@pytest.mark.parametrize("epoch", [EXHAUSTED, EXHAUSTED + 1])
@pytest.mark.parametrize("state", IDLE)
def test_exhausted_epochs_take_a_new_id(state: TransactionState, epoch: int) -> None:
    shard = shard_in(state, epoch)
    assert rules.init_producer_id(shard, init(), around(new_pid=None)).response is None
    assert rules.init_producer_id(shard, init(), around()).response == Initialized(NEW_PID, 0)


def test_producer_that_comes_back_gets_the_next_epoch_and_may_retry() -> None:
    shard = shard_in(COMPLETE_ABORT)
    result = rules.init_producer_id(shard, init(PID, EPOCH), around())
    assert result.response == Initialized(PID, EPOCH + 1)
    applied(shard, result)
    retried = rules.init_producer_id(shard, init(PID, EPOCH), around())
    assert retried.response == Initialized(PID, EPOCH + 1)


def test_rotation_may_be_retried_with_the_old_id() -> None:
    shard = shard_in(EMPTY, EXHAUSTED)
    applied(shard, rules.init_producer_id(shard, init(PID, EXHAUSTED), around()))
    retried = rules.init_producer_id(shard, init(PID, EXHAUSTED), around())
    assert retried.response == Initialized(NEW_PID, 0)


@pytest.mark.parametrize(
    ("state", "pid", "epoch"),
    [
        (EMPTY, PID, EPOCH - 1),
        (EMPTY, PID, EPOCH + 1),
        (EMPTY, PID + 1, EPOCH),
        (ONGOING, PID, EPOCH - 1),
        (COMPLETE_COMMIT, PID, EPOCH - 2),
    ],
)
def test_producer_of_another_epoch_is_fenced(state: TransactionState, pid: int, epoch: int) -> None:
    code = code_of(lambda: rules.init_producer_id(shard_in(state), init(pid, epoch), around()))
    assert code is ErrorCode.producer_fenced


def test_zombie_may_not_retry_after_a_take_over() -> None:
    shard = shard_in(EMPTY)
    applied(shard, rules.init_producer_id(shard, init(), around()))
    code = code_of(lambda: rules.init_producer_id(shard, init(PID, EPOCH), around()))
    assert code is ErrorCode.producer_fenced


# AddPartitionsToTxn


def add(pid: int = PID, epoch: int = EPOCH, *partitions: TopicPartition) -> AddRequest:
    return AddRequest(ID, pid, epoch, frozenset(partitions or {HERE}), 2)


@pytest.mark.parametrize("state", IDLE)
def test_first_partition_begins_a_transaction(state: TransactionState) -> None:
    shard = shard_in(state)
    after = applied(shard, rules.add_partitions(shard, add(), around()))
    assert (after.state, after.started_ms, after.partitions) == (ONGOING, NOW, frozenset({HERE}))


def test_further_partitions_join_an_open_transaction() -> None:
    shard = shard_in(ONGOING)
    after = applied(shard, rules.add_partitions(shard, add(PID, EPOCH, THERE), around()))
    assert (after.started_ms, after.partitions) == (NOW - 90, frozenset({HERE, THERE}))


def test_known_partition_needs_no_write() -> None:
    assert rules.add_partitions(shard_in(ONGOING), add(), around()).records == ()


def decide(shard: TransactionShard, request: AddRequest, *, verify: bool) -> object:
    if verify:
        return rules.verify(shard, request)
    return rules.add_partitions(shard, request, around())


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize(
    ("state", "request_", "expected"),
    [
        (ONGOING, add(PID + 1), ErrorCode.invalid_producer_id_mapping),
        (ONGOING, add(PID, EPOCH - 1), ErrorCode.producer_fenced),
        (ONGOING, add(PID, EPOCH + 1), ErrorCode.producer_fenced),
        (PREPARE_COMMIT, add(), ErrorCode.concurrent_transactions),
        (PREPARE_ABORT, add(), ErrorCode.concurrent_transactions),
    ],
)
def test_wrong_producer_or_time_adds_nothing(
    state: TransactionState, request_: AddRequest, expected: ErrorCode, verify: bool
) -> None:
    assert code_of(lambda: decide(shard_in(state), request_, verify=verify)) is expected


@pytest.mark.parametrize("verify", [False, True])
def test_unknown_transactional_id(verify: bool) -> None:
    code = code_of(lambda: decide(TransactionShard(), add(), verify=verify))
    assert code is ErrorCode.invalid_producer_id_mapping


def test_verification_knows_each_partition() -> None:
    found = rules.verify(shard_in(ONGOING), add(PID, EPOCH, HERE, THERE))
    assert found == {HERE: ErrorCode.none, THERE: ErrorCode.transaction_abortable}


@pytest.mark.parametrize("state", IDLE)
def test_partition_of_no_transaction_is_not_verified(state: TransactionState) -> None:
    found = rules.verify(shard_in(state), add())
    assert found == {HERE: ErrorCode.transaction_abortable}


# EndTxn

BEGUN = "prepare"
OK = ErrorCode.none
FENCED, CONCURRENT = ErrorCode.producer_fenced, ErrorCode.concurrent_transactions
WRONG = ErrorCode.invalid_txn_state

V2 = [
    # state, abort of a retry, abort, commit of a retry, commit
    (ONGOING, FENCED, BEGUN, FENCED, BEGUN),
    (EMPTY, FENCED, BEGUN, FENCED, WRONG),
    (COMPLETE_ABORT, OK, BEGUN, WRONG, WRONG),
    (COMPLETE_COMMIT, WRONG, BEGUN, OK, WRONG),
    (PREPARE_ABORT, CONCURRENT, FENCED, WRONG, FENCED),
    (PREPARE_COMMIT, WRONG, FENCED, CONCURRENT, FENCED),
]


def outcome(shard: TransactionShard, request: EndRequest) -> object:
    try:
        result = rules.end(shard, request, around())
    except ApiError as error:
        return error.code
    return BEGUN if result.records else OK


@pytest.mark.parametrize("column", range(4))
@pytest.mark.parametrize("row", V2, ids=[row[0].value for row in V2])
def test_end_with_an_epoch_per_transaction(row: Any, column: int) -> None:
    state, expected = row[0], row[1 + column]
    epoch = EPOCH if column in (1, 3) else EPOCH - 1
    shard = shard_in(state, client_transaction_version=2)
    request = EndRequest(ID, PID, epoch, is_commit=column >= 2, version=2)
    assert outcome(shard, request) == expected


@pytest.mark.parametrize("epoch", [EPOCH - 2, EPOCH + 1])
@pytest.mark.parametrize("state", [row[0] for row in V2])
def test_end_with_a_foreign_epoch_is_fenced(state: TransactionState, epoch: int) -> None:
    request = EndRequest(ID, PID, epoch, is_commit=False, version=2)
    assert outcome(shard_in(state, client_transaction_version=2), request) is FENCED


V1 = [
    (ONGOING, BEGUN, BEGUN),
    (EMPTY, WRONG, WRONG),
    (COMPLETE_ABORT, OK, WRONG),
    (COMPLETE_COMMIT, WRONG, OK),
    (PREPARE_ABORT, CONCURRENT, WRONG),
    (PREPARE_COMMIT, WRONG, CONCURRENT),
]


@pytest.mark.parametrize("commit", [False, True])
@pytest.mark.parametrize("row", V1, ids=[row[0].value for row in V1])
def test_end_of_an_old_client(row: Any, commit: bool) -> None:
    request = EndRequest(ID, PID, EPOCH, commit)
    assert outcome(shard_in(row[0]), request) == row[2 if commit else 1]
    for epoch in (EPOCH - 1, EPOCH + 1):
        assert outcome(shard_in(row[0]), replace(request, producer_epoch=epoch)) is FENCED


@pytest.mark.parametrize("version", [0, 2])
def test_end_of_another_producer(version: int) -> None:
    request = EndRequest(ID, PID + 1, EPOCH, is_commit=True, version=version)
    assert outcome(shard_in(ONGOING), request) is ErrorCode.invalid_producer_id_mapping
    assert outcome(TransactionShard(), request) is ErrorCode.invalid_producer_id_mapping


@pytest.mark.parametrize("commit", [False, True])
@pytest.mark.parametrize("version", [0, 2])
def test_transaction_is_prepared_then_complete(version: int, commit: bool) -> None:
    shard = shard_in(ONGOING)
    result = rules.end(shard, EndRequest(ID, PID, EPOCH, commit, version), around())
    bump = 1 if version == 2 else 0
    assert result.response == Ended(PID, EPOCH + bump)
    prepared = applied(shard, result)
    assert prepared.state is (PREPARE_COMMIT if commit else PREPARE_ABORT)
    assert (prepared.producer_epoch, prepared.partitions) == (EPOCH + bump, frozenset({HERE}))
    done = applied(shard, rules.complete(shard, prepared, NOW + 5))
    assert done.state is (COMPLETE_COMMIT if commit else COMPLETE_ABORT)
    assert (done.producer_id, done.producer_epoch) == (PID, EPOCH + bump)
    assert (done.partitions, done.updated_ms) == (frozenset(), NOW + 5)


def test_last_epoch_ends_with_a_new_producer_id() -> None:
    shard = shard_in(ONGOING, EXHAUSTED)
    request = EndRequest(ID, PID, EXHAUSTED, is_commit=True, version=2)
    assert rules.end(shard, request, around(new_pid=None)).response is None
    result = rules.end(shard, request, around())
    assert result.response == Ended(NEW_PID, 0)
    prepared = applied(shard, result)
    assert (prepared.producer_id, prepared.producer_epoch) == (PID, EXHAUSTED + 1)
    assert outcome(shard, request) is CONCURRENT
    done = applied(shard, rules.complete(shard, prepared, NOW))
    assert (done.producer_id, done.producer_epoch, done.previous_producer_id) == (NEW_PID, 0, PID)
    assert rules.end(shard, request, around()).response == Ended(NEW_PID, 0)


def test_late_end_does_not_decide_the_next_transaction() -> None:
    shard = shard_in(ONGOING)
    late = EndRequest(ID, PID, EPOCH, is_commit=False, version=2)
    prepared = applied(shard, rules.end(shard, replace(late, is_commit=True), around()))
    applied(shard, rules.complete(shard, prepared, NOW))
    applied(shard, rules.add_partitions(shard, add(PID, EPOCH + 1), around()))
    assert outcome(shard, late) is FENCED
    assert shard.transactions[ID].state is ONGOING


def test_completion_of_another_transaction_changes_nothing() -> None:
    shard = shard_in(PREPARE_COMMIT)
    stale = replace(shard.transactions[ID], producer_epoch=EPOCH - 1)
    assert rules.complete(shard, stale, NOW).records == ()
    assert rules.complete(TransactionShard(), stale, NOW).records == ()


# Time-outs, expiry, lists


@pytest.mark.parametrize(("age_ms", "is_late"), [(TIMEOUT, False), (TIMEOUT + 1, True)])
def test_open_transaction_times_out(age_ms: int, is_late: bool) -> None:
    shard = shard_in(ONGOING, started_ms=NOW - age_ms)
    result = rules.abort_timed_out(shard, around())
    assert bool(result.records) is is_late
    if is_late:
        after = applied(shard, result)
        assert (after.state, after.producer_epoch) == (PREPARE_ABORT, EPOCH + 1)
        assert outcome(shard, EndRequest(ID, PID, EPOCH, is_commit=True, version=0)) is FENCED


@pytest.mark.parametrize("state", [row[0] for row in V2])
def test_only_idle_ids_are_forgotten(state: TransactionState) -> None:
    shard = shard_in(state)
    assert rules.forget_expired(shard, NOW, 71).records == ()
    records = rules.forget_expired(shard, NOW, 70).records
    assert bool(records) is (state in IDLE)
    for record in records:
        shard.replay(record, 56, -1)
    assert (ID in shard.transactions) is (state not in IDLE)


def test_one_sweep_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "SWEEP_MAX", 3)
    shard = shard_in(ONGOING, started_ms=1)
    for number in range(5):
        name = f"more-{number}"
        shard.transactions[name] = replace(shard.transactions[ID], transactional_id=name)
    assert len(rules.abort_timed_out(shard, around()).records) == 3


@pytest.mark.parametrize(
    ("filters", "found", "unknown"),
    [
        (Filters(), ["a-1", "a-2", "b-1"], []),
        (Filters(states=["Ongoing"]), ["a-2"], []),
        (Filters(states=["Ongoing", "Odd"]), ["a-2"], ["Odd"]),
        (Filters(states=["Odd"]), [], ["Odd"]),
        (Filters(producer_ids=[73]), ["b-1"], []),
        (Filters(duration_ms=50), ["a-2"], []),
        (Filters(duration_ms=90), [], []),
        (Filters(pattern="a-.*"), ["a-1", "a-2"], []),
        (Filters(pattern="a"), [], []),
        (Filters(states=["CompleteCommit"], pattern="b.*"), ["b-1"], []),
    ],
)
def test_filters_are_all_to_hold(filters: Filters, found: list[str], unknown: list[str]) -> None:
    base = shard_in(ONGOING).transactions[ID]
    known = [
        replace(base, transactional_id="a-1", producer_id=71, state=EMPTY, started_ms=NOW),
        replace(base, transactional_id="a-2", producer_id=72),
        replace(
            base, transactional_id="b-1", producer_id=73, state=COMPLETE_COMMIT, started_ms=NOW
        ),
    ]
    listing = list_transactions(known, filters, NOW)
    assert [each.transactional_id for each in listing.transactions] == found
    assert list(listing.unknown_states) == unknown


@pytest.mark.parametrize("pattern", ["(", "(?=a)a*", r"(\w)\1*"])
def test_bad_pattern_is_refused(pattern: str) -> None:
    code = code_of(lambda: list_transactions([], Filters(pattern=pattern), NOW))
    assert code is ErrorCode.invalid_regular_expression


def test_no_pattern_takes_long() -> None:
    known = [replace(shard_in(ONGOING).transactions[ID], transactional_id="a" * 200)]
    # Tried one way after the other, this would outlive the universe.
    assert list_transactions(known, Filters(pattern="(a|a)*b"), NOW).transactions == []

"""Idempotent producers and transactions: sequences, duplicates, snapshots, the LSO."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streamkit.broker.log.errors import LogError
from streamkit.broker.log.log import Isolation, Log
from streamkit.broker.log.producer_state import (
    UNVERIFIED,
    InTransaction,
    Origin,
    ProducerState,
)
from streamkit.common.errors import StorageError
from streamkit.protocol.errors import ErrorCode
from streamkit.records import read_header

SEQUENCE_MAX = 2**31 - 1
PRODUCER = 7001


def send(bench: Any, log: Log, sequence: int, count: int = 2, epoch: int = 4, **build: Any) -> Any:
    values = [b"%d" % (sequence + index) for index in range(count)]
    numbers = {"producer_id": PRODUCER, "producer_epoch": epoch, "base_sequence": sequence}
    return bench.append(log, *values, **(numbers | build))


def code_of(bench: Any, log: Log, sequence: int, **build: Any) -> ErrorCode:
    end = log.log_end_offset
    with pytest.raises(LogError) as caught:
        send(bench, log, sequence, **build)
    assert log.log_end_offset == end
    return caught.value.code


def test_sequences_follow_one_another(bench: Any, log: Log) -> None:
    send(bench, log, 0)
    send(bench, log, 2, count=3)
    assert code_of(bench, log, 6) is ErrorCode.out_of_order_sequence_number
    assert code_of(bench, log, 4) is ErrorCode.out_of_order_sequence_number
    assert send(bench, log, 5).base_offset == 5


@pytest.mark.parametrize("reopen", [False, True])
def test_the_last_five_batches_are_known_as_duplicates(bench: Any, reopen: bool) -> None:
    log = bench.open()
    firsts = [send(bench, log, 2 * number).base_offset for number in range(7)]
    if reopen:
        log = bench.open()
    end = log.log_end_offset
    for number in range(2, 7):
        info = send(bench, log, 2 * number)
        assert info.is_duplicate
        assert (info.base_offset, info.last_offset) == (firsts[number], firsts[number] + 1)
    assert log.log_end_offset == end
    assert code_of(bench, log, 2) is ErrorCode.out_of_order_sequence_number


def test_a_clean_restart_knows_the_last_batch_of_each_producer(bench: Any, log: Log) -> None:
    for number in range(7):
        send(bench, log, 2 * number)
    log.close()
    log = bench.open(clean_shutdown=True)
    assert send(bench, log, 12).is_duplicate
    assert send(bench, log, 14).base_offset == 14


def test_sequences_go_on_at_zero_after_the_last(bench: Any, log: Log) -> None:
    send(bench, log, SEQUENCE_MAX - 2, count=2)
    info = send(bench, log, SEQUENCE_MAX, count=3)
    assert send(bench, log, SEQUENCE_MAX, count=3).base_offset == info.base_offset
    assert log.producers.producers[PRODUCER].last_sequence == 1
    send(bench, log, 2)
    assert code_of(bench, log, 1) is ErrorCode.out_of_order_sequence_number


def test_a_batch_may_end_at_the_last_sequence(bench: Any, log: Log) -> None:
    send(bench, log, SEQUENCE_MAX - 1, count=2)
    assert code_of(bench, log, 5) is ErrorCode.out_of_order_sequence_number
    send(bench, log, 0)


def test_an_unknown_producer_may_begin_anywhere(bench: Any, log: Log) -> None:
    assert send(bench, log, 333).base_offset == 0


def test_a_new_epoch_begins_at_zero_and_fences_the_old(bench: Any, log: Log) -> None:
    send(bench, log, 0)
    assert code_of(bench, log, 2, epoch=5) is ErrorCode.out_of_order_sequence_number
    send(bench, log, 0, epoch=5)
    assert code_of(bench, log, 2, epoch=4) is ErrorCode.invalid_producer_epoch
    assert code_of(bench, log, 0, epoch=4) is ErrorCode.invalid_producer_epoch
    assert send(bench, log, 0, epoch=5).is_duplicate


def test_producers_do_not_disturb_each_other(bench: Any, log: Log) -> None:
    send(bench, log, 0)
    send(bench, log, 10, producer_id=7002)
    send(bench, log, 2)
    send(bench, log, 12, producer_id=7002)
    assert log.log_end_offset == 8


def test_state_survives_rolls_and_unclean_restarts(bench: Any) -> None:
    bench.settings = replace(bench.settings, segment_bytes=300)
    log = bench.open()
    for number in range(20):
        send(bench, log, 2 * number)
    assert len(log.segments) > 3
    for arguments in ({}, {"recovery_point": log.active.base_offset}):
        log = bench.open(**arguments)
        assert send(bench, log, 38).is_duplicate
        assert code_of(bench, log, 41) is ErrorCode.out_of_order_sequence_number


def test_damaged_snapshots_are_dropped_and_the_log_is_replayed(bench: Any) -> None:
    bench.settings = replace(bench.settings, segment_bytes=300)
    log = bench.open()
    for number in range(20):
        send(bench, log, 2 * number)
    log.close()
    for name in bench.files(".snapshot"):
        file = bench.disk.open(f"{bench.folder}/{name}")
        file.write_at(file.size() - 3, b"\xff")
    log = bench.open(clean_shutdown=True)
    assert send(bench, log, 38).is_duplicate


def test_a_snapshot_beyond_a_truncation_is_not_used(bench: Any, log: Log) -> None:
    send(bench, log, 0)
    send(bench, log, 2)
    log.take_snapshot()
    log.truncate_to(2)
    assert bench.files(".snapshot") == []
    assert send(bench, log, 2).base_offset == 2


def test_snapshots_are_refused_when_any_byte_differs(bench: Any, log: Log) -> None:
    send(bench, log, 0)
    data = log.producers.snapshot()
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1
        with pytest.raises(StorageError):
            ProducerState("orders-7").load(bytes(damaged), 2)
        with pytest.raises(StorageError):
            ProducerState("orders-7").load(data[:position], 2)
    state = ProducerState("orders-7")
    state.load(data, 2)
    assert state.snapshot() == data


def test_silent_producers_are_forgotten_unless_a_transaction_is_open(bench: Any, log: Log) -> None:
    send(bench, log, 0)
    send(bench, log, 0, producer_id=7002, transactional=True)
    log.producers.expire(bench.NOW_MS + 999, 1000)
    assert set(log.producers.producers) == {PRODUCER, 7002}
    log.producers.expire(bench.NOW_MS + 1000, 1000)
    assert set(log.producers.producers) == {7002}
    assert send(bench, log, 50).base_offset == 4


def test_the_last_stable_offset_waits_for_open_transactions(bench: Any, log: Log) -> None:
    bench.append(log, b"plain")
    send(bench, log, 0, transactional=True)
    send(bench, log, 0, transactional=True, producer_id=7002)
    bench.append(log, b"plain")
    log.update_high_watermark(6)
    assert log.last_stable_offset == 1
    bench.mark(log, PRODUCER, 4, is_commit=True)
    assert log.last_stable_offset == 1
    log.update_high_watermark(7)
    assert log.last_stable_offset == 3
    bench.mark(log, 7002, 4, is_commit=True)
    log.update_high_watermark(8)
    assert log.last_stable_offset == 8


def test_ended_transactions_are_kept_up_to_the_high_watermark_only(bench: Any, log: Log) -> None:
    """Though nobody reads the log."""
    for number in range(9):
        send(bench, log, 2 * number, transactional=True)
        bench.mark(log, PRODUCER, 4, is_commit=True)
        log.update_high_watermark(log.log_end_offset - 1)
        assert len(log.producers.unreplicated) == 1
    log.update_high_watermark(log.log_end_offset)
    assert not log.producers.unreplicated
    assert log.last_stable_offset == log.log_end_offset


def test_readers_of_committed_data_stop_there_and_learn_what_was_aborted(
    bench: Any, log: Log
) -> None:
    send(bench, log, 0, transactional=True)
    bench.append(log, b"plain")
    send(bench, log, 0, transactional=True, producer_id=7002)
    bench.mark(log, PRODUCER, 4, is_commit=False)
    log.update_high_watermark(6)
    found = log.read(0, 10_000, isolation=Isolation.LAST_STABLE)
    assert found.last_stable_offset == 3
    assert read_header(found.records).base_offset == 0
    assert found.aborted == [(PRODUCER, 0)]
    bench.mark(log, 7002, 4, is_commit=False)
    log.update_high_watermark(7)
    assert log.read(2, 10_000, isolation=Isolation.LAST_STABLE).aborted == [
        (PRODUCER, 0),
        (7002, 3),
    ]
    assert log.read(6, 10_000, isolation=Isolation.LAST_STABLE).aborted == [(7002, 3)]
    assert log.read(0, 10_000, isolation=Isolation.HIGH_WATERMARK).aborted == []


@pytest.mark.parametrize("is_clean", [False, True])
def test_transactions_survive_a_restart(bench: Any, is_clean: bool) -> None:
    bench.settings = replace(bench.settings, segment_bytes=400)
    log = bench.open()
    send(bench, log, 0, transactional=True)
    for _ in range(6):
        bench.append(log, b"x" * 100)
    bench.mark(log, PRODUCER, 4, is_commit=False)
    send(bench, log, 2, transactional=True)
    if is_clean:
        log.close()
    log = bench.open(clean_shutdown=is_clean)
    log.update_high_watermark(log.log_end_offset)
    assert log.last_stable_offset == 9
    found = log.read(0, 10_000, isolation=Isolation.LAST_STABLE)
    assert found.aborted == [(PRODUCER, 0)]
    entries = [entry for segment in log.segments for entry in segment.aborted.entries]
    assert [(entry.first_offset, entry.last_offset) for entry in entries] == [(0, 8)]
    assert entries[0].last_stable_offset == 9


def test_a_marker_without_a_transaction_is_no_aborted_one(bench: Any, log: Log) -> None:
    bench.mark(log, PRODUCER, 4)
    assert log.active.aborted.entries == []
    log.update_high_watermark(1)
    assert log.last_stable_offset == 1


def test_markers_are_fenced_by_producer_and_coordinator_epoch(bench: Any, log: Log) -> None:
    send(bench, log, 0, transactional=True)
    for fence, code in (
        ({"producer_epoch": 3}, ErrorCode.invalid_producer_epoch),
        ({"coordinator_epoch": 8}, ErrorCode.transaction_coordinator_fenced),
    ):
        if "coordinator_epoch" in fence:
            bench.mark(log, PRODUCER, 4)
        with pytest.raises(LogError) as caught:
            bench.mark(log, PRODUCER, **({"producer_epoch": 4} | fence))
        assert caught.value.code is code


def test_a_plain_batch_in_an_open_transaction_is_refused(bench: Any, log: Log) -> None:
    send(bench, log, 0, transactional=True)
    assert code_of(bench, log, 2) is ErrorCode.invalid_txn_state


def test_coordinators_batches_have_no_sequences(bench: Any, log: Log) -> None:
    for _ in range(2):
        send(bench, log, -1, origin=Origin.COORDINATOR, transactional=True)
    bench.mark(log, PRODUCER, 4, is_commit=True)
    log.update_high_watermark(5)
    assert log.last_stable_offset == 5


def begin(log: Log, epoch: int = 4, sequence: int = 0, *, starts_at_zero: bool = False) -> Any:
    return log.producers.begin_verification(
        PRODUCER, epoch, sequence, 5_000, starts_at_zero=starts_at_zero
    )


def test_a_transaction_begins_only_with_its_guard(bench: Any, log: Log) -> None:
    assert code_of(bench, log, 0, transactional=True, transaction=UNVERIFIED) is (
        ErrorCode.invalid_txn_state
    )
    guard = begin(log)
    send(bench, log, 0, transactional=True, transaction=InTransaction(guard))
    assert begin(log, sequence=2) is None
    send(bench, log, 2, transactional=True, transaction=UNVERIFIED)


def test_a_marker_takes_the_guard_away(bench: Any, log: Log) -> None:
    guard = begin(log)
    bench.mark(log, PRODUCER, 4)
    held = InTransaction(guard)
    assert code_of(bench, log, 0, transactional=True, transaction=held) is (
        ErrorCode.invalid_txn_state
    )
    assert log.producers.first_open_offset is None


def test_a_batch_overtakes_no_earlier_one_that_was_refused(bench: Any, log: Log) -> None:
    guard = InTransaction(begin(log, sequence=4))
    assert begin(log, sequence=2) is guard.guard
    assert code_of(bench, log, 4, transactional=True, transaction=guard) is (
        ErrorCode.out_of_order_sequence_number
    )
    send(bench, log, 2, transactional=True, transaction=guard)


def test_a_new_epoch_begins_its_own_sequences(bench: Any, log: Log) -> None:
    begin(log, epoch=4, sequence=0)
    guard = InTransaction(begin(log, epoch=5, sequence=6))
    send(bench, log, 6, epoch=5, transactional=True, transaction=guard)


@pytest.mark.parametrize("starts_at_zero", [False, True])
def test_an_unknown_producer_begins_at_zero_when_it_must(
    bench: Any, log: Log, starts_at_zero: bool
) -> None:
    guard = InTransaction(begin(log, sequence=3, starts_at_zero=starts_at_zero))
    if starts_at_zero:
        assert code_of(bench, log, 3, transactional=True, transaction=guard) is (
            ErrorCode.out_of_order_sequence_number
        )
    else:
        send(bench, log, 3, transactional=True, transaction=guard)


@pytest.mark.parametrize("version", [0, 2])
def test_a_late_marker_ends_no_later_transaction(bench: Any, log: Log, version: int) -> None:
    send(bench, log, 0, transactional=True)
    marker = {"is_commit": True, "transaction": InTransaction(version=version)}
    if version < 2:
        bench.mark(log, PRODUCER, 4, **marker)
        assert log.producers.first_open_offset is None
        return
    with pytest.raises(LogError) as caught:
        bench.mark(log, PRODUCER, 4, **marker)
    assert caught.value.code is ErrorCode.invalid_producer_epoch
    bench.mark(log, PRODUCER, 5, **marker)
    # The same marker once more, as after a crash of the coordinator.
    bench.mark(log, PRODUCER, 5, **marker)
    assert code_of(bench, log, 2, transactional=True) is ErrorCode.invalid_producer_epoch

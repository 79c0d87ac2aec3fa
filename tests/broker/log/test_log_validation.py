"""What a leader refuses, and with which code (table 2.2 of the protocol)."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import crc32c
import pytest

from streamkit.broker.log import validator
from streamkit.broker.log.errors import LogError
from streamkit.broker.log.log import Log, Origin
from streamkit.broker.log.validator import RECORD_ERRORS_MAX
from streamkit.protocol.errors import ErrorCode

HOUR_MS = 3_600_000


def refused(bench: Any, log: Log, records: bytes) -> LogError:
    with pytest.raises(LogError) as caught:
        log.append_as_leader(records, bench.EPOCH, bench.NOW_MS)
    assert log.log_end_offset == 0
    assert log.size == 0
    return caught.value


def changed(batch: bytes, position: int, data: bytes) -> bytes:
    """The batch with other bytes and a right crc."""
    out = bytearray(batch)
    out[position : position + len(data)] = data
    out[17:21] = struct.pack(">I", crc32c.crc32c(bytes(out[21:])))
    return bytes(out)


def test_old_message_formats(bench: Any, log: Log) -> None:
    for magic in (b"\0", b"\1"):
        error = refused(bench, log, changed(bench.batch(b"x"), 16, magic))
        assert error.code is ErrorCode.unsupported_for_message_format


def test_damage_and_truncation(bench: Any, log: Log) -> None:
    batch = bench.batch(b"x" * 50)
    assert refused(bench, log, batch[:-1]).code is ErrorCode.corrupt_message
    assert refused(bench, log, batch[:40]).code is ErrorCode.corrupt_message
    assert refused(bench, log, b"").code is ErrorCode.corrupt_message
    damaged = batch[:-1] + bytes([batch[-1] ^ 1])
    assert refused(bench, log, damaged).code is ErrorCode.corrupt_message


@pytest.mark.parametrize(
    "build",
    [
        {"base_offset": 7},
        {"control": True},
        {"producer_id": 70, "producer_epoch": 2},
        {"producer_id": 70, "base_sequence": 2},
        {"transactional": True},
    ],
)
def test_fields_that_a_client_may_not_send(bench: Any, log: Log, build: dict[str, Any]) -> None:
    assert refused(bench, log, bench.batch(b"x", **build)).code is ErrorCode.invalid_record


def test_more_than_one_batch(bench: Any, log: Log) -> None:
    assert refused(bench, log, bench.batch(b"x") * 2).code is ErrorCode.invalid_record


def test_counts_that_do_not_fit(bench: Any, log: Log) -> None:
    batch = bench.batch(b"x", b"y")
    for position, number in ((57, 0), (57, 1), (57, 3), (23, 2), (23, 0)):
        error = refused(bench, log, changed(batch, position, struct.pack(">i", number)))
        assert error.code in (ErrorCode.invalid_record, ErrorCode.corrupt_message)


def test_malformed_records_behind_a_right_crc(bench: Any, log: Log) -> None:
    error = refused(bench, log, changed(bench.batch(b"x" * 50), 62, b"\xff\xff\xff\xff\xff"))
    assert error.code is ErrorCode.invalid_record


def test_sizes(bench: Any) -> None:
    bench.settings = replace(bench.settings, message_bytes_max=200, segment_bytes=300)
    log = bench.open()
    assert refused(bench, log, bench.batch(b"x" * 150)).code is ErrorCode.message_too_large
    log.settings = replace(bench.settings, message_bytes_max=10_000)
    assert refused(bench, log, bench.batch(b"x" * 350)).code is ErrorCode.record_list_too_large


def test_the_size_counts_again_after_recompression(bench: Any) -> None:
    bench.settings = replace(bench.settings, message_bytes_max=200, compression_type="uncompressed")
    log = bench.open()
    error = refused(bench, log, bench.batch(b"x" * 5000, compression=4))
    assert error.code is ErrorCode.message_too_large


def test_a_compacted_topic_needs_keys(bench: Any) -> None:
    bench.settings = replace(bench.settings, cleanup_policy=("compact", "delete"))
    log = bench.open()
    error = refused(bench, log, bench.batch(b"x", b"y", key=None))
    assert error.code is ErrorCode.invalid_record
    assert [index for index, _ in error.record_errors] == [0]


def test_times_too_far_ahead_or_behind(bench: Any) -> None:
    bench.settings = replace(bench.settings, timestamp_before_max_ms=5000)
    log = bench.open()
    for at in (bench.NOW_MS + HOUR_MS + 1, bench.NOW_MS - 5001):
        error = refused(bench, log, bench.batch(b"x", b"y", at=at))
        assert error.code is ErrorCode.invalid_timestamp
        assert [index for index, _ in error.record_errors] == [0, 1]
    for at in (bench.NOW_MS + HOUR_MS, bench.NOW_MS - 5000, -1):
        bench.append(log, b"x", at=at)


def test_clients_may_not_claim_log_append_time(bench: Any, log: Log) -> None:
    error = refused(bench, log, changed(bench.batch(b"x"), 22, b"\x08"))
    assert error.code is ErrorCode.invalid_timestamp


def test_a_wrong_highest_timestamp_is_put_right(bench: Any, log: Log) -> None:
    claimed = struct.pack(">q", bench.NOW_MS + 99)
    log.append_as_leader(changed(bench.batch(b"x"), 35, claimed), bench.EPOCH, bench.NOW_MS)
    assert log.active.max_timestamp == bench.NOW_MS
    assert bench.read_all(log) == [(0, b"x")]


def test_coordinators_may_write_control_batches_and_leave_out_sequences(
    bench: Any, log: Log
) -> None:
    bench.append(log, b"x", origin=Origin.COORDINATOR, producer_id=70, producer_epoch=2)
    bench.mark(log, 70, 2)
    assert log.log_end_offset == 2


def test_any_damaged_batch_is_refused_or_read_back(bench: Any) -> None:
    batch = bench.batch(b"one", b"two", b"three")
    for position in range(8, len(batch)):
        log = bench.open()
        try:
            log.append_as_leader(changed(batch, position, b"\x55"), bench.EPOCH, bench.NOW_MS)
        except LogError:
            continue
        assert len(bench.read_all(log)) == log.log_end_offset
        log.truncate_fully(0)


def test_wrong_times_of_very_many_records_are_told_as_one(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some 100 KB decompress to a million records: no object is made for each of them."""

    def count(*_: object, **__: object) -> None:
        raise AssertionError("the batch is decoded")

    monkeypatch.setattr(validator, "decode", count)
    log = bench.open()
    values = [b""] * (RECORD_ERRORS_MAX + 1)
    error = refused(bench, log, bench.batch(*values, at=bench.NOW_MS + HOUR_MS + 1, compression=4))
    assert error.code is ErrorCode.invalid_timestamp
    assert error.record_errors == ()

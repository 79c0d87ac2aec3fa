"""Compaction: what stays, when tombstones and markers go, and that a crash loses nothing."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamkit.broker.log.clean_child import JOB_FILE, RESULT_FILE
from streamkit.broker.log.cleaning import CleanJob, CleanResult, clean
from streamkit.broker.log.compaction import (
    cleanable,
    discard,
    make_job,
    mark_complete,
    take_over,
)
from streamkit.broker.log.errors import ColdRead, LogError
from streamkit.broker.log.log import Log
from streamkit.common.system import SystemDisk
from streamkit.records import Compression, decode, scan
from streamkit.records.codec import DELETE_HORIZON
from streamkit.testing.disk import MemoryDisk

BUFFER_BYTES = 1 << 20
DAY_MS = 24 * 3_600_000


@pytest.fixture
def bench(bench: Any) -> Any:
    bench.settings = replace(
        bench.settings,
        cleanup_policy=("compact",),
        segment_bytes=600,
        index_interval_bytes=100,
        file_delete_delay_ms=0,
    )
    return bench


def compact(bench: Any, log: Log, buffer_bytes: int = BUFFER_BYTES) -> CleanResult:
    """One pass over all that is cleanable, whether it is due or not."""
    log.update_high_watermark(log.log_end_offset)
    log.flush()
    found = cleanable(log, bench.now_ms)
    assert found is not None, "nothing is cleanable"
    job = make_job(log, found, bench.now_ms, buffer_bytes)
    assert CleanJob.from_json(job.to_json()) == job
    result = clean(bench.disk, job)
    assert CleanResult.from_json(result.to_json()) == result
    mark_complete(bench.disk, job, result)
    take_over(log, result)
    return result


def rows(log: Log) -> list[tuple[int, bytes | None, bytes | None]]:
    """Every (offset, key, value) of data, by reading as a consumer does."""
    log.update_high_watermark(log.log_end_offset)
    found: list[tuple[int, bytes | None, bytes | None]] = []
    offset = log.log_start_offset
    while offset < log.log_end_offset:
        records = log.read(offset, 300).records
        headers = scan(records)
        if not headers:
            break
        for header in headers:
            if not header.is_control:
                batch = decode(records, header)
                data = zip(batch.offsets, batch.keys, batch.values, strict=True)
                found += [row for row in data if row[0] >= offset]
        offset = headers[-1].last_offset + 1
    return found


def newest(written: list[tuple[int, bytes, bytes | None]], below: int) -> list[Any]:
    """What must be left of records when all below an offset are clean."""
    last = {key: offset for offset, key, _ in written if offset < below}
    return [row for row in written if row[0] >= below or last[row[1]] == row[0]]


def fill(bench: Any, log: Log, count: int, keys: int = 5, **build: Any) -> list[Any]:
    written = []
    for number in range(count):
        key, value = b"k%d" % (number % keys), b"value %d" % number
        offset = bench.append(log, value, key=key, **build).base_offset
        written.append((offset, key, value))
    return written


@pytest.mark.parametrize("codec", list(Compression))
def test_the_newest_value_of_each_key_stays(bench: Any, codec: Compression) -> None:
    log = bench.open()
    written = fill(bench, log, 60, compression=codec)
    before = log.size
    result = compact(bench, log)
    assert result.end == log.active.base_offset == log.cleaned_offset
    assert rows(log) == newest(written, result.end)
    assert log.size < before
    log.close()
    assert rows(bench.open(clean_shutdown=True)) == newest(written, result.end)


def test_records_within_a_batch_are_sifted(bench: Any) -> None:
    log = bench.open()
    for number in range(30):
        bench.append(log, b"a%d" % number, b"b%d" % number, key=b"k%d" % (number % 3))
    compact(bench, log)
    kept = [row for row in rows(log) if row[0] < log.cleaned_offset]
    assert len(kept) == 3
    assert all(value is not None and value.startswith(b"b") for _, _, value in kept)


def test_a_read_in_the_middle_of_a_hole_goes_on_behind_it(bench: Any) -> None:
    log = bench.open()
    written = fill(bench, log, 60)
    result = compact(bench, log)
    left = newest(written, result.end)
    for offset in range(log.log_end_offset):
        headers = scan(log.read(offset, 100).records)
        if offset <= left[-1][0]:
            assert headers, f"nothing at {offset}"
            assert headers[0].last_offset >= offset


def test_records_without_a_key_go(bench: Any) -> None:
    bench.settings = replace(bench.settings, cleanup_policy=("delete",))
    log = bench.open()
    for _ in range(20):
        bench.append(log, b"none", key=None)
    log.settings = replace(bench.settings, cleanup_policy=("compact",))
    fill(bench, log, 20)
    compact(bench, log)
    assert all(key is not None for _, key, _ in rows(log))


def test_tombstones_go_in_a_pass_after_their_horizon(bench: Any) -> None:
    log = bench.open()
    bench.append(log, b"old", key=b"gone")
    deleted = bench.append(log, None, key=b"gone").base_offset
    fill(bench, log, 30)
    compact(bench, log)
    assert (deleted, b"gone", None) in rows(log)
    assert not [row for row in rows(log) if row[2] == b"old"]
    header = next(batch.header for batch in log.segments[0].walk())
    assert header.attributes & DELETE_HORIZON
    assert header.base_timestamp == bench.now_ms + DAY_MS
    bench.now_ms += DAY_MS - 1
    fill(bench, log, 30)
    compact(bench, log)
    assert (deleted, b"gone", None) in rows(log)
    bench.now_ms += 1
    fill(bench, log, 30)
    compact(bench, log)
    assert not [row for row in rows(log) if row[1] == b"gone"]


def test_timestamps_stay_with_a_delete_horizon(bench: Any) -> None:
    log = bench.open()
    bench.append(log, None, key=b"gone", at=bench.NOW_MS - 77)
    fill(bench, log, 30)
    compact(bench, log)
    stored = next(log.segments[0].walk())
    assert decode(stored.buffer, stored.header).timestamps == [bench.NOW_MS - 77]


def test_the_last_sequence_of_an_active_producer_stays(bench: Any) -> None:
    log = bench.open()
    producer = {"producer_id": 7001, "producer_epoch": 3}
    bench.append(log, b"x", key=b"k1", base_sequence=0, **producer)
    last = bench.append(log, b"y", b"z", key=b"k1", base_sequence=1, **producer)
    fill(bench, log, 30)
    compact(bench, log)
    header = next(batch.header for batch in log.segments[0].walk())
    assert (header.base_offset, header.last_offset) == (last.base_offset, last.last_offset)
    assert (header.count, header.base_sequence, header.last_sequence) == (0, 1, 2)
    for name in bench.files(".snapshot"):
        bench.disk.remove(f"{bench.folder}/{name}")
    again = bench.open(recovery_point=log.recovery_point, cleaned_offset=log.cleaned_offset)
    duplicate = bench.append(again, b"y", b"z", key=b"k1", base_sequence=1, **producer)
    assert duplicate.is_duplicate
    assert duplicate.base_offset == last.base_offset


def transactions(bench: Any, log: Log) -> None:
    """An aborted and a committed transaction, and enough behind them to make them cleanable."""
    build = {"producer_id": 7001, "producer_epoch": 3, "transactional": True}
    bench.append(log, b"aborted", key=b"a", base_sequence=0, **build)
    bench.mark(log, 7001, 3, is_commit=False)
    bench.append(log, b"committed", key=b"c", base_sequence=1, **build)
    bench.mark(log, 7001, 3, is_commit=True)
    log.producers.expire(bench.now_ms + 1, 0)
    fill(bench, log, 30)


def markers(log: Log) -> list[int]:
    return [
        batch.header.base_offset
        for segment in log.segments
        for batch in segment.walk()
        if batch.header.is_control
    ]


def test_aborted_data_goes_and_its_marker_follows_later(bench: Any) -> None:
    log = bench.open()
    transactions(bench, log)
    compact(bench, log)
    values = [value for _, _, value in rows(log)]
    assert b"aborted" not in values
    assert b"committed" in values
    assert markers(log) == [1, 3]
    assert [entry.producer_id for entry in log.segments[0].aborted.entries] == [7001]
    for _ in range(2):
        fill(bench, log, 30)
        compact(bench, log)
        bench.now_ms += DAY_MS
    # The committed transaction still has data; the aborted one's marker has done its work.
    assert markers(log) == [3]
    assert b"committed" in [value for _, _, value in rows(log)]


def test_an_open_transaction_is_not_touched(bench: Any) -> None:
    log = bench.open()
    fill(bench, log, 20)
    build = {"producer_id": 7001, "producer_epoch": 3, "transactional": True}
    first = bench.append(log, b"open", key=b"k1", base_sequence=0, **build).base_offset
    fill(bench, log, 40)
    result = compact(bench, log)
    assert result.end <= first
    assert b"open" in [value for _, _, value in rows(log)]


def test_lags_and_ratio_decide_when(bench: Any) -> None:
    log = bench.open()
    fill(bench, log, 40)
    log.update_high_watermark(log.log_end_offset)
    found = cleanable(log, bench.now_ms)
    assert found is not None
    assert found.is_due
    log.settings = replace(bench.settings, min_compaction_lag_ms=10)
    assert cleanable(log, bench.now_ms) is None
    assert cleanable(log, bench.now_ms + 11) is not None
    log.settings = bench.settings
    compact(bench, log)
    assert cleanable(log, bench.now_ms) is None
    fill(bench, log, 6)
    log.update_high_watermark(log.log_end_offset)
    log.settings = replace(bench.settings, min_cleanable_dirty_ratio=1.0)
    found = cleanable(log, bench.now_ms)
    assert found is not None
    assert not found.is_due
    log.settings = replace(log.settings, max_compaction_lag_ms=1000)
    found = cleanable(log, bench.now_ms + 1001)
    assert found is not None
    assert found.is_due


def test_the_age_of_a_cold_segment_is_not_waited_for(bench: Any) -> None:
    bench.settings = replace(bench.settings, max_compaction_lag_ms=1000)
    log = bench.open()
    fill(bench, log, 40)
    log.update_high_watermark(log.log_end_offset)
    log.close()
    log = bench.open(clean_shutdown=True, high_watermark=log.log_end_offset)
    bench.disk.cool()
    with pytest.raises(ColdRead) as cold:
        cleanable(log, bench.now_ms + 1001, cached_only=True)
    cold.value.warm()
    found = cleanable(log, bench.now_ms + 1001, cached_only=True)
    assert found is not None
    assert found.is_due


def test_a_full_map_ends_the_pass_early(bench: Any) -> None:
    log = bench.open()
    written = fill(bench, log, 60, keys=40)
    result = compact(bench, log, buffer_bytes=10 * 160)
    assert 0 < result.end < log.active.base_offset
    assert rows(log) == newest(written, result.end)
    for _ in range(20):
        if cleanable(log, bench.now_ms) is None:
            break
        compact(bench, log, buffer_bytes=10 * 160)
    assert rows(log) == newest(written, log.cleaned_offset)
    assert log.cleaned_offset == log.active.base_offset


def test_retention_may_drop_an_emptied_segment(bench: Any) -> None:
    bench.settings = replace(bench.settings, cleanup_policy=("compact", "delete"))
    log = bench.open()
    fill(bench, log, 60, keys=1)
    compact(bench, log)
    log.settings = replace(bench.settings, retention_bytes=0)
    log.delete_old_segments(bench.now_ms)
    assert (log.log_start_offset, log.size) == (60, 0)


def test_a_pass_is_void_when_segments_went_meanwhile(bench: Any) -> None:
    bench.settings = replace(bench.settings, cleanup_policy=("compact", "delete"))
    log = bench.open()
    fill(bench, log, 60)
    log.update_high_watermark(60)
    log.flush()
    found = cleanable(log, bench.now_ms)
    assert found is not None
    job = make_job(log, found, bench.now_ms, BUFFER_BYTES)
    result = clean(bench.disk, job)
    log.settings = replace(bench.settings, retention_bytes=log.size - log.segments[0].size)
    assert log.delete_old_segments(bench.now_ms) == 1
    mark_complete(bench.disk, job, result)
    with pytest.raises(LogError):
        take_over(log, result)
    discard(bench.disk, job)
    assert bench.files(".swap") == bench.files(".cleaned") == []
    assert rows(log)[0][0] == log.log_start_offset


@pytest.mark.parametrize("seed", range(60))
def test_no_crash_brings_back_or_loses_a_value(bench: Any, seed: int) -> None:
    chance = random.Random(seed)
    log = bench.open()
    table: dict[bytes, bytes | None] = {}
    for _ in range(3):
        for number in range(chance.randrange(20, 60)):
            key = b"k%d" % chance.randrange(8)
            value = None if chance.random() < 0.2 else b"%d-%d" % (seed, number)
            bench.append(log, value, key=key)
            table[key] = value
        log.update_high_watermark(log.log_end_offset)
        log.flush()
        found = cleanable(log, bench.now_ms)
        if found is not None:
            job = make_job(log, found, bench.now_ms, BUFFER_BYTES)
            result = clean(bench.disk, job)
            if chance.random() < 0.8:
                mark_complete(bench.disk, job, result)
                if chance.random() < 0.7:
                    take_over(log, result)
        bench.now_ms += DAY_MS
        assert isinstance(bench.disk, MemoryDisk)
        bench.disk.crash(chance)
        log = bench.open(recovery_point=log.recovery_point, cleaned_offset=log.cleaned_offset)
        state = {key: value for _, key, value in rows(log) if key is not None}
        assert {key: value for key, value in state.items() if value is not None} == {
            key: value for key, value in table.items() if value is not None
        }


def test_a_child_process_does_the_same_as_a_thread(bench: Any, tmp_path: Path) -> None:
    bench.disk, bench.folder = SystemDisk(), f"{tmp_path}/orders-7"
    log = bench.open()
    written = fill(bench, log, 60)
    log.update_high_watermark(log.log_end_offset)
    log.flush()
    found = cleanable(log, bench.now_ms)
    assert found is not None
    job = make_job(log, found, bench.now_ms, BUFFER_BYTES)
    job_path = f"{log.path}/{JOB_FILE}"
    bench.disk.write_atomic(job_path, job.to_json().encode())
    ended = subprocess.run(
        [sys.executable, "-m", "streamkit.broker.log.clean_child", job_path], check=False
    )
    assert ended.returncode == 0
    result = CleanResult.from_json(bench.disk.read(f"{log.path}/{RESULT_FILE}").decode())
    mark_complete(bench.disk, job, result)
    take_over(log, result)
    assert rows(log) == newest(written, result.end)
    log.close()

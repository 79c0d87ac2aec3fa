"""Appending and reading: offsets, bounds, limits, rolls, truncation, retention."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streamkit.broker.log.errors import LogError
from streamkit.broker.log.log import Isolation, Log
from streamkit.broker.log.timestamps import (
    EARLIEST,
    EARLIEST_LOCAL,
    LATEST,
    LATEST_TIERED,
    MAX_TIMESTAMP,
    TimestampOffset,
)
from streamkit.common.errors import StorageError
from streamkit.protocol.errors import ErrorCode
from streamkit.records import decode, read_header, scan


def fill(bench: Any, log: Log, count: int) -> list[tuple[int, bytes]]:
    """Append `count` batches of three records; what a reader must find."""
    expected = []
    for number in range(count):
        values = [b"%d-%d" % (number, index) for index in range(3)]
        base = bench.append(log, *values, at=bench.NOW_MS + number).base_offset
        expected += [(base + index, value) for index, value in enumerate(values)]
    return expected


def test_batches_get_the_next_offsets_and_the_leader_epoch(bench: Any, log: Log) -> None:
    bench.append(log, b"a", b"b")
    info = bench.append(log, b"c", b"d", b"e")
    assert (info.base_offset, info.last_offset, info.log_append_time) == (2, 4, -1)
    assert log.log_end_offset == 5
    header = scan(log.read(2, 1000, isolation=Isolation.LOG_END).records)[0]
    assert (header.base_offset, header.leader_epoch) == (2, bench.EPOCH)


def test_the_producers_bytes_are_kept_behind_the_first_sixteen(bench: Any, log: Log) -> None:
    sent = bench.batch(b"a", b"b", compression=4)
    log.append_as_leader(sent, bench.EPOCH, bench.NOW_MS)
    kept = log.read(0, 1000, isolation=Isolation.LOG_END).records
    assert kept[16:] == sent[16:]


def test_everything_is_read_back_over_many_segments(bench: Any) -> None:
    bench.settings = replace(bench.settings, segment_bytes=900, index_interval_bytes=100)
    log = bench.open()
    expected = fill(bench, log, 60)
    assert len(log.segments) > 5
    assert bench.read_all(log) == expected
    assert bench.read_all(log, size=1 << 20) == expected


@pytest.mark.parametrize("interval", [0, 150, 4096])
def test_a_read_begins_with_the_batch_that_holds_the_offset(bench: Any, interval: int) -> None:
    bench.settings = replace(bench.settings, segment_bytes=2000, index_interval_bytes=interval)
    log = bench.open()
    fill(bench, log, 50)
    for position in range(2):
        for offset in range(log.log_end_offset):
            header = read_header(log.read(offset, 10, isolation=Isolation.LOG_END).records)
            assert header.base_offset <= offset <= header.last_offset
        if position == 0:
            log.close()
            log = bench.open(clean_shutdown=True)


def test_readers_stop_at_the_high_watermark(bench: Any, log: Log) -> None:
    fill(bench, log, 4)
    log.update_high_watermark(6)
    found = log.read(0, 10_000)
    assert [header.last_offset for header in scan(found.records)] == [2, 5]
    assert found.high_watermark == 6
    assert log.read(6, 10_000).records == b""
    assert log.read(8, 10_000).records == b""
    assert len(scan(log.read(0, 10_000, isolation=Isolation.LOG_END).records)) == 4


def test_offsets_outside_of_the_log_are_refused(bench: Any, log: Log) -> None:
    fill(bench, log, 2)
    assert log.read(6, 100).records == b""
    for offset in (-1, 7):
        with pytest.raises(LogError) as caught:
            log.read(offset, 100)
        assert caught.value.code is ErrorCode.offset_out_of_range


def test_the_first_batch_comes_whole_when_one_is_the_least(bench: Any, log: Log) -> None:
    bench.append(log, b"x" * 5000)
    bench.append(log, b"y" * 50)
    log.update_high_watermark(2)
    assert len(scan(log.read(0, 10, min_one=True).records)) == 1
    assert log.read(0, 10, min_one=False).records == b""
    truncated = log.read(0, 5100, min_one=False).records
    assert len(truncated) == 5100
    assert len(scan(truncated)) == 1


def test_a_roll_happens_at_the_size_limit(bench: Any) -> None:
    bench.settings = replace(bench.settings, segment_bytes=300)
    log = bench.open()
    for _ in range(6):
        bench.append(log, b"x" * 60)
    assert [segment.base_offset for segment in log.segments] == [0, 2, 4]
    assert all(segment.size <= 300 for segment in log.segments)


def test_a_roll_happens_when_records_are_later_than_the_segment_may_span(bench: Any) -> None:
    bench.settings = replace(bench.settings, segment_ms=1000)
    log = bench.open()
    for at in (0, 900, 1000, 1001, 1500, 2002):
        bench.append(log, b"x", at=bench.NOW_MS + at)
    assert [segment.base_offset for segment in log.segments] == [0, 3, 5]


def test_a_roll_happens_when_an_index_is_full(bench: Any) -> None:
    bench.settings = replace(bench.settings, index_interval_bytes=0, segment_index_bytes=48)
    log = bench.open()
    fill(bench, log, 10)
    assert len(log.segments) > 2
    assert bench.read_all(log)[-1] == (29, b"9-2")


def test_log_append_time_replaces_the_records_times(bench: Any) -> None:
    bench.settings = replace(bench.settings, timestamp_type="LogAppendTime")
    log = bench.open()
    info = bench.append(log, b"a", b"b", at=77)
    assert info.log_append_time == bench.NOW_MS
    records = log.read(0, 1000, isolation=Isolation.LOG_END).records
    batch = decode(records, read_header(records))
    assert batch.header.is_log_append_time
    assert batch.timestamps == [bench.NOW_MS] * 2


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd", "uncompressed"])
def test_the_broker_recompresses_when_the_topic_asks_for_it(bench: Any, codec: str) -> None:
    bench.settings = replace(bench.settings, compression_type=codec)
    log = bench.open()
    for sent in range(5):
        bench.append(log, b"a" * 100, b"b", compression=sent, producer_id=70, producer_epoch=3,
                     base_sequence=2 * sent)  # fmt: skip
    records = log.read(0, 10_000, isolation=Isolation.LOG_END).records
    headers = scan(records)
    assert len({header.compression for header in headers}) == 1
    for index, header in enumerate(headers):
        assert decode(records, header).values == [b"a" * 100, b"b"]
        assert header.base_sequence == 2 * index


def test_truncation_drops_the_batch_that_holds_the_offset(bench: Any) -> None:
    bench.settings = replace(bench.settings, segment_bytes=900, index_interval_bytes=100)
    for offset in range(60):
        bench.folder = f"/data/orders-{offset}"
        log = bench.open()
        expected = fill(bench, log, 20)
        log.truncate_to(offset)
        end = offset // 3 * 3
        assert log.log_end_offset == end
        assert bench.read_all(log) == expected[:end]
        assert bench.append(log, b"next").base_offset == end
        log.close()
        assert bench.read_all(bench.open(clean_shutdown=True))[-1] == (end, b"next")


def test_truncate_fully_begins_again_at_an_offset(bench: Any, log: Log) -> None:
    fill(bench, log, 5)
    log.truncate_fully(700)
    assert (log.log_start_offset, log.log_end_offset, log.high_watermark) == (700, 700, 700)
    assert bench.append(log, b"x").base_offset == 700


def test_followers_append_verbatim(bench: Any, log: Log) -> None:
    fill(bench, log, 6)
    records = log.read(0, 10_000, isolation=Isolation.LOG_END).records
    bench.folder = "/data/copy-7"
    copy = bench.open()
    info = copy.append_as_follower(records)
    assert (info.base_offset, info.last_offset) == (0, 17)
    assert copy.read(0, 10_000, isolation=Isolation.LOG_END).records == records
    assert copy.epochs.entries == [(bench.EPOCH, 0)]
    with pytest.raises(LogError, match="does not follow"):
        copy.append_as_follower(records)
    damaged = bytearray(bench.batch(b"x", base_offset=18))
    damaged[-1] ^= 1
    with pytest.raises(LogError, match="crc"):
        copy.append_as_follower(bytes(damaged))


def test_timestamps_find_the_first_record_at_or_after(bench: Any) -> None:
    bench.settings = replace(bench.settings, segment_bytes=900, index_interval_bytes=100)
    log = bench.open()
    fill(bench, log, 40)
    log.update_high_watermark(90)
    for number in range(29):
        found = log.offset_for_timestamp(bench.NOW_MS + number)
        assert found == TimestampOffset(bench.NOW_MS + number, 3 * number, bench.EPOCH)
    assert log.offset_for_timestamp(0).offset == 0
    assert log.offset_for_timestamp(bench.NOW_MS + 30) == TimestampOffset()
    assert log.offset_for_timestamp(bench.NOW_MS + 30, Isolation.LOG_END).offset == 90
    assert log.offset_for_timestamp(bench.NOW_MS + 40, Isolation.LOG_END) == TimestampOffset()


def test_special_timestamps(bench: Any, log: Log) -> None:
    assert log.offset_for_timestamp(MAX_TIMESTAMP) == TimestampOffset()
    bench.append(log, b"a", at=bench.NOW_MS)
    bench.append(log, b"b", b"c", at=bench.NOW_MS + 50)
    bench.append(log, b"d", at=bench.NOW_MS + 10)
    log.update_high_watermark(4)
    log.advance_log_start(1)
    epoch = bench.EPOCH
    assert log.offset_for_timestamp(LATEST) == TimestampOffset(-1, 4, epoch)
    assert log.offset_for_timestamp(EARLIEST) == TimestampOffset(-1, 1, epoch)
    assert log.offset_for_timestamp(EARLIEST_LOCAL) == TimestampOffset(-1, 1, epoch)
    assert log.offset_for_timestamp(LATEST_TIERED).offset == -1
    assert log.offset_for_timestamp(MAX_TIMESTAMP) == TimestampOffset(bench.NOW_MS + 50, 1, epoch)


def test_epochs_answer_where_they_end(bench: Any, log: Log) -> None:
    bench.append(log, b"a", b"b", epoch=3)
    bench.append(log, b"c", epoch=7)
    log.assign_epoch_start(9)
    assert log.end_offset_for_epoch(2) == (2, 0)
    assert log.end_offset_for_epoch(3) == (3, 2)
    assert log.end_offset_for_epoch(5) == (3, 2)
    assert log.end_offset_for_epoch(7) == (7, 3)
    assert log.end_offset_for_epoch(9) == (9, 3)
    assert log.end_offset_for_epoch(10) == (-1, -1)
    log.close()
    # An epoch without a record is not kept over a restart, as in Kafka's LogLoader.
    assert bench.open(clean_shutdown=True).epochs.entries == [(3, 0), (7, 2)]


def test_retention_by_size_keeps_what_fits(bench: Any) -> None:
    bench.settings = replace(bench.settings, segment_bytes=300, retention_bytes=650)
    log = bench.open()
    for _ in range(12):
        bench.append(log, b"x" * 60)
    log.update_high_watermark(12)
    assert log.delete_old_segments(bench.NOW_MS) == 3
    assert log.log_start_offset == 6
    assert 650 <= log.size < 650 + 300
    assert log.epochs.entries == [(bench.EPOCH, 6)]


def test_retention_by_time_drops_the_oldest_and_rolls_the_active(bench: Any) -> None:
    bench.settings = replace(bench.settings, segment_bytes=300, retention_ms=1000)
    log = bench.open()
    for number in range(6):
        bench.append(log, b"x" * 60, at=bench.NOW_MS + 100 * number)
    log.update_high_watermark(6)
    assert log.delete_old_segments(bench.NOW_MS + 1100) == 0
    assert log.delete_old_segments(bench.NOW_MS + 1101) == 1
    assert log.delete_old_segments(bench.NOW_MS + 5000) == 2
    assert (log.log_start_offset, log.log_end_offset, log.size) == (6, 6, 0)
    assert bench.append(log, b"y").base_offset == 6


def test_retention_stops_at_the_high_watermark(bench: Any) -> None:
    bench.settings = replace(bench.settings, segment_bytes=300, retention_ms=0)
    log = bench.open()
    for _ in range(6):
        bench.append(log, b"x" * 60)
    log.update_high_watermark(3)
    assert log.delete_old_segments(bench.NOW_MS + 5000) == 1
    assert log.log_start_offset == 2


def test_dropped_segments_are_renamed_and_removed_later(bench: Any) -> None:
    bench.settings = replace(bench.settings, segment_bytes=300)
    log = bench.open()
    for _ in range(6):
        bench.append(log, b"x" * 60)
    log.update_high_watermark(6)
    log.advance_log_start(5)
    assert log.delete_old_segments(bench.NOW_MS) == 2
    assert "00000000000000000000.log.deleted" in bench.files(".deleted")
    log.purge(bench.NOW_MS + 59_999)
    assert bench.files(".deleted")
    log.purge(bench.NOW_MS + 60_000)
    assert bench.files(".deleted") == []
    assert bench.files(".snapshot") == ["00000000000000000004.snapshot"]


def test_the_log_start_moves_up_only_and_not_beyond_the_high_watermark(
    bench: Any, log: Log
) -> None:
    fill(bench, log, 3)
    log.update_high_watermark(6)
    with pytest.raises(LogError) as caught:
        log.advance_log_start(7)
    assert caught.value.code is ErrorCode.offset_out_of_range
    assert log.advance_log_start(4)
    assert not log.advance_log_start(2)
    with pytest.raises(LogError):
        log.read(3, 100)
    assert read_header(log.read(4, 100).records).base_offset == 3


def test_flush_messages_says_when_a_flush_is_due(bench: Any) -> None:
    bench.settings = replace(bench.settings, flush_messages=3)
    log = bench.open()
    bench.append(log, b"a", b"b")
    assert not log.needs_flush
    bench.append(log, b"c")
    assert log.needs_flush
    log.flush()
    assert not log.needs_flush
    assert log.recovery_point == 3


def test_settings_change_while_the_log_is_open(bench: Any, log: Log) -> None:
    bench.append(log, b"x" * 60)
    log.settings = replace(bench.settings, segment_bytes=200)
    bench.append(log, b"x" * 60)
    assert len(log.segments) == 2


def test_a_full_disk_refuses_the_append_and_keeps_the_log_as_it_was(bench: Any, log: Log) -> None:
    expected = fill(bench, log, 3)
    bench.disk.bytes_max = 1000
    with pytest.raises(StorageError):
        bench.append(log, b"x" * 5000)
    bench.disk.bytes_max = None
    assert bench.read_all(log) == expected
    assert bench.append(log, b"next").base_offset == 9


def test_a_log_of_another_topic_id_is_not_opened(bench: Any, log: Log) -> None:
    with pytest.raises(StorageError, match="belongs to topic id"):
        Log.open(bench.disk, bench.folder, "orders", 7, type(bench.TOPIC_ID)(int=99),
                 bench.settings, lambda: bench.now_ms)  # fmt: skip

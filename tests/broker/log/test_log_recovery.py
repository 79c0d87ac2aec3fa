"""What a crash may leave behind, and what opening the log makes of it."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from streamkit.broker.log.log import Isolation, Log
from streamkit.records import scan
from streamkit.testing.disk import MemoryDisk

LAST = 6


def filled(bench: Any, batches: int = LAST + 1) -> tuple[Log, list[tuple[int, bytes]]]:
    """A log with `batches` batches of three records, and what a reader finds in it."""
    log = bench.open()
    expected = []
    for number in range(batches):
        values = [b"%d-%d" % (number, index) for index in range(3)]
        base = bench.append(log, *values, at=bench.NOW_MS + number).base_offset
        expected += [(base + index, value) for index, value in enumerate(values)]
    return log, expected


def rewrite(bench: Any, name: str, data: bytes) -> None:
    path = f"{bench.folder}/{name}"
    file = bench.disk.open(path, create=True)
    file.truncate(0)
    file.append([data])


def log_data(bench: Any) -> tuple[bytes, int]:
    """The bytes of a log of one segment, and where its last batch begins."""
    data = bench.disk.read(f"{bench.folder}/00000000000000000000.log")
    return data, scan(data)[-1].position


FIRST_LOG = "00000000000000000000.log"


def test_a_torn_tail_is_cut_off_at_every_byte_of_the_last_batch(bench: Any) -> None:
    _, expected = filled(bench)
    data, last = log_data(bench)
    for size in range(last, len(data)):
        rewrite(bench, FIRST_LOG, data[:size])
        log = bench.open()
        assert log.log_end_offset == 3 * LAST
        assert bench.disk.read(f"{bench.folder}/{FIRST_LOG}") == data[:last]
        assert bench.read_all(log) == expected[: 3 * LAST]
        assert bench.append(log, b"next").base_offset == 3 * LAST
        log.close()


def test_every_flipped_byte_of_the_last_batch_is_found(bench: Any) -> None:
    _, expected = filled(bench)
    data, last = log_data(bench)
    for position in range(last + 8, len(data)):
        if last + 12 <= position < last + 16:
            continue  # the leader epoch is not in the crc
        damaged = bytearray(data)
        damaged[position] ^= 0x55
        rewrite(bench, FIRST_LOG, bytes(damaged))
        log = bench.open()
        assert bench.read_all(log) == expected[: 3 * LAST], position


def test_a_flipped_byte_in_the_middle_cuts_there(bench: Any) -> None:
    _, expected = filled(bench)
    data, _ = log_data(bench)
    third = scan(data)[2].position
    damaged = bytearray(data)
    damaged[third + 70] ^= 1
    rewrite(bench, FIRST_LOG, bytes(damaged))
    assert bench.read_all(bench.open()) == expected[:6]


@pytest.mark.parametrize("size", [1, 11, 12, 60, 61, 100, 5000])
@pytest.mark.parametrize("is_clean", [False, True])
def test_a_tail_of_zeros_is_cut_off(bench: Any, size: int, is_clean: bool) -> None:
    _, expected = filled(bench)
    data, _ = log_data(bench)
    rewrite(bench, FIRST_LOG, data + bytes(size))
    log = bench.open(clean_shutdown=is_clean)
    assert bench.read_all(log) == expected
    assert bench.disk.read(f"{bench.folder}/{FIRST_LOG}") == data


@pytest.mark.parametrize("is_clean", [False, True])
@pytest.mark.parametrize("suffix", [".index", ".timeindex", ".txnindex"])
@pytest.mark.parametrize("garbage", [None, b"", b"\xff" * 13, b"\xff" * 240, bytes(2400)])
def test_indexes_are_rebuilt(
    bench: Any, suffix: str, garbage: bytes | None, is_clean: bool
) -> None:
    bench.settings = replace(bench.settings, segment_bytes=900, index_interval_bytes=100)
    log, expected = filled(bench, 40)
    log.close()
    kept = {name: bench.disk.read(f"{bench.folder}/{name}") for name in bench.files(suffix)}
    for name in bench.files(".log"):
        other = name.replace(".log", suffix)
        if garbage is not None:
            rewrite(bench, other, garbage)
        elif bench.disk.exists(f"{bench.folder}/{other}"):
            bench.disk.remove(f"{bench.folder}/{other}")
    log = bench.open(clean_shutdown=is_clean)
    assert bench.read_all(log) == expected
    assert log.offset_for_timestamp(bench.NOW_MS + 20, Isolation.LOG_END).offset == 60
    log.close()
    if garbage != b"" or suffix == ".txnindex" or not is_clean:
        for name, data in kept.items():
            assert bench.disk.read(f"{bench.folder}/{name}") == data, name


def test_segments_below_the_recovery_point_are_trusted(bench: Any) -> None:
    bench.settings = replace(bench.settings, segment_bytes=900, index_interval_bytes=100)
    log, expected = filled(bench, 40)
    for segment in log.segments:
        segment.finish()
    bases = [segment.base_offset for segment in log.segments]
    first = bench.disk.read(f"{bench.folder}/{FIRST_LOG}")
    damaged = bytearray(first)
    damaged[-1] ^= 1
    rewrite(bench, FIRST_LOG, bytes(damaged))
    log = bench.open(recovery_point=bases[2])
    assert log.log_end_offset == len(expected)
    log = bench.open(recovery_point=bases[1] - 1)
    assert log.log_end_offset < bases[1]
    assert bench.files(".log") == [FIRST_LOG]


def test_segments_behind_a_damaged_one_are_dropped(bench: Any) -> None:
    bench.settings = replace(bench.settings, segment_bytes=900, index_interval_bytes=100)
    log, expected = filled(bench, 40)
    second = log.segments[1]
    name = f"{second.base_offset:020d}.log"
    data = bench.disk.read(f"{bench.folder}/{name}")
    rewrite(bench, name, data[:-1])
    log = bench.open()
    assert len(log.segments) == 2
    assert bench.read_all(log) == expected[: log.log_end_offset]
    assert bench.append(log, b"next").last_offset == log.log_end_offset - 1


def test_an_unclean_start_finds_the_leader_epochs_again(bench: Any) -> None:
    log = bench.open()
    bench.append(log, b"a", epoch=3)
    bench.append(log, b"b", epoch=8)
    assert bench.open().epochs.entries == [(3, 0), (8, 1)]
    rewrite(bench, "leader-epoch-checkpoint", b"junk")
    assert bench.open().epochs.entries == [(3, 0), (8, 1)]


@pytest.mark.parametrize("is_clean", [True, False])
def test_a_log_that_ends_below_its_start_begins_anew_there(bench: Any, is_clean: bool) -> None:
    log = bench.open()
    for value in (b"a", b"b", b"c"):
        bench.append(log, value)
    log.close()
    log = bench.open(log_start_offset=8, high_watermark=8, clean_shutdown=is_clean)
    assert (log.log_start_offset, log.high_watermark, log.log_end_offset) == (8, 8, 8)
    assert bench.append(log, b"next").base_offset == 8
    assert bench.read_all(log) == [(8, b"next")]
    log.close()
    log = bench.open(log_start_offset=8)
    assert bench.read_all(log) == [(8, b"next")]


def test_leftovers_are_removed(bench: Any) -> None:
    log, expected = filled(bench)
    log.close()
    for name in ("00000000000000000033.log.deleted", "00000000000000000000.log.cleaned",
                 "00000000000000000099.index", "leader-epoch-checkpoint.tmp"):  # fmt: skip
        rewrite(bench, name, b"junk")
    log = bench.open(clean_shutdown=True)
    assert bench.read_all(log) == expected
    assert bench.files(".deleted") == bench.files(".cleaned") == bench.files(".tmp") == []
    assert bench.files(".index") == ["00000000000000000000.index"]


def test_opening_twice_after_a_crash_changes_nothing_more(bench: Any) -> None:
    _, expected = filled(bench)
    data, last = log_data(bench)
    rewrite(bench, FIRST_LOG, data[: last + 30])
    for _ in range(3):
        assert bench.read_all(bench.open()) == expected[: 3 * LAST]


@pytest.mark.parametrize("seed", range(60))
def test_flushed_records_survive_any_crash(bench: Any, seed: int) -> None:
    chance = random.Random(seed)
    bench.settings = replace(bench.settings, segment_bytes=700, index_interval_bytes=100)
    log = bench.open()
    written: list[tuple[int, bytes]] = []
    for _ in range(4):
        flushed = len(written)
        for number in range(chance.randrange(1, 12)):
            value = b"%d-%d" % (seed, number) + b"x" * chance.randrange(90)
            info = bench.append(log, value)
            written.append((info.base_offset, value))
            if chance.random() < 0.3:
                log.flush()
                flushed = len(written)
        recovery_point = chance.choice([0, log.recovery_point])
        assert isinstance(bench.disk, MemoryDisk)
        bench.disk.crash(chance)
        log = bench.open(recovery_point=recovery_point)
        found = bench.read_all(log)
        assert found[:flushed] == written[:flushed]
        assert found == written[: len(found)]
        written = written[: len(found)]

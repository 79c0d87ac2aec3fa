"""Kafka's DumpLogSegments reads every file that the log writes, and finds nothing wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from streamkit.broker.log.log import Log, Origin
from streamkit.broker.log.settings import LogSettings
from streamkit.common.system import SystemDisk
from streamkit.records import Compression, encode, end_txn_marker

pytestmark = pytest.mark.judge

NOW_MS = 1_700_000_000_000
PRODUCER = 7001
EPOCH = 5
BATCHES = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed log of several segments: all compressions, headers, producers, transactions."""
    path = tmp_path_factory.mktemp("dump") / "orders-7"
    settings = replace(LogSettings(), segment_bytes=8_000, index_interval_bytes=500)
    log = Log.open(SystemDisk(), str(path), "orders", 7, UUID(int=77), settings, lambda: NOW_MS)
    for number in range(BATCHES):
        at = NOW_MS + number
        records = [
            (b"key-%d" % number, b"value" * 40, at, (("name", b"x"), ("none", None))),
            (None, None, at, ()),
        ]
        batch = encode(
            records,
            compression=Compression(number % 5),
            producer_id=PRODUCER,
            producer_epoch=3,
            base_sequence=2 * number,
            transactional=True,
        )
        log.append_as_leader(batch, EPOCH, NOW_MS)
        if number % 10 == 9:
            marker = end_txn_marker(
                is_commit=number % 20 == 9,
                producer_id=PRODUCER,
                producer_epoch=3,
                coordinator_epoch=12,
                timestamp=at,
            )
            log.append_as_leader(marker, EPOCH, NOW_MS, origin=Origin.COORDINATOR)
    log.close()
    return path


def dump(kafka_tool: Callable[..., str], folder: Path, suffix: str, *options: str) -> str:
    files = ",".join(str(path) for path in sorted(folder.glob(f"*{suffix}")))
    return kafka_tool("dump-log", *options, "--files", files)


def test_every_record_is_read_from_the_segments(
    kafka_tool: Callable[..., str], folder: Path
) -> None:
    text = dump(kafka_tool, folder, ".log", "--deep-iteration", "--print-data-log")
    assert "isvalid: false" not in text
    assert len(re.findall(r"^baseOffset", text, re.MULTILINE)) == BATCHES + BATCHES // 10
    assert len(re.findall(r"key: key-\d+ payload: (?:value){40}", text)) == BATCHES
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        assert f"compresscodec: {codec}" in text
    assert text.count("endTxnMarker: COMMIT coordinatorEpoch: 12") == BATCHES // 20
    assert text.count("endTxnMarker: ABORT coordinatorEpoch: 12") == BATCHES // 20
    assert f"partitionLeaderEpoch: {EPOCH}" in text


@pytest.mark.parametrize("suffix", [".index", ".timeindex"])
def test_indexes_agree_with_the_segments(
    kafka_tool: Callable[..., str], folder: Path, suffix: str
) -> None:
    names = {path.name for path in folder.glob(f"*{suffix}")}
    text = dump(kafka_tool, folder, suffix, "--index-sanity-check")
    assert set(re.findall(r"(\d+\.\w+) passed sanity check\.$", text, re.MULTILINE)) == names
    # Of entries that agree with their segment this prints nothing but the files' names.
    text = dump(kafka_tool, folder, suffix, "--verify-index-only")
    assert all(line.startswith("Dumping ") for line in text.splitlines()), text


def test_producer_snapshots_are_read(kafka_tool: Callable[..., str], folder: Path) -> None:
    text = dump(kafka_tool, folder, ".snapshot")
    assert f"producerId: {PRODUCER} producerEpoch: 3 coordinatorEpoch: 12" in text
    assert f"lastSequence: {2 * BATCHES - 1}" in text


def test_aborted_transactions_are_read(kafka_tool: Callable[..., str], folder: Path) -> None:
    text = dump(kafka_tool, folder, ".txnindex")
    assert len(re.findall(rf"producerId: {PRODUCER} firstOffset: \d+", text)) == BATCHES // 20

"""What the log's tests share: a bench with a disk in memory and a clock that stands still."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from streamkit.broker.log.log import AppendInfo, Log, Origin
from streamkit.broker.log.producer_state import InTransaction
from streamkit.broker.log.settings import LogSettings
from streamkit.common.seams import Disk
from streamkit.records import decode, encode, end_txn_marker, scan
from streamkit.testing.disk import MemoryDisk


class Bench:
    """A log on a disk in memory, opened again as often as a test likes."""

    NOW_MS = 1_700_000_000_000
    TOPIC_ID = UUID("12345678-1234-5678-1234-567812345678")
    FOLDER = "/data/orders-7"
    EPOCH = 5

    def __init__(self) -> None:
        self.disk: Disk = MemoryDisk()
        self.settings = LogSettings()
        self.now_ms = self.NOW_MS
        self.folder = self.FOLDER

    def open(self, **arguments: Any) -> Log:
        return Log.open(
            self.disk,
            self.folder,
            "orders",
            7,
            self.TOPIC_ID,
            self.settings,
            lambda: self.now_ms,
            **arguments,
        )

    def batch(
        self, *values: bytes | None, key: bytes | None = b"key", at: int = NOW_MS, **build: Any
    ) -> bytes:
        """A batch of these values as a client sends it."""
        return encode([(key, value, at, ()) for value in values], **build)

    def append(
        self,
        log: Log,
        *values: bytes | None,
        origin: Origin = Origin.CLIENT,
        epoch: int = EPOCH,
        transaction: InTransaction | None = None,
        **build: Any,
    ) -> AppendInfo:
        batch = self.batch(*values, **build)
        return log.append_as_leader(
            batch, epoch, self.now_ms, origin=origin, transaction=transaction
        )

    def mark(
        self,
        log: Log,
        producer_id: int,
        producer_epoch: int,
        transaction: InTransaction | None = None,
        **marker: Any,
    ) -> AppendInfo:
        """Append the end of a producer's transaction."""
        values = {"is_commit": False, "coordinator_epoch": 9, "timestamp": self.now_ms} | marker
        batch = end_txn_marker(producer_id=producer_id, producer_epoch=producer_epoch, **values)
        return log.append_as_leader(
            batch, self.EPOCH, self.now_ms, origin=Origin.COORDINATOR, transaction=transaction
        )

    def read_all(self, log: Log, size: int = 200) -> list[tuple[int, bytes | None]]:
        """Every (offset, value) of the log, read with small fetches."""
        log.update_high_watermark(log.log_end_offset)
        offset = log.log_start_offset
        found: list[tuple[int, bytes | None]] = []
        while offset < log.log_end_offset:
            records = log.read(offset, size).records
            headers = scan(records)
            assert headers, f"nothing at {offset}"
            for header in headers:
                decoded = decode(records, header)
                pairs = zip(decoded.offsets, decoded.values, strict=True)
                found += [pair for pair in pairs if pair[0] >= offset]
            offset = headers[-1].last_offset + 1
        return found

    def files(self, suffix: str) -> list[str]:
        return [name for name in self.disk.list(self.folder) if name.endswith(suffix)]


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def log(bench: Bench) -> Log:
    return bench.open()

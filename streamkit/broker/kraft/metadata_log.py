"""The metadata log and its snapshots on disk: read what was decided, append what is decided.

It holds no opinion: which offsets are committed, and when a snapshot is due, others decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from streamkit.broker.kraft.format import METADATA_DIR
from streamkit.broker.kraft.ids import METADATA_TOPIC_ID
from streamkit.broker.kraft.raft_types import LogEnd
from streamkit.broker.kraft.snapshot import (
    BOOTSTRAP_ID,
    Snapshot,
    SnapshotId,
    decode_snapshot,
    parse_snapshot_name,
)
from streamkit.broker.log.log import Isolation, Log
from streamkit.broker.log.settings import LogSettings
from streamkit.common.errors import CorruptBatchError, StorageError
from streamkit.common.seams import Disk, Seams
from streamkit.records import DecodedBatch, decode, scan

METADATA_TOPIC = "__cluster_metadata"
READ_BYTES = 1024 * 1024
PART_SUFFIX = ".part"
SNAPSHOTS_KEPT = 2

_SETTINGS = LogSettings(
    # The log is cut where a snapshot covers it, never by age or size alone.
    retention_ms=-1,
    retention_bytes=-1,
    message_bytes_max=2**31 - 1,
)


@dataclass(frozen=True, slots=True)
class LoadedSnapshot:
    """The newest snapshot and its content."""

    id: SnapshotId
    content: Snapshot


class MetadataLog:
    """`__cluster_metadata-0` in one data directory."""

    def __init__(self, disk: Disk, path: str, log: Log) -> None:
        self._disk = disk
        self._path = path
        self.log = log

    @classmethod
    def open(cls, seams: Seams, data_dir: str) -> tuple[MetadataLog, LoadedSnapshot]:
        """Open the log and load its newest snapshot. Raises StorageError when they do not fit."""
        disk, path = seams.disk, f"{data_dir}/{METADATA_DIR}"
        disk.make_dirs(path)
        _drop_unfinished(disk, path)
        snapshot = _newest_snapshot(disk, path)
        log = Log.open(
            disk,
            path,
            METADATA_TOPIC,
            0,
            METADATA_TOPIC_ID,
            _SETTINGS,
            seams.clock.now_ms,
            recovery_point=snapshot.id.end_offset,
            high_watermark=snapshot.id.end_offset,
        )
        if log.log_end_offset < snapshot.id.end_offset:
            # The snapshot is complete and what it covers is committed: the log begins after it.
            log.truncate_fully(snapshot.id.end_offset)
        if log.log_start_offset > snapshot.id.end_offset:
            log.close(clean=False)
            raise StorageError(
                f"{path} begins at offset {log.log_start_offset}, but its newest snapshot ends at "
                f"{snapshot.id.end_offset}: the records between are missing"
            )
        return cls(disk, path, log), snapshot

    def end(self, snapshot: SnapshotId) -> LogEnd:
        """Last epoch and end offset, counting what the snapshot covers."""
        return LogEnd(max(self.log.epochs.latest, snapshot.epoch), self.log.log_end_offset)

    def batches(self, start: int, end: int) -> Iterator[DecodedBatch]:
        """The whole batches from `start` to below `end`. Raises StorageError for damaged ones."""
        offset = start
        while offset < end:
            data = self.log.read(offset, READ_BYTES, isolation=Isolation.LOG_END).data
            headers = [each for each in scan(data) if each.last_offset >= offset]
            if not headers:
                raise StorageError(f"{self._path} has no batch at offset {offset}")
            for header in headers:
                if header.last_offset >= end:
                    return
                try:
                    yield decode(data, header)
                except CorruptBatchError as error:
                    raise StorageError(f"{self._path} at {header.base_offset}: {error}") from None
                offset = header.last_offset + 1

    def write_snapshot(self, snapshot: SnapshotId, chunks: Iterable[bytes]) -> None:
        """Write and sync a snapshot, then give it its name; may run in a thread."""
        target = f"{self._path}/{snapshot.file_name}"
        part = target + PART_SUFFIX
        file = self._disk.open(part, create=True)
        try:
            file.truncate(0)
            for chunk in chunks:
                file.append([chunk])
            file.sync()
        finally:
            file.close()
        self._disk.rename(part, target)
        self._disk.sync_dir(self._path)

    def clean(self, now_ms: int) -> None:
        """Keep the newest snapshots, and the log from the oldest of them on."""
        found = _snapshot_ids(self._disk, self._path)
        for each in found[:-SNAPSHOTS_KEPT]:
            self._disk.remove(f"{self._path}/{each.file_name}")
        kept = found[-SNAPSHOTS_KEPT:]
        if kept and self.log.advance_log_start(kept[0].end_offset):
            self.log.delete_old_segments(now_ms)
        self.log.purge(now_ms)


def _snapshot_ids(disk: Disk, path: str) -> list[SnapshotId]:
    return sorted(found for name in disk.list(path) if (found := parse_snapshot_name(name)))


def _newest_snapshot(disk: Disk, path: str) -> LoadedSnapshot:
    ids = _snapshot_ids(disk, path)
    if not ids:
        raise StorageError(f"{path} has no {BOOTSTRAP_ID.file_name}, which says who votes")
    where = f"{path}/{ids[-1].file_name}"
    return LoadedSnapshot(ids[-1], decode_snapshot(disk.read(where), where=where))


def _drop_unfinished(disk: Disk, path: str) -> None:
    for name in disk.list(path):
        if name.endswith(PART_SUFFIX):
            disk.remove(f"{path}/{name}")

"""A log directory: the logs of all partitions on one disk, and what is known of them together.

One process at a time owns it (`.lock`). The offsets where recovery starts, the high watermarks
and the moved log starts stand in checkpoint files; `.kafka_cleanshutdown` is there only between a
clean close and the next open. The metadata log is not opened here: the quorum does that itself.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from uuid import UUID

from streamkit.broker.log import checkpoint
from streamkit.broker.log.log import Log
from streamkit.broker.log.settings import LogSettings
from streamkit.common.errors import StorageError, UsageError
from streamkit.common.model import TopicPartition
from streamkit.common.seams import Disk

logger = logging.getLogger(__name__)

LOCK = ".lock"
CLEAN_SHUTDOWN = ".kafka_cleanshutdown"
DELETE_SUFFIX = "-delete"
STRAY_SUFFIX = "-stray"
METADATA_TOPIC = "__cluster_metadata"
NAME_BYTES_MAX = 255
"""The longest name of a folder that file systems take."""
FOLDER = re.compile(r"^(?P<topic>[A-Za-z0-9._-]{1,249})-(?P<partition>[0-9]+)$")


class LogDirectory:
    """The logs under one path; made by `LogDirectory.open`."""

    def __init__(
        self, disk: Disk, path: str, now_ms: Callable[[], int], release: Callable[[], None]
    ) -> None:
        self.disk = disk
        self.path = path
        self.logs: dict[TopicPartition, Log] = {}
        self.is_clean_start = False
        self._now_ms = now_ms
        self._release = release

    @classmethod
    def open(
        cls,
        disk: Disk,
        path: str,
        settings_of: Callable[[str], LogSettings],
        now_ms: Callable[[], int],
    ) -> LogDirectory:
        """Lock the directory and open every log in it, recovering after a crash.

        `settings_of` gives a topic's settings. Raises UsageError when another process has it.
        """
        disk.make_dirs(path)
        try:
            release = disk.lock(f"{path}/{LOCK}")
        except BlockingIOError:
            raise UsageError(
                f"{path} is in use by another broker; stop it or choose another log.dirs"
            ) from None
        directory = cls(disk, path, now_ms, release)
        try:
            directory._load(settings_of)
        except StorageError:
            release()
            raise
        return directory

    def _load(self, settings_of: Callable[[str], LogSettings]) -> None:
        mark = f"{self.path}/{CLEAN_SHUTDOWN}"
        self.is_clean_start = self.disk.exists(mark)
        recovery_points = self._checkpoint(checkpoint.RECOVERY_POINTS)
        log_starts = self._checkpoint(checkpoint.LOG_STARTS)
        high_watermarks = self._checkpoint(checkpoint.HIGH_WATERMARKS)
        cleaned = self._checkpoint(checkpoint.CLEANED)
        for name in self.disk.list(self.path):
            if name.endswith(DELETE_SUFFIX):
                self.disk.remove_tree(f"{self.path}/{name}")
                continue
            tp = parse_folder(name)
            if tp is None or tp.topic == METADATA_TOPIC:
                continue
            self.logs[tp] = Log.open(
                self.disk,
                self.path_of(tp),
                tp.topic,
                tp.partition,
                None,
                settings_of(tp.topic),
                self._now_ms,
                recovery_point=recovery_points.get(tp, 0),
                log_start_offset=log_starts.get(tp, 0),
                high_watermark=high_watermarks.get(tp, 0),
                cleaned_offset=cleaned.get(tp, 0),
                clean_shutdown=self.is_clean_start,
            )
        if self.is_clean_start:
            self.disk.remove(mark)
            self.disk.sync_dir(self.path)

    def _checkpoint(self, name: str) -> dict[TopicPartition, int]:
        return checkpoint.read_offsets(self.disk, f"{self.path}/{name}")

    def path_of(self, tp: TopicPartition) -> str:
        """The folder of a partition's log."""
        return f"{self.path}/{tp}"

    def get_or_create(
        self, topic: str, partition: int, topic_id: UUID, settings: LogSettings
    ) -> Log:
        """The partition's log, made when it is missing. Raises StorageError.

        A log of an earlier topic of that name, deleted while this node was down, is set aside.
        """
        tp = TopicPartition(topic, partition)
        log = self.logs.get(tp)
        if log is not None and log.topic_id.int == 0:
            log.adopt(topic_id)
        if log is not None and log.topic_id != topic_id:
            logger.warning("%s belongs to topic id %s and is set aside", log.path, log.topic_id)
            self._set_aside(log, STRAY_SUFFIX)
            log = None
        if log is None:
            log = self._open_log(tp, topic_id, settings)
            self.logs[tp] = log
        log.settings = settings
        return log

    def _open_log(self, tp: TopicPartition, topic_id: UUID, settings: LogSettings) -> Log:
        return Log.open(
            self.disk,
            self.path_of(tp),
            tp.topic,
            tp.partition,
            topic_id,
            settings,
            self._now_ms,
            clean_shutdown=True,
        )

    def delete(self, log: Log) -> Callable[[], None]:
        """Drop a partition's log by giving its folder another name.

        What comes back removes the folder and may run in any thread; a start after a crash does
        the same.
        """
        path = self._set_aside(log, DELETE_SUFFIX)

        def remove() -> None:
            self.disk.sync_dir(self.path)
            self.disk.remove_tree(path)

        return remove

    def set_stray_aside(self, log: Log) -> None:
        """Drop a log that belongs to no topic, but keep what it holds."""
        path = self._set_aside(log, STRAY_SUFFIX)
        logger.warning("%s belongs to no topic of this cluster and is kept as %s", log.path, path)

    def _set_aside(self, log: Log, suffix: str) -> str:
        self.logs = {tp: each for tp, each in self.logs.items() if each is not log}
        log.close(clean=False)
        # The topic id keeps the name unique where the topic's does not fit.
        mark = f".{log.topic_id.hex}{suffix}"
        path = f"{self.path}/{_shortened(log.name, mark)}"
        if self.disk.exists(path):
            self.disk.remove_tree(path)
        self.disk.rename(log.path, path)
        return path

    def checkpoint(self) -> None:
        """Write the checkpoint files."""
        self.write_files(self.checkpoint_files())

    def checkpoint_files(self) -> dict[str, bytes]:
        """The checkpoint files by name, as of now."""
        logs = sorted(self.logs.items())
        moved = {
            tp: log.log_start_offset
            for tp, log in logs
            if log.log_start_offset > log.segments[0].base_offset
        }
        offsets = {
            checkpoint.RECOVERY_POINTS: {tp: log.recovery_point for tp, log in logs},
            checkpoint.HIGH_WATERMARKS: {tp: log.high_watermark for tp, log in logs},
            checkpoint.LOG_STARTS: moved,
            checkpoint.CLEANED: {tp: log.cleaned_offset for tp, log in logs if log.cleaned_offset},
        }
        return {name: checkpoint.format_offsets(values) for name, values in offsets.items()}

    def write_files(self, files: Mapping[str, bytes]) -> None:
        """Write checkpoint files; may run in a thread. Raises StorageError."""
        for name, data in files.items():
            self.disk.write_atomic(f"{self.path}/{name}", data)

    def close(self, *, clean: bool = True, broker_epoch: int = -1) -> None:
        """Close all logs, leave the mark of a clean shutdown, give the directory back.

        After a failed log there is no mark: the next start looks at every byte.
        """
        try:
            for log in self.logs.values():
                log.close(clean and not log.has_failed)
            if clean:
                self.checkpoint()
            if clean and not any(log.has_failed for log in self.logs.values()):
                mark = f'{{"version":0,"brokerEpoch":{broker_epoch}}}'
                self.disk.write_atomic(f"{self.path}/{CLEAN_SHUTDOWN}", mark.encode())
        finally:
            self._release()


def _shortened(folder: str, mark: str) -> str:
    """A folder's name with a mark behind it; of a long topic only its beginning stays."""
    topic, partition = folder.rsplit("-", 1)
    end = f"-{partition}{mark}"
    return topic[: NAME_BYTES_MAX - len(end)] + end


def parse_folder(name: str) -> TopicPartition | None:
    """The partition whose log a folder of this name is; None for other folders."""
    match = FOLDER.match(name)
    if match is None:
        return None
    return TopicPartition(match["topic"], int(match["partition"]))

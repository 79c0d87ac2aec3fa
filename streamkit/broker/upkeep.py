"""Upkeep of the logs: what is due now and then, without a request that asks for it.

Flushes by time and of finished segments, checkpoints, retention, silent producers. Decisions are
made on the event loop, where the logs live; whatever waits for the disk runs in a thread. A disk
error is passed on: the directory that failed holds all logs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from streamkit.broker.log.directory import LogDirectory
from streamkit.broker.log.segment import RetiredSegment
from streamkit.broker.partitions import InThread, OnDiskError, Partition
from streamkit.broker.replicas import Replicas
from streamkit.broker.settings import BrokerSettings
from streamkit.common.errors import StorageError
from streamkit.common.seams import Clock

logger = logging.getLogger(__name__)

TICK_MS_MIN = 10.0
"""The shortest pause, so that flush.ms of 0 does not keep the loop busy."""


class LogUpkeep:
    """The rounds over the logs of one node; `number` gives settings that may change."""

    def __init__(
        self,
        directory: LogDirectory,
        replicas: Replicas,
        settings: BrokerSettings,
        number: Callable[[str], int],
        clock: Clock,
        in_thread: InThread,
        on_disk_error: OnDiskError,
    ) -> None:
        self._directory = directory
        self._replicas = replicas
        self._settings = settings
        self._number = number
        self._clock = clock
        self._in_thread = in_thread
        self._on_disk_error = on_disk_error
        self._written: Mapping[str, bytes] = {}
        self._checkpointing = asyncio.Lock()
        now = clock.monotonic_ms()
        self._retention_due = now + settings.log_initial_task_delay_ms
        self._expiry_due = now + settings.producer_id_expiration_check_interval_ms
        self._checkpoint_due = now + settings.replica_high_watermark_checkpoint_interval_ms

    async def run(self) -> None:
        """Go round until cancelled."""
        while True:
            await asyncio.sleep(self._pause_ms() / 1000)
            await self.round()

    async def round(self) -> None:
        """Do what is due."""
        settings, now = self._settings, self._clock.monotonic_ms()
        for partition in list(self._replicas):
            if partition.is_flush_due(self._clock.now_ms()):
                await partition.flush()
        if now >= self._expiry_due:
            self._expiry_due = now + settings.producer_id_expiration_check_interval_ms
            self._expire_producers()
        if now >= self._retention_due:
            self._retention_due = now + settings.log_retention_check_interval_ms
            await self.apply_retention()
        if now >= self._checkpoint_due:
            self._checkpoint_due = now + settings.replica_high_watermark_checkpoint_interval_ms
            await self.checkpoint()

    async def apply_retention(self) -> None:
        """Drop segments that are too old, too much, or before the log's start."""
        now_ms = self._clock.now_ms()
        for partition in list(self._replicas):
            if not partition.is_offline:
                await self._retire(partition, now_ms)

    async def _retire(self, partition: Partition, now_ms: int) -> None:
        log = partition.log
        try:
            dropped = log.delete_old_segments(now_ms)
            if dropped:
                logger.info("%s: %d segments dropped by retention", partition, dropped)
            retired = log.take_retired(now_ms)
            if retired:
                await self._in_thread(lambda: _remove(retired))
        except StorageError as error:
            partition.fail(error)

    def _expire_producers(self) -> None:
        now_ms = self._clock.now_ms()
        expiration_ms = self._number("producer.id.expiration.ms")
        for partition in self._replicas:
            partition.log.producers.expire(now_ms, expiration_ms)

    async def checkpoint(self) -> None:
        """Write the checkpoint files that changed; an idle broker writes nothing.

        The cleaner asks for it too: one writes at a time, since a file is renamed into its place.
        """
        async with self._checkpointing:
            await self._write_checkpoints()

    async def _write_checkpoints(self) -> None:
        files = self._directory.checkpoint_files()
        changed = {name: data for name, data in files.items() if self._written.get(name) != data}
        if not changed:
            return
        try:
            await self._in_thread(lambda: self._directory.write_files(changed))
        except StorageError as error:
            logger.error("checkpoints of %s: %s", self._directory.path, error)
            self._on_disk_error(error)
            return
        self._written = files

    def _pause_ms(self) -> float:
        shortest = min(
            (partition.log.settings.flush_ms for partition in self._replicas), default=None
        )
        until_checkpoint = max(0.0, self._checkpoint_due - self._clock.monotonic_ms())
        pause = until_checkpoint if shortest is None else min(shortest, until_checkpoint)
        return max(pause, TICK_MS_MIN)


def _remove(retired: Sequence[RetiredSegment]) -> None:
    for segment in retired:
        segment.remove()

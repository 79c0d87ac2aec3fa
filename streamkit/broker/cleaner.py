"""The log cleaner: compacts one log after the other, the filthiest first.

A pass over much data runs in a child process, so that neither the event loop nor this process's
interpreter lock is held; a small one runs in a thread, which is sooner done than a process is
started. The log goes on meanwhile: a pass only reads finished segments, and the event loop puts
what it wrote in their place.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable

from streamkit.broker.log.clean_child import DAMAGED, JOB_FILE, RESULT_FILE
from streamkit.broker.log.cleaning import CleanJob, CleanResult, clean
from streamkit.broker.log.compaction import (
    Cleanable,
    cleanable,
    discard,
    make_job,
    mark_complete,
    take_over,
)
from streamkit.broker.log.errors import LogError
from streamkit.broker.partitions import Partition
from streamkit.broker.replicas import Replicas
from streamkit.common.errors import CorruptBatchError, StorageError
from streamkit.common.seams import Child, Seams

logger = logging.getLogger(__name__)

CHILD_BYTES_MIN = 4 * 1024 * 1024
"""From this many bytes on a pass is worth a process."""
CHILD_MODULE = "streamkit.broker.log.clean_child"


class LogCleaner:
    """Compacts the logs of one node, as long as it runs; `number` gives its settings."""

    def __init__(
        self,
        replicas: Replicas,
        number: Callable[[str], int],
        seams: Seams,
        checkpoint: Callable[[], Awaitable[None]],
    ) -> None:
        self._replicas = replicas
        self._number = number
        self._seams = seams
        self._checkpoint = checkpoint
        self._uncleanable: set[str] = set()
        self._child: Child | None = None

    async def run(self) -> None:
        """Clean what is due, and look again after a while, until cancelled."""
        while True:
            while await self.clean_one():
                pass
            await asyncio.sleep(self._number("log.cleaner.backoff.ms") / 1000)

    async def clean_one(self) -> bool:
        """Compact the filthiest log that is due; False when there is none or it went wrong."""
        found = await self._filthiest()
        if found is None:
            return False
        partition, dirty = found
        try:
            await self._clean(partition, dirty)
        except (LogError, FileNotFoundError) as error:
            logger.info("compaction of %s is void: %s", partition, error)
        except StorageError as error:
            # The log itself is as it was.
            logger.error("compaction of %s: %s", partition, error)
        except CorruptBatchError as error:
            logger.error("%s cannot be compacted: %s", partition, error)
            self._uncleanable.add(partition.log.path)
        else:
            return True
        return False

    async def _filthiest(self) -> tuple[Partition, Cleanable] | None:
        due = []
        for partition in list(self._replicas):
            if partition.is_offline or partition.log.path in self._uncleanable:
                continue
            dirty = await self._dirt_of(partition)
            if dirty is not None and dirty.is_due:
                due.append((partition, dirty))
        return max(due, key=lambda each: each[1].dirty_ratio, default=None)

    async def _dirt_of(self, partition: Partition) -> Cleanable | None:
        now_ms = self._seams.clock.now_ms()
        try:
            return await partition.look(
                lambda cached_only: cleanable(partition.log, now_ms, cached_only=cached_only)
            )
        except StorageError as error:
            logger.error("compaction of %s: %s", partition, error)
            return None

    async def _clean(self, partition: Partition, dirty: Cleanable) -> None:
        log, disk = partition.log, self._seams.disk
        if log.recovery_point < dirty.end:
            # Recovery trusts holes between segments only where everything was flushed.
            await partition.flush()
        now_ms = self._seams.clock.now_ms()
        buffer_bytes = self._number("log.cleaner.dedupe.buffer.size")
        job = make_job(log, dirty, now_ms, buffer_bytes)
        in_thread = self._seams.spawn.in_thread
        try:
            result = await self._run(job, log.size)
            await self._checkpoint()
            await in_thread(lambda: mark_complete(disk, job, result))
            self._take_over(partition, result)
        except (LogError, StorageError, CorruptBatchError, FileNotFoundError):
            await in_thread(lambda: discard(disk, job))
            raise
        logger.info(
            "%s is compacted below offset %d: %d bytes became %d",
            partition,
            result.end,
            result.bytes_before,
            result.bytes_after,
        )

    @staticmethod
    def _take_over(partition: Partition, result: CleanResult) -> None:
        try:
            take_over(partition.log, result)
        except StorageError as error:
            partition.fail(error)
            raise

    async def _run(self, job: CleanJob, size: int) -> CleanResult:
        disk = self._seams.disk
        if size < CHILD_BYTES_MIN:
            return await self._seams.spawn.in_thread(lambda: clean(disk, job))
        try:
            return await self._seams.spawn.in_thread(lambda: self._run_child(job))
        except asyncio.CancelledError:
            if self._child is not None:
                self._child.terminate()
            raise

    def _run_child(self, job: CleanJob) -> CleanResult:
        """In a thread: start the child and wait for it."""
        disk = self._seams.disk
        job_path, result_path = f"{job.path}/{JOB_FILE}", f"{job.path}/{RESULT_FILE}"
        disk.write_atomic(job_path, job.to_json().encode())
        child = self._seams.spawn.process([sys.executable, "-m", CHILD_MODULE, job_path])
        self._child = child
        status = child.wait()
        self._child = None
        disk.remove(job_path)
        if status == DAMAGED:
            raise CorruptBatchError(f"the cleaner of {job.path} met a damaged batch")
        if status != 0:
            raise StorageError(f"the cleaner of {job.path} ended with status {status}")
        result = CleanResult.from_json(disk.read(result_path).decode())
        disk.remove(result_path)
        return result

"""One partition on this node: its log, its leader epoch, its high watermark, who waits for news.

Invariants: records below the high watermark are all that consumers see and all that is
acknowledged; it never moves back while this node leads. With one replica it follows the log's
end, at once, or after the flush when the topic asks for a flush on every `flush.messages`
records. A disk error takes the partition offline: from then on each request for it gets
KAFKA_STORAGE_ERROR. It is passed on, since the directory that failed holds every other log too.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import NamedTuple, TypeVar
from uuid import UUID

from streamkit.broker.log.errors import ColdRead, LogError
from streamkit.broker.log.log import AppendInfo, Isolation, Log, Origin, ReadResult
from streamkit.broker.log.producer_state import UNVERIFIED, InTransaction
from streamkit.broker.log.validator import Prepared
from streamkit.broker.purgatory import WatchList, park
from streamkit.common.errors import StorageError
from streamkit.common.seams import Bytes, Clock
from streamkit.protocol.errors import ApiError, ErrorCode

logger = logging.getLogger(__name__)

INTERNAL_TOPICS = frozenset({"__consumer_offsets", "__transaction_state", "__share_group_state"})
NO_LEADER = -1
COLD_TRIES = 20
"""A read of a whole segment's scan and a batch needs a few; each brings in what it asked for."""
ACKS_ALL = -1

R = TypeVar("R")

StartTask = Callable[[Coroutine[None, None, None]], object]
InThread = Callable[[Callable[[], None]], Awaitable[None]]
OnDiskError = Callable[[StorageError], None]


class Leadership(NamedTuple):
    """Who leads a partition, as the metadata says."""

    leader_id: int
    epoch: int


class Partition:
    """One partition whose replica lives here."""

    __slots__ = (
        "_clock",
        "_in_thread",
        "_is_flushing",
        "_on_disk_error",
        "_start_task",
        "index",
        "insync_count",
        "is_deleted",
        "is_internal",
        "is_leader",
        "is_offline",
        "leadership",
        "log",
        "min_insync_replicas",
        "replica_count",
        "topic",
        "topic_id",
        "watch",
    )

    def __init__(
        self, log: Log, topic: str, index: int, topic_id: UUID, clock: Clock, in_thread: InThread,
        start_task: StartTask, on_disk_error: OnDiskError,
    ) -> None:  # fmt: skip
        self.log = log
        self.topic = topic
        self.index = index
        self.topic_id = topic_id
        self.is_internal = topic in INTERNAL_TOPICS
        self.leadership = Leadership(NO_LEADER, -1)
        self.is_leader = False
        self.is_offline = False
        self.is_deleted = False
        self.insync_count = 1
        self.replica_count = 1
        self.min_insync_replicas = 1
        self.watch = WatchList()
        self._clock = clock
        self._in_thread = in_thread
        self._start_task = start_task
        self._on_disk_error = on_disk_error
        self._is_flushing = False

    def __str__(self) -> str:
        return f"{self.topic}-{self.index}"

    @property
    def is_compacted(self) -> bool:
        return self.log.settings.is_compacted

    def lead(self, leadership: Leadership, *, is_leader: bool) -> None:
        """Follow the metadata: from `leadership.epoch` on, `leader_id` leads."""
        self.leadership = leadership
        self.is_leader = is_leader
        if is_leader:
            # The log notes the epoch with its first batch: noting it here would cost each
            # partition a flush at every start, and nobody asks for an epoch without records.
            self.advance_high_watermark(self.log.log_end_offset)
        self.watch.wake()

    def check(self, current_leader_epoch: int = -1) -> None:
        """Raises ApiError unless this node leads, at the epoch that the client believes in."""
        if self.is_offline:
            raise ApiError(ErrorCode.kafka_storage_error, f"the log of {self} is offline")
        if current_leader_epoch >= 0:
            epoch = self.leadership.epoch
            if current_leader_epoch < epoch:
                raise ApiError(ErrorCode.fenced_leader_epoch, f"{self} is at epoch {epoch}")
            if current_leader_epoch > epoch:
                raise ApiError(ErrorCode.unknown_leader_epoch, f"{self} is at epoch {epoch}")
        if not self.is_leader:
            raise ApiError(ErrorCode.not_leader_or_follower, f"{self} is led by another node")

    def append(
        self,
        records: Bytes,
        *,
        acks: int,
        origin: Origin = Origin.CLIENT,
        transaction: InTransaction = UNVERIFIED,
        prepared: Prepared | LogError | None = None,
    ) -> AppendInfo:
        """Append a batch as the leader. Raises ApiError when it is refused or the disk fails.

        What a client sent may be `prepared`, see `validator.is_heavy`.
        """
        self.check()
        if acks == ACKS_ALL and self.insync_count < self.min_insync_replicas:
            raise ApiError(
                ErrorCode.not_enough_replicas,
                f"{self} has {self.insync_count} in-sync replicas of {self.min_insync_replicas}",
            )
        log = self.log
        try:
            info = log.append_as_leader(
                records,
                self.leadership.epoch,
                self._clock.now_ms(),
                acks=acks,
                origin=origin,
                transaction=transaction,
                prepared=prepared,
            )
        except StorageError as error:
            raise self.fail(error) from error
        if not log.needs_flush:
            self.advance_high_watermark(log.log_end_offset)
        elif not self._is_flushing:
            self._is_flushing = True
            self._start_task(self._flush())
        return info

    async def wait_committed(self, offset_end: int, timeout_ms: float) -> None:
        """Wait until the high watermark reaches `offset_end`.

        Raises ApiError: REQUEST_TIMED_OUT (the records stay appended), or why it cannot come.
        """
        deadline = self._clock.monotonic_ms() + timeout_ms
        while self.log.high_watermark < offset_end:
            remaining_ms = deadline - self._clock.monotonic_ms()
            if remaining_ms <= 0:
                raise ApiError(
                    ErrorCode.request_timed_out,
                    f"{self} was not committed up to {offset_end} in {timeout_ms:.0f} ms",
                )
            await park((self.watch,), remaining_ms / 1000)
            self.check()

    def read(
        self,
        offset: int,
        bytes_max: int,
        isolation: Isolation,
        min_one: bool,
        *,
        cached_only: bool = False,
        as_slice: bool = False,
    ) -> ReadResult:
        """Records from `offset` on. Raises ApiError OFFSET_OUT_OF_RANGE, or for a failed disk.

        With `cached_only` it raises ColdRead rather than wait for the disk, see `look`. What is
        only sent may be a slice of the file.
        """
        try:
            return self.log.read(
                offset,
                bytes_max,
                isolation=isolation,
                min_one=min_one,
                cached_only=cached_only,
                as_slice=as_slice,
            )
        except StorageError as error:
            raise self.fail(error) from error

    async def look(self, read: Callable[[bool], R]) -> R:
        """`read(cached_only)`, again and again while what it finds cold is fetched in a thread.

        Memory may be short, so that what was fetched is gone before it is looked at: in the end
        `read` may wait for the disk itself.
        """
        for _ in range(COLD_TRIES):
            try:
                return read(True)
            except ColdRead as cold:
                await self._in_thread(cold.warm)
        return read(False)

    def end_of_epoch(self, epoch: int) -> tuple[int, int]:
        """The largest epoch not above `epoch` and where it ends; (-1, -1) when unknown."""
        if epoch == self.leadership.epoch:
            return (epoch, self.log.log_end_offset)
        latest = self.log.epochs.latest
        if max(latest, -1) < epoch < self.leadership.epoch:
            # What epochs after the latest wrote is lost, and in ours nothing was written yet.
            return (epoch if latest < 0 else latest, self.log.log_end_offset)
        return self.log.end_offset_for_epoch(epoch)

    def advance_high_watermark(self, offset: int) -> None:
        """Move the high watermark up, and let those who wait for it look."""
        if offset > self.log.high_watermark:
            self.log.update_high_watermark(offset)
            self.watch.wake()

    def guard(self, work: Callable[[], object]) -> None:
        """Do disk work of the broker's own; a failure takes the partition offline."""
        if self.is_offline:
            return
        try:
            work()
        except StorageError as error:
            self.fail(error)

    def fail(self, error: StorageError) -> ApiError:
        """Take the partition offline; returns the error that requests get.

        A flush may meet the folder of a log that is being deleted: that is no error of the disk.
        """
        if not self.is_offline and not self.is_deleted:
            logger.error("%s is offline: %s", self, error)
            self.go_offline()
            self._on_disk_error(error)
        return ApiError(ErrorCode.kafka_storage_error, str(error))

    def go_offline(self) -> None:
        """Serve nothing any more; those who wait are told."""
        self.is_offline = True
        self.log.has_failed = True
        self.watch.wake()

    def is_flush_due(self, now_ms: int) -> bool:
        """Whether `flush.ms` is over, or a finished segment or a new file is not durable yet."""
        return not (self.is_offline or self._is_flushing) and self.log.is_flush_due(now_ms)

    async def flush(self) -> None:
        """Make what the log holds durable, unless that is under way."""
        if not self._is_flushing:
            self._is_flushing = True
            await self._flush()

    async def _flush(self) -> None:
        """Flush until nothing waits for it: one flush serves all appends since the last."""
        try:
            while not self.is_offline:
                offset_end = self.log.log_end_offset
                await self._in_thread(self.log.flush)
                if self.is_leader:
                    self.advance_high_watermark(offset_end)
                if not self.log.needs_flush:
                    break
        except StorageError as error:
            self.fail(error)
        finally:
            self._is_flushing = False

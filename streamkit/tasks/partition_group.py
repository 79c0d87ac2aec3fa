"""The buffered input of one task: which record comes next.

The partition whose next record has the lowest timestamp goes first, and keeps going while it has
the lowest: a run of records is handed to its source node at once. With one partition that is
the whole batch. `max.task.idle.ms` says whether to go on while another partition, which may
hold an older record, has nothing buffered (KIP-695).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Mapping

from streamkit.client.decode import Fetched, decode_fetched
from streamkit.common.model import TopicPartition
from streamkit.records import DecodedBatch
from streamkit.tasks.messages import StartPosition
from streamkit.topology.operators.node import SourceNode


class PartitionQueue:
    """What is buffered of one input partition; `position` is the next offset to process."""

    __slots__ = (
        "_batches", "_current_bytes", "_end", "_fetch_end", "_fetched", "_run", "batch", "buffered",
        "consumed", "consumed_bytes", "held_bytes", "index", "is_paused", "latest_time",
        "position", "readable_end", "reads_committed", "source", "tp",
    )  # fmt: skip

    def __init__(
        self,
        tp: TopicPartition,
        source: SourceNode,
        start: StartPosition,
        *,
        reads_committed: bool = False,
        run: Callable[[DecodedBatch, int, int], None] | None = None,
    ) -> None:
        """`run` processes records instead of the source itself."""
        self.tp = tp
        self._run = run or source.run
        self.reads_committed = reads_committed
        self.source = source
        self.position = start.offset
        self.readable_end = start.end
        self.buffered = 0
        self.is_paused = False
        self.batch: DecodedBatch | None = None
        self.index = 0
        self._fetched: deque[Fetched] = deque()
        self._batches: Iterator[DecodedBatch] = iter(())
        self.consumed = 0
        self.consumed_bytes = 0
        self.held_bytes = 0
        self._current_bytes = 0
        self.latest_time = -1
        self._end = start.offset
        self._fetch_end: int | None = None
        source.partition_time = max(source.partition_time, start.partition_time)

    @property
    def is_caught_up(self) -> bool:
        """Nothing is buffered, and the broker is not known to have more."""
        return self.position >= self.readable_end

    def add(self, fetched: Fetched) -> None:
        """Buffer what was fetched.

        What does not follow on what was fetched before was meant for an earlier use of the
        partition (its changelog was restored from it), and is left out: it comes again.
        """
        expected = self.position if self._fetch_end is None else self._fetch_end
        if fetched.fetch_offset > expected:
            return
        self._fetch_end = fetched.next_offset
        self.consumed_bytes += fetched.size
        self.held_bytes += fetched.size
        end = fetched.last_stable_offset if self.reads_committed else fetched.high_watermark
        self.readable_end = max(self.readable_end, end)
        self.buffered += sum(header.count for header in fetched.batches)
        self._fetched.append(fetched)

    def seek(self, position: int) -> None:
        """Go on at another offset."""
        self.position = position
        self._fetch_end = None

    def has_record(self) -> bool:
        """Make the next record the current one; False when nothing is buffered."""
        while self.batch is None or self.index >= len(self.batch.offsets):
            batch = next(self._batches, None)
            if batch is not None:
                self.batch = batch
                self.index = bisect_left(batch.offsets, self.position)
                continue
            self.batch = None
            self.position = max(self.position, self._end)
            self.held_bytes -= self._current_bytes
            self._current_bytes = 0
            if not self._fetched:
                self.buffered = 0
                return False
            fetched = self._fetched.popleft()
            self._current_bytes = fetched.size
            self._end = fetched.next_offset
            self._batches = decode_fetched(fetched, self.position)
        return True

    def run(self, stop: int) -> int:
        """Process the current batch's records up to index `stop`; returns how many."""
        batch = self.batch
        assert batch is not None, f"{self.tp} has no current batch"
        start = self.index
        try:
            self._run(batch, start, stop)
        except Exception:
            # The failed record is the next one, unless it is passed over.
            failed = bisect_left(batch.offsets, self.source.context.offset, start, stop - 1)
            self._advance(failed)
            raise
        self._advance(stop)
        return stop - start

    def pass_over(self) -> None:
        """Go on behind the next record."""
        self._advance(self.index + 1)

    def _advance(self, index: int) -> None:
        assert self.batch is not None, f"{self.tp} has no current batch"
        self.buffered = max(self.buffered - (index - self.index), 0)
        if index > self.index:
            self.position = self.batch.offsets[index - 1] + 1
            self.latest_time = self.batch.time_at(index - 1)
            self.consumed += index - self.index
        self.index = index


class PartitionGroup:
    """All input partitions of one task."""

    def __init__(self, queues: Mapping[TopicPartition, PartitionQueue], idle_ms: int) -> None:
        self.queues = dict(queues)
        self._all = list(self.queues.values())
        self._idle_ms = idle_ms
        self._idle_since: float | None = None
        self._current = self._all[0] if self._all else None

    def add(self, queue: PartitionQueue) -> None:
        """A further partition."""
        self.queues[queue.tp] = queue
        self._all.append(queue)

    def run(self, limit: int, now_ms: float) -> int:
        """Process up to `limit` records of the run that comes next; returns how many, 0 if none."""
        if len(self._all) == 1:
            queue = self._all[0]
            if not queue.has_record():
                return 0
            assert queue.batch is not None
            return queue.run(min(queue.index + limit, len(queue.batch.offsets)))
        ready = [queue for queue in self._all if queue.has_record()]
        if not ready or not self._may_go_on(ready, now_ms):
            return 0
        return self._run_lowest(ready, limit)

    def pass_over(self) -> None:
        """Go on behind the record that failed."""
        assert self._current is not None, "no record has failed"
        self._current.pass_over()

    def _run_lowest(self, ready: list[PartitionQueue], limit: int) -> int:
        ready.sort(key=_head_timestamp)
        queue = ready[0]
        batch = queue.batch
        assert batch is not None
        stop = min(queue.index + limit, len(batch))
        if len(ready) > 1:
            other = _head_timestamp(ready[1])
            stop = max(batch.first_after(other, queue.index, stop), queue.index + 1)
        self._current = queue
        return queue.run(stop)

    def _may_go_on(self, ready: list[PartitionQueue], now_ms: float) -> bool:
        if len(ready) == len(self._all) or self._idle_ms < 0:
            self._idle_since = None
            return True
        caught_up = all(queue.is_caught_up for queue in self._all if queue not in ready)
        if caught_up and self._idle_ms == 0:
            return True
        if self._idle_since is None:
            self._idle_since = now_ms
        return caught_up and now_ms - self._idle_since >= self._idle_ms


def _head_timestamp(queue: PartitionQueue) -> int:
    assert queue.batch is not None
    return queue.batch.time_at(queue.index)

"""Keeps a worker's global tables up to their topics, all partitions.

No task runs before the tables have what the topics held when the worker began. What they had
before is on disk with the position behind it, so that a start reads only what is new. From then on
records go in as they come, with no order between them and the tasks' own input.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

from streamkit.client.decode import Fetched, decode_fetched
from streamkit.common.model import TopicPartition
from streamkit.state.restore import ChangelogBounds
from streamkit.tasks.global_state import GlobalState
from streamkit.tasks.listeners import StateRestoreListener
from streamkit.tasks.mailbox import Outbox
from streamkit.tasks.messages import Command, PrepareGlobals, StartFetching

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Reading:
    """One partition: read so far, and up to `end` before any task runs."""

    position: int
    end: int
    restored: int = 0
    is_behind: bool = False


class GlobalReader:
    """The positions in the global topics, and whether they have reached the first end."""

    def __init__(
        self,
        state: GlobalState,
        outbox: Outbox[Command],
        listener: StateRestoreListener | None = None,
    ) -> None:
        self._state = state
        self._outbox = outbox
        self._listener = listener
        self._readings: dict[TopicPartition, _Reading] = {}
        self._is_prepared = False

    @property
    def is_ready(self) -> bool:
        """Whether the tables hold what the topics held at the start."""
        return self._is_prepared and not any(each.is_behind for each in self._readings.values())

    @property
    def positions(self) -> dict[TopicPartition, int]:
        """The next offset of each partition; all before is in the tables."""
        return {tp: each.position for tp, each in self._readings.items()}

    @property
    def state(self) -> GlobalState:
        """The tables."""
        return self._state

    def begin(self) -> None:
        """Ask where the topics begin and end."""
        self._outbox.put(PrepareGlobals(self._state.topics))

    def on_prepared(self, bounds: Mapping[TopicPartition, ChangelogBounds]) -> None:
        """Start to read where the tables end."""
        self._is_prepared = True
        starts = self._state.plan(bounds)
        for tp, start in starts.items():
            end = bounds[tp].end
            self._readings[tp] = _Reading(start, end, is_behind=start < end)
            if start < end and self._listener is not None:
                self._listener.on_restore_start(tp, self._state.store_of(tp), start, end)
        remaining = sum(max(bounds[tp].end - start, 0) for tp, start in starts.items())
        log.info("global tables: reading %d offsets of %d partitions", remaining, len(bounds))
        self._outbox.put(StartFetching(starts, is_changelog=True))

    def owns(self, tp: TopicPartition) -> bool:
        """Whether this partition is read here."""
        return tp in self._readings

    def add(self, fetched: Fetched) -> None:
        """Put what was fetched into the tables."""
        tp = fetched.tp
        reading = self._readings[tp]
        count = 0
        for batch in decode_fetched(fetched, reading.position):
            start = bisect_left(batch.offsets, reading.position)
            self._state.process(tp, batch, start, len(batch.offsets))
            count += len(batch.offsets) - start
        reading.position = max(reading.position, fetched.next_offset)
        self._state.apply({tp: reading.position})
        if reading.is_behind:
            self._restored(tp, reading, count)

    def on_out_of_range(self, tp: TopicPartition, start: int) -> None:
        """The topic was cut: go on where it begins now; what is gone from it stays in the table."""
        log.warning("global tables: %s begins at %d now", tp, start)
        self._readings[tp].position = start
        self._outbox.put(StartFetching({tp: start}, is_changelog=True))

    def close(self) -> None:
        """Close the tables."""
        self._state.close()

    def _restored(self, tp: TopicPartition, reading: _Reading, count: int) -> None:
        reading.restored += count
        reading.is_behind = reading.position < reading.end
        if self._listener is not None:
            store = self._state.store_of(tp)
            self._listener.on_batch_restored(tp, store, reading.position - 1, count)
            if not reading.is_behind:
                self._listener.on_restore_end(tp, store, reading.restored)
        if self.is_ready:
            log.info("global tables: all rows are there")

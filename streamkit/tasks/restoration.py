"""Restoring one task's stores from their changelogs, in bounded slices."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from streamkit.client.decode import Fetched, decode_fetched
from streamkit.common.model import TopicPartition
from streamkit.records import DecodedBatch
from streamkit.state.task_state import TaskState

SLICE_RECORDS = 2_000
"""Records that one slice writes at most."""

FETCHES_HELD_MAX = 4
"""Fetched pieces of one changelog that may wait before it is paused."""


@dataclass(slots=True)
class Restore:
    """One store on its way from `position` to `end` of its changelog."""

    store: str
    topic_id: UUID
    position: int
    end: int
    restored: int = 0
    fetched: deque[Fetched] = field(default_factory=deque)
    batches: Iterator[DecodedBatch] | None = None
    batch: DecodedBatch | None = None
    index: int = 0
    fetched_end: int = 0
    is_paused: bool = False

    @property
    def is_done(self) -> bool:
        return self.position >= self.end

    @property
    def has_work(self) -> bool:
        return not self.is_done and bool(self.fetched or self.batches is not None)


class Restoration:
    """All stores of one task that are behind their changelogs."""

    def __init__(self, state: TaskState, restores: Mapping[TopicPartition, Restore]) -> None:
        self._state = state
        self._restores = dict(restores)

    @property
    def is_done(self) -> bool:
        return all(restore.is_done for restore in self._restores.values())

    @property
    def remaining(self) -> int:
        """Offsets still to read."""
        return sum(max(each.end - each.position, 0) for each in self._restores.values())

    @property
    def restored(self) -> int:
        """Records written so far."""
        return sum(each.restored for each in self._restores.values())

    def positions(self) -> dict[TopicPartition, int]:
        """Where to fetch from, for the stores that are not done."""
        return {tp: each.position for tp, each in self._restores.items() if not each.is_done}

    def reset(self, tp: TopicPartition, start: int, end: int) -> None:
        """The log was cut while it was read: wipe the store and begin at `start`."""
        restore = self._restores[tp]
        self._state.wipe(restore.store)
        self._restores[tp] = Restore(restore.store, restore.topic_id, start, end)

    @property
    def has_work(self) -> bool:
        """Whether something fetched waits to be written."""
        return any(each.has_work for each in self._restores.values())

    def add(self, tp: TopicPartition, fetched: Fetched) -> bool:
        """Buffer what was fetched; True when the changelog should pause now."""
        restore = self._restores.get(tp)
        if restore is None or restore.is_done:
            return False
        restore.fetched.append(fetched)
        if restore.is_paused or len(restore.fetched) < FETCHES_HELD_MAX:
            return False
        restore.is_paused = True
        return True

    def to_resume(self) -> list[TopicPartition]:
        """Changelogs that were paused and have room again."""
        resumed = []
        for tp, restore in self._restores.items():
            if restore.is_paused and len(restore.fetched) < FETCHES_HELD_MAX:
                restore.is_paused = False
                resumed.append(tp)
        return resumed

    def run(self) -> list[TopicPartition]:
        """Write one slice; returns the changelogs that are done now and were not before."""
        for tp, restore in self._restores.items():
            if restore.has_work:
                self._run_slice(restore)
                return [tp] if restore.is_done else []
        return []

    def _run_slice(self, restore: Restore) -> None:
        while restore.batch is None:
            if restore.batches is None:
                if not restore.fetched:
                    return
                self._begin_fetched(restore, restore.fetched.popleft())
            assert restore.batches is not None
            restore.batch = next(restore.batches, None)
            restore.index = 0
            if restore.batch is None:
                restore.batches = None
                self._note_position(restore)
                return
        self._write_slice(restore, restore.batch)

    def _begin_fetched(self, restore: Restore, fetched: Fetched) -> None:
        restore.fetched_end = fetched.next_offset
        restore.batches = decode_fetched(fetched, restore.position)

    def _write_slice(self, restore: Restore, batch: DecodedBatch) -> None:
        start, stop = restore.index, min(restore.index + SLICE_RECORDS, len(batch.offsets))
        records = [
            (batch.keys[i], batch.values[i], batch.timestamps[i])
            for i in range(start, stop)
            if restore.position <= batch.offsets[i] < restore.end
        ]
        restore.position = max(restore.position, batch.offsets[stop - 1] + 1)
        restore.restored += len(records)
        self._state.restore(
            restore.store, records, min(restore.position, restore.end), restore.topic_id
        )
        restore.index = stop
        if stop == len(batch.offsets):
            restore.batch = None

    def _note_position(self, restore: Restore) -> None:
        """The fetched data may end in control batches, which have offsets but no records."""
        if restore.fetched_end > restore.position:
            restore.position = restore.fetched_end
            self._state.restore(
                restore.store, [], min(restore.position, restore.end), restore.topic_id
            )

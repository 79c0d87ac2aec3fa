"""Bringing one task's stores up to their changelogs, in bounded slices.

For a task that is to run, up to the end that the changelogs had when it was asked; for a standby,
for ever. What a slice writes, it writes with the changelog offset that follows it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from streamkit.client.decode import Fetched, decode_fetched
from streamkit.common.model import TopicPartition
from streamkit.records import DecodedBatch
from streamkit.state.builders import StoreBuilder
from streamkit.state.bulk_load import BulkLoad
from streamkit.state.restore import plan_restore
from streamkit.state.task_state import TaskState
from streamkit.tasks.listeners import SuspendReason, Watch
from streamkit.tasks.memory import Room
from streamkit.tasks.messages import TaskPrepared
from streamkit.topology.plan import Subtopology

SLICE_RECORDS = 2_000
"""Records that one slice writes at most."""

BULK_LAG_MIN = 50_000
"""A store that is so many offsets behind is loaded in bulk, while no task has records."""

FETCHES_HELD_MAX = 8
"""Fetched pieces of one changelog that may wait before it is paused."""


@dataclass(slots=True)
class Restore:
    """One store on its way from `position` to `end` of its changelog; with no end, for ever.

    Nothing from `limit` on is read: a source topic that serves as changelog counts only as far as
    it was processed.
    """

    tp: TopicPartition
    store: str
    topic_id: UUID
    position: int
    end: int | None
    log_end: int
    limit: int | None = None
    restored: int = 0
    fetched: deque[Fetched] = field(default_factory=deque)
    batches: Iterator[DecodedBatch] | None = None
    batch: DecodedBatch | None = None
    index: int = 0
    fetched_end: int = 0
    is_paused: bool = False
    load: BulkLoad | None = None
    was_loaded: bool = False
    held_bytes: int = 0
    open_bytes: int = 0

    @property
    def is_done(self) -> bool:
        return self.end is not None and self.position >= self.end

    @property
    def stop(self) -> int | None:
        """The first offset that is not read."""
        return self.end if self.end is not None else self.limit

    @property
    def has_work(self) -> bool:
        stop = self.stop
        if stop is not None and self.position >= stop:
            return False
        return bool(self.fetched or self.batches is not None)

    @property
    def lag(self) -> int:
        """Offsets between here and the end that is known."""
        end = self.log_end if self.stop is None else min(self.stop, self.log_end)
        return max(end - self.position, 0)

    def drop_fetched(self) -> None:
        """What was fetched beyond its end is not needed."""
        self.batch = self.batches = None
        self.fetched.clear()
        self.held_bytes = self.open_bytes = 0


def changelogs_of(
    subtopology: Subtopology, application_id: str, partition: int
) -> dict[TopicPartition, StoreBuilder]:
    """The changelog partition of each logged store."""
    return {
        TopicPartition(changelog_topic(application_id, builder), partition): builder
        for builder in subtopology.stores
        if builder.logging_enabled
    }


def changelog_topic(application_id: str, builder: StoreBuilder) -> str:
    """The topic that holds a store's changes."""
    if builder.changelog_topic is not None:
        return builder.changelog_topic
    return f"{application_id}-{builder.name}-changelog"


def plan_restores(
    state: TaskState,
    changelogs: Mapping[TopicPartition, StoreBuilder],
    prepared: TaskPrepared,
    *,
    for_ever: bool = False,
) -> dict[TopicPartition, Restore]:
    """Where each store begins; one that cannot be used is wiped."""
    restores = {}
    for tp, builder in changelogs.items():
        bounds = prepared.changelogs[tp]
        plan = plan_restore(state.stored_offset(builder.name), bounds)
        if plan.wipe is not None:
            state.wipe(builder.name)
        limit = prepared.positions[tp].offset if tp in prepared.positions else None
        end = plan.end if limit is None else min(limit, plan.end)
        restores[tp] = Restore(
            tp,
            builder.name,
            bounds.topic_id,
            plan.position,
            None if for_ever else end,
            plan.end,
            limit,
        )
    return restores


class Restoration:
    """All stores of one task that are behind their changelogs."""

    def __init__(
        self,
        state: TaskState,
        restores: Mapping[TopicPartition, Restore],
        watch: Watch | None = None,
        room: Room | None = None,
    ) -> None:
        self._room = Room() if room is None else room
        self._state = state
        # Metrics read the stores from another thread: they keep their places, and take turns here.
        self._restores = dict(restores)
        self._turns = list(self._restores)
        self._watch = watch
        self._is_busy = True
        for restore in self._restores.values():
            if watch is not None:
                watch.began(restore)
                if restore.is_done:
                    watch.ended(restore)

    @property
    def restores(self) -> Mapping[TopicPartition, Restore]:
        """The stores by their changelogs."""
        return self._restores

    @property
    def is_done(self) -> bool:
        return all(restore.is_done for restore in self._restores.values())

    @property
    def remaining(self) -> int:
        """Offsets still to read."""
        return sum(each.lag for each in self._restores.values())

    @property
    def restored(self) -> int:
        """Records written so far."""
        return sum(each.restored for each in self._restores.values())

    def positions(self) -> dict[TopicPartition, int]:
        """Where to fetch from, for the stores that are not done."""
        return {tp: each.position for tp, each in self._restores.items() if not each.is_done}

    def reset(self, tp: TopicPartition, start: int, end: int, topic_id: UUID | None) -> None:
        """The log was cut, or made anew, while it was read: wipe the store, begin at `start`."""
        old = self._restores[tp]
        old.load = None
        self._end_load(old)
        self._state.wipe(old.store)
        self._restores[tp] = Restore(
            tp,
            old.store,
            topic_id or old.topic_id,
            start,
            None if old.end is None else end,
            end,
            old.limit,
        )

    def set_limit(self, tp: TopicPartition, limit: int) -> None:
        """A source topic that serves as changelog was processed up to here."""
        restore = self._restores[tp]
        restore.limit = max(limit, restore.limit or 0)

    def suspend(self, reason: SuspendReason) -> None:
        """It is given up before its end."""
        for restore in self._restores.values():
            self._end_load(restore)
            if self._watch is not None and not restore.is_done:
                self._watch.suspended(restore, reason)

    @property
    def has_work(self) -> bool:
        """Whether something fetched waits to be written, and may be."""
        return any(each.has_work and self._may_go_on(each) for each in self._restores.values())

    def add(self, tp: TopicPartition, fetched: Fetched) -> bool:
        """Buffer what was fetched; True when the changelog should pause now."""
        restore = self._restores.get(tp)
        if restore is None or restore.is_done:
            return False
        restore.log_end = max(restore.log_end, fetched.last_stable_offset)
        restore.fetched.append(fetched)
        restore.held_bytes += fetched.size
        if restore.is_paused or not self._is_full(restore):
            return False
        restore.is_paused = True
        return True

    def to_resume(self) -> list[TopicPartition]:
        """Changelogs that were paused and have room again."""
        resumed = []
        for tp, restore in self._restores.items():
            if restore.is_paused and not self._is_full(restore):
                restore.is_paused = False
                resumed.append(tp)
        return resumed

    def _is_full(self, restore: Restore) -> bool:
        return restore.held_bytes >= self._room.share or len(restore.fetched) >= FETCHES_HELD_MAX

    def run(self, *, is_busy: bool = True) -> list[TopicPartition]:
        """Write one slice; returns the changelogs that are done now and were not before.

        While a task that runs has records, `is_busy`, no slice takes long.
        """
        self._is_busy = is_busy
        for tp in self._turns:
            restore = self._restores[tp]
            if restore.has_work and self._may_go_on(restore):
                self._run_slice(restore)
                if not restore.is_done:
                    if restore.load is None and restore.batches is None:
                        # Only one store at a time has records in memory, as objects.
                        self._turns.remove(tp)
                        self._turns.append(tp)
                    return []
                restore.drop_fetched()
                if self._watch is not None:
                    self._watch.ended(restore)
                return [tp]
        return []

    def _may_go_on(self, restore: Restore) -> bool:
        """False for one that would gather records while another does, in whichever task."""
        return not self._is_for_load(restore) or self._room.may_load(restore)

    def _is_for_load(self, restore: Restore) -> bool:
        is_far = not self._is_busy and restore.lag >= BULK_LAG_MIN
        return is_far and self._state.can_bulk_load(restore.store)

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
        restore.open_bytes = fetched.size
        restore.batches = decode_fetched(fetched, restore.position)

    def _write_slice(self, restore: Restore, batch: DecodedBatch) -> None:
        stop = min(restore.index + SLICE_RECORDS, len(batch.offsets))
        if restore.stop is not None:
            stop = bisect_left(batch.offsets, restore.stop, restore.index, stop)
        start = bisect_left(batch.offsets, restore.position, restore.index, stop)
        if stop > 0:
            restore.position = max(restore.position, batch.offsets[stop - 1] + 1)
        if stop < len(batch.offsets) and restore.stop is not None:
            # What follows may lie beyond the stop, or behind a gap that reaches over it.
            restore.position = max(restore.position, min(restore.stop, batch.offsets[stop]))
        restore.index = stop
        if stop == len(batch.offsets):
            restore.batch = None
        self._write(restore, batch, start, stop)

    def _note_position(self, restore: Restore) -> None:
        """The fetched data may end in control batches, which have offsets but no records."""
        restore.held_bytes -= restore.open_bytes
        restore.open_bytes = 0
        end = restore.fetched_end
        if restore.stop is not None:
            end = min(end, restore.stop)
        if end > restore.position:
            restore.position = end
            self._write(restore, None, 0, 0)

    def _write(
        self,
        restore: Restore,
        batch: DecodedBatch | None,
        start: int,
        stop: int,
    ) -> None:
        """Write the records [start, stop) of a batch, and how far the store is then."""
        count = stop - start
        keys = [] if batch is None else batch.keys[start:stop]
        values = [] if batch is None else batch.values[start:stop]
        timestamps = [] if batch is None else batch.timestamps[start:stop]
        headers = [] if batch is None else batch.headers[start:stop]
        restore.restored += count
        is_far = self._is_for_load(restore)
        if restore.load is None and is_far:
            self._room.begin_load(restore)
            restore.was_loaded = True
            restore.load = self._state.bulk_load(restore.store, self._room.load_bytes)
        if restore.load is not None:
            restore.load.add(keys, values, timestamps)
            if not is_far:
                self._pause_load(restore)
            elif restore.load.is_full:
                self._flush(restore, restore.load)
        else:
            records = list(zip(keys, values, timestamps, strict=True))
            self._state.restore(restore.store, records, restore.position, restore.topic_id, headers)
        if restore.was_loaded and restore.lag < BULK_LAG_MIN:
            self._end_load(restore)
        if count and self._watch is not None:
            self._watch.loaded(restore, count)

    def _flush(self, restore: Restore, load: BulkLoad) -> None:
        """Load what was gathered, and only then note how far the store is."""
        load.flush()
        self._state.note_offset(restore.store, restore.position, restore.topic_id)

    def _pause_load(self, restore: Restore) -> None:
        """Write record by record, for now or for good; others may load."""
        load, restore.load = restore.load, None
        if load is not None:
            self._flush(restore, load)
        self._room.end_load(restore)

    def _end_load(self, restore: Restore) -> None:
        self._pause_load(restore)
        if restore.was_loaded:
            restore.was_loaded = False
            self._state.end_bulk_load(restore.store)

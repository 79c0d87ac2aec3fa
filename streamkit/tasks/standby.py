"""A standby task: the state of a task that runs elsewhere, kept up to its changelogs.

It reads committed records only, so its state is always one that the running task committed. It
holds the task's folder as a running task does. When the task is given to this worker, what it
holds goes to the running task, which restores what was in flight and nothing else. A warm-up task
is the same thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from uuid import UUID

from streamkit.client.decode import Fetched
from streamkit.common.model import TaskId, TopicPartition
from streamkit.state.task_state import TaskState
from streamkit.tasks.listeners import StandbyWatch, SuspendReason
from streamkit.tasks.messages import PrepareTask, TaskPrepared
from streamkit.tasks.restoration import Restoration, Restore, changelogs_of, plan_restores
from streamkit.tasks.state_directory import Release
from streamkit.tasks.task import KeptState, TaskEnvironment
from streamkit.topology.plan import Subtopology


class StandbyPhase(Enum):
    """Where a standby is in its life."""

    CREATED = "created"
    PREPARING = "preparing"
    FOLLOWING = "following"
    CLOSED = "closed"


class StandbyTask:
    """One standby or warm-up task; see the module."""

    def __init__(
        self,
        task_id: TaskId,
        subtopology: Subtopology,
        environment: TaskEnvironment,
        kept: KeptState | None = None,
    ) -> None:
        self.id = task_id
        self.phase = StandbyPhase.CREATED
        self.subtopology = subtopology
        self._environment = environment
        self._release: Release | None = kept.release if kept is not None else None
        self._state: TaskState | None = kept.state if kept is not None else None
        self._restoration: Restoration | None = None
        self._committed: dict[TopicPartition, int] = {}
        self._promised: tuple[dict[TopicPartition, int], dict[TopicPartition, int]] | None = None

    @property
    def committed(self) -> Mapping[TopicPartition, int]:
        """Input positions that its state has come to; those that were last asked for."""
        if self._promised is not None:
            offsets, ends = self._promised
            if all(self.restores[tp].position >= end for tp, end in ends.items()):
                self._committed, self._promised = offsets, None
        return self._committed

    @property
    def restores(self) -> Mapping[TopicPartition, Restore]:
        """Where each store is in its changelog."""
        return self._restoration.restores if self._restoration is not None else {}

    @property
    def state(self) -> TaskState | None:
        """Its state, once it is open."""
        return self._state

    @property
    def lag(self) -> int:
        """Offsets of its changelogs that it has not read yet."""
        return self._restoration.remaining if self._restoration is not None else 0

    @property
    def restored(self) -> int:
        """Changelog records written so far."""
        return self._restoration.restored if self._restoration is not None else 0

    @property
    def has_work(self) -> bool:
        """Whether changelog data waits to be written."""
        return self._restoration is not None and self._restoration.has_work

    @property
    def has_limits(self) -> bool:
        """Whether it follows source topics, which count only as far as they were processed."""
        return any(each.limit is not None for each in self.restores.values())

    def try_prepare(self) -> PrepareTask | None:
        """Take the folder; then what to look up, or None while another process has it."""
        if self._release is None:
            self._release = self._environment.directory.lock_task(self.id)
        if self._release is None:
            return None
        self.phase = StandbyPhase.PREPARING
        return self.lookups()

    @property
    def is_finding_position(self) -> bool:
        """Whether it is on its way to a position that was looked up."""
        return self._promised is not None

    def lookups(self, *, with_position: bool = False) -> PrepareTask:
        """What it has to know: its changelogs, and how far sources that serve as such count.

        `with_position` asks how far every input is processed, for `committed`.
        """
        application_id = self._environment.application_id
        changelogs = changelogs_of(self.subtopology, application_id, self.id.partition)
        inputs = [TopicPartition(each, self.id.partition) for each in self.subtopology.topics]
        return PrepareTask(
            self.id,
            tuple(tp for tp in inputs if with_position or tp in changelogs),
            tuple(changelogs),
            tuple(dict.fromkeys(tp.topic for tp in changelogs)),
            self.subtopology.offset_resets,
        )

    def on_prepared(self, prepared: TaskPrepared) -> dict[TopicPartition, int]:
        """Open the state, or move the limits; returns what to fetch from where."""
        if self._restoration is not None:
            for tp in self._restoration.restores:
                if tp in prepared.positions:
                    self._restoration.set_limit(tp, prepared.positions[tp].offset)
            self._note_position(prepared)
            return {}
        self.phase = StandbyPhase.FOLLOWING
        environment = self._environment
        if self._state is None:
            self._state = environment.open_state(self.id, self.subtopology)
        changelogs = changelogs_of(self.subtopology, environment.application_id, self.id.partition)
        listener = environment.listeners.standby
        self._restoration = Restoration(
            self._state,
            plan_restores(self._state, changelogs, prepared, for_ever=True),
            None if listener is None else StandbyWatch(self.id, listener),
            environment.room,
        )
        return self._restoration.positions()

    def add(self, fetched: Fetched) -> bool:
        """Buffer fetched data; True when its changelog should pause now."""
        return self._restoration is not None and self._restoration.add(fetched.tp, fetched)

    def to_resume(self) -> list[TopicPartition]:
        """Changelogs that were paused and have room again."""
        return self._restoration.to_resume() if self._restoration is not None else []

    def update(self, *, is_busy: bool) -> None:
        """Write one slice."""
        assert self._restoration is not None, f"standby {self.id} follows nothing yet"
        self._restoration.run(is_busy=is_busy)

    def on_out_of_range(
        self, tp: TopicPartition, start: int, end: int, topic_id: UUID | None
    ) -> dict[TopicPartition, int]:
        """The changelog was cut or made anew: begin again where it begins; the new positions."""
        assert self._restoration is not None, f"standby {self.id} follows nothing yet"
        self._restoration.reset(tp, start, end, topic_id)
        return {tp: start}

    def give_up(self, reason: SuspendReason = SuspendReason.PROMOTED) -> KeptState | None:
        """Hand over what it holds, to the running task of this worker."""
        self._suspend(reason)
        self.phase = StandbyPhase.CLOSED
        return None if self._release is None else KeptState(self._release, self._state)

    def close(self) -> None:
        """Close; its state stays on disk."""
        if self.phase is StandbyPhase.CLOSED:
            return
        self._suspend(SuspendReason.MIGRATED)
        self.phase = StandbyPhase.CLOSED
        if self._state is not None:
            self._state.close()
        if self._release is not None:
            self._release()

    def _note_position(self, prepared: TaskPrepared) -> None:
        if len(prepared.positions) < len(self.subtopology.topics):
            return
        offsets = {tp: start.offset for tp, start in prepared.positions.items()}
        ends = {tp: bounds.end for tp, bounds in prepared.changelogs.items()}
        ends |= {tp: offset for tp, offset in offsets.items() if tp in ends}
        self._promised = (offsets, ends)

    def _suspend(self, reason: SuspendReason) -> None:
        if self._restoration is not None:
            self._restoration.suspend(reason)

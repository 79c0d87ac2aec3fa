"""All standby and warm-up tasks of one worker, and what they make of their changelogs.

While tasks that run have records to process, one standby at a time writes one slice a step, so
that following changelogs costs those tasks little and never stops them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

from streamkit.common.model import TaskId, TopicPartition
from streamkit.tasks.listeners import SuspendReason
from streamkit.tasks.mailbox import Outbox
from streamkit.tasks.messages import Command, PrepareTask, Resume, TaskPrepared
from streamkit.tasks.standby import StandbyPhase, StandbyTask
from streamkit.tasks.task import KeptState, TaskEnvironment
from streamkit.topology.plan import Topology

log = logging.getLogger(__name__)

LOCK_RETRY_MS: Final = 100.0
LIMIT_INTERVAL_MS: Final = 2_000.0
"""How often a standby asks how far a source topic was processed that serves as changelog."""

PARKED_MS: Final = 2_000.0
"""How long the state in memory of a standby that was taken away waits to be taken over."""

SLICES_IDLE: Final = 8
"""Slices in one step while no task processes records."""


class Standbys:
    """The standbys by task; `warmups` are those that are to become running tasks."""

    def __init__(
        self,
        topology: Topology,
        environment: TaskEnvironment,
        outbox: Outbox[Command],
        look_up: Callable[[PrepareTask], None],
    ) -> None:
        self.tasks: dict[TaskId, StandbyTask] = {}
        self.standbys: frozenset[TaskId] = frozenset()
        self.warmups: frozenset[TaskId] = frozenset()
        self._topology = topology
        self._environment = environment
        self._outbox = outbox
        self._look_up = look_up
        self._parked: dict[TaskId, tuple[KeptState, float]] = {}
        self._lock_retry_ms = 0.0
        self._limits_due_ms = 0.0

    @property
    def has_work(self) -> bool:
        """Whether changelog data waits to be written."""
        return any(task.has_work for task in self.tasks.values())

    def keep_only(self, standbys: frozenset[TaskId], warmups: frozenset[TaskId]) -> list[TaskId]:
        """Note what is to be followed; returns those that are not any more."""
        self.standbys, self.warmups = standbys, warmups
        self._lock_retry_ms = 0.0
        return [task_id for task_id in self.tasks if task_id not in standbys | warmups]

    def create(self, kept: Mapping[TaskId, KeptState]) -> None:
        """Make those that are missing; `kept` is what tasks handed over that ran until now."""
        for task_id in sorted(self.standbys | self.warmups):
            if task_id in self.tasks:
                continue
            subtopology = self._topology.subtopology(task_id.subtopology)
            if not any(builder.logging_enabled for builder in subtopology.stores):
                # Nothing to follow: being named is enough.
                assert task_id not in kept, f"task {task_id} keeps no state for a standby"
                continue
            held = kept.get(task_id) or self.promote(task_id)
            task = StandbyTask(task_id, subtopology, self._environment, held)
            self.tasks[task_id] = task
            log.info("task %s: standby", task_id)

    def is_stateful(self, task_id: TaskId) -> bool:
        """Whether a standby of this task has something to follow."""
        stores = self._topology.subtopology(task_id.subtopology).stores
        return any(builder.logging_enabled for builder in stores)

    def promote(self, task_id: TaskId) -> KeptState | None:
        """Give up a standby that becomes a running task here; what it held, None for nothing."""
        if task_id in self._parked:
            log.info("task %s: standby takes over", task_id)
            return self._parked.pop(task_id)[0]
        task = self.tasks.pop(task_id, None)
        if task is None:
            return None
        log.info("task %s: standby takes over, %d offsets behind", task_id, task.lag)
        return task.give_up()

    def drop(self, task_id: TaskId, now_ms: float) -> None:
        """Follow this one no more.

        The coordinator takes a standby away before it gives the same member the running task. What
        is only in memory waits for that a moment; what is on disk is found there.
        """
        task = self.tasks[task_id]
        is_in_memory = any(
            builder.logging_enabled and not builder.persistent
            for builder in task.subtopology.stores
        )
        kept = task.give_up(SuspendReason.MIGRATED) if is_in_memory else None
        if kept is None:
            self.close(task_id)
        else:
            del self.tasks[task_id]
            self._parked[task_id] = (kept, now_ms + PARKED_MS)

    def close(self, task_id: TaskId) -> None:
        """Follow this one no more, and keep nothing of it."""
        self.tasks.pop(task_id).close()
        log.info("task %s: standby closed", task_id)

    def close_all(self) -> None:
        """Follow nothing any more."""
        for task_id in list(self.tasks):
            self.close(task_id)
        self._close_parked(None)

    def _close_parked(self, now_ms: float | None) -> None:
        for task_id, (kept, until_ms) in list(self._parked.items()):
            if now_ms is None or now_ms >= until_ms:
                del self._parked[task_id]
                kept.close()

    def find_positions(self, stores: set[str]) -> None:
        """Have the standbys of these stores find out how far the input is that they hold."""
        for task in self.tasks.values():
            names = {builder.name for builder in task.subtopology.stores}
            if names & stores and task.restores and not task.is_finding_position:
                self._look_up(task.lookups(with_position=True))

    def on_prepared(self, prepared: TaskPrepared) -> dict[TopicPartition, int]:
        """What was looked up for a standby; returns what to fetch from where."""
        task = self.tasks[prepared.task_id]
        positions = task.on_prepared(prepared)
        if positions:
            log.info("task %s: standby follows, %d offsets behind", task.id, task.lag)
        return positions

    def advance(self, now_ms: float, *, is_busy: bool) -> None:
        """Bring the standbys one step further."""
        self._close_parked(now_ms)
        for task in self.tasks.values():
            if task.phase is StandbyPhase.CREATED and now_ms >= self._lock_retry_ms:
                self._try_prepare(task, now_ms)
        if now_ms >= self._limits_due_ms:
            self._limits_due_ms = now_ms + LIMIT_INTERVAL_MS
            for task in self.tasks.values():
                if task.has_limits:
                    self._look_up(task.lookups())
        for _ in range(1 if is_busy else SLICES_IDLE):
            if not self._update_one(is_busy=is_busy):
                return

    def _try_prepare(self, task: StandbyTask, now_ms: float) -> None:
        request = task.try_prepare()
        if request is None:
            self._lock_retry_ms = now_ms + LOCK_RETRY_MS
        else:
            self._look_up(request)

    def _update_one(self, *, is_busy: bool) -> bool:
        """One slice of the standby whose turn it is; False when none has work."""
        task = next((each for each in self.tasks.values() if each.has_work), None)
        if task is None:
            return False
        task.update(is_busy=is_busy)
        for tp in task.to_resume():
            self._outbox.put(Resume(tp))
        self.tasks[task.id] = self.tasks.pop(task.id)
        return True

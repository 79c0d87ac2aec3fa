"""Who is told how restoring and following changelogs goes: the log, and listeners of the user.

The names are those of Kafka Streams' StateRestoreListener and StandbyUpdateListener. Listeners are
called by the processing thread, between two records; what they raise ends the worker.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from streamkit.common.model import TaskId, TopicPartition
from streamkit.tasks.states import StateListener

log = logging.getLogger(__name__)

PROGRESS_INTERVAL_MS = 5_000
"""How often a restore that takes long says how far it is."""


class SuspendReason(Enum):
    """Why a standby is not followed any more."""

    MIGRATED = "migrated"
    PROMOTED = "promoted"


class StateRestoreListener(Protocol):
    """Told of stores that are restored before their task runs."""

    def on_restore_start(
        self, partition: TopicPartition, store: str, start_offset: int, end_offset: int
    ) -> None: ...

    def on_batch_restored(
        self, partition: TopicPartition, store: str, batch_end_offset: int, restored: int
    ) -> None: ...

    def on_restore_end(self, partition: TopicPartition, store: str, total: int) -> None: ...

    def on_restore_suspended(self, partition: TopicPartition, store: str, total: int) -> None: ...


class StandbyUpdateListener(Protocol):
    """Told of stores that follow their changelog, to take over."""

    def on_update_start(self, partition: TopicPartition, store: str, start_offset: int) -> None: ...

    def on_batch_loaded(
        self,
        partition: TopicPartition,
        store: str,
        task_id: TaskId,
        batch_end_offset: int,
        batch_size: int,
        current_end_offset: int,
    ) -> None: ...

    def on_update_suspended(
        self,
        partition: TopicPartition,
        store: str,
        store_offset: int,
        current_end_offset: int,
        reason: SuspendReason,
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Listeners:
    """The user's listeners; none by default."""

    restore: StateRestoreListener | None = None
    standby: StandbyUpdateListener | None = None
    state: StateListener | None = None


NO_LISTENERS = Listeners()


class Watched(Protocol):
    """What is told of one store and its changelog; `end` is None where it is followed for ever."""

    @property
    def tp(self) -> TopicPartition: ...
    @property
    def store(self) -> str: ...
    @property
    def position(self) -> int: ...
    @property
    def end(self) -> int | None: ...
    @property
    def log_end(self) -> int: ...
    @property
    def restored(self) -> int: ...


class Watch(Protocol):
    """What a restoration calls."""

    def began(self, watched: Watched) -> None: ...
    def loaded(self, watched: Watched, count: int) -> None: ...
    def ended(self, watched: Watched) -> None: ...
    def suspended(self, watched: Watched, reason: SuspendReason) -> None: ...


class RestoreWatch:
    """Restoring the stores of a task that is to run."""

    def __init__(
        self, task_id: TaskId, listener: StateRestoreListener | None, now_ms: Callable[[], int]
    ) -> None:
        self._task_id = task_id
        self._listener = listener
        self._now_ms = now_ms
        self._said_ms = now_ms()

    def began(self, watched: Watched) -> None:
        if self._listener is not None:
            self._listener.on_restore_start(
                watched.tp, watched.store, watched.position, watched.log_end
            )

    def loaded(self, watched: Watched, count: int) -> None:
        if self._listener is not None:
            self._listener.on_batch_restored(watched.tp, watched.store, watched.position - 1, count)
        now_ms = self._now_ms()
        if now_ms - self._said_ms >= PROGRESS_INTERVAL_MS:
            self._said_ms = now_ms
            left = max(watched.log_end - watched.position, 0)
            log.info(
                "task %s: restoring %s: %d records restored, %d offsets to go",
                self._task_id, watched.store, watched.restored, left,
            )  # fmt: skip

    def ended(self, watched: Watched) -> None:
        if self._listener is not None:
            self._listener.on_restore_end(watched.tp, watched.store, watched.restored)

    def suspended(self, watched: Watched, reason: SuspendReason) -> None:
        if self._listener is not None:
            self._listener.on_restore_suspended(watched.tp, watched.store, watched.restored)


class StandbyWatch:
    """Following the changelogs of a standby task."""

    def __init__(self, task_id: TaskId, listener: StandbyUpdateListener) -> None:
        self._task_id = task_id
        self._listener = listener

    def began(self, watched: Watched) -> None:
        self._listener.on_update_start(watched.tp, watched.store, watched.position)

    def loaded(self, watched: Watched, count: int) -> None:
        self._listener.on_batch_loaded(
            watched.tp, watched.store, self._task_id, watched.position - 1, count, watched.log_end
        )

    def ended(self, watched: Watched) -> None:
        """A standby has no end."""

    def suspended(self, watched: Watched, reason: SuspendReason) -> None:
        self._listener.on_update_suspended(
            watched.tp, watched.store, watched.position, watched.log_end, reason
        )

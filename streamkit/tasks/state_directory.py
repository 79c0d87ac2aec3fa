"""The state directory, laid out as Kafka Streams does it.

`<state.dir>/<application.id>/` holds `.lock` (one host process at a time), the process id that
makes the group recognise this host after a restart, one folder per task, and in `.locks` a lock
per task, which outlives the folder so that deleting one races with nobody.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from uuid import UUID, uuid5

from streamkit.common.errors import UsageError
from streamkit.common.model import TaskId
from streamkit.common.seams import Disk, Random

PROCESS_FILE = "kafka-streams-process-metadata"
PROCESS_FILE_VERSION = 1

Release = Callable[[], None]


class StateDirectory:
    """The state of one application on this host."""

    def __init__(self, disk: Disk, state_dir: str, application_id: str) -> None:
        self._disk = disk
        self.path = f"{state_dir}/{application_id}"
        disk.make_dirs(f"{self.path}/.locks")

    def lock(self) -> Release:
        """Take the directory for this process. Raises UsageError when another has it."""
        try:
            return self._disk.lock(f"{self.path}/.lock")
        except BlockingIOError:
            raise UsageError(
                f"the state directory {self.path} is in use by another worker of this application; "
                "give each its own with --set state.dir=PATH"
            ) from None

    def process_id(self, random: Random) -> UUID:
        """The persisted process id; made on first use, or when the file cannot be read."""
        path = f"{self.path}/{PROCESS_FILE}"
        if self._disk.exists(path):
            try:
                return UUID(json.loads(self._disk.read(path))["processId"])
            except (ValueError, KeyError, TypeError):
                self._disk.rename(path, f"{path}.unreadable")
        process_id = random.uuid4()
        content = {"processId": str(process_id), "version": PROCESS_FILE_VERSION}
        self._disk.write_atomic(path, json.dumps(content).encode())
        return process_id

    def lock_task(self, task_id: TaskId) -> Release | None:
        """Take a task's folder and make it; None while another process has it."""
        try:
            release = self._disk.lock(f"{self.path}/.locks/{task_id}")
        except BlockingIOError:
            return None
        self._disk.make_dirs(self.task_path(task_id))
        return release

    def task_path(self, task_id: TaskId) -> str:
        """The folder of a task."""
        return f"{self.path}/{task_id}"

    def database_path(self, task_id: TaskId) -> str:
        """Where the task's RocksDB is."""
        return f"{self.path}/{task_id}/rocksdb"

    def global_path(self, slot: int) -> str:
        """Where one worker of this directory keeps the rows of its global tables."""
        self._disk.make_dirs(f"{self.path}/global/{slot}")
        return f"{self.path}/global/{slot}/rocksdb"

    def tasks(self) -> list[TaskId]:
        """The tasks that have a folder here."""
        found = []
        for name in self._disk.list(self.path):
            try:
                found.append(TaskId.parse(name))
            except ValueError:
                continue
        return found

    def is_in_use(self, task_id: TaskId) -> bool:
        """Whether some process has the task's folder."""
        try:
            self._disk.lock(f"{self.path}/.locks/{task_id}")()
        except BlockingIOError:
            return True
        return False

    def delete_task(self, task_id: TaskId) -> bool:
        """Delete a task's folder; False when somebody has it."""
        release = self.lock_task(task_id)
        if release is None:
            return False
        try:
            self._disk.remove_tree(self.task_path(task_id))
        finally:
            release()
        return True

    def delete_outdated(self, age_ms_max: int, now_ms: int) -> list[str]:
        """Delete what was last written longer ago (`state.cleanup.dir.max.age.ms`, KIP-1259).

        Its changelog may have forgotten rows that were deleted since, so that they would stay.
        The caller has the directory's lock, and nobody runs yet. Returns the folders' names.
        """
        folders = [str(task_id) for task_id in self.tasks()]
        if self._disk.exists(f"{self.path}/global"):
            folders += [f"global/{name}" for name in self._disk.list(f"{self.path}/global")]
        deleted = []
        for folder in folders:
            written_ms = self._disk.modified_ms(f"{self.path}/{folder}")
            if 0 < written_ms < now_ms - age_ms_max:
                self._disk.remove_tree(f"{self.path}/{folder}")
                deleted.append(folder)
        return deleted


class Cleaner:
    """Deletes the folders of tasks that have been away for `state.cleanup.delay.ms`."""

    def __init__(self, directory: StateDirectory, delay_ms: int) -> None:
        self._directory = directory
        self._delay_ms = delay_ms
        self._seen_unowned: dict[TaskId, float] = {}

    @property
    def interval_ms(self) -> float:
        """How often to look."""
        return max(1_000.0, min(self._delay_ms / 2, 60_000.0))

    def clean(self, owned: Sequence[TaskId], now_ms: float) -> list[TaskId]:
        """Delete what has been unowned long enough; returns those tasks."""
        deleted = []
        seen: dict[TaskId, float] = {}
        for task_id in self._directory.tasks():
            if task_id in owned:
                continue
            if self._directory.is_in_use(task_id):
                continue
            since = self._seen_unowned.get(task_id, now_ms)
            if now_ms - since < self._delay_ms or not self._directory.delete_task(task_id):
                seen[task_id] = since
            else:
                deleted.append(task_id)
        self._seen_unowned = seen
        return deleted


def member_id_of(process_id: UUID, slot: int) -> UUID:
    """The member id of a slot: the same after each restart, so that its tasks come back at once."""
    return uuid5(process_id, str(slot))

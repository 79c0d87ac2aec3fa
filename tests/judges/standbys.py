"""What workers say of their standbys, and of tasks that one takes over from another."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tests.harness import WorkerProcess


def tasks_of(worker: WorkerProcess, subtopology: int) -> set[str]:
    """The tasks of a sub-topology that were assigned to a worker last."""
    told = worker.logged(r"assigned ([\d_, ]+)$")
    return set(re.findall(rf"{subtopology}_\d", told[-1][1][1])) if told else set()


def are_followed(workers: Sequence[WorkerProcess], subtopology: int, tasks: int) -> bool:
    """Each task of a sub-topology has a standby, and each worker some tasks of its own."""
    follows = rf"task ({subtopology}_\d): standby follows"
    followed = {match[1] for worker in workers for _, match in worker.logged(follows)}
    return len(followed) == tasks and all(tasks_of(worker, subtopology) for worker in workers)


def taken_over(
    heir: WorkerProcess, since: float, lost: set[str]
) -> list[tuple[float, re.Match[str]]]:
    """When the lost tasks began to run on the heir, once they all do, and what they restored."""
    running = rf"task ({'|'.join(sorted(lost))}): running, (\d+) records restored"
    found = heir.logged(running, since)
    return found if lost == {match[1] for _, match in found} else []

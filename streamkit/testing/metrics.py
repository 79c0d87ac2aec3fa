"""The metrics of the test driver: those of a worker, by the driver's wall clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from streamkit.common.metrics import Sample
from streamkit.common.model import TaskId
from streamkit.tasks.meter import Meter
from streamkit.tasks.metered import Meters
from streamkit.tasks.metrics import WorkerMetrics
from streamkit.tasks.standby import StandbyTask
from streamkit.tasks.task import StreamTask


@dataclass(frozen=True, slots=True)
class NoStandbys:
    """A driver follows no changelogs."""

    tasks: Mapping[TaskId, StandbyTask] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Driven:
    """What a worker's metrics are read off, of a driver."""

    tasks: Mapping[TaskId, StreamTask]
    meters: Meters | None
    standbys: NoStandbys = NoStandbys()
    is_ended: bool = False
    restored_total: int = 0


class DriverMetrics:
    """Counts what the driver does; times are those of its wall clock, which stands still."""

    def __init__(self, application_id: str, now_ms: Callable[[], int], meters: Meters | None):
        self.meter = Meter(lambda: float(now_ms()), now_ms)
        self._meters = meters
        self._thread_id = f"{application_id}-test-driver"
        self._metrics: WorkerMetrics | None = None

    def begin(self, tasks: Mapping[TaskId, StreamTask]) -> None:
        """These are the tasks."""
        for task_id in tasks:
            self.meter.task(task_id)
        self._metrics = WorkerMetrics(Driven(tasks, self._meters), self.meter, self._thread_id)

    def processed(self, task: StreamTask, count: int) -> None:
        """A task has taken so many records."""
        times = task.latest_time, task.context.stream_time
        self.meter.processed(task.id, count, 0.0, self.meter.monotonic_ms(), times)

    def committed(self) -> None:
        """A commit is through."""
        self.meter.commit.note(0.0, self.meter.monotonic_ms())

    def punctuated(self) -> None:
        """The wall clock had something done."""
        self.meter.punctuate.note(0.0, self.meter.monotonic_ms())

    def samples(self) -> dict[str, list[Sample]]:
        """All samples by the name of their metric."""
        assert self._metrics is not None, "begin() comes first"
        return {family.name: list(family.samples) for family in self._metrics.collect()}

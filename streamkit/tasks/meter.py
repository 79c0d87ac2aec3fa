"""What a worker counts while it works: once for each slice, commit and batch, never for a record.

The processing thread writes; the network's thread reads when somebody asks. Totals that somebody
keeps anyway are only read, and once a second looked at for their rates.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final

from streamkit.common.model import TaskId
from streamkit.common.sampled import Sampled

TICK_MS: Final = 1_000.0
"""How often totals are looked at for their rates."""


class Timed:
    """Work that is done many times: how much of it, and how long it took."""

    __slots__ = ("each", "work")

    def __init__(self, now_ms: float) -> None:
        self.work = Sampled(now_ms)
        """Milliseconds, and as count the pieces of work that they were for."""
        self.each = Sampled(now_ms)
        """Milliseconds for one piece, one observation a call."""

    def note(self, took_ms: float, now_ms: float, count: int = 1) -> None:
        """So many pieces of work took so long together."""
        self.work.observe(took_ms, now_ms, count)
        self.each.observe(took_ms / count, now_ms)


class TaskMeter:
    """One running task."""

    __slots__ = ("latency", "lateness", "process")

    def __init__(self, now_ms: float) -> None:
        self.process = Timed(now_ms)
        self.latency = Sampled(now_ms)
        """From a record's time to the end of its slice, of the last record of each."""
        self.lateness = Sampled(now_ms)
        """How far stream time is beyond the last record of a slice."""


class Traffic:
    """Records and bytes of one topic."""

    __slots__ = ("bytes", "records")

    def __init__(self) -> None:
        self.records = 0
        self.bytes = 0


class Meter:
    """One processing thread."""

    def __init__(self, monotonic_ms: Callable[[], float], now_ms: Callable[[], int]) -> None:
        began = monotonic_ms()
        self.monotonic_ms = monotonic_ms
        self.started_ms = now_ms()
        self.now_ms = now_ms
        self.process = Timed(began)
        self.commit = Timed(began)
        self.punctuate = Timed(began)
        self.stalls = Sampled(began)
        """Milliseconds of the steps that took too long."""
        self.tasks_created = 0
        self.tasks_closed = 0
        self.tasks: dict[TaskId, TaskMeter] = {}
        self.produced: dict[str, Traffic] = {}
        self._rates: dict[Hashable, tuple[Sampled, float]] = {}

    def task(self, task_id: TaskId) -> TaskMeter:
        """The meter of a task; a new one when it was not there."""
        found = self.tasks.get(task_id)
        if found is None:
            found = self.tasks[task_id] = TaskMeter(self.monotonic_ms())
            self.tasks_created += 1
        return found

    def closed(self, task_id: TaskId) -> None:
        """The task runs no more here."""
        if self.tasks.pop(task_id, None) is not None:
            self.tasks_closed += 1

    def processed(
        self, task_id: TaskId, count: int, took_ms: float, now_ms: float, times: tuple[int, int]
    ) -> None:
        """One slice of a task; `times` are those of its last record and its stream time."""
        record_time, stream_time = times
        self.process.note(took_ms, now_ms, count)
        meter = self.task(task_id)
        meter.process.note(took_ms, now_ms, count)
        meter.latency.observe(self.now_ms() - record_time, now_ms)
        meter.lateness.observe(max(stream_time - record_time, 0), now_ms)

    def sent(self, topic: str, records: int, size: int) -> None:
        """One batch was handed over."""
        traffic = self.produced.get(topic)
        if traffic is None:
            traffic = self.produced[topic] = Traffic()
        traffic.records += records
        traffic.bytes += size

    def sampled(self, key: Hashable, value: float) -> Sampled:
        """What a number is over time; look at it about once in `TICK_MS`."""
        now_ms = self.monotonic_ms()
        found, _ = self._rates.setdefault(key, (Sampled(now_ms), 0.0))
        found.observe(value, now_ms)
        return found

    def rate(self, key: Hashable, total: float) -> float:
        """How fast a total grows, for each second; look at it about once in `TICK_MS`."""
        now_ms = self.monotonic_ms()
        found = self._rates.get(key)
        if found is None:
            self._rates[key] = (Sampled(now_ms), total)
            return 0.0
        sampled, seen = found
        if total > seen:
            sampled.observe(total - seen, now_ms)
        if total != seen:
            self._rates[key] = (sampled, total)
        return sampled.rate(now_ms)

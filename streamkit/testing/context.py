"""A context for the unit test of one function or processor class, without a topology.

    context = MockContext(stores={"seen": sk.store("seen", key=str, value=int)})
    by_amount(sk.Record("k", Order("pen", 7), 5), context)
    assert context.forwarded() == [...]

It notes what is forwarded, scheduled and asked for. It fires no punctuation: call the `callback` of
what was scheduled. Decorated functions whose parameters are stores and views take plain dicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from streamkit.common.errors import TopologyError
from streamkit.common.model import Headers, Record, TaskId
from streamkit.state.backend import MemoryBackend
from streamkit.state.builders import StoreBuilder
from streamkit.state.cache import CacheBudget
from streamkit.state.factory import Changelog, build_store, interface_of
from streamkit.state.overlay import OverlayStore
from streamkit.tasks.context import NO_CONFIGS
from streamkit.topology.dsl.context import Context
from streamkit.topology.dsl.windows import Duration, duration_ms
from streamkit.topology.operators.given import checked_time
from streamkit.topology.operators.node import Node, ProcessorContext
from streamkit.topology.sensors import Sensor

_FIRST = TaskId(0, 0)


@dataclass(slots=True)
class Scheduled:
    """A punctuation that was asked for."""

    interval_ms: int
    clock: Literal["stream", "wall"]
    start_ms: int | None
    callback: Callable[[int], object]
    is_cancelled: bool = False

    def cancel(self) -> None:
        """As its processor does."""
        self.is_cancelled = True


class MockContext(Context):
    """See the module; `stores` are `sk.store(...)`, or whatever stands for a store, by name."""

    __slots__ = ("_forwarded", "_task", "scheduled")

    def __init__(
        self,
        *,
        stores: Mapping[str, Any] | None = None,
        application_id: str = "test",
        task_id: TaskId = _FIRST,
        now_ms: int = 0,
        app_configs: Mapping[str, object] = NO_CONFIGS,
    ) -> None:
        self._task = _MockTask(application_id, task_id, now_ms, app_configs)
        super().__init__(Node("test"), self._task)
        self._forwarded: list[tuple[Record[Any, Any], str | None]] = []
        self.scheduled: list[Scheduled] = []
        for name, store in (stores or {}).items():
            is_built = isinstance(store, StoreBuilder)
            self._task.stores[name] = self._task.build(store) if is_built else store

    def set_record(
        self,
        topic: str = "test",
        partition: int = 0,
        offset: int = 0,
        timestamp: int = 0,
        headers: Headers = (),
    ) -> None:
        """The record that is being processed; stream time goes on to it."""
        task = self._task
        task.topic, task.partition, task.offset = topic, partition, offset
        task.timestamp, task.headers = timestamp, headers
        task.stream_time = max(task.stream_time, timestamp)

    def set_stream_time(self, time_ms: int) -> None:
        """Set the highest time that was seen."""
        self._task.stream_time = time_ms

    def set_wall_time(self, now_ms: int) -> None:
        """Set the wall clock."""
        self._task.now_ms = now_ms

    def forward(self, record: Record[Any, Any], child: str | None = None) -> None:
        checked_time(self._node.name, record)
        self._forwarded.append((record, child))

    def forwarded(self, child: str | None = None) -> list[Record[Any, Any]]:
        """What was forwarded; to a child of that name, if one is given, or to every child."""
        return [
            record for record, to in self._forwarded if child is None or to is None or to == child
        ]

    def reset_forwards(self) -> None:
        """Forget what was forwarded."""
        self._forwarded.clear()

    def schedule(
        self,
        interval: Duration,
        callback: Callable[[int], object],
        *,
        clock: Literal["stream", "wall"] = "stream",
        start: datetime | int | None = None,
    ) -> Scheduled:
        start_ms = int(start.timestamp() * 1000) if isinstance(start, datetime) else start
        self.scheduled.append(Scheduled(duration_ms(interval), clock, start_ms, callback))
        return self.scheduled[-1]

    @property
    def committed(self) -> bool:
        """Whether a commit was asked for."""
        return self._task.wants_commit

    def reset_commit(self) -> None:
        """Forget that."""
        self._task.wants_commit = False

    @property
    def dropped(self) -> list[str]:
        """Why stores dropped what was put too late."""
        return self._task.drops


class _MockTask(ProcessorContext):
    """What a task is to its nodes."""

    def __init__(
        self, application_id: str, task_id: TaskId, now_ms: int, configs: Mapping[str, object]
    ) -> None:
        super().__init__(application_id, task_id)
        self.now_ms = now_ms
        self._configs = configs
        self.stores: dict[str, Any] = {}
        self.wants_commit = False
        self.drops: list[str] = []
        self._sensors: dict[str, Sensor] = {}

    @property
    def app_configs(self) -> Mapping[str, object]:
        return self._configs

    def store(self, name: str) -> Any:
        if name not in self.stores:
            raise TopologyError(f"the test has no store {name!r}: give it in stores=")
        return self.stores[name]

    def build(self, builder: StoreBuilder) -> Any:
        """A store in memory, without a changelog."""
        overlay = OverlayStore(MemoryBackend([builder.name]), builder.name)
        log = Changelog(f"{self.application_id}-{builder.name}-changelog")
        return interface_of(builder, build_store(builder, overlay, log, CacheBudget(0), self))

    def wall_time_ms(self) -> int:
        return self.now_ms

    def request_commit(self) -> None:
        self.wants_commit = True

    def drop(self, reason: str, is_counted: bool = True, is_whole: bool = True) -> None:
        self.drops.append(reason)

    def sensor(self, node: str, name: str) -> Sensor:
        return self._sensors.setdefault(name, Sensor(name))

"""The processor context of one task."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from streamkit.common.errors import TopologyError
from streamkit.common.model import Headers, TaskId
from streamkit.state.read_only import read_only
from streamkit.tasks.async_stage import AsyncStage
from streamkit.tasks.collector import Collector, TopicWriter
from streamkit.tasks.failures import Failures
from streamkit.tasks.idle import TIME_NAME
from streamkit.tasks.punctuation import Punctuation, PunctuationQueue, first_mark
from streamkit.tasks.resources import Resources, own_resources
from streamkit.tasks.savepoint import Savepoint
from streamkit.topology.dsl.resources import Resource
from streamkit.topology.failures import Policies
from streamkit.topology.operators.asynchronous import AsyncNode
from streamkit.topology.operators.node import Node, ProcessorContext
from streamkit.topology.sensors import Sensor

if TYPE_CHECKING:
    from streamkit.tasks.tracing import TracedWriter, Tracing

log = logging.getLogger(__name__)

DROPS_LOGGED = 10
"""Dropped records that a task logs one by one; the rest is only counted."""


NO_POLICIES = Policies()
NO_CONFIGS: Mapping[str, object] = MappingProxyType({})


class TaskContext(ProcessorContext):
    """What the nodes of one task see."""

    def __init__(
        self,
        application_id: str,
        task_id: TaskId,
        collector: Collector,
        now_ms: Callable[[], int],
        partition_count: Callable[[str], int],
        policies: Policies = NO_POLICIES,
        savepoint: Savepoint | None = None,
        resources: Resources | None = None,
        timeout_ms: int = 0,
        tracing: Tracing | None = None,
        configs: Mapping[str, object] = NO_CONFIGS,
    ) -> None:
        super().__init__(application_id, task_id)
        self.stores: dict[str, Any] = {}
        self.interfaces: dict[str, Any] = {}
        self.global_stores: Mapping[str, Any] = {}
        self.savepoint = savepoint
        self.failures = Failures(self, policies, savepoint, timeout_ms)
        self.resources = resources or own_resources()
        self.stage = AsyncStage(self, self.failures, self.resources.loop)
        self.wants_commit = False
        self.sensors: dict[tuple[str, str], Sensor] = {}
        self.connections: Mapping[str, tuple[str, ...]] = {}
        self._configs = configs
        self._drops = 0
        self._tracing = tracing
        self._by_stream_time = PunctuationQueue()
        self._by_wall_clock = PunctuationQueue()
        self._collector = collector
        self._now_ms = now_ms
        self._find_count = partition_count

    @property
    def app_configs(self) -> Mapping[str, object]:
        """What `sk.Context.app_configs` gives."""
        return self._configs

    def store(self, name: str) -> Any:
        """The store of that name. Raises TopologyError when the sub-topology has none."""
        found = self.interfaces.get(name)
        if found is None:
            found = self.stores.get(name, self.global_stores.get(name))
        if found is None:
            raise TopologyError(f"task {self.task_id} has no store {name!r}")
        return found

    def store_for(self, node: str, name: str) -> Any:
        """The store that a processor is connected to, or a global one, to read only."""
        if name in self.global_stores:
            return read_only(self.global_stores[name])
        if self.connections and name not in self.connections.get(node, ()):
            raise TopologyError(
                f"processor {node} is not connected to a store {name!r}: give it in stores= of the "
                "processor, or name the processor in add_state_store()"
            )
        return self.store(name)

    def sink(self, topic: str) -> TopicWriter | TracedWriter:
        writer = self._collector.writer(topic)
        if writer.count == 0:
            writer.set_count(self._find_count(topic))
        return writer if self._tracing is None else self._tracing.writer(writer)

    def partition_count(self, topic: str) -> int:
        return self.sink(topic).count

    @property
    def dropped(self) -> int:
        """How many records were dropped or skipped."""
        return self.failures.dropped

    def drop(self, reason: str, is_counted: bool = True, is_whole: bool = True) -> None:
        self.failures.on_dropped(reason, is_counted=is_counted, is_whole=is_whole)
        self._drops += 1
        if self._drops <= DROPS_LOGGED:
            log.warning(
                "task %s: dropped %s-%d offset %d: %s",
                self.task_id, self.topic, self.partition, self.offset, reason,
            )  # fmt: skip

    def wall_time_ms(self) -> int:
        return self._now_ms()

    def request_commit(self) -> None:
        self.wants_commit = True

    def schedule(
        self,
        node: Node,
        interval_ms: int,
        callback: Callable[[int], object],
        *,
        by_wall_clock: bool = False,
        start_ms: int | None = None,
    ) -> Punctuation:
        """Raises TopologyError for an interval below 1 ms and a start before the epoch."""
        where = f"processor {node.name}"
        first = first_mark(
            interval_ms, self._now_ms(), start_ms, by_wall_clock=by_wall_clock, where=where
        )
        made = Punctuation(node, callback, interval_ms, first)
        (self._by_wall_clock if by_wall_clock else self._by_stream_time).add(made)
        self.punctuate_at = self._by_stream_time.next_ms
        return made

    def sensor(self, node: str, name: str) -> Sensor:
        found = self.sensors.get((node, name))
        if found is None:
            found = self.sensors[(node, name)] = Sensor(name)
        return found

    def acquire(self, resource: Resource) -> Any:
        return self.resources.acquire(resource)

    def release(self, resource: Resource) -> None:
        self.resources.release(resource)

    def call_async(
        self, node: AsyncNode, key: Any, value: Any, timestamp: int, headers: Headers
    ) -> None:
        self.stage.call(node, key, value, timestamp, headers)

    def hold(self, node: Node, key: Any, value: Any, timestamp: int, headers: Headers) -> None:
        self.stage.hold(node, key, value, timestamp, headers)

    def punctuate(self) -> None:
        if self.stream_time >= 0:
            self._by_stream_time.run(self.stream_time, self._punctuate)
        self.punctuate_at = self._by_stream_time.next_ms

    @property
    def wall_clock_due_ms(self) -> int:
        """When a punctuation by wall clock is due."""
        return self._by_wall_clock.next_ms

    def punctuate_by_wall_clock(self) -> bool:
        """Run the punctuations whose time has come; whether there were any."""
        return self._by_wall_clock.run(self._now_ms(), self._punctuate)

    def attempt_change(
        self, node: Node, key: Any, new: Any, old: Any, timestamp: int, headers: Headers
    ) -> None:
        mark = self.failures.mark()
        try:
            node.forward_change(key, new, old, timestamp, headers)
        except Exception as error:  # downstream of the cache is user code
            self.failures.on_call(error, mark)

    def advance_time(self, nodes: Iterable[Node], time: int) -> None:
        """Time goes on without a record: windows close, buffers let go, punctuations are due."""
        self.stream_time = max(self.stream_time, time)
        self.processor_times[TIME_NAME] = self.stream_time
        for node in nodes:
            self._call(node, node.advance_time, self.stream_time)
        self.punctuate()

    def _punctuate(self, due: Punctuation, now_ms: int) -> None:
        self._call(due.node, due.callback, now_ms)

    def _call(self, node: Node, callback: Callable[[int], object], now_ms: int) -> None:
        """Call outside of any record, at the time given."""
        before = (
            self.topic, self.partition, self.offset, self.timestamp, self.headers,
            self.raw_key, self.raw_value, self.current,
        )  # fmt: skip
        self.topic, self.partition, self.offset = "", -1, -1
        self.timestamp, self.headers = now_ms, ()
        self.set_raw(None, None)
        self.current = node
        mark = self.failures.mark()
        try:
            callback(now_ms)
        except Exception as error:  # the callback is user code
            self.failures.on_call(error, mark)
        (
            self.topic, self.partition, self.offset, self.timestamp, self.headers,
            raw_key, raw_value, self.current,
        ) = before  # fmt: skip
        self.set_raw(raw_key, raw_value)

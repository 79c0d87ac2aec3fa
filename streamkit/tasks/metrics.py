"""A worker's metrics under Kafka Streams' names, as they stand when somebody asks.

The groups are those of Kafka Streams' JMX beans behind the usual exporter:
`kafka_streams_stream_thread_metrics_process_rate{thread_id="..."}`. Latencies are milliseconds.
What is behind each number is counted elsewhere: in `meter`, in the tasks, stores and queues.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from streamkit.common.errors import StreamkitError
from streamkit.common.metrics import Family, Kind, Labels, Sample
from streamkit.common.model import TaskId
from streamkit.common.sampled import Sampled
from streamkit.state.builders import StoreBuilder
from streamkit.state.cache import CachedStore
from streamkit.tasks.meter import Meter, Timed
from streamkit.tasks.metered import Meters
from streamkit.tasks.standby import StandbyTask
from streamkit.tasks.task import StreamTask
from streamkit.topology.operators.suppress import SuppressNode
from streamkit.topology.operators.windowed import WindowedNode
from streamkit.topology.sensors import Sensor

CLIENT = "kafka_streams_stream_metrics_"
THREAD = "kafka_streams_stream_thread_metrics_"
TASK = "kafka_streams_stream_task_metrics_"
NODE = "kafka_streams_stream_processor_node_metrics_"
TOPIC = "kafka_streams_stream_topic_metrics_"
STORE = "kafka_streams_stream_state_metrics_"
UPDATER = "kafka_streams_stream_state_updater_metrics_"
CACHE = "kafka_streams_stream_record_cache_metrics_"
CONSUMER = "kafka_consumer_consumer_fetch_manager_metrics_"

ROCKSDB_PROPERTIES = {
    "estimate_num_keys": ("rocksdb.estimate-num-keys", "Keys, about."),
    "size_all_mem_tables": ("rocksdb.size-all-mem-tables", "Bytes of all memtables."),
    "block_cache_usage": ("rocksdb.block-cache-usage", "Bytes of the shared block cache."),
    "total_sst_files_size": ("rocksdb.total-sst-files-size", "Bytes of all SST files."),
    "live_sst_files_size": ("rocksdb.live-sst-files-size", "Bytes of the SST files in use."),
    "estimate_pending_compaction_bytes": (
        "rocksdb.estimate-pending-compaction-bytes", "Bytes that compaction has to rewrite.",
    ),
    "num_running_compactions": ("rocksdb.num-running-compactions", "Compactions under way."),
    "background_errors": ("rocksdb.background-errors", "Background errors so far."),
}  # fmt: skip


LAYERS = ("_table", "_rows", "_below", "_store")
LAYERS_MAX = 4
"""A cache lies below no more layers than these, under one of these names."""


class Page:
    """The families of one scrape, gathered sample by sample."""

    def __init__(self) -> None:
        self._families: dict[str, tuple[Kind, str, list[Sample]]] = {}

    def add(self, name: str, kind: Kind, text: str, labels: Labels, value: float) -> None:
        """One sample; one that is not a number is left out."""
        if not math.isnan(value):
            family = self._families.setdefault(name, (kind, text, []))
            family[2].append(Sample(labels, value))

    def gauge(self, name: str, text: str, labels: Labels, value: float) -> None:
        self.add(name, Kind.GAUGE, text, labels, value)

    def total(self, name: str, text: str, labels: Labels, value: float) -> None:
        self.add(name, Kind.COUNTER, text, labels, value)

    def latency(self, name: str, what: str, labels: Labels, each: Sampled, now_ms: float) -> None:
        """The average and the largest of the last minute."""
        self.gauge(f"{name}_avg", f"{what}, on average (ms).", labels, each.average(now_ms))
        self.gauge(f"{name}_max", f"{what}, at most (ms).", labels, each.maximum(now_ms))

    def timed(self, name: str, what: str, labels: Labels, timed: Timed, now_ms: float) -> None:
        """Rate, total and latency of a kind of work."""
        work = timed.work
        self.gauge(f"{name}_rate", f"{what} in a second.", labels, work.count_rate(now_ms))
        self.total(f"{name}_total", f"{what} so far.", labels, work.total_count)
        self.latency(f"{name}_latency", f"Time for one of: {what.lower()}", labels, timed.each,
                     now_ms)  # fmt: skip

    def families(self) -> list[Family]:
        return [Family(name, *rest) for name, rest in self._families.items()]


class Followers(Protocol):
    """The standbys of a worker."""

    @property
    def tasks(self) -> Mapping[TaskId, StandbyTask]: ...


class Processing(Protocol):
    """What is read of what processes: a worker's processing actor, or the test driver."""

    @property
    def tasks(self) -> Mapping[TaskId, StreamTask]: ...
    @property
    def standbys(self) -> Followers: ...
    @property
    def meters(self) -> Meters | None: ...
    @property
    def is_ended(self) -> bool: ...
    @property
    def restored_total(self) -> int: ...


class WorkerMetrics:
    """Reads everything off one worker's processing."""

    def __init__(self, processor: Processing, meter: Meter, thread_id: str) -> None:
        self._processor = processor
        self._meter = meter
        self._thread: Labels = (("thread_id", thread_id),)

    def collect(self) -> Iterable[Family]:
        """All families as they are now."""
        page, now_ms = Page(), self._meter.monotonic_ms()
        tasks = list(self._processor.tasks.values())
        standbys = list(self._processor.standbys.tasks.values())
        self._threads(page, now_ms)
        self._updater(page, tasks, standbys)
        for task in tasks:
            self._task(page, task, now_ms)
        for standby in standbys:
            self._followed(page, standby)
        for topic, traffic in list(self._meter.produced.items()):
            labels = (*self._thread, ("topic_name", topic))
            page.total(f"{TOPIC}records_produced_total", "Records.", labels, traffic.records)
            page.total(f"{TOPIC}bytes_produced_total", "Bytes.", labels, traffic.bytes)
        return page.families()

    def tick(self) -> None:
        """Look at the totals, so that their rates are those of the last minute."""
        self.collect()

    def _threads(self, page: Page, now_ms: float) -> None:
        meter, labels = self._meter, self._thread
        page.timed(f"{THREAD}process", "Records processed", labels, meter.process, now_ms)
        page.timed(f"{THREAD}commit", "Commits", labels, meter.commit, now_ms)
        page.timed(f"{THREAD}punctuate", "Punctuations", labels, meter.punctuate, now_ms)
        for name, timed in (("process", meter.process), ("commit", meter.commit),
                            ("punctuate", meter.punctuate)):  # fmt: skip
            share = timed.work.rate(now_ms) / 1000
            page.gauge(f"{THREAD}{name}_ratio", f"Share of time in {name}.", labels, share)
        page.total(f"{THREAD}task_created_total", "Tasks made.", labels, meter.tasks_created)
        page.total(f"{THREAD}task_closed_total", "Tasks closed.", labels, meter.tasks_closed)
        page.gauge(f"{THREAD}thread_start_time", "When it started.", labels, meter.started_ms)
        alive = 0 if self._processor.is_ended else 1
        page.gauge(f"{CLIENT}alive_stream_threads", "Threads that work.", (), alive)

    def _updater(
        self, page: Page, tasks: Sequence[StreamTask], standbys: Sequence[StandbyTask]
    ) -> None:
        labels = self._thread
        restoring = sum(bool(task.restores) and not task.is_running for task in tasks)
        page.gauge(f"{UPDATER}active_restoring_tasks", "Tasks restored.", labels, restoring)
        page.gauge(f"{UPDATER}standby_updating_tasks", "Standbys.", labels, len(standbys))
        total = self._processor.restored_total
        total += sum(task.restored for task in tasks) + sum(each.restored for each in standbys)
        rate = self._meter.rate("restored", total)
        page.gauge(f"{UPDATER}restore_records_rate", "Records in a second.", labels, rate)

    def _task(self, page: Page, task: StreamTask, now_ms: float) -> None:
        labels = (*self._thread, ("task_id", str(task.id)))
        meter = self._meter.tasks.get(task.id)
        if meter is not None:
            page.timed(f"{TASK}process", "Records processed", labels, meter.process, now_ms)
            busy = self._meter.process.work.rate(now_ms)
            share = meter.process.work.rate(now_ms) / busy if busy else 0.0
            text = "Share of the thread's processing that is this task's."
            page.gauge(f"{TASK}active_process_ratio", text, labels, share)
            self._latencies(page, task, meter.latency, now_ms)
            text = "How far behind stream time a record is"
            page.latency(f"{TASK}record_lateness", text, labels, meter.lateness, now_ms)
        dropped = task.context.dropped
        page.total(f"{TASK}dropped_records_total", "Records dropped.", labels, dropped)
        rate = self._meter.rate(("dropped", task.id), dropped)
        page.gauge(f"{TASK}dropped_records_rate", "Dropped in a second.", labels, rate)
        page.total(f"{TASK}restore_total", "Changelog records restored.", labels, task.restored)
        text = "Changelog offsets to go."
        page.gauge(f"{TASK}restore_remaining_records_total", text, labels, task.remaining)
        self._inputs(page, task)
        self._nodes(page, task)
        self._stores(page, task.id, task.subtopology.stores, task)

    def _latencies(self, page: Page, task: StreamTask, latency: Sampled, now_ms: float) -> None:
        for node in (*task.source_names(), *task.sink_names()):
            labels = (*self._thread, ("task_id", str(task.id)), ("processor_node_id", node))
            name = f"{NODE}record_e2e_latency"
            page.latency(name, "From a record's time to its processing", labels, latency, now_ms)
            text = "The same, at least (ms)."
            page.gauge(f"{name}_min", text, labels, latency.minimum(now_ms))

    def _inputs(self, page: Page, task: StreamTask) -> None:
        buffered = 0
        for queue in task.queues():
            tp = queue.tp
            topic = (*self._thread, ("task_id", str(task.id)), ("topic_name", tp.topic))
            node = (*topic, ("processor_node_id", queue.source.name))
            page.total(f"{TOPIC}records_consumed_total", "Records.", node, queue.consumed)
            page.total(f"{TOPIC}bytes_consumed_total", "Bytes.", node, queue.consumed_bytes)
            page.total(f"{NODE}process_total", "Records.", node[:2] + node[3:], queue.consumed)
            lag = max(queue.readable_end - queue.position, 0)
            labels = (*self._thread, ("topic", tp.topic), ("partition", str(tp.partition)))
            page.gauge(f"{CONSUMER}records_lag", "Offsets to the end.", labels, lag)
            buffered += queue.buffered
        labels = (*self._thread, ("task_id", str(task.id)))
        page.gauge(f"{TASK}active_buffer_count", "Records buffered.", labels, buffered)

    def _nodes(self, page: Page, task: StreamTask) -> None:
        meters = self._processor.meters
        counted = {} if meters is None else meters.nodes.get(task.id, {})
        for name, node in list(counted.items()):
            self._rated(page, f"{NODE}process", "Records", task.id, name, node.count)
        for (owner, name), sensor in list(task.context.sensors.items()):
            self._sensed(page, task.id, owner, name, sensor)
        for each in task.nodes():
            if isinstance(each, SuppressNode):
                text = "Changes let go"
                self._rated(page, f"{NODE}suppression_emit", text, task.id, each.name, each.emitted)
            elif isinstance(each, WindowedNode) and each.emits_on_close:
                text = "Final results"
                name = f"{NODE}emit_final_records"
                self._rated(page, name, text, task.id, each.name, each.emitted)

    def _sensed(self, page: Page, task_id: TaskId, node: str, name: str, sensor: Sensor) -> None:
        """What a processor counts by itself."""
        full = NODE + name
        self._rated(page, full, f"{name} of a processor", task_id, node, sensor.count)
        count = self._meter.rate((full, "measured", task_id, node), sensor.measured)
        total = self._meter.rate((full, "values", task_id, node), sensor.total)
        if count > 0:
            labels = (*self._thread, ("task_id", str(task_id)), ("processor_node_id", node))
            page.gauge(f"{full}_avg", f"{name} of a processor, on average.", labels, total / count)

    def _rated(
        self, page: Page, name: str, text: str, task_id: TaskId, node: str, total: float
    ) -> None:
        labels = (*self._thread, ("task_id", str(task_id)), ("processor_node_id", node))
        page.total(f"{name}_total", f"{text}.", labels, total)
        rate = self._meter.rate((name, task_id, node), total)
        page.gauge(f"{name}_rate", f"{text} in a second.", labels, rate)

    def _followed(self, page: Page, standby: StandbyTask) -> None:
        labels = (*self._thread, ("task_id", str(standby.id)))
        restored = standby.restored
        page.total(f"{TASK}update_total", "Changelog records followed.", labels, restored)
        rate = self._meter.rate(("update", standby.id), restored)
        page.gauge(f"{TASK}update_rate", "Followed in a second.", labels, rate)
        text = "Changelog offsets that it is behind."
        page.gauge(f"{TASK}update_remaining_records_total", text, labels, standby.lag)
        self._stores(page, standby.id, standby.subtopology.stores, standby)

    def _stores(
        self,
        page: Page,
        task_id: TaskId,
        builders: Sequence[StoreBuilder],
        task: StreamTask | StandbyTask,
    ) -> None:
        for builder in builders:
            kind = "rocksdb_state_id" if builder.persistent else "in_memory_state_id"
            labels = (*self._thread, ("task_id", str(task_id)), (kind, builder.name))
            store = task.context.stores.get(builder.name) if isinstance(task, StreamTask) else None
            metered = self._metered(page, task_id, builder, labels)
            self._held(page, (task_id, builder.name), store, labels)
            for name in () if metered else ("get", "put"):
                total = getattr(store, f"{name}_count", None)
                if total is not None:
                    rate = self._meter.rate((name, task_id, builder.name), total)
                    page.gauge(f"{STORE}{name}_rate", f"Calls of {name} in a second.", labels, rate)
            for name, value in _properties(task, builder):
                page.gauge(f"{STORE}{name}", ROCKSDB_PROPERTIES[name][1], labels, value)

    def _metered(self, page: Page, task_id: TaskId, builder: StoreBuilder, labels: Labels) -> bool:
        """Rates and latencies of a store's operations; False at the level INFO."""
        meters = self._processor.meters
        found = None if meters is None else meters.stores.get(task_id, {}).get(builder.name)
        if found is None:
            return False
        now_ms = self._meter.monotonic_ms()
        for name, timed in list(found.operations.items()):
            rate = timed.work.count_rate(now_ms)
            page.gauge(f"{STORE}{name}_rate", f"Calls of {name} in a second.", labels, rate)
            page.latency(f"{STORE}{name}_latency", f"Time for {name}", labels, timed.each, now_ms)
        text = "Iterators that are not at their end."
        page.gauge(f"{STORE}num_open_iterators", text, labels, found.open_iterators)
        text = "Time from opening an iterator to its end"
        page.latency(f"{STORE}iterator_duration", text, labels, found.iterators.each, now_ms)
        return True

    def _held(self, page: Page, key: tuple[TaskId, str], store: object, labels: Labels) -> None:
        """What buffers hold, and how often a cache has what is asked for."""
        now_ms = self._meter.monotonic_ms()
        records, size = getattr(store, "records", None), getattr(store, "size_bytes", None)
        if records is not None and size is not None:
            name = f"{STORE}suppression_buffer"
            for what, value in (("count", records), ("size", size)):
                each = self._meter.sampled((what, *key), value)
                page.gauge(f"{name}_{what}_avg", "On average.", labels, each.average(now_ms))
                page.gauge(f"{name}_{what}_max", "At most.", labels, each.maximum(now_ms))
        cache = _cache_of(store)
        if cache is not None:
            gets = self._meter.rate(("cache gets", *key), cache.get_count)
            misses = self._meter.rate(("cache misses", *key), cache.miss_count)
            if gets > 0:
                cached = (*labels[:2], ("record_cache_id", key[1]))
                text = "Share of look-ups that the record cache answered."
                page.gauge(f"{CACHE}hit_ratio_avg", text, cached, max(1 - misses / gets, 0.0))


def _cache_of(store: object) -> CachedStore | None:
    """The cache of a store, if it has one."""
    seen = store
    for _ in range(LAYERS_MAX):
        if seen is None or isinstance(seen, CachedStore):
            return seen
        seen = next(
            (found for name in LAYERS if (found := getattr(seen, name, None)) is not None), None
        )
    return None


def _properties(task: StreamTask | StandbyTask, builder: StoreBuilder) -> Iterator[tuple[str, int]]:
    state = task.state
    if state is None or not builder.persistent:
        return
    try:
        for name, (prop, _) in ROCKSDB_PROPERTIES.items():
            value = state.disk_property(builder.name, prop)
            if value is not None:
                yield name, value
    except (StreamkitError, KeyError):
        # The task is just closed by its thread.
        return

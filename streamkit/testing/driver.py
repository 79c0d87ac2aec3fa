"""A topology without a broker: `TopologyTestDriver`, over the production tasks.

    with app.test() as t:
        t.pipe("lines", None, "to be or not to be", at=5)
        assert [r.value for r in t.read("counts")] == [1, 1, 1, 1, 2, 2]

Synchronous, with a commit after each record. Records that one sub-topology writes for another, or
for itself, come back at once; of those that wait, the one with the lowest time goes first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from streamkit.client.decode import Fetched, decode_fetched
from streamkit.common.direct import as_bytes
from streamkit.common.errors import FatalError, SerializationError, TopologyError
from streamkit.common.metrics import Sample
from streamkit.common.model import Headers, Record, TaskId, TopicPartition
from streamkit.common.partitioner import partition_for
from streamkit.common.time_order import TimeOrder
from streamkit.records import encode, scan
from streamkit.serdes import Serde
from streamkit.serdes.serde import for_keys, serialize_with_headers
from streamkit.state.backend import Backend, MemoryBackend
from streamkit.state.cache import CacheBudget, CachedStore, TimestampedStore
from streamkit.state.plain import PlainStore
from streamkit.state.restore import ChangelogBounds
from streamkit.tasks.collector import Collector, TopicWriter
from streamkit.tasks.global_state import GlobalState, global_policies
from streamkit.tasks.messages import StartPosition, TaskPrepared
from streamkit.tasks.metered import Meters
from streamkit.tasks.savepoint import Savepoint
from streamkit.tasks.settings import StreamsSettings
from streamkit.tasks.state_directory import StateDirectory
from streamkit.tasks.task import StreamTask, TaskEnvironment
from streamkit.testing.disk import MemoryDisk
from streamkit.testing.metrics import DriverMetrics
from streamkit.testing.patterns import patterns_of, with_pattern_topics
from streamkit.topology.dsl.topic import Topic
from streamkit.topology.operators.node import SinkNode
from streamkit.topology.plan import Topology

GivenHeaders = Mapping[str, bytes | None] | Sequence[tuple[str, bytes | None]]
"""Headers as a test may give them."""

_TOPIC_ID = UUID(int=77)
_MINUTE_MS = 60_000

CALL_TIMEOUT_S = 60.0
"""How long an async call of a processor may take."""


@dataclass(frozen=True, slots=True)
class Written:
    """One record as it was written, changelogs and repartition topics included."""

    tp: TopicPartition
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Headers


class TopologyTestDriver:
    """See the module. `partitions` is the count of every topic, `now_ms` the wall clock's start.

    `config` wins over the app's own, under the driver's default of no cache.
    """

    def __init__(
        self,
        topology: Topology,
        config: Mapping[str, object] | None = None,
        *,
        partitions: int = 1,
        now_ms: int = 0,
        open_database: Callable[[str, list[str]], Backend] | None = None,
    ) -> None:
        if partitions < 1:
            raise TopologyError(f"partitions={partitions}: a topic has at least one")
        given = {"statestore.cache.max.bytes": 0, **(config or {})}
        settings = StreamsSettings.from_mapping(
            {**given, "application.id": topology.application_id}
        )
        self.written: list[Written] = []
        self._now_ms = now_ms
        self._patterns = patterns_of(topology)
        meters = None
        if settings.metrics_recording_level != "INFO":
            meters = Meters(lambda: float(self._now_ms))
        self._metrics = DriverMetrics(topology.application_id, lambda: self._now_ms, meters)
        self._partitions = partitions
        self._collector = RecordingCollector(self)
        policies = settings.policies(topology.policies)
        self._globals = GlobalState(
            topology.application_id,
            topology.globals,
            MemoryBackend,
            lambda: self._now_ms,
            global_policies(
                policies,
                handles_processing=settings.processing_exception_handler_global_enabled,
            ),
            settings.to_mapping(),
        )
        budget = CacheBudget(settings.statestore_cache_max_bytes)
        savepoint = Savepoint(self._collector, budget) if policies.needs_savepoint else None
        self._environment = TaskEnvironment(
            topology.application_id,
            StateDirectory(MemoryDisk(), "/state", topology.application_id),
            open_database or (lambda path, families: MemoryBackend(families)),
            self._collector,
            budget,
            lambda: self._now_ms,
            0,
            1000,
            lambda topic: self._partitions,
            policies=policies,
            savepoint=savepoint,
            global_stores=self._globals.stores,
            time_idle_ms=settings.stream_time_idle_ms,
            time_step_ms=0,
            meters=meters,
            tracing=settings.tracing(),
            configs=settings.to_mapping(),
        )
        self._waiting: dict[TopicPartition, deque[Written]] = {}
        self._order = TimeOrder[TopicPartition](lambda tp: self._waiting[tp][0].timestamp)
        self._offsets: dict[TopicPartition, int] = {}
        self._seen = 0
        self._read: dict[str, int] = {}
        self.tasks = self._start_tasks(topology)
        self._metrics.begin({task.id: task for task in self.tasks})
        self._owners = {tp: task for task in self.tasks for tp in task.partitions()}
        self._settle()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the tasks and forget their state."""
        for task in self.tasks:
            task.close()
        self._environment.resources.loop.close()
        self._globals.close()

    @property
    def now_ms(self) -> int:
        """The wall clock: where it began, and what `advance` added."""
        return self._now_ms

    def pipe(
        self,
        topic: Topic[Any, Any] | str,
        key: Any,
        value: Any,
        *,
        at: datetime | int | None = None,
        headers: GivenHeaders = (),
        partition: int | None = None,
    ) -> None:
        """Process one record and all that follows from it.

        `at` is a time, or milliseconds since the epoch, else the wall clock; `headers` are pairs of
        a name and bytes or None, or a dict of them. Raises TopologyError when nothing reads the
        topic, TypeError for what is no time or header, FatalError when user code fails.
        """
        told = _headers_of(headers)
        self._is_read(str(topic))
        sides = _said(topic) if isinstance(topic, Topic) else self._read_with(topic)
        key_bytes, told = _to_bytes(sides[0], str(topic), key, told, "key")
        value_bytes, told = _to_bytes(sides[1], str(topic), value, told, "value")
        self.pipe_bytes(
            str(topic),
            key_bytes,
            value_bytes,
            at=at,
            headers=told,
            partition=partition,
        )

    def pipe_bytes(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        at: datetime | int | None = None,
        headers: GivenHeaders = (),
        partition: int | None = None,
    ) -> None:
        """Like `pipe`, with keys and values that are bytes already."""
        if partition is None:
            partition = 0 if key is None else partition_for(key, self._partitions)
        tp = TopicPartition(topic, partition)
        if not self._is_read(topic) or (tp not in self._owners and not self._is_global(topic)):
            raise TopologyError(f"no source of the topology reads {topic}, partition {partition}")
        time = self._now_ms if at is None else _time_of(at)
        self._enqueue(Written(tp, key, value, time, _headers_of(headers)))
        self._settle()

    def advance(self, *, minutes: float = 0, seconds: float = 0, ms: int = 0) -> None:
        """Move the wall clock; it never moves by itself."""
        self._now_ms += round(minutes * _MINUTE_MS + seconds * 1000) + ms
        for task in self.tasks:
            self._run(task)
            if task.punctuate():
                self._metrics.punctuated()
                self._commit(task)
        self._settle()

    def read(self, topic: Topic[Any, Any] | str) -> list[Record[Any, Any]]:
        """The records written to a topic since it was read last.

        Read with the topic's types, else with those of the first sink that writes to it.
        """
        name = str(topic)
        records = [record for record in self.written if record.tp.topic == name]
        start = self._read.get(name, 0)
        self._read[name] = len(records)
        key, value = _said(topic) if isinstance(topic, Topic) else self.written_with(name)
        return [
            Record(
                _to_object(key, name, record.key, record.headers, "key"),
                _to_object(value, name, record.value, record.headers, "value"),
                record.timestamp,
                record.headers,
            )
            for record in records[start:]
        ]

    def store(self, name: str, partition: int = 0) -> Any:
        """A store by name, to look into: a table's gives the values without their times.

        Raises TopologyError when there is none.
        """
        for task in self.tasks:
            if name in task.context.interfaces and task.id.partition == partition:
                return task.context.interfaces[name]
        found = self.state_store(name, partition)
        if isinstance(found, TimestampedStore | CachedStore):
            return PlainStore[Any, Any](found, self.tasks[0].context)
        return found

    def state_store(self, name: str, partition: int = 0) -> Any:
        """A store as operators see it, of one partition. Raises TopologyError."""
        if name in self._globals.stores:
            return self._globals.stores[name]
        for task in self.tasks:
            if name in task.context.stores and task.id.partition == partition:
                return task.context.stores[name]
        known = self.store_names
        raise TopologyError(f"there is no store {name!r}; there are {', '.join(known) or 'none'}")

    @property
    def store_names(self) -> list[str]:
        """The names of all stores, those of global tables included."""
        of_tasks = {store for task in self.tasks for store in task.context.stores}
        return sorted(of_tasks | self._globals.stores.keys())

    @property
    def dropped(self) -> int:
        """How many records were dropped."""
        return sum(task.context.dropped for task in self.tasks) + self._globals.dropped

    def metrics(self) -> dict[str, list[Sample]]:
        """The metrics of a worker by name, as they stand; their times are of the wall clock.

        `t.metrics()["kafka_streams_stream_task_metrics_process_total"]` has a sample, labels and
        value, for each task. Of stores and operators with `metrics.recording.level` DEBUG.
        """
        return self._metrics.samples()

    def written_with(self, topic: str) -> tuple[Serde[Any] | None, Serde[Any] | None]:
        """The serdes of the first sink that names the topic, else of one with a topic function."""
        sinks = [node for task in self.tasks for node in task.nodes() if isinstance(node, SinkNode)]
        fitting = [s for s in sinks if s.topic == topic] or [s for s in sinks if not s.topic]
        return (fitting[0].key_serde, fitting[0].value_serde) if fitting else (None, None)

    def on_written(self, record: Written) -> None:
        """The collector's sink."""
        self.written.append(record)
        size = len(record.key or b"") + len(record.value or b"")
        self._metrics.meter.sent(record.tp.topic, 1, size)

    def _start_tasks(self, topology: Topology) -> list[StreamTask]:
        tasks = [
            StreamTask(TaskId(part.id, number), with_pattern_topics(part), self._environment)
            for part in topology.subtopologies
            for number in range(self._partitions)
        ]
        for task in tasks:
            task.context.emit_interval_ms = 0
            request = task.try_prepare()
            assert request is not None, "nobody else has the folder"
            task.on_prepared(
                TaskPrepared(
                    task.id,
                    {tp: StartPosition(0, 0) for tp in request.inputs},
                    {tp: ChangelogBounds(_TOPIC_ID, 0, 0) for tp in request.changelogs},
                    dict.fromkeys(request.topics, self._partitions),
                )
            )
            task.start()
        return tasks

    def _read_with(self, topic: str) -> tuple[Serde[Any] | None, Serde[Any] | None]:
        readers = [task.source(topic) for task in self.tasks]
        for source in (*readers, self._globals.source(topic)):
            if source is not None:
                return source.key_serde, source.value_serde
        raise TopologyError(f"no source of the topology reads {topic}")

    def _is_global(self, topic: str) -> bool:
        return self._globals.source(topic) is not None

    def _is_read(self, topic: str) -> bool:
        """Whether anybody reads a topic; one that matches a source's pattern is read from now."""
        if TopicPartition(topic, 0) not in self._owners and not self._is_global(topic):
            self._owners.update(self._patterns.join(topic, self.tasks))
        return TopicPartition(topic, 0) in self._owners or self._is_global(topic)

    def _enqueue(self, record: Written) -> None:
        if self._is_global(record.tp.topic):
            self._fill_global(record)
            return
        queue = self._waiting.setdefault(record.tp, deque())
        queue.append(record)
        if len(queue) == 1:
            self._order.add(record.tp)

    def _settle(self) -> None:
        """Process until nothing waits."""
        self._collect()
        while True:
            tp = self._order.pop()
            if tp is None:
                return
            record = self._waiting[tp].popleft()
            if self._waiting[tp]:
                self._order.add(tp)
            self._process(record)
            self._collect()

    def _process(self, record: Written) -> None:
        task = self._owners[record.tp]
        offset = self._offsets.get(record.tp, 0)
        self._offsets[record.tp] = offset + 1
        task.add(_fetched(record, offset))
        self._run(task)

    def _run(self, task: StreamTask) -> None:
        """Process what the task has; nothing while a failed record waits for its next attempt."""
        while True:
            if done := task.process(1, self._now_ms):
                self._metrics.processed(task, done)
                self._commit(task)
                self._collect()
            elif not self._wait_for_calls(task):
                return

    def _wait_for_calls(self, task: StreamTask) -> bool:
        """Wait for an async call that is under way; False when there is none."""
        loop = self._environment.resources.loop
        if not task.has_pending_calls or not loop.under_way:
            return False
        under_way = loop.under_way
        loop.wait(CALL_TIMEOUT_S)
        if loop.under_way >= under_way:
            raise FatalError(
                f"task {task.id}: an async call has not ended within {CALL_TIMEOUT_S:.0f} s"
            )
        return True

    def _commit(self, task: StreamTask) -> None:
        task.flush()
        offsets = task.offsets_to_commit()
        task.on_committed(offsets, {})
        self._metrics.committed()

    def _fill_global(self, record: Written) -> None:
        """Global tables take a record at once."""
        offset = self._offsets.get(record.tp, 0)
        self._offsets[record.tp] = offset + 1
        fetched = _fetched(record, offset)
        for batch in decode_fetched(fetched, 0):
            self._globals.process(record.tp, batch, 0, len(batch.offsets))

    def _collect(self) -> None:
        """Give back to the tasks what they wrote for each other."""
        while self._seen < len(self.written):
            record = self.written[self._seen]
            self._seen += 1
            if self._is_read(record.tp.topic):
                self._enqueue(record)


class RecordingCollector(Collector):
    """A collector that keeps the order of all that is written."""

    def __init__(self, driver: TopologyTestDriver) -> None:
        super().__init__(0, 0, lambda count: 0)
        self.driver = driver
        self.recorders: dict[str, TopicWriter] = {}

    def writer(self, topic: str) -> TopicWriter:
        found = self.recorders.get(topic)
        if found is None:
            found = self.recorders[topic] = RecordingWriter(self, topic)
        return found


class RecordingWriter(TopicWriter):
    """Hands each record to the driver."""

    def __init__(self, collector: RecordingCollector, topic: str) -> None:
        super().__init__(collector, topic)
        self.driver = collector.driver

    def add(
        self,
        key: bytes | str | None,
        value: bytes | str | None,
        timestamp: int,
        headers: Headers,
        partition: int,
        /,
    ) -> None:
        if partition < 0:
            partition = 0 if key is None else partition_for(key, self.count)
        tp = TopicPartition(self.topic, partition)
        written = Written(tp, as_bytes(key), as_bytes(value), timestamp, headers)
        self.driver.on_written(written)


def _time_of(at: object) -> int:
    """A record's time, in milliseconds."""
    if isinstance(at, datetime):
        return round(at.timestamp() * 1000)
    if isinstance(at, int):
        return at
    raise TypeError(f"at={at!r}: give milliseconds since the epoch, an int, or a datetime")


def _headers_of(given: GivenHeaders) -> Headers:
    """Headers as records have them."""
    pairs = given.items() if isinstance(given, Mapping) else given
    return tuple(_header_of(pair) for pair in pairs)


def _header_of(pair: object) -> tuple[str, bytes | None]:
    match pair:
        case (str() as name, bytes() | None as value):
            return name, value
    raise TypeError(
        f"headers: {pair!r} is no header: give pairs of a name, a str, and a value, bytes or None"
    )


def _fetched(record: Written, offset: int) -> Fetched:
    row = (record.key, record.value, record.timestamp, record.headers)
    data = encode([row], base_offset=offset)
    after = offset + 1
    return Fetched(record.tp, data, tuple(scan(data)), offset, after, after, after, 0)


def _said(topic: Topic[Any, Any]) -> tuple[Serde[Any] | None, Serde[Any] | None]:
    key = topic.key_side.serde
    return None if key is None else for_keys(key), topic.value_side.serde


def _to_bytes(
    serde: Serde[Any] | None, topic: str, value: Any, headers: Headers, what: str
) -> tuple[bytes | None, Headers]:
    if value is None:
        return None, headers
    return serialize_with_headers(_known(serde, topic, what), topic, value, headers)


def _to_object(
    serde: Serde[Any] | None, topic: str, data: bytes | None, headers: Headers, what: str
) -> Any:
    if data is None:
        return None
    return _known(serde, topic, what).deserialize(topic, data, headers)


def _known(serde: Serde[Any] | None, topic: str, what: str) -> Serde[Any]:
    if serde is None:
        raise SerializationError(f"topic {topic}: the type of its {what} is unknown; give a Topic")
    return serde

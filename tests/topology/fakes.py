"""A task without a worker: fakes of context, stores and writers, for linked topologies.

Records that one sub-topology writes for another wait in queues; the queue whose first record is
the oldest goes on, as in Kafka Streams' test driver.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from streamkit.app import App
from streamkit.common.model import Headers, TaskId
from streamkit.state.builders import StoreKind
from streamkit.topology.operators.node import ProcessorContext
from streamkit.topology.plan import LinkedTopology, Subtopology

Written = tuple[str, bytes | None, bytes | None, int, Headers]


@dataclass
class Batch:
    """What `SourceNode.run` reads of a decoded batch."""

    keys: list[bytes | None]
    values: list[bytes | None]
    timestamps: list[int]
    offsets: list[int]
    headers: list[Headers]


class FakeStore(dict[Any, Any]):
    """A plain key-value store: a dict."""


class FakeTable:
    """A timestamped key-value store; with `cached` it holds changes back until `flush`."""

    def __init__(self, cached: bool = False) -> None:
        self.rows: dict[Any, tuple[Any, int]] = {}
        self.cached = cached
        self.dirty: dict[Any, tuple[Any, Any, int, Headers]] = {}
        self.listener: Any = None

    def get(self, key: Any) -> tuple[Any, int] | None:
        return self.rows.get(key)

    def put(self, key: Any, value: Any, timestamp: int, headers: Headers = ()) -> None:
        row = self.rows.get(key)
        old = self.dirty[key][1] if key in self.dirty else (None if row is None else row[0])
        self.dirty[key] = (value, old, timestamp, headers)
        if value is None:
            self.rows.pop(key, None)
        else:
            self.rows[key] = (value, timestamp)

    def set_flush_listener(self, listener: Any, sends_old_values: bool) -> bool:
        self.listener = listener
        return self.cached

    def flush(self) -> None:
        dirty, self.dirty = self.dirty, {}
        for key, (new, old, timestamp, headers) in dirty.items():
            if self.cached:
                self.listener(key, new, old, timestamp, headers)


@dataclass
class Writer:
    """Appends to the list of all that was written."""

    topic: str
    written: list[Written]
    partitions: list[int]

    def append(
        self,
        key: bytes | None,
        value: bytes | None,
        timestamp: int,
        headers: Headers,
        partition: int = -1,
    ) -> None:
        self.written.append((self.topic, key, value, timestamp, headers))
        self.partitions.append(partition)


class FakeContext(ProcessorContext):
    """A task's context over fakes."""

    def __init__(self, part: Subtopology, task: FakeTask) -> None:
        super().__init__("shop", TaskId(part.id, 3))
        self.task = task
        self.drops: list[str] = []
        self.stores: dict[str, Any] = {
            store.name: FakeTable(task.cached)
            if store.kind is StoreKind.TIMESTAMPED_KEY_VALUE
            else FakeStore()
            for store in part.stores
        }

    def store(self, name: str) -> Any:
        return self.stores[name]

    def sink(self, topic: str) -> Any:
        return Writer(topic, self.task.written, self.task.partitions)

    def partition_count(self, topic: str) -> int:
        return 7

    def drop(self, reason: str) -> None:
        self.drops.append(reason)

    def wall_time_ms(self) -> int:
        return 1234


@dataclass
class FakeTask:
    """All sub-topologies of an app, linked; what one writes for another is piped on."""

    app: App
    cached: bool = False
    written: list[Written] = field(default_factory=list)
    partitions: list[int] = field(default_factory=list)
    offset: int = 40

    def __post_init__(self) -> None:
        self.links: list[LinkedTopology] = []
        self.contexts: list[FakeContext] = []
        for part in self.app.topology.subtopologies:
            context = FakeContext(part, self)
            self.contexts.append(context)
            self.links.append(part.link(context))
            self.links[-1].init()

    def pipe(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        at: int = 77,
        headers: Headers = (),
    ) -> None:
        """One record, and all that follows from it through repartition topics."""
        queues: dict[str, deque[Written]] = {topic: deque([(topic, key, value, at, headers)])}
        while queues:
            head = min(queues, key=lambda name: queues[name][0][3])
            seen = len(self.written)
            self._process(*queues[head].popleft())
            queues = {name: queue for name, queue in queues.items() if queue}
            for record in self.written[seen:]:
                if any(record[0] in link.sources for link in self.links):
                    queues.setdefault(record[0], deque()).append(record)

    def _process(
        self, topic: str, key: bytes | None, value: bytes | None, at: int, headers: Headers
    ) -> None:
        self.offset += 1
        batch = Batch([key], [value], [at], [self.offset], [headers])
        for link in self.links:
            if topic in link.sources:
                link.sources[topic].run(batch, 0, 1)

    def read(self, topic: str) -> list[tuple[bytes | None, bytes | None, int]]:
        """What was written to a topic, without headers."""
        return [(key, value, at) for name, key, value, at, _ in self.written if name == topic]

    def store(self, name: str) -> Any:
        """A store by name."""
        return next(c.stores[name] for c in self.contexts if name in c.stores)

    @property
    def drops(self) -> list[str]:
        """Why records were dropped."""
        return [reason for context in self.contexts for reason in context.drops]

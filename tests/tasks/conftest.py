"""A cluster in a dictionary, for stepping a processor without threads or sockets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid5

import pytest

from streamkit.client.decode import Fetched
from streamkit.common.files import SystemDisk
from streamkit.common.model import TaskId, TopicPartition
from streamkit.records import BatchBuilder, decode, encode, scan
from streamkit.serdes import long, string
from streamkit.state.backend import MemoryBackend
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.state.cache import CacheBudget
from streamkit.state.restore import ChangelogBounds
from streamkit.tasks import messages as m
from streamkit.tasks.collector import Collector
from streamkit.tasks.listeners import Listeners
from streamkit.tasks.mailbox import Inbox, Outbox
from streamkit.tasks.offset_metadata import decode_metadata
from streamkit.tasks.processor import Processor, ProcessorSettings
from streamkit.tasks.state_directory import StateDirectory
from streamkit.tasks.task import TaskEnvironment
from streamkit.topology.operators.node import (
    CountNode,
    SinkNode,
    SourceNode,
    ToStreamNode,
)
from streamkit.topology.operators.stateless import FlatMapValuesNode, SelectKeyNode
from streamkit.topology.plan import InternalTopicSpec, NodeKind, NodeSpec, Subtopology, Topology

APP = "wc"
PRODUCER_ID = 9_004
REPARTITION = "wc-counts-repartition"
CHANGELOG = "wc-counts-changelog"


def word_count() -> Topology:
    """lines -> words -> counts -> output, in two sub-topologies."""
    split = Subtopology(
        id=0,
        nodes=(
            NodeSpec(
                "lines", NodeKind.SOURCE, (),
                lambda topic: SourceNode("lines", topic, string, string), topics=("lines",),
            ),
            NodeSpec(
                "split", NodeKind.PROCESSOR, ("lines",),
                lambda _: FlatMapValuesNode("split", str.split),
            ),
            NodeSpec(
                "key", NodeKind.PROCESSOR, ("split",),
                lambda _: SelectKeyNode("key", lambda _, word: word),
            ),
            NodeSpec(
                "repartition", NodeKind.SINK, ("key",),
                lambda _: SinkNode("repartition", REPARTITION, string, string),
                topics=(REPARTITION,),
            ),
        ),
        source_topics=("lines",),
        repartition_sinks=(REPARTITION,),
    )  # fmt: skip
    count = Subtopology(
        id=1,
        nodes=(
            NodeSpec(
                "words", NodeKind.SOURCE, (),
                lambda topic: SourceNode("words", topic, string, string), topics=(REPARTITION,),
            ),
            NodeSpec(
                "count", NodeKind.PROCESSOR, ("words",),
                lambda _: CountNode("count", "counts"),
            ),
            NodeSpec("stream", NodeKind.PROCESSOR, ("count",), lambda _: ToStreamNode("stream")),
            NodeSpec(
                "output", NodeKind.SINK, ("stream",),
                lambda _: SinkNode("output", "output", string, long), topics=("output",),
            ),
        ),
        repartition_sources=(InternalTopicSpec(REPARTITION),),
        changelogs=(InternalTopicSpec(CHANGELOG),),
        stores=(
            StoreBuilder(
                "counts", StoreKind.TIMESTAMPED_KEY_VALUE, string, long, caching_enabled=True
            ),
        ),
    )  # fmt: skip
    return Topology(APP, (split, count))


class FakeCluster:
    """Logs of batches, committed offsets, and the answers to a processor's commands."""

    def __init__(self, partitions: int = 1) -> None:
        self.partitions = partitions
        self.logs: dict[TopicPartition, list[bytes]] = {}
        self.ends: dict[TopicPartition, int] = {}
        self.starts: dict[TopicPartition, int] = {}
        self.committed: dict[TopicPartition, tuple[int, str]] = {}
        self.generation = 0
        self.open: dict[TopicPartition, list[bytes]] = {}
        self.aborted: set[tuple[TopicPartition, bytes]] = set()

    def topic_id(self, topic: str) -> UUID:
        return uuid5(UUID(int=77), f"{topic}{self.generation}")

    def append(self, tp: TopicPartition, data: bytes, count: int) -> int:
        self.logs.setdefault(tp, []).append(data)
        self.ends[tp] = self.ends.get(tp, 0) + count
        return self.ends[tp]

    def produce(self, topic: str, partition: int, *records: tuple) -> None:
        tp = TopicPartition(topic, partition)
        data = encode(
            [(key, value, timestamp, ()) for key, value, timestamp in records],
            base_offset=self.ends.get(tp, 0),
        )
        self.append(tp, data, len(records))

    def write(self, tp: TopicPartition, batch: BatchBuilder, *, transactional: bool) -> int:
        base = self.ends.get(tp, 0)
        producer_id = PRODUCER_ID if transactional else -1
        data = batch.build(
            base_offset=base, producer_id=producer_id, producer_epoch=3, base_sequence=base,
            transactional=transactional,
        )  # fmt: skip
        if transactional:
            self.open.setdefault(tp, []).append(data)
        return self.append(tp, data, batch.count)

    def end_transaction(self, *, committed: bool) -> None:
        if not committed:
            self.aborted.update((tp, data) for tp, batches in self.open.items() for data in batches)
        self.open.clear()

    def fetch(self, tp: TopicPartition, position: int) -> Fetched | None:
        for data in self.logs.get(tp, []):
            headers = tuple(scan(data))
            if data in self.open.get(tp, ()):
                return None
            if headers[-1].last_offset >= position:
                aborted = (tp, data) in self.aborted
                return Fetched(
                    tp, data, headers, position, headers[-1].last_offset + 1,
                    self.ends[tp], self.stable_end(tp), 0,
                    ((PRODUCER_ID, headers[0].base_offset),) if aborted else (),
                )  # fmt: skip
        return None

    def stable_end(self, tp: TopicPartition) -> int:
        batches = self.open.get(tp)
        return scan(batches[0])[0].base_offset if batches else self.ends.get(tp, 0)

    def records(self, topic: str) -> list[tuple[bytes | None, bytes | None, int]]:
        found = []
        for tp in sorted(self.logs):
            if tp.topic == topic:
                for data in self.logs[tp]:
                    if (tp, data) in self.aborted or data in self.open.get(tp, ()):
                        continue
                    batch = decode(data, scan(data)[0])
                    found += list(zip(batch.keys, batch.values, batch.timestamps, strict=True))
        return found

    def table(self, topic: str) -> dict[str, int]:
        return {
            key.decode(): int.from_bytes(value, "big")
            for key, value, _ in self.records(topic)
            if key is not None and value is not None
        }


class Worker:
    """A processor joined to a fake cluster; `step` runs both once."""

    def __init__(self, cluster: FakeCluster, path: str, **options: Any) -> None:
        self.cluster = cluster
        self.now = 1_000.0
        self.inbox: Inbox[m.Event] = Inbox()
        self.outbox: Outbox[m.Command] = Outbox()
        self.said: list[m.Command] = []
        self.held: set[type] = set()
        self.waiting: list[m.Command] = []
        self.fetching: dict[TopicPartition, int] = {}
        self.paused: set[TopicPartition] = set()
        self.databases: dict[str, MemoryBackend] = {}
        self.transactional = bool(options.get("transactional"))
        self.refuse: list[Exception] = []
        """What the next batches sent come to."""
        directory = StateDirectory(SystemDisk(), path, APP)
        environment = TaskEnvironment(
            APP,
            directory,
            self.open_database,
            Collector(10_000, 0, lambda count: count - 1),
            CacheBudget(options.get("cache", 1 << 20)),
            lambda: int(self.now),
            options.get("idle_ms", 0),
            options.get("buffered", 1000),
            lambda topic: cluster.partitions,
            reads_committed=self.transactional,
            listeners=options.get("listeners", Listeners()),
            time_idle_ms=options.get("time_idle_ms", -1),
            meters=options.get("meters"),
        )
        settings = ProcessorSettings(
            options.get("commit_ms", 100), 5, 1 << 20, options.get("uncommitted", 1 << 26),
            is_transactional=self.transactional,
        )  # fmt: skip
        self.processor = Processor(
            options.get("topology") or word_count(),
            environment,
            settings,
            self.inbox,
            self.outbox,
            lambda: self.now,
        )

    def open_database(self, path: str, families: list[str]) -> MemoryBackend:
        return self.databases.setdefault(path, MemoryBackend(families))

    def assign(self, *tasks: str, standby: tuple[str, ...] = ()) -> None:
        target = frozenset(TaskId.parse(task) for task in tasks)
        revoke = frozenset(self.processor.tasks) - target
        others = frozenset(TaskId.parse(task) for task in standby)
        self.inbox.put(m.Assigned(revoke, target, others))

    def step(self, ms: float = 1.0) -> None:
        self.now += ms
        self.processor.step(self.inbox.take_all(), self.now)
        commands = [*self.waiting, *self.outbox.take_all()]
        self.waiting = []
        for command in commands:
            if type(command) in self.held:
                self.waiting.append(command)
            else:
                self.said.append(command)
                self.answer(command)
        self.fetch()

    def run(self, steps: int = 60, ms: float = 5.0) -> None:
        for _ in range(steps):
            self.step(ms)

    def answer(self, command: m.Command) -> None:
        match command:
            case m.PrepareTask(task_id, inputs, changelogs, topics):
                prepared = self.prepared(task_id, inputs, changelogs, topics)
                self.inbox.put(replace(prepared, number=command.number))
            case m.StartFetching(positions):
                self.fetching |= positions
                self.paused -= set(positions)
            case m.StopFetching(partitions):
                for tp in partitions:
                    self.fetching.pop(tp, None)
            case m.Pause(tp):
                self.paused.add(tp)
            case m.Resume(tp):
                self.paused.discard(tp)
            case m.Send(batches):
                for tp, batch in batches:
                    error = self.refuse.pop(0) if self.refuse else None
                    end = -1
                    if error is None:
                        end = self.cluster.write(tp, batch, transactional=self.transactional)
                    self.inbox.put(m.Acknowledged(tp, end, error))
            case m.CommitOffsets(number, offsets):
                self.commit(offsets)
                self.inbox.put(m.Committed(number))
            case m.RollBack(number):
                self.cluster.end_transaction(committed=False)
                self.inbox.put(m.RolledBack(number))

    def commit(self, offsets) -> None:
        self.cluster.committed |= offsets
        self.cluster.end_transaction(committed=True)

    def prepared(self, task_id, inputs, changelogs, topics) -> m.TaskPrepared:
        cluster = self.cluster
        positions = {}
        for tp in inputs:
            offset, metadata = cluster.committed.get(tp, (0, ""))
            known = decode_metadata(metadata)
            positions[tp] = m.StartPosition(
                offset, cluster.ends.get(tp, 0), known.partition_time, known.processors
            )
        bounds = {
            tp: ChangelogBounds(
                cluster.topic_id(tp.topic), cluster.starts.get(tp, 0), cluster.ends.get(tp, 0)
            )
            for tp in changelogs
        }
        return m.TaskPrepared(task_id, positions, bounds, dict.fromkeys(topics, cluster.partitions))

    def fetch(self) -> None:
        for tp, position in list(self.fetching.items()):
            if tp not in self.paused:
                fetched = self.cluster.fetch(tp, position)
                if fetched is not None:
                    self.fetching[tp] = fetched.next_offset
                    self.inbox.put(m.Arrived(fetched))

    def failure(self) -> Exception | None:
        return next((each.error for each in self.said if isinstance(each, m.Failed)), None)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def make_worker(cluster, tmp_path):
    def make(name: str = "state", **options: Any) -> Worker:
        return Worker(cluster, str(tmp_path / name), **options)

    return make

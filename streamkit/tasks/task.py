"""A stream task: one sub-topology over one partition number.

Its life: created (waiting for its folder's lock), preparing (positions are looked up),
restoring, running, closed. Rolling back leads from running to preparing: everything that the task
remembers beyond its last commit is dropped. Plain synchronous code: the processing thread calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from streamkit.client.decode import Fetched
from streamkit.common.errors import FatalError
from streamkit.common.model import TaskId, TopicPartition
from streamkit.state.backend import Backend
from streamkit.state.builders import StoreBuilder
from streamkit.state.cache import CacheBudget
from streamkit.state.factory import Changelog, build_store, interface_of
from streamkit.state.formats import StoredOffset
from streamkit.state.task_state import TaskState
from streamkit.tasks.collector import Collector
from streamkit.tasks.context import NO_POLICIES, TaskContext
from streamkit.tasks.idle import NEVER, OFF, STEP_MS, TIME_NAME, IdleTime
from streamkit.tasks.listeners import NO_LISTENERS, Listeners, RestoreWatch, SuspendReason
from streamkit.tasks.memory import Room
from streamkit.tasks.messages import PrepareTask, StartPosition, TaskPrepared
from streamkit.tasks.metered import Meters
from streamkit.tasks.offset_metadata import encode_metadata
from streamkit.tasks.partition_group import PartitionGroup, PartitionQueue
from streamkit.tasks.resources import Resources, own_resources
from streamkit.tasks.restoration import (
    Restoration,
    Restore,
    changelog_topic,
    changelogs_of,
    plan_restores,
)
from streamkit.tasks.savepoint import Savepoint
from streamkit.tasks.state_directory import Release, StateDirectory
from streamkit.topology.failures import Policies
from streamkit.topology.offset_resets import EARLIEST
from streamkit.topology.operators.asynchronous import AsyncNode
from streamkit.topology.operators.guards import GuardNode
from streamkit.topology.operators.node import Node, SinkNode, SourceNode
from streamkit.topology.plan import LinkedTopology, NodeFactory, NodeKind, NodeSpec, Subtopology

if TYPE_CHECKING:
    from streamkit.tasks.tracing import Run, Tracing


class TaskPhase(Enum):
    """Where a task is in its life; `_MOVES` says where it may go."""

    CREATED = "created"
    PREPARING = "preparing"
    RESTORING = "restoring"
    RUNNING = "running"
    CLOSED = "closed"


_MOVES = {
    TaskPhase.CREATED: (TaskPhase.PREPARING, TaskPhase.CLOSED),
    TaskPhase.PREPARING: (TaskPhase.RESTORING, TaskPhase.CLOSED),
    TaskPhase.RESTORING: (TaskPhase.RUNNING, TaskPhase.CLOSED),
    TaskPhase.RUNNING: (TaskPhase.PREPARING, TaskPhase.CLOSED),
    TaskPhase.CLOSED: (),
}


@dataclass(frozen=True, slots=True)
class TaskEnvironment:
    """What all tasks of a processing thread share."""

    application_id: str
    directory: StateDirectory
    open_database: Callable[[str, list[str]], Backend]
    collector: Collector
    budget: CacheBudget
    now_ms: Callable[[], int]
    idle_ms: int
    buffered_max: int
    partition_count: Callable[[str], int]
    reads_committed: bool = False
    policies: Policies = NO_POLICIES
    savepoint: Savepoint | None = None
    resources: Resources = field(default_factory=own_resources)
    global_stores: Mapping[str, Any] = field(default_factory=dict)
    listeners: Listeners = NO_LISTENERS
    room: Room = field(default_factory=Room)
    time_idle_ms: int = OFF
    time_step_ms: int = STEP_MS
    meters: Meters | None = None
    timeout_ms: int = 0
    """How long a record is tried that cannot be read for now (`task.timeout.ms`)."""
    tracing: Tracing | None = None
    default_reset: str = EARLIEST
    """Where sources begin that say nothing of it (`auto.offset.reset`)."""
    configs: Mapping[str, object] = field(default_factory=dict)
    """The application's configuration, for processors that ask for it."""

    def open_state(self, task_id: TaskId, subtopology: Subtopology) -> TaskState:
        """The state in a task's folder; the caller holds its lock."""
        return TaskState(
            subtopology.stores,
            lambda families: self.open_database(
                self.directory.database_path(task_id), list(families)
            ),
        )


@dataclass(frozen=True, slots=True)
class KeptState:
    """What a task hands over when it turns from running to standby, or back: lock and state."""

    release: Release
    state: TaskState | None

    def close(self) -> None:
        """Nobody takes it over."""
        if self.state is not None:
            self.state.close()
        self.release()


class StreamTask:
    """One task; see the module."""

    def __init__(
        self,
        task_id: TaskId,
        subtopology: Subtopology,
        environment: TaskEnvironment,
        kept: KeptState | None = None,
    ) -> None:
        self.id = task_id
        self.phase = TaskPhase.CREATED
        self.subtopology = subtopology
        self._environment = environment
        self.context = self._new_context()
        self._release: Release | None = kept.release if kept is not None else None
        self._state: TaskState | None = kept.state if kept is not None else None
        self._linked: LinkedTopology | None = None
        self._group: PartitionGroup | None = None
        self._restoration: Restoration | None = None
        self._prepared: TaskPrepared | None = None
        self._committed: dict[TopicPartition, int] = {}
        self._committed_metadata: dict[TopicPartition, str] = {}
        self._idle: IdleTime | None = None
        self._restoring_since_ms = 0.0
        self._topic_ids: dict[str, UUID] = {}
        self._changelog_offsets: dict[TopicPartition, int] = {}
        self._has_punctuated = False
        self._concurrency = 0

    @property
    def has_uncommitted(self) -> bool:
        """Whether anything was processed since the last commit."""
        return self._has_punctuated or any(
            self._position(tp, queue) != self._committed.get(tp)
            for tp, queue in (self._group.queues.items() if self._group else ())
        )

    @property
    def is_running(self) -> bool:
        """Whether it processes records."""
        return self.phase is TaskPhase.RUNNING

    @property
    def uncommitted_bytes(self) -> int:
        """The size of the changes that wait for a commit."""
        return self._state.uncommitted_bytes if self._state is not None else 0

    @property
    def changelogs(self) -> dict[TopicPartition, StoreBuilder]:
        """The changelog partition of each logged store."""
        return changelogs_of(self.subtopology, self._environment.application_id, self.id.partition)

    @property
    def state(self) -> TaskState | None:
        """Its state, once it is open."""
        return self._state

    @property
    def restores(self) -> Mapping[TopicPartition, Restore]:
        """Where each store is in its changelog, while it restores."""
        restoration = self._restoration
        return restoration.restores if restoration is not None else {}

    @property
    def changelog_offsets(self) -> Mapping[TopicPartition, int]:
        """How far its state is in each changelog; while it runs, that is where they end."""
        restoration = self._restoration
        if restoration is None:
            return self._changelog_offsets
        # Another thread may ask while restores change places.
        return {tp: each.position for tp, each in list(restoration.restores.items())}

    @property
    def committed(self) -> Mapping[TopicPartition, int]:
        """The input positions of the last commit, which is what its database holds."""
        return self._committed

    @property
    def remaining(self) -> int:
        """Changelog offsets still to be restored."""
        restoration = self._restoration
        return restoration.remaining if restoration is not None else 0

    @property
    def restored(self) -> int:
        """Changelog records restored so far."""
        restoration = self._restoration
        return restoration.restored if restoration is not None else 0

    def partitions(self) -> list[TopicPartition]:
        """Every partition that may be fetched for this task."""
        queues = list(self._group.queues) if self._group is not None else []
        restoring = list(self._restoration.positions()) if self._restoration is not None else []
        return queues + restoring

    def queues(self) -> tuple[PartitionQueue, ...]:
        """What is buffered of its input, while it runs."""
        group = self._group
        return tuple(group.queues.values()) if group is not None else ()

    def source_names(self) -> tuple[str, ...]:
        """The names of its source nodes, while it runs."""
        return tuple(dict.fromkeys(queue.source.name for queue in self.queues()))

    def sink_names(self) -> tuple[str, ...]:
        """The names of its sinks, while it runs."""
        sinks = [node.name for node in self.nodes() if isinstance(node, SinkNode)]
        return tuple(dict.fromkeys(sinks))

    @property
    def latest_time(self) -> int:
        """The time of the record that was processed last; -1 for none."""
        return max((queue.latest_time for queue in self.queues()), default=-1)

    def nodes(self) -> tuple[Node, ...]:
        """Its operators, once it runs."""
        return self._linked.nodes if self._linked is not None else ()

    def source(self, topic: str) -> SourceNode | None:
        """The node that reads a topic; None when none does, or it does not run yet."""
        return self._linked.sources.get(topic) if self._linked is not None else None

    def try_prepare(self) -> PrepareTask | None:
        """Take the folder; then what to look up, or None while another process has it."""
        if self._release is None:
            self._release = self._environment.directory.lock_task(self.id)
        if self._release is None:
            return None
        self._to(TaskPhase.PREPARING)
        return self._lookups()

    def rewind(self) -> PrepareTask:
        """Forget what is not committed; then what to look up, to begin again at the last commit.

        Overlay, caches, buffered input and the operators with their times go; the state's database
        stays open, and is brought up to the changelog's end: the commit may have come through.
        """
        self._to(TaskPhase.PREPARING)
        self._close_operators()
        assert self._state is not None
        self._state.discard()
        self._group = None
        self.context = self._new_context()
        return self._lookups()

    def _lookups(self) -> PrepareTask:
        sinks = [
            topic
            for node in self.subtopology.nodes
            if node.kind is NodeKind.SINK
            for topic in node.topics
        ]
        inputs = [TopicPartition(topic, self.id.partition) for topic in self.subtopology.topics]
        # A dead-letter topic that is missing is told now, not when a record fails.
        letters = self._environment.policies.topics
        return PrepareTask(
            self.id,
            tuple(inputs),
            tuple(self.changelogs),
            tuple(dict.fromkeys([*sinks, *(tp.topic for tp in self.changelogs), *letters])),
            self.subtopology.offset_resets,
        )

    def on_prepared(self, prepared: TaskPrepared) -> dict[TopicPartition, int]:
        """Open the state and plan its restoring; returns where to fetch changelogs from."""
        self._to(TaskPhase.RESTORING)
        self._prepared = prepared
        environment = self._environment
        if self._state is None:
            self._state = environment.open_state(self.id, self.subtopology)
        for topic, count in prepared.partition_counts.items():
            environment.collector.writer(topic).set_count(count)
        restores = plan_restores(self._state, self.changelogs, prepared)
        self._topic_ids = {each.store: each.topic_id for each in restores.values()}
        listener = environment.listeners.restore
        watch = RestoreWatch(self.id, listener, environment.now_ms)
        if environment.meters is not None:
            self._restoring_since_ms = environment.meters.now_ms
        self._restoration = Restoration(self._state, restores, watch, environment.room)
        return self._restoration.positions()

    def restore_slice(self, *, is_busy: bool) -> list[TopicPartition]:
        """Restore a little; returns the changelogs that need no more fetching."""
        assert self._restoration is not None, f"task {self.id} is not restoring"
        return self._restoration.run(is_busy=is_busy)

    @property
    def has_restore_work(self) -> bool:
        """Whether changelog data waits to be written."""
        return self._restoration is not None and self._restoration.has_work

    @property
    def is_restored(self) -> bool:
        return self._restoration is not None and self._restoration.is_done

    def start(self) -> dict[TopicPartition, int]:
        """Link the operators and begin; returns where to fetch the input from."""
        self._to(TaskPhase.RUNNING)
        self._changelog_offsets = dict(self.changelog_offsets)
        self._restoration = None
        assert self._state is not None
        assert self._prepared is not None
        self._build_stores(self._state)
        if self._environment.meters is not None:
            self._environment.meters.restored(self.id, self._restoring_since_ms)
        self.context.connections = {spec.name: spec.stores for spec in self.subtopology.nodes}
        self._take_times(self._prepared)
        self._linked = self.subtopology.link(self.context, self._guarded)
        self._linked.init()
        self._concurrency = max(
            (n.concurrency for n in self._linked.nodes if isinstance(n, AsyncNode)), default=0
        )
        queues = {
            tp: PartitionQueue(
                tp,
                self._linked.sources[tp.topic],
                start,
                reads_committed=self._environment.reads_committed,
                run=self._traced(self._linked.sources[tp.topic]),
            )
            for tp, start in self._prepared.positions.items()
        }
        self._group = PartitionGroup(queues, self._environment.idle_ms)
        self._committed = {tp: queue.position for tp, queue in queues.items()}
        self._committed_metadata = {tp: self._metadata(queue) for tp, queue in queues.items()}
        return dict(self._committed)

    def _take_times(self, prepared: TaskPrepared) -> None:
        """What was committed of time: that of the input, and what operators keep."""
        context, environment = self.context, self._environment
        times = context.processor_times
        for start in prepared.positions.values():
            context.stream_time = max(context.stream_time, start.partition_time)
            for name, time in start.processors.items():
                times[name] = max(times.get(name, time), time)
        if environment.time_idle_ms != OFF:
            restored = times.get(TIME_NAME, -1)
            self._idle = IdleTime(
                environment.time_idle_ms, environment.now_ms(), restored, environment.time_step_ms
            )

    def _traced(self, source: SourceNode) -> Run | None:
        tracing = self._environment.tracing
        if tracing is None:
            return None
        return tracing.processing(source, self.context, self.context.stage)

    def read_also(self, topic: str, make: NodeFactory, *, like: str) -> None:
        """Read a further topic from its beginning, which goes where that of another goes."""
        assert self._linked is not None, f"task {self.id} is not running"
        assert self._group is not None, f"task {self.id} is not running"
        source = make(topic)
        assert isinstance(source, SourceNode), f"{source.name} is no source"
        for child in self._linked.sources[like].children:
            source.add_child(child)
        source.init(self.context)
        self._linked.sources[topic] = source
        tp = TopicPartition(topic, self.id.partition)
        run = self._traced(source)
        self._group.add(PartitionQueue(tp, source, StartPosition(0, 0), run=run))
        self._committed[tp] = 0

    def add(self, fetched: Fetched) -> bool:
        """Buffer fetched data; True when its partition should pause now."""
        if self._restoration is not None:
            return self._restoration.add(fetched.tp, fetched)
        if self._group is None or fetched.tp not in self._group.queues:
            return False
        queue = self._group.queues[fetched.tp]
        queue.add(fetched)
        if queue.is_paused or not self._is_full(queue):
            return False
        queue.is_paused = True
        return True

    def to_resume(self) -> list[TopicPartition]:
        """Partitions that were paused and have room again."""
        if self._restoration is not None:
            return self._restoration.to_resume()
        resumed = []
        for tp, queue in self._group.queues.items() if self._group is not None else ():
            if queue.is_paused and not self._is_full(queue):
                queue.is_paused = False
                resumed.append(tp)
        return resumed

    def _is_full(self, queue: PartitionQueue) -> bool:
        environment = self._environment
        is_full = queue.buffered >= environment.buffered_max
        return is_full or queue.held_bytes >= environment.room.share

    def on_out_of_range(
        self, tp: TopicPartition, start: int, end: int, topic_id: UUID | None = None
    ) -> dict[TopicPartition, int]:
        """Begin again where the log begins; returns the new positions. Raises FatalError."""
        if self._restoration is not None:
            self._restoration.reset(tp, start, end, topic_id)
            if topic_id is not None:
                self._topic_ids[self._restoration.restores[tp].store] = topic_id
            return {tp: start}
        assert self._group is not None
        queue = self._group.queues[tp]
        reset = self.subtopology.offset_resets.get(tp.topic, self._environment.default_reset)
        if reset == "none":
            raise FatalError(
                f"task {self.id}: offset {queue.position} of {tp} lies outside the log, "
                f"{start} to {end}, and offset_reset is none"
            )
        queue.seek(end if reset == "latest" else start)
        return {tp: queue.position}

    def process(self, limit: int, now_ms: float) -> int:
        """Process up to `limit` records; returns how many. Raises FatalError for a user's error."""
        done = self._process(limit, now_ms)
        if self._idle is not None and (done or not self._is_idle):
            self._idle.heard(self._environment.now_ms())
        return done

    @property
    def _is_idle(self) -> bool:
        """Nothing is there to process, and nothing is known to come."""
        waits = self.has_pending_calls or self.context.failures.due_ms > 0
        return not waits and all(queue.is_caught_up for queue in self.queues())

    def _process(self, limit: int, now_ms: float) -> int:
        group, failures = self._group, self.context.failures
        assert group is not None, f"task {self.id} is not running"
        if self._concurrency:
            return self._process_async(group, limit, now_ms)
        while now_ms >= failures.due_ms:
            try:
                done = group.run(limit, now_ms)
            except Exception as error:  # the task's edge: whatever user code raises
                if failures.on_record(error, now_ms):
                    group.pass_over()
                    return 1
            else:
                failures.settle()
                return done
        return 0

    def _process_async(self, group: PartitionGroup, limit: int, now_ms: float) -> int:
        """Release what is done, and begin as many calls as there is room for."""
        stage = self.context.stage
        self._environment.resources.loop.step()
        released = stage.release(now_ms)
        room = min(limit, self._concurrency - stage.pending)
        if room <= 0:
            return released
        try:
            return released + group.run(room, now_ms)
        except Exception as error:  # the task's edge: whatever user code raises
            stage.fail(error)
            group.pass_over()
            return released + 1

    @property
    def has_pending_calls(self) -> bool:
        """Whether async calls are not through."""
        return self.context.stage.pending > 0

    def _position(self, tp: TopicPartition, queue: PartitionQueue) -> int:
        """Up to where a commit may go: what async calls are not through with stays."""
        first = self.context.stage.first_offset(tp)
        return queue.position if first is None else min(first, queue.position)

    def punctuate(self) -> bool:
        """Do what the wall clock asks for: punctuations, time without input; whether it did."""
        has_run = self.context.punctuate_by_wall_clock()
        if self._idle is not None:
            has_run = self._advance_time(self._idle) or has_run
        if not has_run:
            return False
        self._has_punctuated = True
        self.context.failures.settle()
        return True

    def _advance_time(self, idle: IdleTime) -> bool:
        time = idle.next_time(self.context.stream_time, self._environment.now_ms())
        if time is None:
            return False
        # What caches hold back belongs in front of what the time lets go.
        self.flush()
        self.context.advance_time(self.nodes(), time)
        return True

    def wait_ms(self, now_ms: float) -> float:
        """How long there is nothing to do for it, as far as the clocks go."""
        idle_due_ms = NEVER if self._idle is None else self._idle.due_ms
        due_ms = min(self.context.wall_clock_due_ms, idle_due_ms)
        waits: list[float] = [due_ms - self._environment.now_ms()]
        if self.context.failures.due_ms > now_ms:
            waits.append(self.context.failures.due_ms - now_ms)
        if self.context.stage.due_ms > now_ms:
            waits.append(self.context.stage.due_ms - now_ms)
        return min(waits)

    def flush(self) -> None:
        """Make the caches pass on what they hold: to the stores, changelogs and downstream."""
        failures = self.context.failures
        try:
            for store in self.context.stores.values():
                store.flush()
        except Exception as error:  # the task's edge: downstream of the cache is user code
            raise failures.fatal(error) from error
        failures.settle()

    def offsets_to_commit(self) -> dict[TopicPartition, tuple[int, str]]:
        """The input positions that moved since the last commit, and what is kept beside them."""
        if self._group is None:
            return {}
        found = {
            tp: (self._position(tp, queue), self._metadata(queue))
            for tp, queue in self._group.queues.items()
        }
        return {
            tp: (position, metadata)
            for tp, (position, metadata) in found.items()
            if position != self._committed.get(tp) or metadata != self._committed_metadata.get(tp)
        }

    def _metadata(self, queue: PartitionQueue) -> str:
        return encode_metadata(queue.source.partition_time, self.context.processor_times)

    def on_committed(
        self,
        offsets: Mapping[TopicPartition, tuple[int, str]],
        written: Mapping[TopicPartition, int],
    ) -> None:
        """The commit is through: bring the state up to the changelog offsets written."""
        self._has_punctuated = self.context.wants_commit = False
        if self._state is None:
            return
        for tp in self._group.queues if self._group is not None else ():
            if tp in offsets:
                self._committed[tp], self._committed_metadata[tp] = offsets[tp]
        # A source topic that serves as changelog is as far as it was processed.
        ends = {**written, **{tp: offset for tp, (offset, _) in offsets.items()}}
        for tp in self._changelog_offsets:
            self._changelog_offsets[tp] = ends.get(tp, self._changelog_offsets[tp])
        self._state.apply(
            {
                builder.name: StoredOffset(ends[tp], self._topic_ids[builder.name])
                for tp, builder in self.changelogs.items()
                if tp in ends
            }
        )

    def give_up(self) -> KeptState | None:
        """Close the operators only, and hand over lock and state; None when it has no lock yet."""
        self._to(TaskPhase.CLOSED)
        self._close_operators()
        self._suspend_restore()
        if self._state is not None:
            self._state.discard()
        return None if self._release is None else KeptState(self._release, self._state)

    def close(self) -> None:
        """Close; what was not committed is dropped, what was stays on disk."""
        if self.phase is TaskPhase.CLOSED:
            return
        self._to(TaskPhase.CLOSED)
        self._close_operators()
        self._suspend_restore()
        if self._state is not None:
            self._state.close()
        if self._release is not None:
            self._release()

    def _suspend_restore(self) -> None:
        if self._restoration is not None:
            self._restoration.suspend(SuspendReason.MIGRATED)

    def _new_context(self) -> TaskContext:
        environment = self._environment
        context = TaskContext(
            environment.application_id,
            self.id,
            environment.collector,
            environment.now_ms,
            environment.partition_count,
            environment.policies,
            environment.savepoint,
            environment.resources,
            environment.timeout_ms,
            environment.tracing,
            environment.configs,
        )
        context.global_stores = environment.global_stores
        return context

    def _guarded(self, spec: NodeSpec, node: Node) -> Node:
        failures, meters = self.context.failures, self._environment.meters
        if failures.guards(spec):
            node = GuardNode(node, failures.at_operator, spec.kind is NodeKind.SINK)
            if meters is not None:
                node.init(self.context)
        return node if meters is None else meters.node(self.id, node)

    def _close_operators(self) -> None:
        self.context.stage.close()
        if self._environment.meters is not None:
            self._environment.meters.drop(self.id)
        if self._linked is not None:
            self._linked.close()
            self._linked = None
        for store in self.context.stores.values():
            store.close()
        if self._environment.savepoint is not None:
            for name in self.context.interfaces:
                self._environment.savepoint.undone.pop((self.id, name), None)

    def _to(self, phase: TaskPhase) -> None:
        assert phase in _MOVES[self.phase], f"task {self.id} cannot go from {self.phase} to {phase}"
        self.phase = phase

    def _build_stores(self, state: TaskState) -> None:
        savepoint = self._environment.savepoint
        for overlay in state.overlays.values():
            overlay.journal = None if savepoint is None else savepoint.journal
        for builder in self.subtopology.stores:
            topic = changelog_topic(self._environment.application_id, builder)
            append = None
            if builder.logging_enabled and topic not in self.subtopology.topics:
                append = self._environment.collector.writer(topic).append
            store = build_store(
                builder,
                state.overlays[builder.name],
                Changelog(topic, self.id.partition, append),
                self._environment.budget,
                self.context,
            )
            meters = self._environment.meters
            seen = store if meters is None else meters.store(self.id, store)
            self.context.stores[builder.name] = seen
            if builder.interface is not None:
                self._open_interface(builder, seen)

    def _open_interface(self, builder: StoreBuilder, store: Any) -> None:
        """Make the user's own interface of a store."""
        made = self.context.interfaces[builder.name] = interface_of(builder, store)
        savepoint, read_again = self._environment.savepoint, getattr(made, "rolled_back", None)
        if savepoint is not None and read_again is not None:
            savepoint.undone[self.id, builder.name] = read_again

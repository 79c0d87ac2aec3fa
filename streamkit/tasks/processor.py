"""The processing actor: it owns the tasks and steps them; plain synchronous code.

`step` handles the events that came, advances the commit, restores and processes one slice each,
and says how long it has nothing to do. Tasks that stay never stop for those that come or go;
while a commit waits for the network, records are not processed and events are handled.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from streamkit.common.errors import (
    AbortTransactionError,
    FatalError,
    RejoinError,
    StreamkitError,
)
from streamkit.common.model import TaskId, TopicPartition
from streamkit.tasks.asks import Ask
from streamkit.tasks.commit import Commit, CommitPhase, Deliveries
from streamkit.tasks.global_reader import GlobalReader
from streamkit.tasks.mailbox import Inbox, Outbox
from streamkit.tasks.messages import (
    Acknowledged,
    Arrived,
    Assigned,
    Batches,
    Command,
    CommitOffsets,
    Committed,
    Drain,
    Event,
    Failed,
    GlobalsPrepared,
    OutOfRange,
    Pause,
    PrepareTask,
    Reconciled,
    Resume,
    RollBack,
    RolledBack,
    Send,
    StartFetching,
    StopFetching,
    Stopped,
    TaskPrepared,
    TasksLost,
    TooLarge,
)
from streamkit.tasks.meter import Meter
from streamkit.tasks.queries import Queries
from streamkit.tasks.standby import StandbyTask
from streamkit.tasks.standbys import Standbys
from streamkit.tasks.task import KeptState, StreamTask, TaskEnvironment, TaskPhase
from streamkit.topology.plan import Topology

log = logging.getLogger(__name__)

SLICE_RECORDS_MIN = 16
SLICE_RECORDS_MAX = 4096
SLICE_MS = 10.0
"""A slice grows while it takes less than half of this, and shrinks when it takes twice."""

LONG_STEP_MS = 1_000.0
"""A step that took longer hears the news before it sends or commits anything."""

LOCK_RETRY_MS = 100.0

QUERY_WAIT_MS = 5.0
"""How long an idle step waits while a query waits for a position."""

ROLLBACKS_MAX = 20
"""Roll-backs in a row, with no commit in between, after which the worker gives up."""


@dataclass(frozen=True, slots=True)
class ProcessorSettings:
    """What the processing thread needs of the settings."""

    commit_interval_ms: int
    linger_ms: int
    bytes_outstanding_max: int
    uncommitted_bytes_max: int
    wait_max_ms: float = 100.0
    is_transactional: bool = False


class Processor:
    """The tasks of one worker."""

    def __init__(
        self,
        topology: Topology,
        environment: TaskEnvironment,
        settings: ProcessorSettings,
        inbox: Inbox[Event],
        outbox: Outbox[Command],
        monotonic_ms: Callable[[], float],
        globals_: GlobalReader | None = None,
    ) -> None:
        self.tasks: dict[TaskId, StreamTask] = {}
        self.records = 0
        self.commits = 0
        self.last_step_ms = monotonic_ms()
        self.current: StreamTask | None = None
        self.is_ended = False
        self.is_paused = False
        """Whether nothing is processed, punctuated or followed for now; set by any thread."""
        self._topology = topology
        self._environment = environment
        self._collector = environment.collector
        self._settings = settings
        self._inbox = inbox
        self._outbox = outbox
        self._monotonic_ms = monotonic_ms
        self._commit = Commit()
        self._deliveries = Deliveries()
        self._owners: dict[TopicPartition, StreamTask | StandbyTask] = {}
        self._pending: Assigned | None = None
        self._is_draining = False
        self._slice = SLICE_RECORDS_MIN
        self._lock_retry_ms = 0.0
        self._has_sent = False
        self._rollbacks = 0
        self._lookups = 0
        self._asked: dict[TaskId, int] = {}
        self._did_process = False
        self.meter = Meter(monotonic_ms, environment.now_ms)
        self.restored_total = 0
        """Changelog records restored by tasks that run by now."""
        self.meters = environment.meters
        self._commit_began_ms = 0.0
        self._globals = globals_
        if globals_ is not None:
            globals_.begin()
        self.standbys = Standbys(topology, environment, outbox, self._look_up)
        self.queries = Queries(topology, self.tasks, self.standbys, globals_)

    def memory_used(self) -> dict[str, Callable[[], int]]:
        """What reads how many bytes each part of the budget takes here."""
        tasks, deliveries = self.tasks, self._deliveries
        return {
            "cache": lambda: self._environment.budget.used,
            "uncommitted": lambda: sum(each.uncommitted_bytes for each in list(tasks.values())),
            "producer": lambda: deliveries.bytes_outstanding,
            "input": lambda: sum(
                queue.held_bytes for each in list(tasks.values()) for queue in each.queues()
            ),
        }

    def run(self) -> None:
        """Step until the end; the body of the processing thread."""
        wait_ms = 0.0
        while not self.is_ended:
            events = self._next_events(wait_ms / 1000)
            wait_ms = self.step(events, self._monotonic_ms())
        self._close_all()

    def _next_events(self, wait_s: float) -> list[Event]:
        """What came; while async calls are under way it is waited for in their loop."""
        loop = self._environment.resources.loop
        if not loop.under_way:
            return self._inbox.take_all(wait_s)
        self._inbox.on_put = loop.wake
        if wait_s > 0:
            loop.wait(wait_s, lambda: self._inbox.has_items)
        self._inbox.on_put = None
        return self._inbox.take_all()

    def place(self) -> str:
        """What it works on, or did last."""
        if self.current is None:
            return "no task"
        at = self.current.context
        return f"task {self.current.id}, record {at.topic}-{at.partition} offset {at.offset}"

    def step(self, events: list[Event], now_ms: float) -> float:
        """Do one round of everything; returns how many ms may pass before the next."""
        self.last_step_ms = now_ms
        try:
            return self._step(events, now_ms)
        except Exception as error:  # the process's edge: the worker ends with it, and says why
            known = isinstance(error, StreamkitError)
            self._fail(error if known else _unexpected(error))  # type: ignore[arg-type]
            return 0.0

    def _step(self, events: list[Event], now_ms: float) -> float:
        for event in events:
            self._handle(event, now_ms)
        if self.is_ended:
            return 0.0
        self._collector.now_ms = int(now_ms)
        self._advance_commit(now_ms)
        if self._commit.is_idle:
            self._maybe_reassign(now_ms)
        self._advance_tasks(now_ms)
        if not self.is_paused:
            self.standbys.advance(now_ms, is_busy=self._did_process)
        self.queries.advance(now_ms)
        did_work = self._did_process = self._may_process() and self._process_slice(now_ms)
        took_ms = self._monotonic_ms() - now_ms
        if took_ms > LONG_STEP_MS:
            # The tasks may have been lost meanwhile: hear that before anything more is written.
            self.meter.stalls.observe(took_ms, now_ms)
            log.warning("processing stood for %d ms in %s", took_ms, self.place())
            return 0.0
        if self._commit.is_idle and self._is_commit_due(now_ms):
            self._begin_commit(now_ms)
        self._send(self._collector.take(int(now_ms) - self._settings.linger_ms))
        if did_work or self._has_restore_work():
            return 0.0
        if self.queries.is_waited_for:
            return QUERY_WAIT_MS
        return self._wait_ms(now_ms)

    def _may_process(self) -> bool:
        return self._commit.is_idle and not self.is_paused

    def _handle(self, event: Event, now_ms: float) -> None:
        match event:
            case Arrived(data) if self._globals is not None and self._globals.owns(data.tp):
                self._globals.add(data)
            case GlobalsPrepared(bounds):
                assert self._globals is not None, "nobody else asks"
                self._globals.on_prepared(bounds)
            case Arrived(data):
                task = self._owners.get(data.tp)
                if task is not None and task.add(data):
                    self._outbox.put(Pause(data.tp))
            case Acknowledged() | TooLarge():
                self._on_delivery(event, now_ms)
            case Committed() | RolledBack():
                self._on_commit_event(event, now_ms)
            case Assigned():
                self._pending = event
            case TaskPrepared():
                self._on_prepared(event)
            case Ask():
                self.queries.ask(event, now_ms)
            case OutOfRange():
                self._on_out_of_range(event)
            case TasksLost(reason):
                self._lose_tasks(reason, now_ms)
            case Drain():
                self._is_draining = True

    def _on_out_of_range(self, event: OutOfRange) -> None:
        if self._globals is not None and self._globals.owns(event.tp):
            self._globals.on_out_of_range(event.tp, event.start)
            return
        task = self._owners.get(event.tp)
        if task is None:
            return
        is_changelog = isinstance(task, StandbyTask) or not task.is_running
        positions = task.on_out_of_range(event.tp, event.start, event.end, event.topic_id)
        self._outbox.put(StartFetching(positions, is_changelog))

    def _on_delivery(self, event: Acknowledged | TooLarge, now_ms: float) -> None:
        if isinstance(event, TooLarge):
            self._on_too_large(event, now_ms)
            return
        if self._commit.is_rolling_back:
            return
        if event.error is None:
            self._deliveries.acknowledged(event.tp, event.offset_end)
        elif self._settings.is_transactional:
            self._recover(event.error, now_ms)
        else:
            raise event.error

    def _on_too_large(self, event: TooLarge, now_ms: float) -> None:
        """Begin again at the last commit: then the record is refused where it is written.

        Its error policy decides there, with all it knows of the record. Without transactions what
        was written since the last commit comes twice, as at least once allows.
        """
        if event.bytes_max is None:
            raise event.error
        self._collector.writer(event.topic).set_bytes_max(event.bytes_max)
        if not self._commit.is_rolling_back:
            self._recover(AbortTransactionError(str(event.error)), now_ms)

    def _on_commit_event(self, event: Committed | RolledBack, now_ms: float) -> None:
        """Answers to commits and roll-backs that were given up meanwhile say nothing."""
        if isinstance(event, Committed):
            if self._commit.is_answered_by(event.number):
                self._on_committed(event.error, now_ms)
        elif self._commit.is_rolled_back_by(event.number):
            self._on_rolled_back(event.error, now_ms)

    def _on_committed(self, error: StreamkitError | None, now_ms: float) -> None:
        if error is None:
            self._finish_commit(now_ms)
        else:
            self._recover(error, now_ms)

    def _recover(self, error: StreamkitError, now_ms: float) -> None:
        """Do what a failed write or commit asks for; raises what asks for the end."""
        if isinstance(error, RejoinError):
            # The coordinator knows us no more; the next heartbeat says so too, and rejoins.
            self._lose_tasks(str(error), now_ms)
        elif isinstance(error, AbortTransactionError):
            self._rollbacks += 1
            if self._rollbacks > ROLLBACKS_MAX:
                raise FatalError(f"rolled back {ROLLBACKS_MAX} times in a row: {error}")
            log.warning("rolling back to the last commit: %s", error)
            self._roll_back(is_fenced=False)
        else:
            raise error

    def _roll_back(self, *, is_fenced: bool) -> None:
        """Nothing written since the last commit counts; tasks go on when that is certain."""
        self._collector.take()
        self._deliveries.clear()
        self._has_sent = False
        self._commit.roll_back()
        self._outbox.put(RollBack(self._commit.number, is_fenced))

    def _on_rolled_back(self, error: StreamkitError | None, now_ms: float) -> None:
        self._commit.end(now_ms)
        if isinstance(error, RejoinError):
            self._close_lost(str(error))
        elif error is not None:
            raise error
        for task in self._running():
            self._stop_fetching(self._owned_by(task))
            self._look_up(task.rewind())

    def _advance_commit(self, now_ms: float) -> None:
        if self._commit.phase is not CommitPhase.ACKNOWLEDGEMENTS or self._deliveries.outstanding:
            return
        if self._commit.offsets or self._has_sent:
            self._commit.to_offsets()
            self._outbox.put(CommitOffsets(self._commit.number, self._commit.offsets))
        else:
            self._finish_commit(now_ms)

    def _is_commit_due(self, now_ms: float) -> bool:
        if now_ms - self._commit.last_ms >= self._settings.commit_interval_ms:
            return True
        if any(task.context.wants_commit for task in self._running()):
            return True
        limit = self._settings.uncommitted_bytes_max
        return limit >= 0 and sum(t.uncommitted_bytes for t in self._running()) > limit

    def _begin_commit(self, now_ms: float) -> None:
        running = self._running()
        if not self._has_sent and not any(task.has_uncommitted for task in running):
            self._commit.last_ms = now_ms
            return
        for task in running:
            self.current = task
            task.flush()
        offsets: dict[TopicPartition, tuple[int, str]] = {}
        for task in running:
            offsets |= task.offsets_to_commit()
        self._send(self._collector.take())
        self._commit_began_ms = now_ms
        self._commit.begin(offsets)

    def _finish_commit(self, now_ms: float) -> None:
        offsets = self._commit.offsets
        for task in self._running():
            task.on_committed(offsets, self._deliveries.written)
        self._deliveries.written.clear()
        self._has_sent = False
        self._rollbacks = 0
        self.commits += 1
        self.meter.commit.note(max(now_ms - self._commit_began_ms, 0.0), now_ms)
        self._commit.end(now_ms)

    def _maybe_reassign(self, now_ms: float) -> None:
        """Revoke after a commit, then close, create and report."""
        if self._pending is None and not self._is_draining:
            return
        target = frozenset[TaskId]() if self._pending is None else self._pending.active
        leaving = [task for task in self.tasks.values() if task.id not in target]
        if self._is_draining:
            leaving = list(self.tasks.values())
        if any(task.has_uncommitted for task in leaving):
            self._begin_commit(now_ms)
            if not self._commit.is_idle:
                return
        if self._is_draining:
            self._close_all()
            self.is_ended = True
            self._outbox.put(Stopped())
            return
        assert self._pending is not None
        self._reassign(self._pending, leaving, now_ms)
        self._pending = None

    def _reassign(self, assigned: Assigned, leaving: list[StreamTask], now_ms: float) -> None:
        """Close, turn running tasks into standbys and back, create, and report."""
        kept: dict[TaskId, KeptState] = {}
        for task in leaving:
            is_kept = task.id in assigned.standby | assigned.warmup
            if is_kept and self.standbys.is_stateful(task.id):
                state = self._give_up(task)
                if state is not None:
                    kept[task.id] = state
            else:
                self._close(task)
        for task_id in self.standbys.keep_only(assigned.standby, assigned.warmup):
            self._stop_fetching(self._owned_by(self.standbys.tasks[task_id]))
            if task_id not in assigned.active:
                self.standbys.drop(task_id, now_ms)
        for task_id in sorted(assigned.active):
            if task_id not in self.tasks:
                state = self.standbys.promote(task_id)
                subtopology = self._topology.subtopology(task_id.subtopology)
                self.tasks[task_id] = StreamTask(task_id, subtopology, self._environment, state)
                self.meter.task(task_id)
                log.info("task %s: assigned", task_id)
        self.standbys.create(kept)
        self._lock_retry_ms = 0.0
        self._outbox.put(Reconciled(frozenset(self.tasks), assigned.standby, assigned.warmup))

    def _give_up(self, task: StreamTask) -> KeptState | None:
        self._stop_fetching(self._owned_by(task))
        del self.tasks[task.id]
        self.meter.closed(task.id)
        log.info("task %s: runs no more, becomes a standby", task.id)
        return task.give_up()

    def _advance_tasks(self, now_ms: float) -> None:
        """Bring tasks that do not run yet one step further."""
        for task in self.tasks.values():
            if task.phase is TaskPhase.CREATED and now_ms >= self._lock_retry_ms:
                request = task.try_prepare()
                if request is None:
                    self._lock_retry_ms = now_ms + LOCK_RETRY_MS
                else:
                    self._look_up(request)
            elif task.phase is TaskPhase.RESTORING:
                self._restore(task)

    def _look_up(self, request: PrepareTask) -> None:
        self._lookups += 1
        self._asked[request.task_id] = self._lookups
        self._outbox.put(replace(request, number=self._lookups))

    def _on_prepared(self, prepared: TaskPrepared) -> None:
        task_id = prepared.task_id
        if self._asked.get(task_id) != prepared.number:
            return
        del self._asked[task_id]
        task = self.tasks.get(task_id)
        if task is not None:
            positions = task.on_prepared(prepared)
            if positions:
                log.info("task %s: restoring %d offsets", task.id, task.remaining)
                self._fetch(task, positions, is_changelog=True)
        elif task_id in self.standbys.tasks:
            positions = self.standbys.on_prepared(prepared)
            if positions:
                self._fetch(self.standbys.tasks[task_id], positions, is_changelog=True)

    def _restore(self, task: StreamTask) -> None:
        done = task.restore_slice(is_busy=self._did_process)
        for tp in task.to_resume():
            self._outbox.put(Resume(tp))
        if done:
            self._stop_fetching(tuple(done))
        if task.is_restored and (self._globals is None or self._globals.is_ready):
            restored = task.restored
            self.restored_total += restored
            self._fetch(task, task.start())
            log.info("task %s: running, %d records restored", task.id, restored)

    def _process_slice(self, now_ms: float) -> bool:
        if self._deliveries.bytes_outstanding > self._settings.bytes_outstanding_max:
            return False
        done = 0
        for task in self._running():
            self.current = task
            self._punctuate(task)
            done += self._process_task(task, now_ms)
            for tp in task.to_resume():
                self._outbox.put(Resume(tp))
        self.records += done
        return done > 0

    def _punctuate(self, task: StreamTask) -> None:
        began_ms = self._monotonic_ms()
        if task.punctuate():
            now_ms = self._monotonic_ms()
            self.meter.punctuate.note(now_ms - began_ms, now_ms)

    def _process_task(self, task: StreamTask, now_ms: float) -> int:
        done = 0
        began_ms = self._monotonic_ms()
        while done < self._slice:
            processed = task.process(self._slice - done, now_ms)
            if processed == 0:
                break
            done += processed
        if done:
            self._adapt_slice(done, now_ms)
            took_ms = self.last_step_ms - began_ms
            times = task.latest_time, task.context.stream_time
            self.meter.processed(task.id, done, took_ms, self.last_step_ms, times)
        return done

    def _adapt_slice(self, done: int, began_ms: float) -> None:
        now_ms = self._monotonic_ms()
        took_ms = now_ms - began_ms
        self.last_step_ms = now_ms
        if took_ms > 2 * SLICE_MS:
            self._slice = max(self._slice // 2, SLICE_RECORDS_MIN)
        elif took_ms < SLICE_MS / 2 and done >= self._slice:
            self._slice = min(self._slice * 2, SLICE_RECORDS_MAX)

    def _send(self, batches: Batches) -> None:
        if not batches:
            return
        self._has_sent = self._settings.is_transactional
        for tp, batch in batches:
            self._deliveries.sent(tp, batch.size)
            self.meter.sent(tp.topic, batch.count, batch.size)
        self._outbox.put(Send(batches))

    def _fetch(
        self,
        task: StreamTask | StandbyTask,
        positions: dict[TopicPartition, int],
        *,
        is_changelog: bool = False,
    ) -> None:
        for tp in positions:
            self._owners[tp] = task
        self._environment.room.partitions = len(self._owners)
        self._outbox.put(StartFetching(positions, is_changelog))

    def _stop_fetching(self, partitions: tuple[TopicPartition, ...]) -> None:
        for tp in partitions:
            self._owners.pop(tp, None)
        self._environment.room.partitions = len(self._owners)
        self._outbox.put(StopFetching(partitions))

    def _owned_by(self, task: StreamTask | StandbyTask) -> tuple[TopicPartition, ...]:
        return tuple(tp for tp, owner in self._owners.items() if owner is task)

    def _close(self, task: StreamTask) -> None:
        owned = self._owned_by(task)
        if owned:
            self._stop_fetching(owned)
        task.close()
        del self.tasks[task.id]
        self.meter.closed(task.id)
        log.info("task %s: closed", task.id)

    def _lose_tasks(self, reason: str, now_ms: float) -> None:
        """Close everything without commit: another member has the tasks, or soon will."""
        if not self._settings.is_transactional:
            self._commit.end(now_ms)
        elif not self._commit.is_rolling_back:
            self._roll_back(is_fenced=True)
        self._close_lost(reason)

    def _close_lost(self, reason: str) -> None:
        if self.tasks:
            log.warning("all tasks are lost: %s", reason)
        for task in list(self.tasks.values()):
            self._close(task)
        for standby in self.standbys.tasks.values():
            self._stop_fetching(self._owned_by(standby))
        self.standbys.keep_only(frozenset(), frozenset())
        self.standbys.close_all()
        # What was not sent yet will be made again by another; its changelogs are not ours now.
        self._collector.take()
        self._pending = None
        self._deliveries.written.clear()
        self._outbox.put(Reconciled(frozenset(), frozenset()))

    def _fail(self, error: StreamkitError) -> None:
        self.is_ended = True
        try:
            self._close_all()
        finally:
            # Whatever closing comes to: the worker ends, or it would beat on without processing.
            self._outbox.put(Failed(error))

    def _close_all(self) -> None:
        """Close without commit, at the end."""
        self.queries.end()
        if self._globals is not None:
            self._globals.close()
            self._globals = None
        for task in self.tasks.values():
            task.close()
            self.meter.closed(task.id)
        self.tasks.clear()
        self.standbys.close_all()

    def _running(self) -> list[StreamTask]:
        return [task for task in self.tasks.values() if task.phase is TaskPhase.RUNNING]

    def _has_restore_work(self) -> bool:
        restoring = any(task.has_restore_work for task in self.tasks.values())
        return restoring or (self.standbys.has_work and not self.is_paused)

    def _wait_ms(self, now_ms: float) -> float:
        due_ms = self._settings.wait_max_ms
        if self._commit.is_idle:
            # A commit under way ends with an event; the next is due only after that.
            due_ms = self._commit.last_ms + self._settings.commit_interval_ms - now_ms
        waits = [task.wait_ms(now_ms) for task in self._running() if not self.is_paused]
        return max(min(due_ms, self._settings.wait_max_ms, *waits), 1.0)


def _unexpected(error: Exception) -> FatalError:
    fatal = FatalError(f"processing failed: {type(error).__name__}: {error}")
    fatal.__cause__ = error
    return fatal

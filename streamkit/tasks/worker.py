"""A worker: one member of the application's group, its processing thread and its network.

The network runs in the event loop of the caller, processing in a thread of its own; both end
together. `run` gives the exit status: 0 after an orderly stop, 1 after a failure; to a supervisor
3 after one for which the application is stopped.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import tempfile
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from queue import Empty
from uuid import UUID

from streamkit.client.admin import Admin
from streamkit.client.client import Client
from streamkit.client.connections import Channel
from streamkit.client.fetcher import Fetcher
from streamkit.client.offsets import Offsets
from streamkit.client.sender import BatchSender
from streamkit.client.transactions import Transactions
from streamkit.common.allocator import give_back, tune_allocator
from streamkit.common.errors import FatalError, StreamkitError, UsageError
from streamkit.common.metrics import Registry
from streamkit.common.seams import Seams
from streamkit.rebalance.extensions import TASK_OFFSETS
from streamkit.rebalance.member import StreamsMember
from streamkit.rebalance.rules import GroupTopology
from streamkit.state.backend import Backend
from streamkit.state.cache import CacheBudget
from streamkit.state.rocks import RocksBackend, RocksMemory
from streamkit.tasks.collector import Collector
from streamkit.tasks.endpoint import WorkerEndpoint, advertised_of, listener_of
from streamkit.tasks.global_reader import GlobalReader
from streamkit.tasks.global_state import GlobalState, global_policies
from streamkit.tasks.group_config import configure_group
from streamkit.tasks.group_topology import group_topology, refuse_patterns
from streamkit.tasks.listeners import NO_LISTENERS, Listeners
from streamkit.tasks.mailbox import Inbox, Outbox
from streamkit.tasks.membership import Membership
from streamkit.tasks.memory import Room, memory_families, plan_memory
from streamkit.tasks.messages import Command, CountPartitions, Drain, Event
from streamkit.tasks.meter import TICK_MS
from streamkit.tasks.metered import Meters
from streamkit.tasks.metrics import WorkerMetrics
from streamkit.tasks.network import COMMIT_TIMEOUT_MS, Network
from streamkit.tasks.processor import Processor, ProcessorSettings
from streamkit.tasks.progress import task_report
from streamkit.tasks.purge import Purger
from streamkit.tasks.query_http import QueryHandler
from streamkit.tasks.query_service import QueryService, UnreadyError
from streamkit.tasks.rebalance_metrics import MembershipMetrics
from streamkit.tasks.savepoint import Savepoint
from streamkit.tasks.settings import StreamsSettings
from streamkit.tasks.state_directory import Cleaner, Release, StateDirectory, member_id_of
from streamkit.tasks.states import State, States
from streamkit.tasks.task import TaskEnvironment
from streamkit.tasks.topology_epoch import fitting_topology
from streamkit.tasks.transactional import TransactionalWriter
from streamkit.tasks.uncaught import STATUS_STOP_APPLICATION, Reply, backoff_ms, reply_to
from streamkit.topology.plan import Topology

log = logging.getLogger(__name__)

SWITCH_INTERVAL_S = 0.0001
"""How long processing may hold the interpreter while the network waits (default 5 ms)."""

DRAIN_DEADLINE_MS = 30_000
JOIN_TIMEOUT_S = 5.0
PROGRESS_INTERVAL_MS = 500
STATE_INTERVAL_MS = 50
STEP_WAIT_MS = 5.0
GIVE_BACK_INTERVAL_S = 5.0
"""How often memory that is free goes back to the system."""

LOOKUP_TIMEOUT_S = 30.0

COMPRESSIONS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}

OpenDatabase = Callable[[str, list[str]], Backend]


@dataclass(frozen=True, slots=True)
class Progress:
    """What a worker has done so far; `restoring` counts changelog offsets still to read."""

    records: int
    commits: int
    tasks: int
    running: int
    restoring: int
    is_ready: bool
    standbys: int = 0


Listener = Callable[[Progress], None]


class Worker:
    """One worker process's share of an application.

        worker = Worker(app.topology, StreamsSettings.from_mapping({...}), system_seams())
        status = worker.run()

    `slot` tells the workers of one host apart; with `process_id` the caller owns the state
    directory (the supervisor), without it this worker takes its lock. With `in_loop` processing
    is stepped by the event loop instead of a thread, as a simulation needs it. With
    `remains_in_group` a requested stop does not leave the group: the tasks wait for the restart
    (`CloseOptions.GroupMembershipOperation.REMAIN_IN_GROUP` in Kafka Streams).
    """

    def __init__(
        self,
        topology: Topology,
        settings: StreamsSettings,
        seams: Seams,
        *,
        slot: int = 0,
        process_id: UUID | None = None,
        listener: Listener | None = None,
        open_database: OpenDatabase | None = None,
        drain_deadline_ms: int = DRAIN_DEADLINE_MS,
        in_loop: bool = False,
        listeners: Listeners = NO_LISTENERS,
        remains_in_group: bool = False,
    ) -> None:
        self._topology = topology
        self._settings = settings
        self._seams = seams
        self._slot = slot
        self._process_id = process_id
        self._listener = listener
        self._listeners = listeners
        self._drain_deadline_ms = drain_deadline_ms
        self._in_loop = in_loop
        self._remains_in_group = remains_in_group
        self._inbox: Inbox[Event] = Inbox()
        self._outbox: Outbox[Command] = Outbox()
        self._memory = plan_memory(settings)
        self._rocks_memory = RocksMemory(self._memory.rocksdb)
        self._open_database = open_database or self._open_rocksdb
        self._processor: Processor | None = None
        self._membership: Membership | None = None
        self._stop_requested = False
        self._is_paused = False
        self._states = States(listeners.state)
        self._stopping = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._serving: asyncio.Future[int] | None = None
        self._is_connected = False
        self._failures = 0
        self.failure: BaseException | None = None
        """Why it ended, once it has failed."""
        self._client: Client | None = None
        self.registry = Registry()
        self.endpoint: WorkerEndpoint | None = None
        self.queries = QueryService(
            topology,
            advertised_of(settings, slot),
            self._inbox.put,
            lambda: self._membership.endpoints if self._membership is not None else (),
            self._partitions_of,
            seams.network,
            seams.clock,
        )

    @property
    def is_paused(self) -> bool:
        """Whether it processes nothing for now."""
        return self._is_paused

    def pause(self, *, is_paused: bool = True) -> None:
        """Process nothing until `is_paused` is taken back; the membership stays (KIP-834)."""
        self._is_paused = is_paused
        if self._processor is not None:
            self._processor.is_paused = is_paused

    def run(self) -> int:
        """Work until the end; blocks. Raises UsageError for what the user must change."""
        from streamkit.common.system import run_loop

        tune_interpreter()
        return run_loop(self.serve())

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop of its network, once it runs."""
        return self._loop

    def request_stop(self) -> None:
        """Drain and stop: commit, close the tasks, leave the group. From any thread."""
        self._stop_requested = True
        if self._loop is not None:
            with suppress(RuntimeError):  # its loop is closed: it has ended by itself
                self._loop.call_soon_threadsafe(self._begin_stop)

    def progress(self) -> Progress:
        """Where the worker stands; from any thread."""
        processor = self._processor
        if processor is None:
            return Progress(0, 0, 0, 0, 0, False)
        tasks = list(processor.tasks.values())
        return Progress(
            processor.records,
            processor.commits,
            len(tasks),
            sum(task.is_running for task in tasks),
            sum(task.remaining for task in tasks),
            self._membership is not None and self._membership.is_ready,
            len(processor.standbys.tasks),
        )

    @property
    def state(self) -> State:
        """Where it is in its life; from any thread."""
        if self._states.current in {State.REBALANCING, State.RUNNING}:
            return self._state_now()
        return self._states.current

    def _state_now(self) -> State:
        if self._stop_requested:
            return State.PENDING_SHUTDOWN
        at = self.progress()
        is_running = at.is_ready and at.running == at.tasks
        return State.RUNNING if is_running else State.REBALANCING

    async def serve(self) -> int:
        """`run` in the event loop of the caller."""
        refuse_patterns(self._topology)
        self._states.move(State.REBALANCING)
        status = 1
        try:
            status = await self._serve_until_end()
        finally:
            self._states.end(has_failed=status != 0)
        return status

    async def _serve_until_end(self) -> int:
        self._loop = asyncio.get_running_loop()
        self._outbox.attach(self._loop)
        self._inbox.attach(self._loop)
        directory = self._state_directory()
        release = self._lock(directory)
        try:
            process_id = self._process_id or directory.process_id(self._seams.random)
            while True:
                self._serving = asyncio.ensure_future(self._serve(directory, process_id))
                status = await self._serving
                if status == 0 or not await self._is_replaced():
                    return status
        except asyncio.CancelledError:
            if self._stop_requested:
                return 0
            raise
        finally:
            release()

    async def _is_replaced(self) -> bool:
        """Whether a failed worker begins anew; waits for its time, and clears its desks."""
        if self.failure is None or self._stop_requested:
            return False
        if reply_to(self._topology.policies.uncaught, self.failure) is not Reply.REPLACE:
            return False
        self._failures += 1
        wait_ms = backoff_ms(self._failures)
        log.warning("the worker is replaced in %d ms", wait_ms)
        await asyncio.sleep(wait_ms / 1000)
        self.failure = None
        self._is_connected = False
        self._inbox.take_all()
        self._outbox.take_all()
        return not self._stop_requested

    async def _serve(self, directory: StateDirectory, process_id: UUID) -> int:
        async with AsyncExitStack() as stack:
            endpoint = self.endpoint = self._make_endpoint()
            if endpoint is not None:
                await endpoint.start()
                stack.push_async_callback(endpoint.close)
            thread_id = self._thread_id(process_id)
            named = self._settings.client().model_copy(update={"client_id": thread_id})
            client = await stack.enter_async_context(Client(named, self._seams))
            self._client = client
            self._is_connected = True
            extensions = frozenset(await client.retrying(client.supported_features))
            application_id = self._topology.application_id
            await configure_group(client, self._settings, application_id, extensions)
            processor = self._processor = self._make_processor(directory)
            processor.is_paused = self._is_paused
            wanted = group_topology(self._topology, self._settings)
            fitting = await fitting_topology(client, application_id, wanted, extensions)
            member = self._make_member(process_id, fitting, extensions)
            metrics = WorkerMetrics(processor, processor.meter, thread_id)
            self.registry.add_collector(metrics.collect)
            self._membership = Membership(
                client,
                member,
                self._inbox,
                lambda: processor.last_step_ms,
                self._settings.poll_interval_max_ms,
                processor.place,
                lambda: task_report(processor, self._seams.clock.monotonic_ms()),
            )
            fetcher = Fetcher(
                client,
                self._settings.consumer(),
                buffer_bytes_max=self._memory.fetch,
                # What was processed cannot be taken back: a position in the log goes on.
                checks_epochs=False,
            )
            stack.callback(fetcher.close)
            restorer = Fetcher(
                client,
                self._settings.restore_consumer(),
                buffer_bytes_max=self._memory.restore,
                channel=Channel.RESTORE,
                checks_epochs=False,
            )
            stack.callback(restorer.close)
            shown = MembershipMetrics(self._membership, processor.meter.stalls, thread_id)
            self.registry.add_collector(shown.collect)
            self._show_memory(processor, fetcher, restorer)
            network = self._make_network(client, fetcher, restorer, self._membership, process_id)
            log.info("worker %s: member %s", directory.path, member.member_id)
            return await self._run_both(network, processor, directory, metrics)

    def _make_endpoint(self) -> WorkerEndpoint | None:
        address = listener_of(self._settings, self._slot)
        if address is None:
            return None
        handler = QueryHandler(self.queries)
        network = self._seams.network
        return WorkerEndpoint(
            address, network, self.registry, self._problem, self._unready, handler
        )

    def _problem(self) -> str | None:
        """Why the worker should be started anew."""
        processor = self._processor
        if processor is None:
            return None
        stuck_ms = self._seams.clock.monotonic_ms() - processor.last_step_ms
        if stuck_ms < self._settings.poll_interval_max_ms:
            return None
        return f"processing has been stuck for {stuck_ms:.0f} ms in {processor.place()}"

    def _unready(self) -> str | None:
        """Why the worker does not do its whole work yet."""
        at = self.progress()
        if not at.is_ready:
            return "not in the group yet, or the group is not ready"
        if at.running < at.tasks:
            return f"{at.tasks - at.running} of {at.tasks} tasks are not running yet"
        return None

    def _show_memory(self, processor: Processor, fetcher: Fetcher, restorer: Fetcher) -> None:
        rocks = self._rocks_memory
        used = processor.memory_used() | {
            "fetch": lambda: fetcher.held_bytes,
            "restore": lambda: restorer.held_bytes,
            "rocksdb": lambda: rocks.used_bytes,
        }
        self.registry.add_collector(lambda: memory_families(self._memory, used))

    async def _partitions_of(self, topic: str) -> int:
        if self._client is None:
            raise UnreadyError("the worker is not connected yet")
        found = self._client.view.topics.get(topic)
        if found is None:
            found = (await self._client.metadata.refresh([topic])).topics.get(topic)
        if found is None:
            raise UnreadyError(f"topic {topic} is not there yet")
        return len(found.partitions)

    def _make_network(
        self,
        client: Client,
        fetcher: Fetcher,
        restorer: Fetcher,
        membership: Membership,
        process_id: UUID,
    ) -> Network:
        settings = self._settings.producer()
        purger = self._make_purger(client)
        transactional_id, writer = None, None
        if self._settings.is_exactly_once:
            transactional_id = f"{self._topology.application_id}-{process_id}-{self._slot}"
        sender = BatchSender(client, settings, transactional_id=transactional_id)
        if transactional_id is not None:
            transactions = Transactions(
                client,
                sender,
                transactional_id,
                transaction_timeout_ms=settings.transaction_timeout_ms,
                timeout_ms=COMMIT_TIMEOUT_MS,
            )
            writer = TransactionalWriter(transactions, membership, purger)
        return Network(
            client, fetcher, restorer, sender, Offsets(client), membership,
            purger, self._inbox, self._outbox, writer, self._settings.consumer().auto_offset_reset,
        )  # fmt: skip

    async def _run_both(
        self,
        network: Network,
        processor: Processor,
        directory: StateDirectory,
        metrics: WorkerMetrics,
    ) -> int:
        thread = None
        if not self._in_loop:
            thread = self._seams.spawn.thread(processor.run, "streamkit-processing")
        status = 0
        try:
            async with asyncio.TaskGroup() as group:
                helpers = [
                    group.create_task(self._watch_stop(group), name="stop"),
                    group.create_task(self._clean(directory, processor), name="cleaner"),
                    group.create_task(self._report(), name="progress"),
                    group.create_task(self._watch_state(), name="state"),
                    group.create_task(self._tick(metrics), name="metrics"),
                ]
                if self._in_loop:
                    helpers.append(group.create_task(self._step(processor), name="processing"))
                else:
                    helpers.append(group.create_task(_give_back(), name="memory"))
                await network.run()
                for helper in helpers:
                    helper.cancel()
        except BaseExceptionGroup as errors:
            self.failure = _first(errors)
            status = _report_failure(self.failure)
        finally:
            processor.is_ended = True
            self._inbox.put(Drain())
            assert self._membership is not None
            await network.end()
            status = await self._maybe_stop_all() or status
            if self._remains_in_group and self._stop_requested and status == 0:
                self._membership.remain()
            else:
                await self._membership.leave()
            if thread is not None:
                thread.join(JOIN_TIMEOUT_S)
            if self._listener is not None:
                self._listener(self.progress())
        return status

    async def _maybe_stop_all(self) -> int:
        """What a supervisor is to know of it by the exit status; 0: nothing."""
        assert self._membership is not None, "it was in the group"
        if self.failure is None:
            return 0
        if reply_to(self._topology.policies.uncaught, self.failure) is not Reply.STOP_APPLICATION:
            return 0
        await self._membership.shut_down_application()
        return 0 if self._process_id is None else STATUS_STOP_APPLICATION

    async def _step(self, processor: Processor) -> None:
        while not processor.is_ended:
            now_ms = self._seams.clock.monotonic_ms()
            wait_ms = processor.step(self._inbox.take_all(), now_ms)
            await asyncio.sleep(min(wait_ms, STEP_WAIT_MS) / 1000)

    async def _watch_stop(self, group: asyncio.TaskGroup) -> None:
        if self._stop_requested:
            self._begin_stop()
        await self._stopping.wait()
        self._inbox.put(Drain())
        await asyncio.sleep(self._drain_deadline_ms / 1000)
        raise StreamkitError(
            f"the worker did not drain within {self._drain_deadline_ms} ms; it ends as it is"
        )

    def _begin_stop(self) -> None:
        self._stopping.set()
        if not self._is_connected and self._serving is not None:
            self._serving.cancel()

    async def _clean(self, directory: StateDirectory, processor: Processor) -> None:
        cleaner = Cleaner(directory, self._settings.state_cleanup_delay_ms)
        while True:
            now = self._seams.clock.monotonic_ms()
            for task_id in cleaner.clean([*processor.tasks, *processor.standbys.tasks], now):
                log.info("task %s: its state was not used any more and is deleted", task_id)
            await asyncio.sleep(cleaner.interval_ms / 1000)

    async def _tick(self, metrics: WorkerMetrics) -> None:
        """Rates are those of the last minute, so somebody has to look; nobody asks without one."""
        while self.endpoint is not None:
            metrics.tick()
            await asyncio.sleep(TICK_MS / 1000)

    def _thread_id(self, process_id: UUID) -> str:
        """What Kafka Streams calls its thread; the broker shows it as the member's client id."""
        client_id = self._settings.client_id or f"{self._topology.application_id}-{process_id}"
        return f"{client_id}-StreamThread-{self._slot + 1}"

    async def _watch_state(self) -> None:
        while self._states.is_listened_to:
            self._states.move(self._state_now())
            await asyncio.sleep(STATE_INTERVAL_MS / 1000)

    async def _report(self) -> None:
        while self._listener is not None:
            self._listener(self.progress())
            await asyncio.sleep(PROGRESS_INTERVAL_MS / 1000)

    def _state_directory(self) -> StateDirectory:
        return state_directory(self._topology, self._settings, self._seams)

    def _lock(self, directory: StateDirectory) -> Release:
        if self._process_id is not None:
            return lambda: None
        return take_directory(directory, self._settings, self._seams)

    def _make_purger(self, client: Client) -> Purger:
        topics = [
            topic.name
            for part in self._topology.subtopologies
            for topic in part.repartition_sources
        ]
        return Purger(
            lambda: Admin(client.settings, client=client),
            topics,
            self._settings.repartition_purge_interval_ms,
        )

    def _make_member(
        self, process_id: UUID, topology: GroupTopology, extensions: Collection[str]
    ) -> StreamsMember:
        settings = self._settings
        return StreamsMember(
            self._topology.application_id,
            str(member_id_of(process_id, self._slot)),
            str(process_id),
            topology,
            settings.poll_interval_max_ms,
            endpoint=advertised_of(settings, self._slot),
            rack=settings.client_rack or None,
            client_tags=settings.client_tags(),
            reports_tasks=TASK_OFFSETS in extensions,
        )

    def _make_processor(self, directory: StateDirectory) -> Processor:
        settings = self._settings
        producer = settings.producer()
        collector = Collector(
            producer.batch_size,
            COMPRESSIONS[producer.compression_type],
            self._seams.random.randrange,
            producer.max_request_size,
        )
        budget = CacheBudget(self._memory.cache)
        policies = settings.policies(self._topology.policies)
        globals_ = self._make_globals(directory)
        environment = TaskEnvironment(
            application_id=self._topology.application_id,
            directory=directory,
            open_database=self._open_database,
            collector=collector,
            budget=budget,
            policies=policies,
            savepoint=Savepoint(collector, budget) if policies.needs_savepoint else None,
            now_ms=self._seams.clock.now_ms,
            idle_ms=settings.max_task_idle_ms,
            buffered_max=settings.buffered_records_per_partition,
            partition_count=self._partition_count,
            reads_committed=settings.is_exactly_once,
            listeners=self._listeners,
            room=Room(self._memory.input, self._memory.load),
            time_idle_ms=settings.stream_time_idle_ms,
            meters=None
            if settings.metrics_recording_level == "INFO"
            else Meters(self._seams.clock.monotonic_ms),
            timeout_ms=settings.task_timeout_ms,
            tracing=settings.tracing(),
            default_reset=settings.consumer().auto_offset_reset,
            global_stores={} if globals_ is None else globals_.stores,
            configs=settings.to_mapping(),
        )
        return Processor(
            self._topology,
            environment,
            ProcessorSettings(
                settings.commit_interval_ms,
                producer.linger_ms,
                self._memory.producer,
                self._memory.uncommitted,
                is_transactional=settings.is_exactly_once,
            ),
            self._inbox,
            self._outbox,
            self._seams.clock.monotonic_ms,
            None
            if globals_ is None
            else GlobalReader(globals_, self._outbox, self._listeners.restore),
        )

    def _make_globals(self, directory: StateDirectory) -> GlobalState | None:
        if not self._topology.globals:
            return None
        path = directory.global_path(self._slot)
        return GlobalState(
            self._topology.application_id,
            self._topology.globals,
            lambda families: self._open_database(path, list(families)),
            self._seams.clock.now_ms,
            global_policies(
                self._settings.policies(self._topology.policies),
                handles_processing=self._settings.processing_exception_handler_global_enabled,
            ),
            self._settings.to_mapping(),
        )

    def _partition_count(self, topic: str) -> int:
        """Ask the network, and wait; for topics that are only known when a record is written."""
        request = CountPartitions(topic)
        self._outbox.put(request)
        try:
            answer = request.answer.get(True, LOOKUP_TIMEOUT_S)
        except Empty:
            raise FatalError(
                f"topic {topic}: its partitions were not found out in {LOOKUP_TIMEOUT_S:.0f} s"
            ) from None
        if isinstance(answer, StreamkitError):
            raise answer
        return answer

    def _open_rocksdb(self, path: str, families: list[str]) -> Backend:
        return RocksBackend(path, families, self._rocks_memory)


def tune_interpreter() -> None:
    """Settings of the whole process: quick hand-over between threads, rare garbage collections,
    memory that goes back to the system.

    Records make no reference cycles, so that collecting every 700 objects only costs (7%).
    """
    tune_allocator()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.set_threshold(100_000, 50, 100)


async def _give_back() -> None:
    while True:
        await asyncio.sleep(GIVE_BACK_INTERVAL_S)
        give_back()


def state_directory(topology: Topology, settings: StreamsSettings, seams: Seams) -> StateDirectory:
    """The application's state directory; in the temporary directory, with a warning, by default."""
    root = settings.state_dir
    if not root:
        root = f"{tempfile.gettempdir()}/streamkit"
        log.warning("state.dir is not set: state is kept in %s, which a reboot may clear", root)
    return StateDirectory(seams.disk, root, topology.application_id)


def _report_failure(error: BaseException) -> int:
    """Say why the worker ends; its exit status. Raises what the user must change."""
    if isinstance(error, UsageError):
        raise error
    if isinstance(error, StreamkitError):
        log.error("%s", error)
    else:
        log.error("the worker failed", exc_info=error)
    return 1


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def take_directory(directory: StateDirectory, settings: StreamsSettings, seams: Seams) -> Release:
    """Lock the state directory for this process, and delete what is too old in it."""
    release = directory.lock()
    age_ms_max = settings.state_cleanup_dir_max_age_ms
    if age_ms_max >= 0:
        for folder in directory.delete_outdated(age_ms_max, seams.clock.now_ms()):
            log.warning(
                "%s/%s was not written for state.cleanup.dir.max.age.ms=%d and is deleted",
                directory.path, folder, age_ms_max,
            )  # fmt: skip
    return release

"""One node: disk, metadata quorum, replicas, coordinators and the listener, in their order.

Start: take the data directory, recover its logs, replay the metadata, register, lead; then the
first request is answered. Connections are taken from the moment the port is known, since the
registration says which one it is. Stop: the other way round, and the logs are marked as closed
cleanly. All background work runs in one task group; a failure of it ends the node. So does an error
of the one log directory, as in Kafka (LogDirFailureHandler): those who wait are told
KAFKA_STORAGE_ERROR, then the node serves nobody any more.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Self

from streamkit.broker.cleaner import LogCleaner
from streamkit.broker.connection_limits import ConnectionLimits, limits_at_start
from streamkit.broker.context import BrokerParts
from streamkit.broker.coordination import (
    Coordinator,
    Elections,
    ImageTopics,
    InternalTopicCreation,
    LoopTimers,
    TopicNews,
)
from streamkit.broker.coordinators.group.coordinator import GroupCoordinator
from streamkit.broker.coordinators.transaction.coordinator import TransactionCoordinator
from streamkit.broker.fetch_sessions import FetchSessions
from streamkit.broker.kraft.broker_config import static_layer
from streamkit.broker.kraft.features import TRANSACTION_VERSION
from streamkit.broker.kraft.format import NodeIdentity, open_data_dir
from streamkit.broker.kraft.image import MetadataImage
from streamkit.broker.kraft.membership import Membership
from streamkit.broker.kraft.quorum import Quorum
from streamkit.broker.kraft.records import Endpoint as RegisteredEndpoint
from streamkit.broker.kraft.topic_config import effective_topic_values
from streamkit.broker.kraft.voters import VoterEndpoint
from streamkit.broker.log.directory import LogDirectory
from streamkit.broker.log.settings import LogSettings
from streamkit.broker.markers import MarkerWriter
from streamkit.broker.metadata import OFFSETS_TOPIC, TRANSACTIONS_TOPIC, ClusterMetadata
from streamkit.broker.metrics import BrokerMetrics
from streamkit.broker.replicas import Replicas, TopicSettings
from streamkit.broker.server import Dispatcher
from streamkit.broker.settings import BrokerSettings, Endpoint
from streamkit.broker.upkeep import LogUpkeep
from streamkit.broker.verification import TransactionVerifier
from streamkit.common.errors import FatalError, StorageError, UsageError
from streamkit.common.seams import Seams
from streamkit.net.server import FrameServer
from streamkit.protocol.errors import ApiError

if TYPE_CHECKING:
    from streamkit.broker.endpoint import OperatorEndpoint

logger = logging.getLogger(__name__)

PLAINTEXT = 0
SESSION_IDS = 2**31 - 1
MARKER_TIMEOUT_MS = 30_000
HALT_GRACE_S = 0.2
"""So long those who wait for a failed disk have to be told."""


class Node:
    """One broker and controller. Start and stop it in the same task."""

    def __init__(self, settings: BrokerSettings, seams: Seams) -> None:
        self.settings = settings
        self.metrics = BrokerMetrics()
        self.endpoint: OperatorEndpoint | None = None
        self.failure: StorageError | None = None
        """The first error of the log directory."""

        self.dispatcher = Dispatcher()
        self._seams = seams
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers = LoopTimers()
        self._group: asyncio.TaskGroup | None = None
        self._server: FrameServer | None = None
        self._directory: LogDirectory | None = None
        self._quorum: Quorum | None = None
        self._replicas: Replicas | None = None
        self._has_halted = asyncio.Event()
        self._membership: Membership | None = None
        self._advertised = settings.listener
        self._static = static_layer(settings)

    @property
    def bootstrap(self) -> str:
        """`HOST:PORT` for clients."""
        return f"{self._advertised.host}:{self._advertised.port}"

    async def start(self) -> None:
        """Start; returns when requests are answered.

        Raises UsageError when the port is in use, or the data directory is, or belongs to another
        cluster.
        """
        self._group = await asyncio.TaskGroup().__aenter__()
        try:
            await self._start(self._group)
        except BaseException:
            await self.stop(clean=False)
            raise

    async def run_until(self, stop: asyncio.Event) -> None:
        """Serve until told to stop, then stop in order.

        Raises FatalError when the log directory or background work failed.
        """
        try:
            await _either(stop, self._has_halted)
        except asyncio.CancelledError:
            # The task group cancels the one who entered it when one of its tasks fails.
            try:
                await self.stop(clean=False)
            except BaseExceptionGroup as failed:
                logger.exception("background work failed")
                raise FatalError(f"the broker stops: {failed.exceptions[0]!r}") from failed
            raise
        await self.stop(clean=self.failure is None)
        if self.failure is not None:
            data = self.settings.data_dir
            raise FatalError(f"the broker stops, its log directory {data} failed: {self.failure}")

    async def stop(self, *, clean: bool = True) -> None:
        """Stop in order; without `clean` the logs are not marked as closed cleanly."""
        if self.endpoint is not None:
            await self.endpoint.close()
        if self._server is not None:
            await self._server.close()
        if self._quorum is not None and clean:
            await self._leave(self._quorum)
        for task in self._tasks:
            task.cancel()
        if self._directory is not None:
            directory, self._directory = self._directory, None
            _try_on_disk("closing the logs", lambda: directory.close(clean=clean))
        await self._end_tasks()

    async def abandon(self) -> None:
        """Drop everything as a crash does: nothing more is written, nobody is told."""
        if self.endpoint is not None:
            await self.endpoint.close()
        if self._server is not None:
            await self._server.close()
        for task in self._tasks:
            task.cancel()
        await self._end_tasks()

    async def _leave(self, quorum: Quorum) -> None:
        try:
            if self._membership is not None:
                await self._membership.leave()
            await quorum.stop()
        except (StorageError, ApiError) as error:
            logger.error("leaving the cluster: %s", error)

    def _on_disk_error(self, error: StorageError) -> None:
        if self.failure is not None:
            return
        self.failure = error
        for partition in self._replicas or ():
            partition.go_offline()
        self._start_task(self._halt())

    async def _halt(self) -> None:
        await asyncio.sleep(HALT_GRACE_S)
        if self._server is not None:
            await self._server.close()
        self._has_halted.set()

    async def _end_tasks(self) -> None:
        self._timers.end()
        group, self._group = self._group, None
        if group is not None:
            await group.__aexit__(None, None, None)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def _start(self, group: asyncio.TaskGroup) -> None:
        settings, seams = self.settings, self._seams
        if settings.metrics_listener is not None:
            await self._start_endpoint(settings.metrics_listener)
        self._server = await self._listen(group)
        listener = settings.listener
        self._advertised = settings.advertised(self._server.port)
        self._directory = LogDirectory.open(
            seams.disk,
            settings.data_dir,
            lambda topic: self._topic_settings(MetadataImage(), topic).log,
            seams.clock.now_ms,
        )
        endpoint = VoterEndpoint(listener.name, listener.host, self._server.port)
        properties = open_data_dir(
            seams,
            settings.data_dir,
            NodeIdentity(settings.node_id, settings.cluster_id, (endpoint,)),
        )
        quorum = self._quorum = Quorum(
            seams,
            settings.data_dir,
            properties,
            endpoints=(endpoint,),
            on_disk_error=self._on_disk_error,
        )
        await quorum.start()
        metadata = ClusterMetadata(quorum, settings, seams.random, listener.name)
        quorum.on_image(ConnectionLimits(self._server, metadata.live_settings).on_image)
        replicas = self._replicas = self._make_replicas(self._directory)
        groups = self._make_groups(metadata)
        elections = self._elections(OFFSETS_TOPIC, groups)
        markers = MarkerWriter(metadata, replicas, groups, seams.clock, MARKER_TIMEOUT_MS)
        transactions = self._make_transactions(metadata, markers)
        transaction_elections = self._elections(TRANSACTIONS_TOPIC, transactions)
        replicas.add_listener(elections)
        replicas.add_listener(transaction_elections)
        self._membership = Membership(quorum, seams.random.uuid4())
        await self._register(self._membership)
        quorum.on_image(replicas.apply)
        quorum.on_image(self.metrics.forget_deleted)
        replicas.set_strays_aside()
        quorum.on_image(TopicNews(groups).on_image)
        await self._membership.unfence()
        self._start_upkeep(self._directory, replicas, metadata)
        parts = BrokerParts(
            settings,
            seams,
            properties.cluster_id,
            metadata,
            replicas,
            groups,
            elections,
            transactions,
            transaction_elections,
            TransactionVerifier(transactions, metadata.live_settings, seams.clock),
            markers,
            FetchSessions(
                settings.max_incremental_fetch_session_cache_slots,
                lambda: 1 + seams.random.randrange(SESSION_IDS),
            ),
            self.metrics,
            self._count_unsent_bytes,
        )
        self.dispatcher.serve(parts)
        if self.endpoint is not None:
            self.endpoint.serve(parts, self._count_connections)
        logger.info("node %d serves %s at %s", settings.node_id, settings.data_dir, self.bootstrap)

    def _count_connections(self) -> int:
        return 0 if self._server is None else self._server.connection_count

    def _count_unsent_bytes(self) -> int:
        return 0 if self._server is None else self._server.unsent_bytes

    async def _start_endpoint(self, address: str) -> None:
        # Most brokers of a developer have none, and shall start fast.
        from streamkit.broker.endpoint import LoopWatch, OperatorEndpoint

        endpoint = OperatorEndpoint(address, self._seams, self.metrics)
        await endpoint.start()
        self.endpoint = endpoint
        self._start_task(LoopWatch(self._seams.clock, self.metrics).run())

    def _start_upkeep(
        self, directory: LogDirectory, replicas: Replicas, metadata: ClusterMetadata
    ) -> None:
        settings, seams = self.settings, self._seams
        number = metadata.live_number
        upkeep = LogUpkeep(
            directory,
            replicas,
            settings,
            number,
            seams.clock,
            seams.spawn.in_thread,
            self._on_disk_error,
        )
        self._start_task(upkeep.run())
        if settings.log_cleaner_enable:
            self._start_task(LogCleaner(replicas, number, seams, upkeep.checkpoint).run())

    async def _register(self, membership: Membership) -> None:
        advertised = self._advertised
        endpoint = RegisteredEndpoint(
            name=advertised.name,
            host=advertised.host,
            port=advertised.port,
            security_protocol=PLAINTEXT,
        )
        await membership.register((endpoint,), rack=self.settings.broker_rack)

    async def _listen(self, group: asyncio.TaskGroup) -> FrameServer:
        settings = self.settings
        limits = limits_at_start(settings)
        server = FrameServer(self._seams, self.dispatcher.answer, group, limits)
        listener = settings.listener
        try:
            await server.start(listener.host, listener.port)
        except OSError as error:
            raise _cannot_listen(listener, error) from None
        return server

    def _make_replicas(self, directory: LogDirectory) -> Replicas:
        return Replicas(
            self.settings.node_id,
            directory,
            self._topic_settings,
            self._seams.clock,
            self._seams.spawn.in_thread,
            self._start_task,
            self._on_disk_error,
        )

    def _make_groups(self, metadata: ClusterMetadata) -> GroupCoordinator:
        return GroupCoordinator(
            self.settings,
            self._seams.clock,
            self._timers,
            self._start_task,
            topics=ImageTopics(metadata.image),
            create_internal_topics=InternalTopicCreation(metadata),
            group_configs=metadata.group_configs,
            make_id=lambda: str(self._seams.random.uuid4()),
        )

    def _make_transactions(
        self, metadata: ClusterMetadata, markers: MarkerWriter
    ) -> TransactionCoordinator:
        return TransactionCoordinator(
            self.settings,
            self._seams.clock,
            self._timers,
            self._start_task,
            next_producer_id=metadata.next_producer_id,
            transaction_version=lambda: metadata.image.features.get(TRANSACTION_VERSION, 0),
            partition_count=lambda: ImageTopics(metadata.image).partition_count(TRANSACTIONS_TOPIC),
            write_markers=markers.finish,
        )

    def _elections(self, topic: str, coordinator: Coordinator) -> Elections:
        timeout_ms = self.settings.offsets_commit_timeout_ms
        return Elections(topic, coordinator, self._start_task, timeout_ms)

    def _topic_settings(self, image: MetadataImage, topic: str) -> TopicSettings:
        layers = (
            image.broker_configs(self.settings.node_id),
            image.broker_configs(None),
            self._static,
        )
        values = effective_topic_values(image.topic_configs(topic), layers)
        small = values["internal.segment.bytes"]
        if small is not None:
            values["segment.bytes"] = small
        minimum = values["min.insync.replicas"]
        assert isinstance(minimum, int), f"min.insync.replicas is {minimum!r}"
        return TopicSettings(LogSettings.from_configs(values), minimum)

    def _start_task(self, work: Coroutine[None, None, None]) -> None:
        assert self._group is not None, "background work starts while the node runs"
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _either(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()


def _try_on_disk(what: str, work: Callable[[], None]) -> None:
    try:
        work()
    except StorageError as error:
        logger.error("%s: %s", what, error)


def _cannot_listen(listener: Endpoint, error: OSError) -> UsageError:
    if error.errno == errno.EADDRINUSE:
        return UsageError(
            f"{listener.host}:{listener.port} is in use: stop what listens there, "
            "or choose another port"
        )
    return UsageError(
        f"cannot listen on {listener.host}:{listener.port}: {error.strerror or error}"
    )

"""Fetches many partitions from many brokers: one request in flight per broker, sessions, a
bounded buffer.

Each broker that leads an assigned partition has a task that fetches from it again and again; what
comes waits in the buffer until `take`. A full buffer stops the fetches.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from streamkit.client.client import Client
from streamkit.client.connections import Channel
from streamkit.client.draft import Draft
from streamkit.client.fetch_session import FetchPlan, FetchSession
from streamkit.client.fetch_state import (
    FetchEvent,
    FetchLimits,
    FetchState,
    Wanted,
    needs_refresh,
)
from streamkit.client.metadata import BrokerView, ClusterView
from streamkit.client.settings import ConsumerSettings
from streamkit.client.truncation import CONSUMERS_SINCE, Unchecked, epoch_ends, epoch_topics
from streamkit.common.errors import RetriableError, StreamkitError
from streamkit.common.model import TopicPartition
from streamkit.protocol.apis import ApiKey

_log = logging.getLogger(__name__)

BUFFER_BYTES_MAX: Final = 32 * 1024 * 1024
PARTITION_FETCHES_HELD_MAX: Final = 2
"""A partition may hold so many times `max.partition.fetch.bytes`."""
SHORT_WAIT_MS: Final = 20
"""How long a fetch may park while a partition of its broker was left out for want of room."""
SETTLE_MS: Final = 1000
"""New partitions seldom come alone, and one would wait for the end of a parked fetch that was sent
without it: for so long after the last of them fetches park no longer than with a backlog."""
TOPIC_IDS_SINCE: Final = 13
REPLICA_STATE_SINCE: Final = 15
"""From here on only replicas say who they are, in a tagged field."""


NO_EPOCHS: Mapping[TopicPartition, int] = {}


@dataclass(slots=True)
class _Node:
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    session: FetchSession = field(default_factory=FetchSession)
    failures: int = 0


class Fetcher:
    """The fetching half of a consumer; it knows positions, not groups.

        fetcher = Fetcher(client, settings)
        fetcher.assign({TopicPartition("orders", 0): 0})
        for event in await fetcher.take():
            if isinstance(event, FetchFailed):
                raise event.error
            for batch in decode_fetched(event):
                print(batch.offsets, batch.values)

    `isolation.level` and the fetch sizes come from the settings. Two fetchers of one client have a
    `channel` each: a broker answers the requests of one connection one after the other.
    """

    def __init__(
        self,
        client: Client,
        settings: ConsumerSettings,
        *,
        buffer_bytes_max: int = BUFFER_BYTES_MAX,
        channel: Channel = Channel.FETCH,
        checks_epochs: bool = True,
    ) -> None:
        """With `checks_epochs` a new leader is asked first whether it has what was read."""
        self._client = client
        self._channel = channel
        self._settings = settings
        self._state = FetchState(
            FetchLimits(
                partition_fetch_bytes_max=settings.max_partition_fetch_bytes,
                fetch_bytes_max=settings.fetch_max_bytes,
                partition_bytes_max=PARTITION_FETCHES_HELD_MAX * settings.max_partition_fetch_bytes,
                buffer_bytes_max=buffer_bytes_max,
                preferred_replica_ms=settings.metadata_max_age_ms,
                retry_backoff=settings.retry_backoff,
                check_crc=settings.check_crcs,
                checks_epochs=checks_epochs,
            )
        )
        self._nodes: dict[int, _Node] = {}
        self._has_events = asyncio.Event()
        self._is_closed = False
        self._settled_ms = 0.0
        client.metadata.on_change(self._on_view)

    @property
    def assignment(self) -> tuple[TopicPartition, ...]:
        """The assigned partitions, in the order of their turns."""
        return tuple(self._state.partitions)

    def is_assigned(self, tp: TopicPartition) -> bool:
        """Whether it fetches this partition."""
        return tp in self._state.partitions

    @property
    def held_bytes(self) -> int:
        """Bytes that wait for `take`, those of paused partitions too; from any thread."""
        return self._state.kept_bytes

    def assign(
        self,
        positions: Mapping[TopicPartition, int],
        epochs: Mapping[TopicPartition, int] = NO_EPOCHS,
    ) -> None:
        """Fetch these partitions too, each from its offset; one that is assigned moves there.

        With the leader epoch of the record in front of a position its leader is asked first
        whether it still has that; FetchFailed with LogTruncationError says that it has not.
        """
        new = [tp for tp in positions if tp not in self._state.partitions]
        if new:
            self._settled_ms = self._client.seams.clock.monotonic_ms() + SETTLE_MS
        self._state.assign(positions, epochs)
        self._client.metadata.watch(tp.topic for tp in new)
        self._wake_all()

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """Go on at another offset; also after a FetchFailed."""
        self.assign({tp: offset})

    def unassign(self, partitions: Iterable[TopicPartition]) -> None:
        """Fetch these no more; what they hold is dropped."""
        gone = [tp for tp in partitions if tp in self._state.partitions]
        self._state.unassign(gone)
        self._client.metadata.unwatch(tp.topic for tp in gone)
        self._wake_all()

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Neither fetch nor give these until `resume`; they keep what they hold."""
        self._state.pause(partitions, paused=True)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """The counterpart of `pause`."""
        self._state.pause(partitions, paused=False)
        self._signal()
        self._wake_all()

    def position(self, tp: TopicPartition) -> int:
        """The offset behind what was taken. Raises KeyError when it is not assigned."""
        return self._state.position(tp)

    def high_watermark(self, tp: TopicPartition) -> int:
        """As the last fetch said; -1 before the first."""
        return self._state.partitions[tp].high_watermark

    def last_stable_offset(self, tp: TopicPartition) -> int:
        """As the last fetch said; -1 before the first."""
        return self._state.partitions[tp].last_stable_offset

    async def take(self) -> list[FetchEvent]:
        """Wait for something, then give all that is there; at least one event."""
        while True:
            events = self.take_nowait()
            if events:
                return events
            await self.wait()

    async def wait(self) -> None:
        """Wait until there may be something, or until `wake`."""
        await self._has_events.wait()

    def wake(self) -> None:
        """End the `wait` of others for another reason."""
        self._has_events.set()

    def take_nowait(self) -> list[FetchEvent]:
        """All that is there, or nothing."""
        events = self._state.take()
        self._has_events.clear()
        if events:
            self._wake_all()
        return events

    def close(self) -> None:
        """Stop fetching."""
        self._is_closed = True
        self.unassign(list(self._state.partitions))
        for node in self._nodes.values():
            if node.task is not None:
                node.task.cancel()
        self._nodes.clear()

    def _on_view(self, _view: ClusterView) -> None:
        self._wake_all()

    def _wake_all(self) -> None:
        """Let every task look again; start those of brokers that have none."""
        if self._is_closed:
            return
        view, now = self._client.view, self._client.seams.clock.monotonic_ms()
        for node_id in sorted(self._state.nodes(view, now)):
            if node_id not in self._nodes:
                node = self._nodes[node_id] = _Node()
                work = self._fetch_from(node_id, node)
                node.task = self._client.background.spawn(work, f"fetch {node_id}")
        for node in self._nodes.values():
            node.wake.set()

    def _signal(self) -> None:
        if self._state.has_events():
            self._has_events.set()

    async def _fetch_from(self, node_id: int, node: _Node) -> None:
        while True:
            node.wake.clear()
            clock = self._client.seams.clock
            view = self._client.view
            if self._state.has_leaderless(view):
                self._client.metadata.request_refresh()
            wanted = self._state.wanted(node_id, view, clock.monotonic_ms())
            self._signal()
            if not wanted.targets and not wanted.unchecked:
                await _wait(node.wake, wanted.retry_at_ms, clock.monotonic_ms())
                continue
            try:
                if wanted.unchecked:
                    await self._check_positions(node_id, node, wanted.unchecked)
                else:
                    await self._fetch_once(node_id, node, wanted)
            except RetriableError as error:
                await self._on_lost(node, error)
            except StreamkitError as error:
                node.session.on_lost()
                self._state.fail(wanted.unchecked or wanted.targets, error)
            finally:
                self._state.on_done(node_id)
            self._signal()

    async def _on_lost(self, node: _Node, error: RetriableError) -> None:
        node.session.on_lost()
        node.failures += 1
        _log.info("fetch: %s", error)
        self._client.metadata.request_refresh()
        delay = self._settings.retry_backoff.delay_ms(
            node.failures, self._client.seams.random.random()
        )
        await asyncio.sleep(delay / 1000)

    async def _check_positions(
        self, node_id: int, node: _Node, unchecked: Mapping[TopicPartition, Unchecked]
    ) -> None:
        """Ask a leader of another epoch whether it has what was read (KIP-320)."""
        connection = await self._client.connection(node_id, self._channel)
        if (connection.version_of(ApiKey.OFFSET_FOR_LEADER_EPOCH) or 0) < CONSUMERS_SINCE:
            self._state.leave_unchecked(unchecked)
            return
        fields = {"replica_id": -1, "topics": epoch_topics(unchecked)}
        draft = Draft(ApiKey.OFFSET_FOR_LEADER_EPOCH, fields)
        response = await connection.call(self._client.fit(connection, draft))
        node.failures = 0
        now = self._client.seams.clock.monotonic_ms()
        for tp, answer in epoch_ends(response):
            if tp not in unchecked:
                continue
            error = self._state.on_epoch_end(tp, unchecked[tp], answer, now)
            if error is not None:
                _log.info("%s", error)
                self._client.metadata.request_refresh()

    async def _fetch_once(self, node_id: int, node: _Node, wanted: Wanted) -> None:
        connection = await self._client.connection(node_id, self._channel)
        version = connection.version_of(ApiKey.FETCH) or 0
        by_id = version >= TOPIC_IDS_SINCE and all(
            target.topic_id is not None for target in wanted.targets.values()
        )
        plan = node.session.plan(wanted.targets, by_id=by_id)
        draft = self._draft(plan, wanted, version, by_id=by_id)
        response = await connection.call(self._client.fit(connection, draft))
        code = getattr(response, "error_code", 0)
        node.session.on_answer(code, getattr(response, "session_id", 0))
        if code:
            _log.debug("fetch session of broker %d: %s", node_id, code)
            self._client.metadata.request_refresh()
            node.failures += 1
            await asyncio.sleep(
                self._settings.retry_backoff.delay_ms(node.failures - 1, 0.5) / 1000
            )
            return
        node.failures = 0
        self._on_response(node_id, node, wanted, response)

    def _draft(self, plan: FetchPlan, wanted: Wanted, version: int, *, by_id: bool) -> Draft:
        """Only the fields that the version has: to look for others loads all its neighbours."""
        wait_ms = self._settings.fetch_max_wait_ms
        if wanted.has_backlog or self._client.seams.clock.monotonic_ms() < self._settled_ms:
            wait_ms = min(wait_ms, SHORT_WAIT_MS)
        fields: dict[str, Any] = {
            "max_wait": wait_ms,
            "min_bytes": self._settings.fetch_min_bytes,
            "max_bytes": wanted.bytes_max,
            "isolation_level": int(self._settings.is_read_committed),
            "session_id": plan.session_id,
            "session_epoch": plan.epoch,
            "topics": _topics(plan, by_id=by_id),
            "forgotten_topics_data": _forgotten(plan, by_id=by_id),
            "rack_id": self._settings.client_rack,
        }
        if not by_id or version < REPLICA_STATE_SINCE:
            fields["replica_id"] = -1
        return Draft(ApiKey.FETCH, fields, None if by_id else TOPIC_IDS_SINCE - 1)

    def _on_response(self, node_id: int, node: _Node, wanted: Wanted, response: Any) -> None:
        now = self._client.seams.clock.monotonic_ms()
        names = {t.topic_id: tp.topic for tp, t in node.session.targets.items()}
        endpoints = [
            BrokerView(e.node_id, e.host, e.port, e.rack)
            for e in getattr(response, "node_endpoints", ())
        ]
        for topic in response.responses:
            name = topic.topic if hasattr(topic, "topic") else names.get(topic.topic_id, "")
            for answer in topic.partitions:
                tp = TopicPartition(name, answer.partition_index)
                generation = wanted.generations.get(tp)
                if generation is None:
                    continue
                error = self._state.on_partition(tp, generation, answer, node_id, now)
                if error is not None:
                    _log.info("%s", error)
                    self._find_leader(tp, answer, endpoints, error)

    def _find_leader(
        self, tp: TopicPartition, answer: Any, endpoints: list[BrokerView], error: StreamkitError
    ) -> None:
        """Take the leader that the broker named (KIP-951), or ask for fresh metadata."""
        named = getattr(answer, "current_leader", None)
        if named is not None and self._client.metadata.on_leader(
            tp, named.leader_id, named.leader_epoch, endpoints
        ):
            return
        if needs_refresh(error):
            self._client.metadata.request_refresh()


async def _wait(wake: asyncio.Event, until_ms: float | None, now_ms: float) -> None:
    if until_ms is None:
        await wake.wait()
        return
    try:
        async with asyncio.timeout(max(until_ms - now_ms, 0.0) / 1000):
            await wake.wait()
    except TimeoutError:
        return


def _topics(plan: FetchPlan, *, by_id: bool) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for tp, target in plan.send.items():
        topic = found.setdefault(
            tp.topic, {**_named(tp.topic, target.topic_id, by_id=by_id), "partitions": []}
        )
        topic["partitions"].append(
            {
                "partition": tp.partition,
                "current_leader_epoch": target.leader_epoch,
                "fetch_offset": target.offset,
                "partition_max_bytes": target.bytes_max,
            }
        )
    return list(found.values())


def _forgotten(plan: FetchPlan, *, by_id: bool) -> list[dict[str, Any]]:
    found: dict[Any, dict[str, Any]] = {}
    for tp, topic_id in plan.forget:
        topic = found.setdefault(
            (tp.topic, topic_id), {**_named(tp.topic, topic_id, by_id=by_id), "partitions": []}
        )
        topic["partitions"].append(tp.partition)
    return list(found.values())


def _named(topic: str, topic_id: UUID | None, *, by_id: bool) -> dict[str, Any]:
    return {"topic_id": topic_id} if by_id else {"topic": topic}

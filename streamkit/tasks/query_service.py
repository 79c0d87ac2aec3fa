"""Interactive queries on the side of the network: who has what, asking here or at another worker.

Which worker has which partition comes with the heartbeats (`application.server` of each member).
A partition is asked of its owner; when stale reads are welcome also of its standbys. While tasks
move nobody may have a partition: then it is asked for again until the time is up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import urlencode

import orjson

from streamkit.common.http_get import HttpError, http_get
from streamkit.common.model import TopicPartition
from streamkit.common.partitioner import partition_for
from streamkit.common.seams import Clock, Network
from streamkit.rebalance.effects import EndpointPartitions
from streamkit.state.builders import StoreBuilder
from streamkit.state.queries import PAGE_ROWS_MAX, KeyQuery, Query, VersionsQuery
from streamkit.tasks.asks import Ask, Failure, PartitionAnswer
from streamkit.tasks.query_values import answer_json, failed_json
from streamkit.tasks.restoration import changelog_topic
from streamkit.topology.plan import Subtopology, Topology

RETRY_MS: Final = 100
REMOTE_GRACE_S: Final = 2.0
"""How much longer than the query itself another worker may take to say so."""

Endpoint = tuple[str, int]
FINAL = (Failure.DOES_NOT_EXIST.name, Failure.UNKNOWN_QUERY_TYPE.name)


class UnknownStoreError(Exception):
    """The program has no such store."""


class UnreadyError(Exception):
    """The worker cannot say yet; asking again may help."""


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """A query as it came in. `target`, a path, and `fields` repeat it at another worker."""

    store: str
    query: Query
    target: str
    fields: Mapping[str, str]
    partitions: frozenset[int] | None = None
    is_stale_welcome: bool = False
    bound: Mapping[TopicPartition, int] = field(default_factory=dict)
    limit: int = 1_000
    after: Mapping[int, bytes] = field(default_factory=dict)
    timeout_ms: float = 2_000.0


class QueryService:
    """Answers queries for one worker, with the help of the others."""

    def __init__(
        self,
        topology: Topology,
        here: Endpoint | None,
        ask: Callable[[Ask], None],
        endpoints: Callable[[], Sequence[EndpointPartitions]],
        partition_count: Callable[[str], Awaitable[int]],
        network: Network,
        clock: Clock,
    ) -> None:
        self.topology = topology
        self.here = here
        self._ask = ask
        self._endpoints = endpoints
        self._partition_count = partition_count
        self._network = network
        self._clock = clock

    def store(self, name: str) -> tuple[Subtopology, StoreBuilder]:
        """A store's builder and whose it is. Raises UnknownStoreError."""
        for part in self.topology.parts:
            for builder in part.stores:
                if builder.name == name:
                    return part, builder
        names = sorted(each.name for part in self.topology.parts for each in part.stores)
        known = ", ".join(names) or "none"
        raise UnknownStoreError(f"there is no store {name!r}; there is {known}")

    def topic_of(self, builder: StoreBuilder) -> str:
        """The topic that a store's serdes are told."""
        for part in self.topology.globals:
            if builder in part.stores:
                return part.source_topics[0]
        return changelog_topic(self.topology.application_id, builder)

    def is_global(self, part: Subtopology) -> bool:
        """Whether every worker has all of its rows."""
        return part in self.topology.globals

    async def count(self, part: Subtopology) -> int:
        """How many partitions the stores of a sub-topology have."""
        counts = [await self._partition_count(topic) for topic in part.topics]
        return max(counts, default=0)

    async def partition_of(self, part: Subtopology, key: bytes) -> int:
        """The partition of a key, by Kafka's default partitioner."""
        return partition_for(key, await self.count(part))

    def hosts(self) -> Sequence[EndpointPartitions]:
        """All endpoints of the application and what they have."""
        return self._endpoints()

    def owners(self, part: Subtopology, partition: int) -> tuple[list[Endpoint], list[Endpoint]]:
        """Who runs a task, and who follows it."""
        wanted = {TopicPartition(topic, partition) for topic in part.topics}
        active, standby = [], []
        for each in self._endpoints():
            endpoint = (each.host, each.port)
            if not wanted.isdisjoint(each.active) and endpoint not in active:
                active.append(endpoint)
            if not wanted.isdisjoint(each.standby) and endpoint not in standby:
                standby.append(endpoint)
        return active, standby

    async def query(self, request: QueryRequest) -> list[dict[str, Any]]:
        """The answers of all partitions that are meant, wherever they are."""
        part, _ = self.store(request.store)
        if self.is_global(part):
            return await self._local_until_ready(request)
        wanted = request.partitions
        if wanted is None and isinstance(request.query, KeyQuery | VersionsQuery):
            wanted = frozenset({await self.partition_of(part, request.query.key)})
        elif wanted is None:
            wanted = frozenset(range(await self.count(part)))
        if request.after:
            wanted &= frozenset(request.after)
        deadline_ms = self._clock.monotonic_ms() + request.timeout_ms
        answers: dict[int, dict[str, Any]] = {}
        attempt = 0
        while True:
            left = sorted(wanted - {n for n, each in answers.items() if not _may_change(each)})
            for answer in await self._attempt(request, part, left, attempt, deadline_ms):
                answers[answer["partition"]] = answer
            if not any(_may_change(answers[number]) for number in left if number in answers):
                break
            if self._clock.monotonic_ms() >= deadline_ms:
                break
            attempt += 1
            await asyncio.sleep(RETRY_MS / 1000)
        return [answers[number] for number in sorted(answers)]

    async def _local_until_ready(self, request: QueryRequest) -> list[dict[str, Any]]:
        """Of a global store: everybody has it, once it is read."""
        deadline_ms = self._clock.monotonic_ms() + request.timeout_ms
        while True:
            left_ms = max(deadline_ms - self._clock.monotonic_ms(), 0.0)
            answers = await self.local(replace(request, partitions=None, timeout_ms=left_ms))
            if left_ms == 0 or not any(_may_change(each) for each in answers):
                return answers
            await asyncio.sleep(RETRY_MS / 1000)

    async def _attempt(
        self,
        request: QueryRequest,
        part: Subtopology,
        partitions: list[int],
        attempt: int,
        deadline_ms: float,
    ) -> list[dict[str, Any]]:
        by_host: dict[Endpoint | None, list[int]] = {}
        for partition in partitions:
            active, standby = self.owners(part, partition)
            candidates = [*active, *(standby if request.is_stale_welcome else [])]
            host = candidates[attempt % len(candidates)] if candidates else self.here
            by_host.setdefault(None if host == self.here else host, []).append(partition)
        left_ms = max(deadline_ms - self._clock.monotonic_ms(), 0.0)
        asked = [
            self._ask_at(host, replace(request, partitions=frozenset(numbers), timeout_ms=left_ms))
            for host, numbers in by_host.items()
        ]
        return [answer for answers in await asyncio.gather(*asked) for answer in answers]

    async def _ask_at(self, host: Endpoint | None, request: QueryRequest) -> list[dict[str, Any]]:
        if host is None:
            return await self.local(request)
        assert request.partitions is not None, "another worker is asked for partitions"
        numbers = sorted(request.partitions)
        fields = {
            **request.fields,
            "local": "true",
            "partition": ",".join(map(str, numbers)),
            "timeout_ms": str(round(request.timeout_ms)),
        }
        target = f"{request.target}?{urlencode(fields)}"
        try:
            _, body = await http_get(
                self._network, *host, target, request.timeout_ms / 1000 + REMOTE_GRACE_S
            )
            answers: list[dict[str, Any]] = orjson.loads(body)["answers"]
        except (HttpError, ValueError, KeyError) as error:
            return [failed_json(each, Failure.NOT_PRESENT, str(error)) for each in numbers]
        return [each | {"host": f"{host[0]}:{host[1]}"} for each in answers]

    async def local(self, request: QueryRequest) -> list[dict[str, Any]]:
        """The answers of this worker alone."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[list[PartitionAnswer]] = loop.create_future()

        def reply(answers: list[PartitionAnswer]) -> None:
            loop.call_soon_threadsafe(_settle, answered, answers)

        self._ask(
            Ask(
                request.store,
                request.query,
                reply,
                request.partitions,
                request.is_stale_welcome,
                request.bound,
                min(request.limit, PAGE_ROWS_MAX),
                request.after,
                self._clock.monotonic_ms() + request.timeout_ms,
            )
        )
        _, builder = self.store(request.store)
        topic = self.topic_of(builder)
        try:
            async with asyncio.timeout(request.timeout_ms / 1000 + REMOTE_GRACE_S / 2):
                answers = await answered
        except TimeoutError:
            why = "processing is busy with a record"
            numbers = sorted(request.partitions or ())
            return [failed_json(each, Failure.NOT_PRESENT, why) for each in numbers]
        return [answer_json(each, builder, topic) for each in answers]


def _settle(future: asyncio.Future[list[PartitionAnswer]], answers: list[PartitionAnswer]) -> None:
    if not future.done():
        future.set_result(answers)


def _may_change(answer: Mapping[str, Any]) -> bool:
    """Whether asking again, or somebody else, may help."""
    return "failure" in answer and answer["failure"] not in FINAL

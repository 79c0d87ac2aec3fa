"""A scripted cluster: brokers over any network that keep logs and obey a list of faults."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import pytest

from streamkit.common.model import TopicPartition
from streamkit.common.seams import Seams
from streamkit.common.system import system_seams
from streamkit.net.errors import CloseConnection
from streamkit.net.server import ConnectionInfo, Frame, FrameServer
from streamkit.protocol.apis import VERSIONS, ApiKey
from streamkit.protocol.messages import (
    Chunks,
    Request,
    decode_request,
    encode_response,
    response_type,
)
from streamkit.protocol.units import to_ms
from streamkit.protocol.versions import fill
from streamkit.records import scan
from streamkit.testing.disk import MemoryDisk
from streamkit.testing.simulation import Simulation

FIRST_NODE = 11
LEADER_EPOCH = 7
PRODUCER_ID = 4_001


@dataclass
class Fault:
    """What goes wrong with the next `times` requests of an API, at one broker or any."""

    api: ApiKey
    code: int = 0
    drop: str = ""
    node: int | None = None
    times: int = 1
    delay_ms: int = 0


@dataclass
class FakePartition:
    """One partition: its leader, its log as batches with offsets, and its producers."""

    leader: int
    epoch: int = LEADER_EPOCH
    log_start: int = 0
    end: int = 0
    bytes_max: int | None = None
    batches: list[bytes] = field(default_factory=list)
    producers: dict[int, tuple[int, list[tuple[int, int, int]]]] = field(default_factory=dict)

    def append(self, records: bytes) -> tuple[int, int]:
        """(error code, base offset), by the rules of idempotence."""
        (header,) = scan(records)
        if self.bytes_max is not None and len(records) > self.bytes_max:
            return 10, -1
        if header.producer_id >= 0:
            epoch, last = self.producers.get(header.producer_id, (-1, []))
            for first, final, offset in last if epoch == header.producer_epoch else ():
                if (first, final) == (header.base_sequence, header.last_sequence):
                    return 0, offset
            if header.producer_epoch < epoch:
                return 47, -1
            expected = (last[-1][1] + 1) % 2**31 if last and epoch == header.producer_epoch else 0
            if (last or epoch >= 0) and header.base_sequence != expected:
                return 45, -1
            kept = last if epoch == header.producer_epoch else []
            row = (header.base_sequence, header.last_sequence, self.end)
            self.producers[header.producer_id] = (header.producer_epoch, [*kept, row][-5:])
        base = self.end
        self.batches.append(
            base.to_bytes(8, "big") + records[8:12] + self.epoch.to_bytes(4, "big") + records[16:]
        )
        self.end += header.last_offset_delta + 1
        return 0, base

    def end_of(self, epoch: int) -> tuple[int, int]:
        """The largest epoch not above this one, and where it ends; (-1, -1) without any."""
        found, end = (epoch, self.end) if epoch == self.epoch else (-1, -1)
        for batch in self.batches:
            (header,) = scan(batch)
            if header.leader_epoch <= epoch:
                last = header.last_offset + 1
                found, end = header.leader_epoch, max(last, end if epoch == self.epoch else 0)
        return found, end


@dataclass
class FakeTopic:
    """A topic; a recreated one has another id."""

    name: str
    topic_id: UUID
    partitions: list[FakePartition]


class FakeCluster:
    """Brokers that share their topics; start it with `async with`."""

    def __init__(self, seams: Seams, brokers: int = 1) -> None:
        self.seams = seams
        self.nodes = [FIRST_NODE + i for i in range(brokers)]
        self.down: set[int] = set()
        self.topics: dict[str, FakeTopic] = {}
        self.faults: list[Fault] = []
        self.seen: list[tuple[int, ApiKey, Any]] = []
        self.version_max: dict[ApiKey, int] = {}
        self.committed: dict[tuple[str, TopicPartition], tuple[int, str]] = {}
        self.member_epochs: dict[str, int] = {}
        self.coordinator = self.nodes[0]
        self.auto_create = False
        self.names_new_leaders = True
        self.sessions: dict[int, tuple[int, dict[tuple[UUID, int], Any]]] = {}
        self.has_sessions = True
        self.grown = asyncio.Event()
        self.features: dict[str, int] = {}
        self.handlers: dict[ApiKey, Callable[[Any, int], dict[str, Any]]] = {}
        """What a test answers itself: message and fault code to the fields of the answer."""
        self._ids = 0
        self._servers: dict[int, FrameServer] = {}
        self._ports: dict[int, int] = {}
        self._group = asyncio.TaskGroup()

    @property
    def bootstrap(self) -> str:
        """All brokers."""
        return ",".join(f"127.0.0.1:{self.port(node)}" for node in self.nodes)

    def port(self, node: int) -> int:
        """Where a broker listens."""
        return self._ports[node]

    def add_topic(self, name: str, partitions: int = 1, leader: int | None = None) -> FakeTopic:
        """A new topic, its leaders spread over the brokers."""
        self._ids += 1
        leaders = [leader or self.nodes[i % len(self.nodes)] for i in range(partitions)]
        topic = FakeTopic(name, UUID(int=7_000 + self._ids), [FakePartition(n) for n in leaders])
        self.topics[name] = topic
        return topic

    def move(self, tp: TopicPartition, node: int) -> None:
        """Another leader for a partition."""
        partition = self.partition(tp)
        partition.leader, partition.epoch = node, partition.epoch + 1

    def partition(self, tp: TopicPartition) -> FakePartition:
        """A partition's state."""
        return self.topics[tp.topic].partitions[tp.partition]

    def count(self, api: ApiKey, node: int | None = None) -> int:
        """How many requests of an API came."""
        return sum(1 for at, key, _ in self.seen if key == api and node in (None, at))

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        for node in self.nodes:
            await self.start(node)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for node in list(self._servers):
            await self.stop(node)
        await self._group.__aexit__(None, None, None)

    async def start(self, node: int) -> None:
        """Let a broker listen."""

        async def handle(frame: Frame, _info: ConnectionInfo) -> Chunks | None:
            return await self._handle(node, frame)

        server = FrameServer(self.seams, handle, self._group)
        await server.start("127.0.0.1", self._ports.get(node, 0))
        self._ports[node] = server.port
        self._servers[node] = server
        self.down.discard(node)

    async def stop(self, node: int) -> None:
        """Cut a broker's connections and stop listening."""
        self.down.add(node)
        await self._servers.pop(node).close()

    async def _handle(self, node: int, frame: Frame) -> Chunks | None:
        request = decode_request(frame)
        self.seen.append((node, request.api_key, request.message))
        fault = self._fault(node, request.api_key)
        if fault is not None and fault.delay_ms:
            await asyncio.sleep(fault.delay_ms / 1000)
        if fault is not None and fault.drop == "before":
            raise CloseConnection("fault")
        values = await self._answer(node, request, fault.code if fault is not None else 0)
        if fault is not None and fault.drop == "after":
            raise CloseConnection("fault")
        if request.api_key == ApiKey.PRODUCE and request.message.acks == 0:
            return None
        answer = fill(response_type(request.api_key, request.api_version), values)
        return encode_response(request.correlation_id, answer)

    def _fault(self, node: int, api: ApiKey) -> Fault | None:
        for fault in self.faults:
            if fault.api == api and fault.node in (None, node) and fault.times > 0:
                fault.times -= 1
                return fault
        return None

    async def _answer(self, node: int, request: Request, code: int) -> dict[str, Any]:
        message, api = request.message, request.api_key
        if api == ApiKey.FETCH:
            return await self._fetch(node, message, code)
        if api in self.handlers:
            return self.handlers[api](message, code)
        answers: dict[ApiKey, Callable[[], dict[str, Any]]] = {
            ApiKey.API_VERSIONS: self._versions,
            ApiKey.METADATA: lambda: self._metadata(message),
            ApiKey.PRODUCE: lambda: self._produce(node, message, code),
            ApiKey.LIST_OFFSETS: lambda: self._list_offsets(node, message, code),
            ApiKey.OFFSET_FOR_LEADER_EPOCH: lambda: self._ends_of_epochs(node, message, code),
            ApiKey.INIT_PRODUCER_ID: lambda: {
                "error_code": code, "producer_id": PRODUCER_ID, "producer_epoch": 3,
            },
            ApiKey.FIND_COORDINATOR: lambda: self._find_coordinator(message, code),
            ApiKey.OFFSET_COMMIT: lambda: self._commit(node, message, code),
            ApiKey.OFFSET_FETCH: lambda: self._committed(node, message, code),
        }  # fmt: skip
        return answers[api]()

    def _versions(self) -> dict[str, Any]:
        return {
            "api_keys": [
                {
                    "api_key": api,
                    "min_version": low,
                    "max_version": self.version_max.get(api, high),
                }
                for api, (low, high) in VERSIONS.items()
                if self.version_max.get(api, high) >= 0
            ],
            "finalized_features": [
                {"name": name, "max_version_level": level, "min_version_level": level}
                for name, level in self.features.items()
            ],
            "finalized_features_epoch": 1,
        }

    def _metadata(self, message: Any) -> dict[str, Any]:
        asked = None if message.topics is None else [topic.name for topic in message.topics]
        if self.auto_create and message.allow_auto_topic_creation:
            for name in asked or ():
                if name not in self.topics:
                    self.add_topic(name)
        names = list(self.topics) if asked is None else asked
        return {
            "brokers": [
                {"node_id": node, "host": "127.0.0.1", "port": self.port(node)}
                for node in self.nodes
                if node not in self.down
            ],
            "cluster_id": "fake",
            "topics": [self._topic(name) for name in names],
        }

    def _topic(self, name: str) -> dict[str, Any]:
        topic = self.topics.get(name)
        if topic is None:
            return {"name": name, "error_code": 3}
        return {
            "name": name,
            "topic_id": topic.topic_id,
            "partitions": [
                {"partition_index": i, "leader_id": p.leader, "leader_epoch": p.epoch}
                for i, p in enumerate(topic.partitions)
            ],
        }

    def _named(self, topic: Any) -> FakeTopic | None:
        name = getattr(topic, "name", getattr(topic, "topic", None))
        if name is not None:
            return self.topics.get(name)
        return next((t for t in self.topics.values() if t.topic_id == topic.topic_id), None)

    def _produce(self, node: int, message: Any, code: int) -> dict[str, Any]:
        responses = []
        for topic in message.topic_data:
            known = self._named(topic)
            answers = []
            for data in topic.partition_data:
                answer: dict[str, Any] = {"index": data.index, "error_code": code}
                if known is None:
                    answer["error_code"] = 100
                elif known.partitions[data.index].leader != node:
                    answer.update(self._moved(known.partitions[data.index]))
                elif not code:
                    partition = known.partitions[data.index]
                    answer["error_code"], answer["base_offset"] = partition.append(data.records)
                answers.append(answer)
            name = known.name if known is not None else ""
            responses.append(
                {"name": name, "topic_id": getattr(topic, "topic_id", None),
                 "partition_responses": answers}
            )  # fmt: skip
        self.grown.set()
        self.grown = asyncio.Event()
        return {"responses": responses, "node_endpoints": self._endpoints()}

    def _moved(self, partition: FakePartition) -> dict[str, Any]:
        leader = {"leader_id": partition.leader, "leader_epoch": partition.epoch}
        return {"error_code": 6} | ({"current_leader": leader} if self.names_new_leaders else {})

    def _endpoints(self) -> list[dict[str, Any]]:
        return [
            {"node_id": node, "host": "127.0.0.1", "port": self.port(node)} for node in self.nodes
        ]

    async def _fetch(self, node: int, message: Any, code: int) -> dict[str, Any]:
        if code in (70, 71, 106):
            self.sessions.pop(getattr(message, "session_id", 0), None)
            return {"error_code": code, "responses": []}
        session_id, targets, problem = self._session(message)
        if problem:
            return {"error_code": problem, "responses": []}
        deadline = asyncio.get_running_loop().time() + to_ms(message.max_wait) / 1000
        while True:
            responses = self._read(node, targets, message.max_bytes, code)
            left = deadline - asyncio.get_running_loop().time()
            if responses or left <= 0:
                return {
                    "session_id": session_id,
                    "responses": responses,
                    "node_endpoints": self._endpoints(),
                }
            try:
                await asyncio.wait_for(self.grown.wait(), left)
            except TimeoutError:
                continue

    def _session(self, message: Any) -> tuple[int, dict[Any, Any], int]:
        asked = {
            (getattr(topic, "topic_id", None) or topic.topic, p.partition): (topic, p)
            for topic in message.topics
            for p in topic.partitions
        }
        if getattr(message, "session_epoch", 0) <= 0:
            self.sessions.pop(getattr(message, "session_id", 0), None)
            if not self.has_sessions:
                return 0, asked, 0
            self._ids += 1
            self.sessions[self._ids] = (1, asked)
            return self._ids, asked, 0
        if message.session_id not in self.sessions:
            return 0, {}, 70
        epoch, targets = self.sessions[message.session_id]
        if epoch != message.session_epoch:
            return 0, {}, 71
        for topic in message.forgotten_topics_data:
            for index in topic.partitions:
                targets.pop((getattr(topic, "topic_id", None) or topic.topic, index))
        targets.update(asked)
        self.sessions[message.session_id] = (epoch + 1, targets)
        return message.session_id, targets, 0

    def _read(
        self, node: int, targets: dict[Any, Any], bytes_max: int, code: int
    ) -> list[dict[str, Any]]:
        responses = []
        for topic, wanted in targets.values():
            known = self._named(topic)
            answer = self._read_partition(node, known, wanted, bytes_max, code)
            if answer is not None:
                bytes_max = max(bytes_max - len(answer.get("records", b"")), 0)
                name = getattr(topic, "topic", "")
                topic_id = getattr(topic, "topic_id", None)
                responses.append({"topic": name, "topic_id": topic_id, "partitions": [answer]})
        return responses

    def _read_partition(
        self, node: int, known: FakeTopic | None, wanted: Any, bytes_max: int, code: int
    ) -> dict[str, Any] | None:
        answer: dict[str, Any] = {"partition_index": wanted.partition}
        if known is None:
            return answer | {"error_code": 100}
        partition = known.partitions[wanted.partition]
        if partition.leader != node:
            return answer | self._moved(partition)
        if code:
            return answer | {"error_code": code}
        if not partition.log_start <= wanted.fetch_offset <= partition.end:
            return answer | {"error_code": 1, "log_start_offset": partition.log_start}
        records = b""
        for batch in partition.batches:
            if scan(batch)[0].last_offset >= wanted.fetch_offset and (
                not records or len(records) + len(batch) <= wanted.partition_max_bytes
            ):
                records += batch
        if not records or not bytes_max:
            return None
        return answer | {
            "records": records,
            "high_watermark": partition.end,
            "last_stable_offset": partition.end,
        }

    def _list_offsets(self, node: int, message: Any, code: int) -> dict[str, Any]:
        topics = []
        for topic in message.topics:
            answers = []
            for wanted in topic.partitions:
                partition = self.topics[topic.name].partitions[wanted.partition_index]
                offset = partition.log_start if wanted.timestamp == -2 else partition.end
                error = code or (6 if partition.leader != node else 0)
                answers.append(
                    {"partition_index": wanted.partition_index, "error_code": error,
                     "offset": -1 if error else offset, "leader_epoch": partition.epoch}
                )  # fmt: skip
            topics.append({"name": topic.name, "partitions": answers})
        return {"topics": topics}

    def _ends_of_epochs(self, node: int, message: Any, code: int) -> dict[str, Any]:
        topics = []
        for topic in message.topics:
            answers = []
            for asked in topic.partitions:
                partition = self.topics[topic.topic].partitions[asked.partition]
                epoch, end = partition.end_of(asked.leader_epoch)
                error = code or (6 if partition.leader != node else 0)
                answers.append(
                    {"partition": asked.partition, "error_code": error,
                     "leader_epoch": epoch, "end_offset": end}
                )  # fmt: skip
            topics.append({"topic": topic.topic, "partitions": answers})
        return {"topics": topics}

    def _find_coordinator(self, message: Any, code: int) -> dict[str, Any]:
        where = {"node_id": self.coordinator, "host": "127.0.0.1", "error_code": code}
        where["port"] = self.port(self.coordinator)
        if hasattr(message, "coordinator_keys"):
            where["key"] = message.coordinator_keys[0]
            return {"coordinators": [where]}
        return where

    def _commit(self, node: int, message: Any, code: int) -> dict[str, Any]:
        code = code or self._member_error(
            node, message.member_id, message.generation_id_or_member_epoch
        )
        topics = []
        for topic in message.topics:
            for p in topic.partitions if not code else ():
                tp = TopicPartition(topic.name, p.partition_index)
                self.committed[message.group_id, tp] = (p.committed_offset, p.committed_metadata)
            answers = [
                {"partition_index": p.partition_index, "error_code": code} for p in topic.partitions
            ]
            topics.append({"name": topic.name, "partitions": answers})
        return {"topics": topics}

    def _member_error(self, node: int, member_id: str, epoch: int) -> int:
        if node != self.coordinator:
            return 16
        if not member_id:
            return 0
        known = self.member_epochs.get(member_id)
        if known is None:
            return 25
        return 0 if known == epoch else 113

    def _committed(self, node: int, message: Any, code: int) -> dict[str, Any]:
        group = message.groups[0] if hasattr(message, "groups") else message
        code = code or (16 if node != self.coordinator else 0)
        topics = []
        for topic in group.topics or ():
            answers = []
            for index in topic.partition_indexes:
                found = self.committed.get(
                    (group.group_id, TopicPartition(topic.name, index)), (-1, "")
                )
                answers.append(
                    {"partition_index": index, "committed_offset": found[0],
                     "metadata": found[1], "committed_leader_epoch": -1}
                )  # fmt: skip
            topics.append({"name": topic.name, "partitions": answers})
        answer = {"group_id": group.group_id, "topics": topics, "error_code": code}
        return {"groups": [answer], **answer}


Scenario = Callable[[FakeCluster, Seams], Coroutine[Any, Any, Any]]


class World:
    """Runs scenarios on virtual time."""

    def run(self, scenario: Scenario, *, brokers: int = 1, seed: int = 5) -> Any:
        """Run `scenario(cluster, seams)` to its end; the client's node is named "client"."""
        simulation = Simulation(seed)
        servers = simulation.seams("cluster", MemoryDisk())

        async def main() -> Any:
            async with FakeCluster(servers, brokers) as cluster:
                return await scenario(cluster, simulation.seams("client", MemoryDisk()))

        return simulation.run(main())


@pytest.fixture
def world() -> World:
    """A simulated world."""
    return World()


@pytest.fixture
def fault() -> type[Fault]:
    """The class of faults, for tests that cannot import it."""
    return Fault


@pytest.fixture
def fake_cluster() -> Callable[[], FakeCluster]:
    """Makes a scripted cluster over real sockets; call it inside of a running loop."""
    return lambda: FakeCluster(system_seams())

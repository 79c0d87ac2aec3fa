"""A node in a simulation, asked by encoded requests as a client would send them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

import pytest

from streamkit.broker.node import Node
from streamkit.broker.settings import settings_for
from streamkit.net.server import ConnectionInfo
from streamkit.protocol.apis import ApiKey, newest_version
from streamkit.protocol.messages import decode_response, encode_request, request_type
from streamkit.protocol.versions import fill
from streamkit.records import encode
from streamkit.testing.disk import MemoryDisk
from streamkit.testing.simulation import Simulation

T = TypeVar("T")

CORRELATION_ID = 4711
CONNECTION = ConnectionInfo(31, "10.0.0.9", 5151, False)


@dataclass
class Asker:
    """Sends requests to a node."""

    node: Node
    client_id: str = "asker"

    async def ask(self, api: ApiKey, version: int | None = None, **fields: object) -> Any:
        """The decoded answer to a request, of the newest version unless told; None for none."""
        chosen = newest_version(api) if version is None else version
        request = fill(request_type(api, chosen), fields)
        frame = memoryview(encode_request(CORRELATION_ID, self.client_id, request))
        chunks = await self.node.dispatcher.answer(frame, CONNECTION)
        if chunks is None:
            return None
        correlation_id, message = decode_response(api, chosen, b"".join(chunks))
        assert correlation_id == CORRELATION_ID
        return message

    async def create(self, topic: str, partitions: int = 1, **configs: str) -> UUID:
        """Make a topic; its id."""
        answer = await self.ask(
            ApiKey.CREATE_TOPICS,
            topics=[
                {
                    "name": topic,
                    "num_partitions": partitions,
                    "replication_factor": 1,
                    "configs": [
                        {"name": name.replace("_", "."), "value": value}
                        for name, value in configs.items()
                    ],
                }
            ],
        )
        (made,) = answer.topics
        assert made.error_code == 0, made
        return UUID(str(made.topic_id))

    async def produce(
        self, topic_id: UUID, *values: str, partition: int = 0, acks: int = -1, **build: Any
    ) -> Any:
        """Append one batch of values; the partition's answer."""
        answer = await self.ask(
            ApiKey.PRODUCE,
            acks=acks,
            timeout=1000,
            topic_data=[
                {
                    "topic_id": topic_id,
                    "partition_data": [{"index": partition, "records": batch(*values, **build)}],
                }
            ],
        )
        return None if answer is None else answer.responses[0].partition_responses[0]

    async def fetch(self, topic_id: UUID, offset: int, partition: int = 0, **fields: object) -> Any:
        """Fetch from one partition without a session; its answer."""
        answer = await self.ask(
            ApiKey.FETCH,
            **{
                "max_wait": 0,
                "min_bytes": 1,
                "max_bytes": 1 << 20,
                "topics": [
                    {
                        "topic_id": topic_id,
                        "partitions": [
                            {
                                "partition": partition,
                                "fetch_offset": offset,
                                "partition_max_bytes": 1 << 20,
                            }
                        ],
                    }
                ],
                **fields,
            },
        )
        return answer.responses[0].partitions[0]


def batch(*values: str, key: bytes | None = b"key", **build: Any) -> bytes:
    """One record batch."""
    at = 1_699_999_000_000
    records = [(key, value.encode(), at + i, ()) for i, value in enumerate(values)]
    return bytes(encode(records, **build))


@dataclass
class World:
    """One simulated machine with a disk; runs scenarios against a node on it."""

    simulation: Simulation
    disk: MemoryDisk
    settings: Mapping[str, str] = field(default_factory=dict)

    def node(self, **settings: str) -> Node:
        """A node on the disk, not yet started."""
        given = {name.replace("_", "."): value for name, value in settings.items()}
        values = {"node.id": "7", "offsets.topic.num.partitions": "3", **self.settings, **given}
        return Node(
            settings_for("broker:9092", "/data", values), self.simulation.seams("broker", self.disk)
        )

    def asker(self, node: Node) -> Asker:
        """One who asks this node."""
        return Asker(node)

    def run(self, scenario: Callable[[Asker], Awaitable[T]], **settings: str) -> T:
        """Start a node, run a scenario, stop the node; what the scenario gives back."""

        async def main() -> T:
            async with self.node(**settings) as node:
                return await scenario(Asker(node))

        return self.simulation.run(main())


@pytest.fixture
def world() -> World:
    simulation = Simulation(20_261)
    return World(simulation, MemoryDisk())

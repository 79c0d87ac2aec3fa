"""Tens of thousands of requests gone wrong, from the frames of foreign clients.

python -m tests.broker.fuzzing.attack SEED COUNT      one attack
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack

import confluent_kafka
import pytest

from streamkit.broker.handlers.fetch import UNSENT_BYTES_MAX
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.messages import encode_request, request_type
from streamkit.protocol.versions import fill
from tests.broker.fuzzing.attack import connected, run_attack
from tests.broker.fuzzing.mutations import SIZE
from tests.broker.process import broker_process
from tests.foreign import create_topics

pytestmark = pytest.mark.judge

ASKED_BYTES = 50 << 20


def test_ten_thousand_mutated_requests() -> None:
    print(f"\n{run_attack(31, 10_000)}")


@pytest.mark.long
@pytest.mark.parametrize("seed", range(300, 310))
def test_mutated_requests_of_many_seeds(seed: int) -> None:
    print(f"\n{run_attack(seed, 20_000)}")


def test_memory_for_peers_that_take_nothing_is_bounded() -> None:
    """Twenty of them ask for 50 MB each."""
    with broker_process() as broker:
        fill_topic(f"127.0.0.1:{broker.port}", "big")
        before = broker.rss_bytes_most()
        wanted = {"partition": 0, "partition_max_bytes": ASKED_BYTES}
        topics = [{"topic": "big", "partitions": [wanted]}]
        request = fill(request_type(ApiKey.FETCH, 11), {"max_bytes": ASKED_BYTES, "topics": topics})
        frame = encode_request(7, "deaf", request)
        with ExitStack() as stack:
            for _ in range(20):
                deaf = stack.enter_context(socket.socket())
                deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                deaf.connect(("127.0.0.1", broker.port))
                deaf.sendall(SIZE.pack(len(frame)) + frame)
                asyncio.run(ask_once(broker.port))
            grown = broker.rss_bytes_most() - before
    print(f"\n{grown >> 20} MB for 20 peers that asked for {20 * ASKED_BYTES >> 20} MB")
    assert grown < UNSENT_BYTES_MAX + 2 * ASKED_BYTES


def fill_topic(bootstrap: str, topic: str) -> None:
    create_topics(bootstrap, 1, topic)
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap})
    for _ in range(70):
        producer.produce(topic, bytes(900_000), partition=0)
    assert producer.flush(60) == 0


async def ask_once(port: int) -> None:
    """Another client, which is served all the while."""
    async with connected(port) as connection:
        await connection.ask(ApiKey.API_VERSIONS, 0, {})

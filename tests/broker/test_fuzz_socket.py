"""Requests gone wrong at a broker's real socket, and lengths that lie; more in tests/judges."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator

import pytest

from streamkit.protocol.apis import ApiKey
from streamkit.protocol.walk import encode_uvarint
from tests.broker.fuzzing.attack import CalmClient, connected, run_attack
from tests.broker.fuzzing.mutations import HEADER, MUTATIONS, SIZE, cases
from tests.broker.process import BrokerProcess, broker_process

SEED = 20_261
SHORT_COUNT = 400
GROWTH_BYTES_MAX = 60 << 20
ITEMS = 2_000_000
ANNOUNCED_BYTES = 100_000_000


@pytest.fixture(scope="module")
def broker() -> Iterator[BrokerProcess]:
    with broker_process() as running:
        yield running


def test_mutated_requests_are_answered_or_their_connections_closed() -> None:
    report = run_attack(SEED, SHORT_COUNT)
    assert report.outcomes.total() == SHORT_COUNT
    assert report.outcomes["answered"] > SHORT_COUNT // 5
    assert report.outcomes["closed"] > SHORT_COUNT // 5


def test_cases_come_by_the_seed() -> None:
    first, again, other = (list(cases(seed, 40)) for seed in (SEED, SEED, SEED + 1))
    assert first == again != other
    assert {case.kind for case in cases(SEED, 400)} == set(MUTATIONS)


def check_refused(broker: BrokerProcess, wire: bytes) -> None:
    """The broker closes the connection, serves others, and takes little memory for it."""
    before = broker.rss_bytes_most()

    async def attack() -> None:
        async with connected(broker.port) as calm, connected(broker.port) as connection:
            connection.write(wire)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await asyncio.wait_for(connection.frame(), 20)
            await calm.ask(ApiKey.API_VERSIONS, 0, {})

    asyncio.run(attack())
    assert broker.rss_bytes_most() - before < GROWTH_BYTES_MAX
    assert broker.tracebacks() == []


def framed(api: ApiKey, version: int, body: bytes) -> bytes:
    frame = HEADER.pack(api, version, 7) + struct.pack(">h", -1) + b"\0" + body
    return SIZE.pack(len(frame)) + frame


def test_frame_of_a_size_beyond_the_limit_closes_the_connection(broker: BrokerProcess) -> None:
    check_refused(broker, SIZE.pack(104_857_601))
    check_refused(broker, SIZE.pack(-1))


def test_array_that_claims_more_than_there_is_closes_the_connection(broker: BrokerProcess) -> None:
    check_refused(broker, framed(ApiKey.DESCRIBE_GROUPS, 5, encode_uvarint(2**31 - 1) + b"\1\0\0"))


def test_array_of_very_many_small_items_closes_the_connection(broker: BrokerProcess) -> None:
    body = encode_uvarint(ITEMS + 1) + b"\1" * ITEMS + b"\0\0"
    check_refused(broker, framed(ApiKey.DESCRIBE_GROUPS, 5, body))


def test_announced_bytes_cost_nothing_until_they_come(broker: BrokerProcess) -> None:
    before = broker.rss_bytes_most()

    async def attack() -> None:
        async with connected(broker.port) as calm:
            waiting = [connected(broker.port) for _ in range(50)]
            for each in waiting:
                connection = await each.__aenter__()
                connection.write(SIZE.pack(ANNOUNCED_BYTES) + bytes(1000))
            await calm.ask(ApiKey.API_VERSIONS, 0, {})
            for each in waiting:
                await each.__aexit__(None, None, None)

    asyncio.run(attack())
    assert broker.rss_bytes_most() - before < GROWTH_BYTES_MAX


def test_client_goes_on_beside_one_that_sends_noise(broker: BrokerProcess) -> None:
    async def both() -> None:
        async with connected(broker.port) as connection, connected(broker.port) as other:
            calm = CalmClient(connection)
            await calm.prepare()
            for number in range(20):
                other.write(bytes([number]) * 3)
                await calm.work()

    asyncio.run(both())

"""Requests gone wrong, thrown at the socket of a broker that runs in a process of its own.

    python -m tests.broker.fuzzing.attack SEED COUNT

Each must be answered, by a message that can be read, or its connection closed; a request that waits
for something may keep silent. Beside it another client goes on with its work. What the broker
writes to standard error is kept: no request may end in a traceback.
"""

from __future__ import annotations

import asyncio
import struct
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import MalformedMessage, UnsupportedVersionError
from streamkit.protocol.messages import Message, decode_response, encode_request, request_type
from streamkit.protocol.versions import fill
from streamkit.records import encode
from tests.broker.fuzzing.mutations import HEADER, SIZE, Case, cases
from tests.broker.process import BrokerProcess, broker_process

ATTACKERS = 4
SILENCE_S = 0.4
"""A request that got no answer in this time waits for something."""

CALM_ANSWER_S = 20.0
CHECK_EVERY = 100
RSS_BYTES_MAX = 400 << 20
LAST_ID = 0x5EED
ANSWERED, CLOSED, SILENT = "answered", "closed", "silent"


@dataclass(slots=True)
class Report:
    """What came of an attack."""

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    rss_bytes_most: int = 0


class Connection:
    """One client's connection, asked and answered by whole frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def write(self, wire: bytes) -> None:
        self._writer.write(wire)

    async def frame(self) -> bytes:
        """The next frame. Raises IncompleteReadError or ConnectionError at the end."""
        (size,) = SIZE.unpack(await self._reader.readexactly(4))
        return await self._reader.readexactly(size)

    async def ask(self, api: ApiKey, version: int, fields: Mapping[str, object]) -> Message:
        """A sound request, and its answer."""
        request = encode_request(7, "calm", fill(request_type(api, version), fields))
        self.write(SIZE.pack(len(request)) + request)
        return decode_response(api, version, await self.frame())[1]


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


class CalmClient:
    """One who does nothing wrong, and whose work must go on."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sent = 0

    async def prepare(self) -> None:
        topics = [
            {"name": name, "num_partitions": 2, "replication_factor": 1} for name in ("calm", "in")
        ]
        answer = await self._connection.ask(
            ApiKey.CREATE_TOPICS, 7, {"topics": topics, "timeout": 9000}
        )
        assert [each.error_code for each in answer.topics] == [0, 0], answer

    async def work(self) -> None:
        """Write a record and read it back."""
        value = b"%d" % self._sent
        records = bytes(encode([(None, value, 1_700_000_000_000, ())]))
        partition = {"index": 0, "records": records}
        answer = await self._connection.ask(
            ApiKey.PRODUCE,
            9,
            {
                "acks": -1,
                "timeout": 9000,
                "topic_data": [{"name": "calm", "partition_data": [partition]}],
            },
        )
        done = answer.responses[0].partition_responses[0]
        assert (done.error_code, done.base_offset) == (0, self._sent), done
        wanted = {"partition": 0, "fetch_offset": self._sent, "partition_max_bytes": 1 << 20}
        fetched = await self._connection.ask(
            ApiKey.FETCH,
            11,
            {"max_bytes": 1 << 20, "topics": [{"topic": "calm", "partitions": [wanted]}]},
        )
        found = fetched.responses[0].partitions[0]
        assert found.error_code == 0
        assert bytes(found.records).endswith(b"\x02" + value + b"\x00") or value in found.records
        self._sent += 1


async def attack(broker: BrokerProcess, seed: int, count: int) -> Report:
    """Throw so many requests at the broker; what came of it."""
    report, port = Report(), broker.port
    waiting = cases(seed, count)
    async with connected(port) as connection:
        calm = CalmClient(connection)
        await calm.prepare()

        async def attacker() -> None:
            for case in waiting:
                outcome = await _throw(port, case)
                report.outcomes[outcome.split(":")[0]] += 1
                if ":" in outcome:
                    report.wrong.append(f"{case.kind} {case.wire.hex()[:2000]} {outcome}")
                if report.outcomes.total() % CHECK_EVERY == 0:
                    await _check(calm, report)

        await asyncio.gather(*(attacker() for _ in range(ATTACKERS)))
        await _check(calm, report)
    report.rss_bytes_most = broker.rss_bytes_most()
    return report


_checking = asyncio.Lock()


async def _check(calm: CalmClient, report: Report) -> None:
    async with _checking:
        began = time.monotonic()
        await asyncio.wait_for(calm.work(), CALM_ANSWER_S)
        report.slowest_s = max(report.slowest_s, time.monotonic() - began)


async def _throw(port: int, case: Case) -> str:
    """One request, and one that is sound behind it; what came back."""
    async with connected(port) as connection:
        connection.write(case.wire)
        if case.is_whole:
            last = encode_request(LAST_ID, None, fill(request_type(ApiKey.API_VERSIONS, 0), {}))
            connection.write(SIZE.pack(len(last)) + last)
        try:
            async with asyncio.timeout(SILENCE_S):
                return _judge(case, await connection.frame())
        except TimeoutError:
            return SILENT
        except (asyncio.IncompleteReadError, OSError):
            return CLOSED


def _judge(case: Case, answer: bytes) -> str:
    """Whether an answer fits its request; what is wrong comes after a colon."""
    if not case.is_whole:
        return f"{ANSWERED}: a frame that never ended"
    api, version, correlation_id = HEADER.unpack_from(case.frame)
    (answered_id,) = struct.unpack_from(">i", answer)
    if answered_id == LAST_ID and api == ApiKey.PRODUCE:
        return ANSWERED
    if answered_id != correlation_id:
        return f"{ANSWERED}: correlation id {answered_id} for {correlation_id}"
    try:
        decode_response(api, version, answer)
    except UnsupportedVersionError:
        is_refusal = api == ApiKey.API_VERSIONS
        return ANSWERED if is_refusal else f"{ANSWERED}: unknown API {api} version {version}"
    except MalformedMessage as error:
        if api == ApiKey.API_VERSIONS:
            decode_response(api, 0, answer)
            return ANSWERED
        return f"{ANSWERED}: unreadable, {error}"
    return ANSWERED


def run_attack(seed: int, count: int, settings: Mapping[str, str] | None = None) -> Report:
    """One attack on a new broker; it fails the test when anything is wrong."""
    with broker_process(settings) as broker:
        try:
            report = asyncio.run(attack(broker, seed, count))
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise AssertionError(f"seed {seed}: {error!r}; {broker.last_words()}") from error
        assert broker.process.poll() is None, f"seed {seed}: {broker.last_words()}"
        found = broker.tracebacks()
    assert not found, f"seed {seed}: {len(found)} tracebacks, the first:\n{found[0]}"
    assert not report.wrong, f"seed {seed}: {len(report.wrong)} wrong:\n{report.wrong[0]}"
    assert report.rss_bytes_most < RSS_BYTES_MAX, f"seed {seed}: {report.rss_bytes_most} bytes"
    return report


if __name__ == "__main__":
    print(run_attack(int(sys.argv[1]), int(sys.argv[2])))

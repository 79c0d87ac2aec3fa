"""The runtime's writes inside transactions: what goes to the log, and what a refusal leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any

import pytest

from streamkit import records as batches
from streamkit.broker.coordinators.runtime import (
    Result,
    Runtime,
    TransactionEnd,
    WithinTransaction,
)
from streamkit.broker.log.producer_state import UNVERIFIED, InTransaction, Verification
from streamkit.protocol.errors import ApiError, ErrorCode

PARTITION, PRODUCER, EPOCH = 7, 7001, 12
GUARD = Verification(EPOCH, -1, 1_700, starts_at_zero=False)


class Words:
    """A state machine that remembers what it was told."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, int]] = []
        self.ended: list[tuple[int, bool]] = []

    def replay(self, record: str, offset: int, producer_id: int) -> None:
        self.seen.append((record, offset, producer_id))

    def end_transaction(self, producer_id: int, *, is_commit: bool) -> None:
        self.ended.append((producer_id, is_commit))


class Codec:
    def encode(self, record: str) -> tuple[bytes, bytes | None]:
        return record.encode(), None

    def decode(self, key: bytes, _value: bytes | None) -> str | None:
        return key.decode()


class World:
    """One partition over a list of batches, which may refuse the next."""

    codec = Codec()

    def __init__(self) -> None:
        self.batches: list[tuple[bytes, InTransaction]] = []
        self.refusal: ApiError | None = None
        self.loads = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.runtime: Runtime[Words] = Runtime(self, self, self, self.start_task)

    async def append(self, batch: bytes, transaction: InTransaction = UNVERIFIED) -> int:
        if self.refusal is not None:
            raise self.refusal
        self.batches.append((batch, transaction))
        return 40 + len(self.batches)

    async def read_all(self) -> AsyncIterator[bytes]:
        self.loads += 1
        for batch, _ in self.batches:
            yield batch

    def now_ms(self) -> int:
        return 1_700_000_000_000

    def monotonic_ms(self) -> float:
        return 0.0

    def call_later(self, _delay_ms: float, _callback: Callable[[], None]) -> Callable[[], None]:
        return lambda: None

    def start_task(self, work: Coroutine[None, None, None]) -> None:
        self.tasks.add(asyncio.get_running_loop().create_task(work))

    def make_state(self) -> Words:
        return Words()

    def loaded(self, _state: Words) -> Sequence[Any]:
        return ()

    def unloaded(self, _state: Words) -> Sequence[Any]:
        return ()

    def perform(self, partition: int, effect: Any) -> None:
        raise AssertionError(f"no effect is expected: {partition} {effect}")

    def state(self) -> Words:
        return self.runtime.read(PARTITION, lambda state: state)

    async def say(self, word: str) -> None:
        within = WithinTransaction(PRODUCER, EPOCH, GUARD)
        await self.runtime.write(PARTITION, lambda _: Result(None, (word,), transaction=within))

    async def end(self, *, is_commit: bool) -> None:
        end = TransactionEnd(PRODUCER, EPOCH + 1, is_commit, 33, 2)
        await self.runtime.write(PARTITION, lambda _: Result(None, transaction=end))


def run(scenario: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        world = World()
        await world.runtime.on_elected(PARTITION, 3, world)
        await scenario(world)

    asyncio.run(main())


@pytest.mark.parametrize("is_commit", [False, True])
def test_records_and_marker_carry_their_producer(is_commit: bool) -> None:
    async def scenario(world: World) -> None:
        await world.say("a")
        await world.end(is_commit=is_commit)
        (data, begun), (marker, ended) = world.batches
        header, end = batches.read_header(data), batches.read_header(marker)
        assert (header.producer_id, header.producer_epoch) == (PRODUCER, EPOCH)
        assert (header.is_transactional, header.is_control, header.base_sequence) == (1, 0, -1)
        assert begun.guard is GUARD
        assert (end.producer_id, end.producer_epoch, end.is_control) == (PRODUCER, EPOCH + 1, 1)
        assert ended.version == 2
        assert world.state().seen == [("a", 41, PRODUCER)]
        assert world.state().ended == [(PRODUCER, is_commit)]
        again = World()
        again.batches = world.batches
        await again.runtime.on_elected(PARTITION, 4, again)
        assert again.state().ended == [(PRODUCER, is_commit)]

    run(scenario)


@pytest.mark.parametrize(
    ("code", "loads"),
    [
        (ErrorCode.invalid_producer_epoch, 1),
        (ErrorCode.invalid_txn_state, 1),
        (ErrorCode.transaction_coordinator_fenced, 1),
        (ErrorCode.request_timed_out, 2),
    ],
)
def test_refused_producer_costs_the_others_no_reload(code: ErrorCode, loads: int) -> None:
    async def scenario(world: World) -> None:
        await world.say("a")
        world.refusal = ApiError(code)
        with pytest.raises(ApiError):
            await world.say("b")
        world.refusal = None
        await asyncio.gather(*world.tasks)
        await world.say("c")
        assert [word for word, _, _ in world.state().seen] == ["a", "c"]
        assert world.loads == loads

    run(scenario)

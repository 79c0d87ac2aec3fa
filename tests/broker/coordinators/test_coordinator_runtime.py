"""The runtime: what is committed is replayed and answered, in order, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any

import pytest

from streamkit import records as batches
from streamkit.broker.coordinators import runtime as rt
from streamkit.broker.coordinators.runtime import CancelTimer, Result, Runtime, StartTimer
from streamkit.protocol.errors import ApiError, ErrorCode


class Ledger:
    """A state machine that remembers what it was told."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, int]] = []
        self.ended: list[tuple[int, bool]] = []

    def replay(self, record: str, offset: int, producer_id: int) -> None:
        self.seen.append((record, offset, producer_id))

    def end_transaction(self, producer_id: int, *, is_commit: bool) -> None:
        self.ended.append((producer_id, is_commit))

    @property
    def words(self) -> list[str]:
        return [word for word, _, _ in self.seen]


class Codec:
    def encode(self, record: str) -> tuple[bytes, bytes | None]:
        return record.encode(), None

    def decode(self, key: bytes, value: bytes | None) -> str | None:
        return None if key.startswith(b"?") else key.decode()


class Log:
    """A log whose appends wait until they are let through, or fail."""

    def __init__(self, *stored: bytes) -> None:
        self.batches = list(stored)
        self.gate: asyncio.Event | None = None
        self.error: ApiError | None = None
        self.read_gate: asyncio.Event | None = None

    @property
    def end_offset(self) -> int:
        return sum(len(batches.decode(b, h)) for b in self.batches for h in batches.scan(b))

    async def append(self, batch: bytes) -> int:
        offset = self.end_offset
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.batches.append(batch)
        return offset

    async def read_all(self) -> AsyncIterator[bytes]:
        if self.read_gate is not None:
            await self.read_gate.wait()
        for batch in self.batches:
            yield batch


class Harness:
    """An owner, a clock and timers by hand, around one runtime."""

    codec = Codec()

    def __init__(self) -> None:
        self.performed: list[Any] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.first_effects: list[Any] = []
        self.runtime: Runtime[Ledger] = Runtime(self, self, self, self.start_task)

    def now_ms(self) -> int:
        return 1_700_000_000_000

    def monotonic_ms(self) -> float:
        return 0.0

    def call_later(self, delay_ms: float, callback: Callable[[], None]) -> Callable[[], None]:
        entry = (delay_ms, callback)
        self.timers.append(entry)
        return lambda: self.timers.remove(entry) if entry in self.timers else None

    def start_task(self, work: Coroutine[None, None, None]) -> None:
        self.tasks.add(asyncio.get_running_loop().create_task(work))

    def make_state(self) -> Ledger:
        return Ledger()

    def unloaded(self, state: Ledger) -> Sequence[Any]:
        return ()

    def loaded(self, state: Ledger) -> Sequence[Any]:
        return self.first_effects

    def perform(self, partition: int, effect: Any) -> None:
        self.performed.append((partition, effect))

    def words(self, partition: int = 7) -> list[str]:
        return self.runtime.read(partition, lambda state: state.words)


def say(*words: str, effects: Sequence[Any] = ()) -> Callable[[Ledger], Result[Ledger, int]]:
    """An operation that writes words and answers how many were there before."""
    return lambda state: Result(len(state.words), words, effects)


def run(scenario: Callable[[Harness], Awaitable[None]]) -> None:
    asyncio.run(scenario(Harness()))  # type: ignore[arg-type]  # a coroutine function


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_answer_and_state_wait_for_the_commit() -> None:
    async def scenario(h: Harness) -> None:
        log = Log()
        log.gate = asyncio.Event()
        await h.runtime.on_elected(7, 3, log)
        write = asyncio.ensure_future(h.runtime.write(7, say("a", "b", effects=["done"])))
        await settle()
        assert not write.done()
        assert h.words() == []
        assert h.performed == []
        log.gate.set()
        assert await write == 0
        assert h.words() == ["a", "b"]
        assert h.performed == [(7, "done")]

    run(scenario)


def test_records_of_one_operation_are_one_batch() -> None:
    async def scenario(h: Harness) -> None:
        log = Log()
        await h.runtime.on_elected(7, 3, log)
        await h.runtime.write(7, say("a", "b"))
        await h.runtime.write(7, say("c"))
        assert [batches.read_header(batch).count for batch in log.batches] == [2, 1]
        seen = h.runtime.read(7, lambda state: state.seen)
        assert seen == [("a", 0, -1), ("b", 1, -1), ("c", 2, -1)]

    run(scenario)


def test_write_sees_what_the_write_before_it_committed() -> None:
    async def scenario(h: Harness) -> None:
        log = Log()
        log.gate = asyncio.Event()
        await h.runtime.on_elected(7, 3, log)
        first = asyncio.ensure_future(h.runtime.write(7, say("a")))
        await settle()
        second = asyncio.ensure_future(h.runtime.write(7, say("b")))
        third = asyncio.ensure_future(h.runtime.write(7, say()))
        await settle()
        log.gate.set()
        assert await asyncio.gather(first, second, third) == [0, 1, 2]

    run(scenario)


def test_record_is_replayed_although_its_caller_went_away() -> None:
    async def scenario(h: Harness) -> None:
        log = Log()
        log.gate = asyncio.Event()
        await h.runtime.on_elected(7, 3, log)
        write = asyncio.ensure_future(h.runtime.write(7, say("a")))
        await settle()
        write.cancel()
        log.gate.set()
        await settle()
        assert h.words() == ["a"]

    run(scenario)


def test_partition_is_loaded_from_its_log() -> None:
    async def scenario(h: Harness) -> None:
        plain = batches.encode([(b"a", None, 5, ()), (b"?new", None, 5, ())], base_offset=40)
        inside = batches.encode(
            [(b"b", None, 5, ())],
            base_offset=42,
            producer_id=9,
            producer_epoch=2,
            base_sequence=0,
            transactional=True,
        )
        h.first_effects = ["started"]
        await h.runtime.on_elected(7, 3, Log(plain, inside))
        assert h.runtime.read(7, lambda state: state.seen) == [("a", 40, -1), ("b", 42, 9)]
        assert h.performed == [(7, "started")]

    run(scenario)


@pytest.mark.parametrize("is_commit", [True, False])
def test_transaction_marker_ends_the_transaction(is_commit: bool) -> None:
    async def scenario(h: Harness) -> None:
        kind = batches.ControlType.COMMIT if is_commit else batches.ControlType.ABORT
        marker = batches.encode(
            [(batches.control_key(kind), b"\0\0\0\0\0\5", 5, ())],
            producer_id=9,
            producer_epoch=2,
            transactional=True,
            control=True,
        )
        await h.runtime.on_elected(7, 3, Log(marker))
        assert h.runtime.read(7, lambda state: state.ended) == [(9, is_commit)]

    run(scenario)


def test_requests_are_refused_while_loading_and_elsewhere() -> None:
    async def scenario(h: Harness) -> None:
        with pytest.raises(ApiError) as elsewhere:
            await h.runtime.write(7, say("a"))
        assert elsewhere.value.code is ErrorCode.not_coordinator
        log = Log()
        log.read_gate = asyncio.Event()
        loading = asyncio.ensure_future(h.runtime.on_elected(7, 3, log))
        await settle()
        with pytest.raises(ApiError) as early:
            h.words()
        assert early.value.code is ErrorCode.coordinator_load_in_progress
        log.read_gate.set()
        await loading
        assert h.words() == []

    run(scenario)


def test_failed_append_is_told_and_the_state_loaded_again() -> None:
    async def scenario(h: Harness) -> None:
        log = Log()
        await h.runtime.on_elected(7, 3, log)
        await h.runtime.write(7, say("a"))
        log.error = ApiError(ErrorCode.request_timed_out)
        # The batch may be in the log all the same: here it is.
        log.batches.append(batches.encode([(b"late", None, 5, ())], base_offset=1))
        with pytest.raises(ApiError) as refused:
            await h.runtime.write(7, say("late"))
        assert refused.value.code is ErrorCode.coordinator_not_available
        await settle()
        assert h.words() == ["a", "late"]

    run(scenario)


def test_lost_leadership_is_not_coordinator_for_all_who_wait() -> None:
    async def scenario(h: Harness) -> None:
        log = Log()
        log.gate = asyncio.Event()
        await h.runtime.on_elected(7, 3, log)
        writes = [asyncio.ensure_future(h.runtime.write(7, say("a"))) for _ in range(3)]
        await settle()
        h.runtime.on_resigned(7, 4)
        log.gate.set()
        for outcome in await asyncio.gather(*writes, return_exceptions=True):
            assert isinstance(outcome, ApiError)
            assert outcome.code is ErrorCode.not_coordinator

    run(scenario)


def test_stale_resignation_and_election_are_ignored() -> None:
    async def scenario(h: Harness) -> None:
        await h.runtime.on_elected(7, 5, Log())
        await h.runtime.write(7, say("a"))
        h.runtime.on_resigned(7, 4)
        await h.runtime.on_elected(7, 5, Log())
        assert h.words() == ["a"]
        await h.runtime.on_elected(7, 6, Log())
        assert h.words() == []

    run(scenario)


def test_timer_runs_its_operation_once_and_the_newest_wins() -> None:
    async def scenario(h: Harness) -> None:
        await h.runtime.on_elected(7, 3, Log())
        await h.runtime.write(7, say(effects=[StartTimer("k", 500, say("old"))]))  # type: ignore[arg-type]
        await h.runtime.write(7, say(effects=[StartTimer("k", 900, say("new"))]))  # type: ignore[arg-type]
        assert [delay for delay, _ in h.timers] == [900]
        h.timers.pop()[1]()
        await settle()
        assert h.words() == ["new"]

    run(scenario)


def test_timers_end_with_the_leadership_or_when_cancelled() -> None:
    async def scenario(h: Harness) -> None:
        await h.runtime.on_elected(7, 3, Log())
        await h.runtime.write(7, say(effects=[StartTimer("k", 500, say("x"))]))  # type: ignore[arg-type]
        await h.runtime.write(7, say(effects=[CancelTimer("k"), CancelTimer("unknown")]))
        assert h.timers == []
        await h.runtime.write(7, say(effects=[StartTimer("k", 500, say("x"))]))  # type: ignore[arg-type]
        h.runtime.on_resigned(7)
        assert h.timers == []

    run(scenario)


def test_failing_operation_hurts_only_its_own_caller() -> None:
    def broken(state: Ledger) -> Result[Ledger, int]:
        raise ValueError(f"after {state.words}")

    async def scenario(h: Harness) -> None:
        log = Log()
        log.gate = asyncio.Event()
        await h.runtime.on_elected(7, 3, log)
        operations = (say("a"), broken, say("b"))
        writes = [asyncio.ensure_future(h.runtime.write(7, each)) for each in operations]
        await settle()
        log.gate.set()
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        assert isinstance(outcomes[1], ValueError)
        assert h.words() == ["a", "b"]

    run(scenario)


def test_waiting_writes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rt, "WAITING_MAX", 2)

    async def scenario(h: Harness) -> None:
        log = Log()
        log.gate = asyncio.Event()
        await h.runtime.on_elected(7, 3, log)
        writes = [asyncio.ensure_future(h.runtime.write(7, say("a"))) for _ in range(4)]
        await settle()
        log.gate.set()
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        refused = [each for each in outcomes if isinstance(each, ApiError)]
        assert [each.code for each in refused] == [ErrorCode.coordinator_not_available]
        assert h.words() == ["a"] * 3

    run(scenario)

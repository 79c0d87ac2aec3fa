"""The network's half of exactly-once, over scripted transactions."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from streamkit.client.errors import BrokerAbortError
from streamkit.client.transactions_state import TransactionPhase as P
from streamkit.common.errors import (
    AbortTransactionError,
    FatalError,
    RejoinError,
    RetriableError,
)
from streamkit.common.model import TopicPartition
from streamkit.protocol.errors import ErrorCode
from streamkit.tasks import messages as m
from streamkit.tasks.transactional import TransactionalWriter

TP = TopicPartition("orders", 7)
COMMIT = m.CommitOffsets(5, {TP: (42, "x")})


class FakeTransactions:
    """Remembers calls; `fails` says what a call raises."""

    def __init__(self):
        self.phase = P.READY
        self.calls = []
        self.fails = {}
        self.batches = []
        self.hanging = asyncio.Event()
        self.state = SimpleNamespace(
            transactional_id="shop-1", identity=(4_001, 7), error=None, may_abort=False
        )

    def _call(self, name):
        self.calls.append(name)
        error = self.fails.pop(name, None)
        if error is not None:
            raise error

    def begin(self):
        self._call("begin")
        self._to(P.IN_TRANSACTION)

    def submit(self, tp, batch, on_done):
        self._call("submit")
        self.batches.append(on_done)

    async def send_offsets(self, member, offsets):
        self.calls.append(f"offsets {member.member_id} {member.member_epoch}")
        self._call("offsets")

    async def commit(self):
        self._call("commit")
        if self.phase is P.COMMITTING:
            await self.hanging.wait()
        self._to(P.READY)

    async def abort(self):
        self._call("abort")
        self._to(P.READY)

    async def initialise(self):
        self._call("initialise")
        self._to(P.READY)

    def _to(self, phase):
        self.phase = phase
        self.state.may_abort = phase in (P.IN_TRANSACTION, P.ABORTABLE)


class Shell:
    def __init__(self):
        self.transactions = FakeTransactions()
        self.member = SimpleNamespace(group_id="shop", member_id="m-7", member_epoch=8)
        self.purged = []
        self.done = []
        self.writer = TransactionalWriter(
            self.transactions,
            SimpleNamespace(member=self.member),
            SimpleNamespace(on_committed=self.purged.extend),
        )

    def submit(self):
        self.writer.submit(TP, object(), lambda tp, base, error: self.done.append((base, error)))


def scenario(body):
    async def run():
        await body(Shell())

    asyncio.run(run())


def coded(code):
    error = BrokerAbortError(code.name)
    error.code = code
    return error


def test_first_batch_begins_the_transaction():
    async def body(shell):
        shell.submit()
        shell.submit()
        assert shell.transactions.calls == ["begin", "submit", "submit"]

    scenario(body)


def test_commit_carries_the_member_and_tells_the_purger():
    async def body(shell):
        shell.submit()
        assert await shell.writer.commit(COMMIT) is None
        assert shell.transactions.calls[-3:] == ["offsets m-7 8", "offsets", "commit"]
        assert shell.purged == [(TP, 42)]

    scenario(body)


def test_offsets_alone_are_a_transaction_too():
    async def body(shell):
        assert await shell.writer.commit(COMMIT) is None
        assert shell.transactions.calls[0] == "begin"

    scenario(body)


def test_member_outside_the_group_does_not_commit():
    async def body(shell):
        shell.member.member_epoch = 0
        assert isinstance(await shell.writer.commit(COMMIT), RejoinError)
        assert shell.transactions.calls == []

    scenario(body)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (ErrorCode.unknown_member_id, RejoinError),
        (ErrorCode.fenced_instance_id, RejoinError),
        (ErrorCode.illegal_generation, AbortTransactionError),
        (ErrorCode.transaction_abortable, AbortTransactionError),
    ],
)
def test_refused_offsets_ask_for(code, kind):
    async def body(shell):
        shell.transactions.fails["offsets"] = coded(code)
        assert isinstance(await shell.writer.commit(COMMIT), kind)
        assert shell.purged == []

    scenario(body)


@pytest.mark.parametrize("error", [RejoinError("fenced"), RetriableError("x"), FatalError("y")])
def test_failed_commit_is_told_as_it_is(error):
    async def body(shell):
        shell.transactions.fails["commit"] = error
        assert await shell.writer.commit(COMMIT) is error

    scenario(body)


def test_batch_that_cannot_be_sent_is_answered_with_the_reason():
    async def body(shell):
        shell.transactions.fails["submit"] = AbortTransactionError("it failed before")
        shell.submit()
        ((base, error),) = shell.done
        assert base == -1
        assert isinstance(error, AbortTransactionError)

    scenario(body)


def test_answers_to_batches_of_before_a_roll_back_mean_nothing():
    async def body(shell):
        shell.submit()
        shell.writer.begin_roll_back()
        shell.transactions.batches[0](TP, 70, None)
        assert await shell.writer.roll_back(is_fenced=False) is None
        shell.submit()
        shell.transactions.batches[1](TP, 90, None)
        assert shell.done == [(90, None)]
        assert "abort" in shell.transactions.calls

    scenario(body)


def test_roll_back_with_lost_tasks_makes_a_new_producer():
    async def body(shell):
        shell.submit()
        shell.writer.begin_roll_back()
        assert await shell.writer.roll_back(is_fenced=True) is None
        assert shell.transactions.calls[-1] == "initialise"
        assert "abort" not in shell.transactions.calls

    scenario(body)


def test_fenced_abort_makes_a_new_producer_and_says_so():
    async def body(shell):
        shell.submit()
        error = shell.transactions.fails["abort"] = RejoinError("PRODUCER_FENCED")
        shell.writer.begin_roll_back()
        assert await shell.writer.roll_back(is_fenced=False) is error
        assert shell.transactions.calls[-1] == "initialise"

    scenario(body)


def test_producer_that_was_fenced_before_the_abort_says_so():
    async def body(shell):
        shell.transactions.phase = P.FENCED
        shell.transactions.state.error = RejoinError("PRODUCER_FENCED")
        shell.writer.begin_roll_back()
        error = await shell.writer.roll_back(is_fenced=False)
        assert isinstance(error, RejoinError)
        assert shell.transactions.calls == ["initialise"]

    scenario(body)


def test_commit_with_unknown_outcome_is_given_up_for_a_new_producer():
    async def body(shell):
        shell.submit()
        shell.transactions.phase = P.COMMITTING
        committing = asyncio.ensure_future(shell.writer.commit(COMMIT))
        await asyncio.sleep(0)
        shell.writer.begin_roll_back()
        assert await shell.writer.roll_back(is_fenced=True) is None
        assert committing.cancelled()
        assert shell.transactions.calls[-1] == "initialise"
        assert shell.purged == []

    scenario(body)


def test_open_transaction_is_aborted_at_the_end():
    async def body(shell):
        shell.submit()
        await shell.writer.end()
        await shell.writer.end()
        assert shell.transactions.calls.count("abort") == 1

    scenario(body)

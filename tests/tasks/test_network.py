"""The network actor: commands carried out, answers given, errors told apart."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from uuid import UUID

import pytest

from streamkit.client.decode import FetchFailed
from streamkit.client.errors import OffsetOutOfRangeError
from streamkit.common.errors import FatalError, RejoinError, RetriableError
from streamkit.common.model import TaskId, TopicPartition
from streamkit.records import BatchBuilder
from streamkit.tasks import messages as m
from streamkit.tasks.mailbox import Inbox, Outbox
from streamkit.tasks.network import Network
from streamkit.tasks.purge import Purger

TP = TopicPartition("orders", 7)
TASK = TaskId(3, 7)
TOPIC_ID = UUID(int=4_711)


class FakeFetcher:
    """Remembers calls; gives events that the test puts in."""

    def __init__(self):
        self.calls = []
        self.assigned = set()
        self.events = asyncio.Queue()

    def __getattr__(self, name):
        return lambda argument: self.calls.append((name, argument))

    def assign(self, positions):
        self.assigned.update(positions)
        self.calls.append(("assign", positions))

    def is_assigned(self, tp):
        return tp in self.assigned

    async def take(self):
        return [await self.events.get()]


class FakeSender:
    def __init__(self):
        self.sent = []

    def submit(self, tp, batch, on_done):
        self.sent.append((tp, batch, on_done))


class FakeOffsets:
    """Commits answer with the given errors first."""

    def __init__(self):
        self.errors = []
        self.commits = []

    async def commit(self, owner, offsets):
        self.commits.append((owner.member_epoch, offsets))
        if self.errors:
            raise self.errors.pop(0)

    async def start_offsets(self, tps):
        return dict.fromkeys(tps, 20)

    async def end_offsets(self, tps):
        return dict.fromkeys(tps, 90)


class FakeMembership:
    def __init__(self):
        self.member = SimpleNamespace(group_id="shop", member_id="m", member_epoch=8)
        self.reconciled = []

    async def run(self):
        await asyncio.Event().wait()

    def on_reconciled(self, reconciled):
        self.reconciled.append(reconciled)


class FakeAdmin:
    def __init__(self):
        self.deleted = []

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return None

    async def delete_records(self, before):
        self.deleted.append(before)


class Shell:
    """A network with fakes all around."""

    def __init__(self):
        self.inbox, self.outbox = Inbox(limit=3), Outbox()
        self.outbox.attach(asyncio.get_running_loop())
        self.fetcher, self.restorer, self.sender = FakeFetcher(), FakeFetcher(), FakeSender()
        self.offsets, self.membership = FakeOffsets(), FakeMembership()
        self.now = 1_000.0
        clock = SimpleNamespace(monotonic_ms=lambda: self.now)
        client = SimpleNamespace(
            seams=SimpleNamespace(clock=clock), view=SimpleNamespace(topic_id=lambda _: TOPIC_ID)
        )
        self.admin = FakeAdmin()
        purger = Purger(lambda: self.admin, ["orders"], 1)
        self.network = Network(
            client, self.fetcher, self.restorer, self.sender, self.offsets, self.membership,
            purger, self.inbox, self.outbox,
        )  # fmt: skip
        self.running = asyncio.ensure_future(self.network.run())

    async def do(self, *commands):
        for command in commands:
            self.outbox.put(command)
        for _ in range(30):
            await asyncio.sleep(0)
        return self.inbox.take_all()


def scenario(body):
    async def run():
        shell = Shell()
        await body(shell)
        shell.outbox.put(m.Stopped())
        await shell.running

    asyncio.run(run())


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("streamkit.tasks.network.COMMIT_RETRY_MS", 0)


def test_fetching_follows_the_commands():
    async def body(shell):
        await shell.do(m.StartFetching({TP: 42}), m.Pause(TP), m.Resume(TP), m.StopFetching((TP,)))
        assert shell.fetcher.calls == [
            ("assign", {TP: 42}), ("resume", {TP: 42}), ("pause", [TP]), ("resume", [TP]),
            ("unassign", (TP,)),
        ]  # fmt: skip

    scenario(body)


def test_changelogs_are_fetched_apart_from_the_input():
    async def body(shell):
        await shell.do(m.StartFetching({TP: 42}, is_changelog=True), m.Pause(TP), m.Resume(TP))
        assert shell.restorer.calls == [
            ("assign", {TP: 42}), ("resume", {TP: 42}), ("pause", [TP]), ("resume", [TP]),
        ]  # fmt: skip
        assert shell.fetcher.calls == []

    scenario(body)


def test_acknowledged_batch_says_where_the_log_ends():
    async def body(shell):
        batch = BatchBuilder(1_000)
        for _ in range(3):
            batch.append(b"k", b"v", 5)
        await shell.do(m.Send([(TP, batch)]))
        shell.sender.sent[0][2](TP, 40, None)
        assert shell.inbox.take_all() == [m.Acknowledged(TP, 43, None)]

    scenario(body)


def test_commit_is_tried_again_with_the_epoch_of_the_moment():
    async def body(shell):
        shell.offsets.errors = [RetriableError("stale"), RetriableError("stale")]
        events = await shell.do(m.CommitOffsets(5, {TP: (42, "x")}))
        assert events == [m.Committed(5, None)]
        assert len(shell.offsets.commits) == 3
        assert shell.offsets.commits[0][1][TP].metadata == "x"

    scenario(body)


def test_fenced_commit_is_told_as_it_is():
    async def body(shell):
        error = RejoinError("fenced")
        shell.offsets.errors = [error]
        assert await shell.do(m.CommitOffsets(5, {TP: (42, "")})) == [m.Committed(5, error)]

    scenario(body)


def test_member_outside_the_group_does_not_commit():
    async def body(shell):
        shell.membership.member.member_epoch = 0
        (event,) = await shell.do(m.CommitOffsets(5, {TP: (42, "")}))
        assert isinstance(event.error, RejoinError)
        assert shell.offsets.commits == []

    scenario(body)


def test_position_outside_the_log_is_answered_with_its_bounds():
    async def body(shell):
        shell.fetcher.events.put_nowait(FetchFailed(TP, 5, OffsetOutOfRangeError("gone")))
        assert await shell.do() == [m.OutOfRange(TP, 20, 90, TOPIC_ID)]

    scenario(body)


def test_full_inbox_stops_taking_what_was_fetched():
    async def body(shell):
        for _ in range(9):
            shell.fetcher.events.put_nowait(FetchFailed(TP, 5, OffsetOutOfRangeError("gone")))
        for i in range(3):
            shell.inbox.put(m.Committed(i))
        for _ in range(30):
            await asyncio.sleep(0)
        assert shell.fetcher.events.qsize() >= 8

    scenario(body)


def test_committed_records_of_repartition_topics_are_deleted():
    async def body(shell):
        other = TopicPartition("lines", 7)
        await shell.do(m.CommitOffsets(5, {TP: (42, ""), other: (70, "")}))
        await asyncio.sleep(0.01)
        assert shell.admin.deleted == [{TP: 42}]

    scenario(body)


def test_reconciled_reaches_the_member():
    async def body(shell):
        reconciled = m.Reconciled(frozenset({TASK}), frozenset())
        await shell.do(reconciled)
        assert shell.membership.reconciled == [reconciled]

    scenario(body)


def test_failure_of_processing_ends_the_network():
    async def run():
        shell = Shell()
        shell.outbox.put(m.Failed(FatalError("task 3_7 failed")))
        with pytest.raises(ExceptionGroup) as caught:
            await shell.running
        assert "task 3_7 failed" in str(caught.value.exceptions[0])

    asyncio.run(run())

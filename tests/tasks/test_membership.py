"""The group member's shell: effects become events, and a stuck processor gives up its tasks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import SimpleNamespace
from uuid import UUID

import pytest
from kio.schema.errors import ErrorCode

from streamkit.common.errors import FatalError, RetriableError
from streamkit.common.model import TaskId
from streamkit.rebalance.member import MemberState, StreamsMember
from streamkit.rebalance.rules import GroupSubtopology, GroupTopology
from streamkit.rebalance.wire import HeartbeatResponse, rs, timedelta_ms
from streamkit.tasks.mailbox import Inbox
from streamkit.tasks.membership import Membership
from streamkit.tasks.messages import Assigned, Drain, Reconciled, TasksLost
from streamkit.tasks.rebalances import Reason

TASK = TaskId(3, 7)
POLL_INTERVAL_MS = 50_000


def answer(epoch, tasks=None, statuses=(), error=ErrorCode.none):
    active = None if tasks is None else tuple(
        rs.TaskIds(subtopology_id=str(task.subtopology), partitions=(task.partition,))
        for task in tasks
    )  # fmt: skip
    empty = None if tasks is None else ()
    return HeartbeatResponse(
        throttle_time=timedelta_ms(0),
        error_code=error,
        error_message=None,
        member_id="m",
        member_epoch=epoch,
        heartbeat_interval=timedelta_ms(5_000),
        acceptable_recovery_lag=0,
        task_offset_interval=timedelta_ms(0),
        status=tuple(rs.Status(status_code=code, status_detail=text) for code, text in statuses),
        active_tasks=active,
        standby_tasks=empty,
        warmup_tasks=empty,
        endpoint_information_epoch=-1,
        partitions_by_user_endpoint=None,
    )


@dataclass
class Clock:
    now: float = 1_000.0

    def monotonic_ms(self):
        return self.now


class FakeClient:
    """Answers each heartbeat with the next of a list, then never again."""

    def __init__(self, answers):
        self.answers = list(answers)
        self.asked = []
        self.forgotten = 0
        self.clock = Clock()
        self.seams = SimpleNamespace(clock=self.clock)
        self.metadata = SimpleNamespace(request_refresh=lambda: None)

    async def coordinator(self, kind, group):
        return SimpleNamespace(node_id=5)

    def forget_coordinator(self, kind, group):
        self.forgotten += 1

    async def call(self, node_id, request, **_):
        self.asked.append(request)
        if not self.answers:
            await asyncio.sleep(3_600)
        following = self.answers.pop(0)
        if isinstance(following, Exception):
            raise following
        return following


class Shell:
    """A membership with its fakes, and some turns of the loop."""

    def __init__(self, *answers):
        self.client = FakeClient(answers)
        self.inbox = Inbox()
        self.stepped_ms = 1_000.0
        topology = GroupTopology(0, (GroupSubtopology("3", ("orders",)),))
        self.member = StreamsMember("shop", "m", str(UUID(int=9)), topology, POLL_INTERVAL_MS)
        self.membership = Membership(
            self.client, self.member, self.inbox, lambda: self.stepped_ms, POLL_INTERVAL_MS,
            lambda: "task 3_7, record orders-7 offset 42",
        )  # fmt: skip

    async def turns(self, count=30):
        task = asyncio.ensure_future(self.membership.run())
        for _ in range(count):
            await asyncio.sleep(0)
            if task.done():
                return task.result()
        task.cancel()
        await asyncio.wait([task])
        return None


def test_assignment_becomes_an_event_and_is_acknowledged():
    async def scenario():
        shell = Shell(answer(8, [TASK]))
        await shell.turns()
        assert shell.inbox.take_all() == [Assigned(frozenset(), frozenset({TASK}), frozenset())]
        shell.membership.on_reconciled(Reconciled(frozenset({TASK}), frozenset()))
        shell.client.answers.append(answer(8))
        await shell.turns()
        assert shell.client.asked[1].active_tasks[0].partitions == (7,)
        assert shell.member.state is MemberState.STABLE

    asyncio.run(scenario())


def test_fenced_member_loses_its_tasks_and_joins_again():
    async def scenario():
        shell = Shell(answer(8, [TASK]), answer(0, error=ErrorCode.fenced_member_epoch))
        await shell.turns()
        shell.membership.on_reconciled(Reconciled(frozenset({TASK}), frozenset()))
        await shell.turns()
        assert TasksLost() in shell.inbox.take_all()
        shell.membership.on_reconciled(Reconciled(frozenset(), frozenset()))
        await shell.turns()
        assert shell.client.asked[-1].member_epoch == 0

    asyncio.run(scenario())


def test_rebalances_and_their_failures_are_counted_with_their_reasons(caplog):
    caplog.set_level("INFO")

    async def scenario():
        shell = Shell(answer(8, [TASK]), answer(0, error=ErrorCode.fenced_member_epoch))
        await shell.turns()
        shell.client.clock.now += 130
        shell.membership.on_reconciled(Reconciled(frozenset({TASK}), frozenset()))
        await shell.turns()
        shell.membership.on_reconciled(Reconciled(frozenset(), frozenset()))
        shell.membership.rejoin()
        seen = shell.membership.rebalances
        assert seen.ended == {Reason.FIRST: 1}
        assert seen.failed == {Reason.FENCED: 1, Reason.PRODUCER_FENCED: 1}
        assert shell.membership.heartbeats.total_count == 2
        assert "rebalance of member m, epoch 8: first tasks, 130 ms" in caplog.text

    asyncio.run(scenario())


def test_member_that_remains_sends_nothing_more():
    async def scenario():
        shell = Shell(answer(8, [TASK]), answer(-1))
        await shell.turns(3)
        shell.membership.remain()
        assert [each.member_epoch for each in shell.client.asked] == [0]
        await shell.membership.leave()
        assert [each.member_epoch for each in shell.client.asked] == [0, -1]

    asyncio.run(scenario())


def test_lost_coordinator_is_looked_up_again():
    async def scenario():
        shell = Shell(RetriableError("connection lost"))
        await shell.turns()
        assert shell.client.forgotten >= 1
        assert shell.member.state is MemberState.JOINING

    asyncio.run(scenario())


def test_stuck_processing_leaves_the_group_and_rejoins_when_it_returns(caplog):
    async def scenario():
        shell = Shell(answer(8, [TASK]))
        await shell.turns()
        shell.membership.on_reconciled(Reconciled(frozenset({TASK}), frozenset()))
        shell.inbox.take_all()
        shell.client.clock.now += POLL_INTERVAL_MS + 1
        shell.client.answers += [answer(-1), answer(12)]
        await shell.turns()
        assert isinstance(shell.inbox.take_all()[0], TasksLost)
        assert "task 3_7, record orders-7 offset 42" in caplog.text
        assert shell.client.asked[-1].member_epoch == -1
        assert shell.member.state is MemberState.STALE
        shell.stepped_ms = shell.client.clock.now
        shell.membership.on_reconciled(Reconciled(frozenset(), frozenset()))
        await shell.turns()
        assert shell.client.asked[-1].member_epoch == 0

    asyncio.run(scenario())


def test_missing_source_topic_is_fatal_after_two_heartbeat_intervals():
    async def scenario():
        shell = Shell(answer(8, [], [(1, "Source topics orders are missing.")]))
        await shell.turns()
        shell.client.clock.now += 9_999
        await shell.turns()
        shell.client.clock.now += 2
        with pytest.raises(FatalError, match="orders are missing"):
            await shell.turns()

    asyncio.run(scenario())


def test_wrong_partition_counts_are_fatal_at_once():
    async def scenario():
        shell = Shell(answer(8, [], [(2, "orders has 4 partitions")]))
        with pytest.raises(FatalError, match="INCORRECTLY_PARTITIONED_TOPICS: orders has 4"):
            await shell.turns()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("detail", "advice", "other"),
    [
        (
            "Following topics do not have the same number of partitions: [{a=3, b=4}]",
            r"put \.repartition\(partitions=N\) before the join",
            "streamkit reset",
        ),
        (
            "Existing topic shop-r-repartition has different number of partitions: expected 4, "
            "found 3",
            r"expected 4, found 3; its number follows .*streamkit reset PROGRAM",
            "join",
        ),
    ],
)
def test_advice_on_partition_counts_fits_the_case(detail, advice, other):
    async def scenario():
        with pytest.raises(FatalError, match=advice) as told:
            await Shell(answer(8, [], [(2, detail)])).turns()
        assert other not in str(told.value)

    asyncio.run(scenario())


def test_stale_topology_is_warned_of(caplog):
    async def scenario():
        await Shell(answer(8, [], [(0, "Sub-topology 2 runs nowhere.")])).turns()

    asyncio.run(scenario())
    assert [each.levelname for each in caplog.records if "runs nowhere" in each.message] == [
        "WARNING"
    ]


def told_to_stop(shell):
    return [each.member_epoch for each in shell.client.asked if each.shutdown_application]


def test_shutdown_is_asked_for_once_the_heartbeat_that_is_out_is_given_up():
    async def scenario():
        shell = Shell(answer(8, [TASK]))
        await shell.turns()
        shell.membership.on_reconciled(Reconciled(frozenset({TASK}), frozenset()))
        await shell.turns()
        assert shell.client.asked[-1].active_tasks is not None, "this one gets no answer"
        shell.client.answers += [answer(8), answer(-1)]
        await shell.membership.shut_down_application()
        await shell.membership.leave()
        assert told_to_stop(shell) == [8, -1]
        again = shell.client.asked[-2]
        assert again.active_tasks == shell.client.asked[-3].active_tasks, "as after a lost answer"

    asyncio.run(scenario())


def test_shutdown_is_asked_for_again_when_the_connection_is_lost():
    async def scenario():
        shell = Shell(answer(8, []))
        await shell.turns()
        shell.client.answers += [RetriableError("lost"), answer(8), answer(-1)]
        asking = asyncio.ensure_future(shell.membership.shut_down_application())
        for _ in range(10):
            await asyncio.sleep(0)
            shell.client.clock.now += 2_000
        await asyncio.wait_for(asking, 10)
        assert told_to_stop(shell) == [8, 8]

    asyncio.run(scenario())


def test_fenced_member_joins_again_to_ask_for_the_shutdown():
    async def scenario():
        shell = Shell(answer(8, [TASK]))
        await shell.turns()
        shell.client.answers += [answer(0, error=ErrorCode.unknown_member_id), answer(11, [])]
        await shell.membership.shut_down_application()
        assert told_to_stop(shell) == [8, 0]

    asyncio.run(scenario())


def test_member_that_was_stuck_joins_again_to_ask_for_the_shutdown():
    async def scenario():
        shell = Shell(answer(8, [TASK]))
        await shell.turns()
        shell.client.clock.now += POLL_INTERVAL_MS + 1
        shell.client.answers += [answer(-1)]
        await shell.turns()
        assert shell.member.state is MemberState.STALE
        shell.client.answers += [answer(12, [])]
        await shell.membership.shut_down_application()
        assert told_to_stop(shell) == [0]

    asyncio.run(scenario())


def test_broker_that_never_answers_does_not_hold_the_failed_worker_up(monkeypatch, caplog):
    monkeypatch.setattr("streamkit.tasks.membership.SHUTDOWN_TIMEOUT_MS", 20)

    async def scenario():
        shell = Shell(answer(8, []))
        await shell.turns()
        await shell.membership.shut_down_application()
        assert told_to_stop(shell) == [8]

    asyncio.run(scenario())
    assert "asking all members to stop went without an answer: none came in 20 ms" in caplog.text


def test_shutdown_of_the_application_drains():
    async def scenario():
        shell = Shell(answer(8, [], [(4, "asked for by m2")]))
        await shell.turns()
        assert Drain() in shell.inbox.take_all()

    asyncio.run(scenario())


def test_refused_member_is_fatal():
    async def scenario():
        shell = Shell(answer(0, error=ErrorCode.group_authorization_failed))
        with pytest.raises(FatalError, match="group shop"):
            await shell.turns()

    asyncio.run(scenario())

"""The processing actor under transactions: roll-back, unknown outcomes, fencing, by hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from streamkit.common.errors import (
    AbortTransactionError,
    FatalError,
    RejoinError,
    UsageError,
)
from streamkit.common.model import TaskId, TopicPartition
from streamkit.tasks import messages as m
from streamkit.tasks.offset_metadata import decode_metadata
from streamkit.tasks.processor import ROLLBACKS_MAX
from streamkit.tasks.task import TaskPhase

TEXT = ["the cat sat", "on the mat", "the end"] * 7
LINES = TopicPartition("lines", 0)
COUNTS = dict(Counter(" ".join(TEXT).split()))
BOTH = ("0_0", "1_0")


def feed(cluster, lines=TEXT, start=5_000):
    cluster.produce("lines", 0, *[(None, line.encode(), start + i) for i, line in enumerate(lines)])


def running(make_worker, **options):
    worker = make_worker(transactional=1, **options)
    worker.assign(*BOTH)
    worker.run(10)
    return worker


def check_counted_once(cluster, counts=None):
    """Without a cache each count is a record: 1, 2, 3, ... for each word."""
    seen = {}
    for key, value, _ in cluster.records("output"):
        seen.setdefault(key.decode(), []).append(int.from_bytes(value, "big"))
    expected = COUNTS if counts is None else counts
    assert seen == {word: list(range(1, n + 1)) for word, n in expected.items()}


def rolled_back(worker):
    return [each for each in worker.said if isinstance(each, m.RollBack)]


def test_outputs_are_seen_with_the_offsets(cluster, make_worker):
    feed(cluster)
    worker = running(make_worker, cache=0)
    worker.held = {m.CommitOffsets}
    worker.run(100)
    assert cluster.records("output") == []
    assert cluster.committed == {}
    worker.held = set()
    worker.run(200)
    check_counted_once(cluster)
    assert cluster.committed[LINES][0] == len(TEXT)


@pytest.mark.parametrize("cache", [0, 1 << 20])
@pytest.mark.parametrize("after", [0, 1])
def test_failed_batch_rolls_all_tasks_back_to_the_last_commit(cluster, make_worker, cache, after):
    feed(cluster)
    worker = running(make_worker, cache=cache)
    worker.refuse = [None] * after + [AbortTransactionError("orders-7: too late")]
    worker.run(300)
    assert len(rolled_back(worker)) == 1
    assert cluster.table("output") == COUNTS
    if not cache:
        check_counted_once(cluster)
    feed(cluster, start=9_000)
    worker.run(200)
    assert cluster.table("output") == {word: 2 * n for word, n in COUNTS.items()}


def test_rolled_back_task_forgets_state_input_and_times(cluster, make_worker):
    feed(cluster, TEXT[:3], start=5_000)
    worker = running(make_worker, cache=0)
    worker.run(200)
    feed(cluster, TEXT[3:], start=700_000)
    worker.held = {m.CommitOffsets}
    worker.run(100)
    tasks = {task.id: task for task in worker.processor.tasks.values()}
    assert tasks[TaskId(0, 0)].context.stream_time > 5_003
    worker.held = {m.PrepareTask}
    worker.waiting.clear()
    number = worker.processor.commits + 1
    worker.inbox.put(m.Committed(number, AbortTransactionError("epoch 9 is old")))
    worker.run(5)
    assert {task.phase for task in tasks.values()} == {TaskPhase.PREPARING}
    assert all(task.uncommitted_bytes == 0 for task in tasks.values())
    assert all(task.context.stream_time == -1 for task in tasks.values())
    assert worker.fetching == {}
    assert decode_metadata(cluster.committed[LINES][1]).partition_time == 5_002
    worker.held = set()
    worker.run(300)
    check_counted_once(cluster)


def test_nothing_happens_until_the_transaction_is_over(cluster, make_worker):
    feed(cluster)
    worker = running(make_worker)
    worker.held = {m.RollBack}
    worker.refuse = [AbortTransactionError("too late")]
    worker.run(60)
    records = worker.processor.records
    sent = sum(isinstance(each, m.Send) for each in worker.said)
    feed(cluster, ["more words"])
    # An answer to a batch of the transaction that is being rolled back.
    worker.inbox.put(m.Acknowledged(LINES, 70))
    worker.run(60)
    assert worker.processor.records == records
    assert sum(isinstance(each, m.Send) for each in worker.said) == sent
    worker.held = set()
    worker.run(300)
    assert cluster.table("output") == COUNTS | {"more": 1, "words": 1}


def test_a_commit_under_way_is_waited_for_at_rest(cluster, make_worker):
    feed(cluster)
    worker = running(make_worker)
    worker.held = {m.CommitOffsets}
    worker.run(200)
    assert cluster.committed == {}
    assert worker.processor.step([], worker.now + 1_000) > 10


@pytest.mark.parametrize("came_through", [True, False])
def test_unknown_outcome_is_right_in_both_cases(cluster, make_worker, came_through):
    feed(cluster)
    worker = running(make_worker, cache=0)
    worker.held = {m.CommitOffsets}
    worker.run(100)
    (command,) = [each for each in worker.waiting if isinstance(each, m.CommitOffsets)]
    worker.waiting.clear()
    if came_through:
        worker.commit(command.offsets)
    worker.inbox.put(m.Committed(command.number, RejoinError("PRODUCER_FENCED")))
    worker.held = set()
    worker.run(5)
    assert worker.processor.tasks == {}
    assert [each.is_fenced for each in rolled_back(worker)] == [True]
    worker.assign(*BOTH)
    worker.run(300)
    check_counted_once(cluster)


@pytest.mark.parametrize("came_through", [True, False])
def test_member_lost_while_a_commit_is_under_way(cluster, make_worker, came_through):
    feed(cluster)
    worker = running(make_worker, cache=0)
    worker.held = {m.CommitOffsets}
    worker.run(100)
    (command,) = [each for each in worker.waiting if isinstance(each, m.CommitOffsets)]
    worker.waiting.clear()
    worker.held = {m.RollBack}
    worker.inbox.put(m.TasksLost())
    worker.run(1)
    if came_through:
        worker.commit(command.offsets)
        worker.inbox.put(m.Committed(command.number))
    worker.held = set()
    worker.run(10)
    assert worker.processor.commits == 0
    assert worker.processor.tasks == {}
    worker.assign(*BOTH)
    worker.run(300)
    check_counted_once(cluster)


def test_fenced_producer_loses_the_tasks_and_the_process_stays(cluster, make_worker):
    feed(cluster)
    worker = running(make_worker, cache=0)
    worker.refuse = [RejoinError("PRODUCER_FENCED")]
    worker.run(60)
    assert worker.processor.tasks == {}
    assert m.Reconciled(frozenset(), frozenset()) in worker.said
    assert rolled_back(worker)[0].is_fenced
    assert worker.failure() is None
    worker.assign(*BOTH)
    worker.run(300)
    check_counted_once(cluster)


def test_fenced_while_rolling_back_loses_the_tasks(cluster, make_worker):
    feed(cluster)
    worker = running(make_worker, cache=0)
    worker.held = {m.RollBack}
    worker.refuse = [AbortTransactionError("too late")]
    worker.run(60)
    (command,) = [each for each in worker.waiting if isinstance(each, m.RollBack)]
    worker.waiting.clear()
    cluster.end_transaction(committed=False)
    worker.inbox.put(m.RolledBack(command.number, RejoinError("PRODUCER_FENCED")))
    worker.held = set()
    worker.run(3)
    assert worker.processor.tasks == {}
    worker.assign(*BOTH)
    worker.run(300)
    check_counted_once(cluster)


def test_revoked_tasks_wait_for_the_roll_back(cluster, make_worker):
    feed(cluster)
    worker = running(make_worker, cache=0)
    worker.held = {m.RollBack}
    worker.refuse = [AbortTransactionError("too late")]
    worker.run(60)
    worker.assign("1_0")
    worker.run(20)
    assert set(worker.processor.tasks) == {TaskId(0, 0), TaskId(1, 0)}
    worker.held = set()
    worker.run(60)
    assert set(worker.processor.tasks) == {TaskId(1, 0)}
    worker.assign(*BOTH)
    worker.run(300)
    check_counted_once(cluster)


def test_too_many_roll_backs_in_a_row_end_the_worker(cluster, make_worker):
    feed(cluster)
    worker = running(make_worker)
    worker.refuse = [AbortTransactionError("too late")] * (50 * ROLLBACKS_MAX)
    worker.run(1_500)
    assert isinstance(worker.failure(), FatalError)
    assert len(rolled_back(worker)) == ROLLBACKS_MAX
    assert "too late" in str(worker.failure())


def test_record_that_can_never_be_written_ends_the_worker(cluster, make_worker):
    feed(cluster)
    worker = running(make_worker)
    worker.refuse = [UsageError("a record is too large")]
    worker.run(60)
    assert isinstance(worker.failure(), UsageError)
    assert rolled_back(worker) == []


def test_many_uncommitted_bytes_force_an_early_commit(cluster, make_worker):
    feed(cluster)
    worker = running(make_worker, cache=0, commit_ms=10_000_000, uncommitted=40)
    # The first commit is for the words, which the second task then counts.
    worker.processor._commit.last_ms = -10_000_000
    worker.run(100)
    assert worker.processor.commits >= 2
    check_counted_once(cluster)


def test_moved_task_restores_only_what_is_committed(cluster, make_worker):
    feed(cluster)
    first = running(make_worker, cache=0)
    first.held = {m.CommitOffsets}
    first.run(60)
    # The first worker dies, its transaction is aborted.
    cluster.end_transaction(committed=False)
    second = make_worker("elsewhere", transactional=1, cache=0)
    second.assign(*BOTH)
    second.run(300)
    check_counted_once(cluster)


def test_positions_looked_up_for_an_earlier_life_are_outdated(cluster, make_worker):
    feed(cluster)
    worker = make_worker(transactional=1, cache=0)
    worker.held = {m.PrepareTask}
    worker.assign(*BOTH)
    worker.run(3)
    requests = [each for each in worker.waiting if isinstance(each, m.PrepareTask)]
    old = [worker.prepared(r.task_id, r.inputs, r.changelogs, r.topics) for r in requests]
    worker.waiting.clear()
    worker.inbox.put(m.TasksLost())
    worker.run(3)
    # Another member has the tasks meanwhile.
    second = make_worker("elsewhere", transactional=1, cache=0)
    second.assign(*BOTH)
    second.run(300)
    worker.assign(*BOTH)
    worker.run(3)
    for request, prepared in zip(requests, old, strict=True):
        worker.inbox.put(replace(prepared, number=request.number))
    worker.run(3)
    assert {task.phase for task in worker.processor.tasks.values()} == {TaskPhase.PREPARING}
    worker.held = set()
    worker.run(300)
    check_counted_once(cluster)


def test_drain_ends_with_a_commit(cluster, make_worker):
    feed(cluster)
    worker = running(make_worker, commit_ms=10_000_000)
    worker.run()
    worker.inbox.put(m.Drain())
    worker.run(10)
    assert worker.said[-1] == m.Stopped()
    assert cluster.open == {}
    assert cluster.committed[LINES][0] == len(TEXT)

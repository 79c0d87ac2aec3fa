"""Queries answered by the processing actor: committed state, standbys, position bounds, pages."""

from __future__ import annotations

from collections import Counter

from streamkit.common.model import TaskId, TopicPartition
from streamkit.state.queries import KeyQuery, RangeQuery, WindowQuery
from streamkit.tasks import messages as m
from streamkit.tasks.asks import Ask, Failure

TEXT = ["the cat sat", "on the mat", "the end"] * 7
COUNTS = dict(Counter(" ".join(TEXT).split()))
WORDS = TopicPartition("wc-counts-repartition", 0)
FAR = 10_000_000.0


def feed(cluster, lines=TEXT, start=5_000):
    cluster.produce("lines", 0, *[(None, line.encode(), start + i) for i, line in enumerate(lines)])


def counting(cluster, make_worker, **options):
    feed(cluster)
    worker = make_worker(**options)
    worker.assign("0_0", "1_0")
    worker.run()
    return worker


def ask(worker, query, *, steps=1, store="counts", **options):
    """The answers, or None when there is none after so many steps."""
    answers = []
    worker.inbox.put(Ask(store, query, answers.append, **options))
    worker.run(steps, 1.0)
    assert len(answers) <= 1
    return answers[0] if answers else None


def count_of(answer):
    return [int.from_bytes(row.value, "big") for row in answer.page.rows]


def test_running_task_answers_by_key(cluster, make_worker):
    worker = counting(cluster, make_worker)
    (answer,) = ask(worker, KeyQuery(b"the"))
    assert count_of(answer) == [COUNTS["the"]]
    assert answer.is_active
    assert answer.position == {WORDS: cluster.ends[WORDS] - 1}


def test_what_is_not_committed_is_not_seen(cluster, make_worker):
    worker = counting(cluster, make_worker, commit_ms=10_000_000)
    (answer,) = ask(worker, KeyQuery(b"the"))
    assert answer.page.rows == []


def test_standby_answers_only_when_stale_reads_are_welcome(cluster, make_worker):
    active = counting(cluster, make_worker)
    standby = make_worker("two")
    standby.assign(standby=("1_0",))
    standby.run()
    (refused,) = ask(standby, KeyQuery(b"the"))
    assert refused.failure is Failure.NOT_ACTIVE
    (answer,) = ask(standby, KeyQuery(b"the"), is_stale_welcome=True)
    assert count_of(answer) == [COUNTS["the"]]
    assert not answer.is_active
    assert answer.lag == 0
    assert active.processor.tasks


def test_partition_that_is_not_here_is_named(cluster, make_worker):
    worker = counting(cluster, make_worker)
    here, missing = ask(worker, KeyQuery(b"the"), partitions=frozenset({0, 7}))
    assert here.failure is None
    assert (missing.partition, missing.failure) == (7, Failure.NOT_PRESENT)


def test_unknown_store_and_unfit_query_are_told_apart(cluster, make_worker):
    worker = counting(cluster, make_worker)
    (unknown,) = ask(worker, KeyQuery(b"the"), store="nothing")
    assert unknown.failure is Failure.DOES_NOT_EXIST
    (unfit,) = ask(worker, WindowQuery())
    assert unfit.failure is Failure.UNKNOWN_QUERY_TYPE


def test_pages_go_on_where_the_last_one_ended(cluster, make_worker):
    worker = counting(cluster, make_worker)
    (first,) = ask(worker, RangeQuery(), limit=4)
    assert len(first.page.rows) == 4
    (second,) = ask(worker, RangeQuery(), limit=4, after={0: first.page.after})
    assert second.page.after is None
    rows = [*first.page.rows, *second.page.rows]
    assert [row.key.decode() for row in rows] == sorted(COUNTS)


def test_query_waits_for_its_position_and_sees_the_commit_that_reached_it(cluster, make_worker):
    worker = counting(cluster, make_worker, cache=0)
    bound = {WORDS: cluster.ends[WORDS] + 1}
    answers = []
    worker.inbox.put(Ask("counts", KeyQuery(b"late"), answers.append, bound=bound, deadline_ms=FAR))
    worker.run(30)
    assert answers == []
    feed(cluster, ["late late"], start=9_000)
    worker.run()
    ((answer,),) = answers
    assert count_of(answer) == [2]


def test_query_whose_position_does_not_come_is_answered_at_its_deadline(cluster, make_worker):
    worker = counting(cluster, make_worker)
    bound = {WORDS: cluster.ends[WORDS] + 40}
    (answer,) = ask(worker, KeyQuery(b"the"), bound=bound, deadline_ms=worker.now + 20, steps=40)
    assert answer.failure is Failure.NOT_UP_TO_BOUND
    assert answer.position == {WORDS: cluster.ends[WORDS] - 1}


def test_bound_on_another_partition_is_none(cluster, make_worker):
    worker = counting(cluster, make_worker)
    (answer,) = ask(worker, KeyQuery(b"the"), bound={TopicPartition(WORDS.topic, 5): 4_000})
    assert answer.failure is None


def test_standby_finds_its_position_when_it_is_asked_for(cluster, make_worker):
    active = counting(cluster, make_worker)
    standby = make_worker("two")
    standby.assign(standby=("1_0",))
    standby.run()
    bound = {WORDS: cluster.ends[WORDS] - 1}
    (answer,) = ask(
        standby, KeyQuery(b"the"), bound=bound, is_stale_welcome=True, deadline_ms=FAR, steps=200
    )
    assert count_of(answer) == [COUNTS["the"]]
    assert answer.position[WORDS] >= bound[WORDS]
    feed(cluster, start=9_000)
    answers = []
    bound = {WORDS: 2 * bound[WORDS] + 1}
    standby.inbox.put(
        Ask("counts", KeyQuery(b"the"), answers.append, None, True, bound, deadline_ms=FAR)
    )
    standby.run(100)
    assert answers == []
    active.run()
    standby.run(200)
    ((answer,),) = answers
    assert count_of(answer) == [2 * COUNTS["the"]]


def test_those_that_wait_are_answered_when_the_worker_ends(cluster, make_worker):
    worker = counting(cluster, make_worker)
    answers = []
    bound = {WORDS: 4_000_000}
    worker.inbox.put(Ask("counts", KeyQuery(b"the"), answers.append, bound=bound, deadline_ms=FAR))
    worker.run(3)
    worker.inbox.put(m.Drain())
    worker.run(30)
    assert worker.processor.is_ended
    assert [each.failure for each in answers[0]] == [Failure.NOT_UP_TO_BOUND]


def test_task_that_is_still_restoring_answers_stale_reads_only(cluster, make_worker):
    first = counting(cluster, make_worker)
    first.assign()
    first.run()
    second = make_worker("two")
    second.assign("0_0", "1_0")
    second.paused = {TopicPartition("wc-counts-changelog", 0)}
    second.held = {m.StartFetching}
    second.run(10)
    assert not second.processor.tasks[TaskId(1, 0)].is_running
    (answer,) = ask(second, KeyQuery(b"the"))
    assert answer.failure is Failure.NOT_ACTIVE
    (answer,) = ask(second, KeyQuery(b"the"), is_stale_welcome=True)
    assert answer.lag == cluster.ends[TopicPartition("wc-counts-changelog", 0)]

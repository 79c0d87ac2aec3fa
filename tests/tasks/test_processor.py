"""The processing actor, stepped by hand against a cluster in a dictionary."""

from __future__ import annotations

from collections import Counter

from streamkit.common.errors import FatalError, RejoinError
from streamkit.common.model import TaskId, TopicPartition
from streamkit.tasks import messages as m
from streamkit.tasks.task import TaskPhase

TEXT = ["the cat sat", "on the mat", "the end"] * 7
LINES = TopicPartition("lines", 0)
COUNTS = dict(Counter(" ".join(TEXT).split()))


def feed(cluster, lines=TEXT, start=5_000):
    cluster.produce("lines", 0, *[(None, line.encode(), start + i) for i, line in enumerate(lines)])


def running(make_worker, **options):
    worker = make_worker(**options)
    worker.assign("0_0", "1_0")
    worker.run(10)
    return worker


def test_counts_words_end_to_end(cluster, make_worker):
    feed(cluster)
    worker = running(make_worker)
    worker.run()
    assert cluster.table("output") == COUNTS
    assert cluster.table("wc-counts-changelog") == COUNTS
    assert cluster.committed[LINES][0] == len(TEXT)


def test_counts_the_same_without_a_cache(cluster, make_worker):
    feed(cluster)
    running(make_worker, cache=0).run()
    assert cluster.table("output") == COUNTS
    assert len(cluster.records("output")) == sum(COUNTS.values())


def test_reconciled_is_said_when_the_tasks_are_created(cluster, make_worker):
    worker = running(make_worker)
    expected = frozenset({TaskId(0, 0), TaskId(1, 0)})
    assert m.Reconciled(expected, frozenset()) in worker.said


def test_input_is_paused_by_bytes_as_well_as_by_records(cluster, make_worker):
    worker = running(make_worker, buffered=1_000_000)
    queue = worker.processor.tasks[TaskId(0, 0)].queues()[0]
    worker.processor._environment.room.size_bytes = 4_000
    worker.held = {m.CommitOffsets}
    feed(cluster)
    worker.run(30)
    for start in range(6_000, 20_000, 100):
        feed(cluster, start=start)
    worker.run(100)
    assert LINES in worker.paused
    assert queue.held_bytes < 4_000 + len(cluster.logs[LINES][0])
    worker.held = set()
    worker.run(2_000)
    assert cluster.committed[LINES][0] == cluster.ends[LINES]
    assert queue.held_bytes == 0


def test_offsets_are_committed_only_after_every_acknowledgement(cluster, make_worker):
    feed(cluster)
    worker = make_worker()
    worker.held = {m.Send}
    worker.assign("0_0", "1_0")
    worker.run(100)
    assert cluster.committed == {}
    worker.held = set()
    worker.run()
    assert cluster.committed[LINES][0] == len(TEXT)


def test_nothing_is_processed_while_a_commit_waits(cluster, make_worker):
    feed(cluster)
    worker = running(make_worker)
    worker.held = {m.CommitOffsets}
    worker.run(100)
    seen = worker.processor.records
    feed(cluster, ["more words"])
    worker.run(20)
    assert worker.processor.records == seen
    worker.held = set()
    worker.run(100)
    assert worker.processor.records > seen


def test_state_reaches_the_database_only_after_the_commit(cluster, make_worker):
    feed(cluster)
    worker = running(make_worker)
    worker.held = {m.CommitOffsets}
    worker.run(100)
    database = next(iter(worker.databases.values()))
    assert list(database.scan("counts", None, None)) == []
    worker.held = set()
    worker.run(100)
    assert len(list(database.scan("counts", None, None))) == len(COUNTS)


def test_moved_task_restores_from_the_changelog_and_goes_on(cluster, make_worker):
    feed(cluster)
    first = running(make_worker)
    first.run()
    first.assign()
    first.run()
    assert first.processor.tasks == {}
    feed(cluster, start=9_000)
    second = make_worker("elsewhere")
    second.assign("0_0", "1_0")
    second.run(100)
    assert cluster.table("output") == {word: 2 * n for word, n in COUNTS.items()}


def test_restarted_task_reads_only_what_its_changelog_has_beyond_the_stored_offset(
    cluster, make_worker
):
    feed(cluster)
    first = running(make_worker)
    first.run()
    first.assign()
    first.run()
    first.said.clear()
    first.assign("1_0")
    first.run()
    changelog = TopicPartition("wc-counts-changelog", 0)
    fetched = [each.positions for each in first.said if isinstance(each, m.StartFetching)]
    assert all(changelog not in positions for positions in fetched)


def test_other_changelog_topic_id_wipes_the_state(cluster, make_worker):
    feed(cluster)
    worker = running(make_worker)
    worker.run()
    worker.assign()
    worker.run()
    cluster.generation = 3
    cluster.logs.clear()
    cluster.ends.clear()
    cluster.committed.clear()
    feed(cluster, ["cat"])
    worker.assign("0_0", "1_0")
    worker.run(100)
    assert cluster.table("output") == {"cat": 1}


def test_revoked_task_commits_before_it_closes(cluster, make_worker):
    feed(cluster)
    worker = running(make_worker, commit_ms=10_000_000)
    worker.run()
    worker.assign("1_0")
    worker.run()
    assert cluster.committed[LINES][0] == len(TEXT)
    assert list(worker.processor.tasks) == [TaskId(1, 0)]
    assert LINES not in worker.fetching


def test_lost_tasks_close_without_commit(cluster, make_worker):
    feed(cluster)
    worker = running(make_worker, commit_ms=10_000_000)
    worker.run()
    cluster.committed.clear()
    worker.inbox.put(m.TasksLost())
    worker.run()
    assert cluster.committed == {}
    assert worker.processor.tasks == {}
    assert worker.said[-1] == m.Reconciled(frozenset(), frozenset())


def test_lost_tasks_send_nothing_more(cluster, make_worker):
    worker = running(make_worker, commit_ms=10_000_000)
    worker.run()
    feed(cluster)
    for _ in range(3):
        worker.step(0)
    assert worker.processor.records > 0
    worker.inbox.put(m.TasksLost())
    worker.run()
    assert cluster.records("wc-counts-repartition") == []


def test_refused_offsets_lose_the_tasks(cluster, make_worker):
    feed(cluster)
    worker = running(make_worker)
    worker.held = {m.CommitOffsets}
    worker.run(100)
    number = worker.processor.commits + 1
    worker.waiting.clear()
    worker.inbox.put(m.Committed(number, RejoinError("member epoch 7 is fenced")))
    worker.run(3)
    assert worker.processor.tasks == {}
    assert worker.failure() is None


def test_drain_commits_closes_and_says_so(cluster, make_worker):
    feed(cluster)
    worker = running(make_worker, commit_ms=10_000_000)
    worker.run()
    worker.inbox.put(m.Drain())
    worker.run(10)
    assert worker.processor.is_ended
    assert worker.said[-1] == m.Stopped()
    assert cluster.committed[LINES][0] == len(TEXT)


def test_error_in_user_code_names_task_topic_partition_and_offset(cluster, make_worker):
    cluster.produce("wc-counts-repartition", 0, (b"cat", b"cat", 5), (b"dog", b"dog", 6))
    cluster.produce("lines", 0, (None, b"fine", 5), (b"\x80", b"\xff", -3))
    worker = running(make_worker)
    worker.run()
    error = worker.failure()
    assert isinstance(error, FatalError)
    assert "task 0_0" in str(error)
    assert "lines-0 offset 1" in str(error)


def test_full_partition_is_paused_and_resumed(cluster, make_worker):
    for i in range(30):
        feed(cluster, ["word"] * 10, start=5_000 + i)
    worker = running(make_worker, buffered=15)
    worker.run(200)
    assert any(isinstance(each, m.Pause) for each in worker.said)
    assert any(isinstance(each, m.Resume) for each in worker.said)
    assert cluster.table("output") == {"word": 300}


def test_step_that_takes_too_long_is_counted_and_said(cluster, make_worker, caplog):
    feed(cluster)
    worker = running(make_worker)
    taken = iter(range(1_000))
    worker.processor._monotonic_ms = lambda: worker.now + 700 * next(taken)
    worker.run(10)
    stalls = worker.processor.meter.stalls
    assert stalls.total_count > 0
    assert stalls.maximum(worker.now) > 1_000
    assert "processing stood for" in caplog.text
    assert ", record wc-counts-repartition-0 offset" in caplog.text


def test_task_waits_for_its_folder(cluster, make_worker):
    first = running(make_worker)
    second = make_worker()
    second.assign("1_0")
    second.run()
    assert second.processor.tasks[TaskId(1, 0)].phase is TaskPhase.CREATED
    first.assign("0_0")
    first.run()
    second.run(100)
    assert second.processor.tasks[TaskId(1, 0)].phase is TaskPhase.RUNNING


def test_partition_time_survives_a_restart(cluster, make_worker):
    feed(cluster)
    worker = running(make_worker)
    worker.run()
    assert m.StartPosition  # the metadata is read back by the fake as the network does
    from streamkit.tasks.offset_metadata import decode_metadata

    assert decode_metadata(cluster.committed[LINES][1]).partition_time == 5_000 + len(TEXT) - 1

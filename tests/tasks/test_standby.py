"""Standbys, stepped by hand against a cluster in a dictionary: following, taking over."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

from streamkit.common.model import TaskId, TopicPartition
from streamkit.state.bulk_load import BYTES_MAX, ENTRY_OVERHEAD_BYTES
from streamkit.tasks import messages as m
from streamkit.tasks.listeners import Listeners, SuspendReason
from streamkit.tasks.restoration import BULK_LAG_MIN, SLICE_RECORDS
from streamkit.tasks.standby import StandbyPhase
from streamkit.tasks.standbys import PARKED_MS

TEXT = ["the cat sat", "on the mat", "the end"] * 7
COUNTS = dict(Counter(" ".join(TEXT).split()))
CHANGELOG = TopicPartition("wc-counts-changelog", 0)
LOAD_RECORDS = BYTES_MAX // ENTRY_OVERHEAD_BYTES
"""More than one load gathers."""
COUNT = TaskId(1, 0)
SPLIT = TaskId(0, 0)


class Told:
    """A listener of both kinds that remembers what it was told."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *arguments: self.calls.append((name, *arguments))

    def names(self):
        return [call[0] for call in self.calls]


def feed(cluster, lines=TEXT, start=5_000):
    cluster.produce("lines", 0, *[(None, line.encode(), start + i) for i, line in enumerate(lines)])


def changes(cluster, count, start=0):
    """Changes of a task that runs elsewhere."""
    for base in range(0, count, 500):
        cluster.produce(
            CHANGELOG.topic, 0,
            *[
                (b"word-%d" % (start + base + i), (i + 3).to_bytes(8, "big"), 7_000 + i)
                for i in range(min(500, count - base))
            ],
        )  # fmt: skip


def pair(make_worker, **options):
    """An active worker and a standby of its counting task, on hosts of their own."""
    active, standby = make_worker("one", **options), make_worker("two", **options)
    active.assign("0_0", "1_0")
    standby.assign(standby=("1_0",))
    active.run(10)
    standby.run(10)
    return active, standby


def stored(worker):
    database = next(iter(worker.databases.values()))
    return {
        key.decode(): int.from_bytes(value[-8:], "big")
        for key, value in database.scan("counts", None, None)
    }


def test_standby_follows_the_changelog(cluster, make_worker):
    feed(cluster)
    active, standby = pair(make_worker)
    active.run()
    standby.run()
    assert stored(standby) == COUNTS
    assert standby.processor.standbys.tasks[COUNT].lag == 0
    feed(cluster, ["new words"], start=9_000)
    active.run()
    standby.run()
    assert stored(standby) == {**COUNTS, "new": 1, "words": 1}


def test_standby_is_said_to_be_there(cluster, make_worker):
    _, standby = pair(make_worker)
    assert m.Reconciled(frozenset(), frozenset({COUNT})) in standby.said


def test_standby_of_a_task_without_stores_is_nothing_but_a_name(cluster, make_worker):
    worker = make_worker()
    worker.assign(standby=("0_0",))
    worker.run(10)
    assert m.Reconciled(frozenset(), frozenset({SPLIT})) in worker.said
    assert worker.processor.standbys.tasks == {}


def test_standby_writes_and_commits_nothing(cluster, make_worker):
    feed(cluster)
    active, standby = pair(make_worker)
    active.run()
    standby.run()
    said = {type(command) for command in standby.said}
    assert said.isdisjoint({m.Send, m.CommitOffsets})


def test_standby_sees_committed_changes_only(cluster, make_worker):
    feed(cluster)
    active, standby = pair(make_worker, transactional=1, cache=0)
    while CHANGELOG not in cluster.ends:
        active.step()
    standby.run()
    assert stored(standby) == {}
    active.run()
    standby.run()
    assert stored(standby) == COUNTS


def test_promoted_standby_restores_only_what_was_in_flight(cluster, make_worker):
    feed(cluster)
    active, standby = pair(make_worker)
    active.run()
    standby.run()
    behind = 3
    changes(cluster, behind, start=900)
    standby.said.clear()
    standby.assign("0_0", "1_0")
    standby.step()
    begun = [each.positions for each in standby.said if isinstance(each, m.StartFetching)]
    standby.run(30)
    begun += [each.positions for each in standby.said if isinstance(each, m.StartFetching)]
    position = next(each[CHANGELOG] for each in begun if CHANGELOG in each)
    assert cluster.ends[CHANGELOG] - position == behind
    assert standby.processor.tasks[COUNT].is_running
    assert standby.processor.standbys.tasks == {}


def test_promoted_standby_that_has_everything_fetches_no_changelog(cluster, make_worker):
    feed(cluster)
    active, standby = pair(make_worker)
    active.run()
    standby.run()
    standby.said.clear()
    standby.assign("0_0", "1_0")
    standby.run()
    begun = [each.positions for each in standby.said if isinstance(each, m.StartFetching)]
    assert all(CHANGELOG not in positions for positions in begun)
    feed(cluster, start=9_000)
    standby.run(100)
    assert cluster.table("output") == {word: 2 * n for word, n in COUNTS.items()}


def test_running_task_becomes_a_standby_after_its_commit(cluster, make_worker):
    feed(cluster)
    worker = make_worker(commit_ms=10_000_000)
    worker.assign("0_0", "1_0")
    worker.run()
    worker.assign("0_0", standby=("1_0",))
    worker.run()
    assert worker.processor.standbys.tasks[COUNT].phase is StandbyPhase.FOLLOWING
    assert stored(worker) == COUNTS
    changes(cluster, 4, start=50)
    worker.run()
    assert len(stored(worker)) == len(COUNTS) + 4


def test_role_may_change_while_the_task_is_still_looked_up(cluster, make_worker):
    feed(cluster)
    worker = make_worker()
    worker.held = {m.PrepareTask}
    worker.assign(standby=("1_0",))
    worker.run(3)
    worker.assign("0_0", "1_0")
    worker.run(3)
    worker.assign("0_0", standby=("1_0",))
    worker.run(3)
    worker.held = set()
    worker.assign("0_0", "1_0")
    worker.run(100)
    assert cluster.table("output") == COUNTS


def test_standby_waits_until_another_process_gives_the_folder_up(cluster, make_worker):
    feed(cluster)
    first, second = make_worker("shared"), make_worker("shared")
    first.assign("0_0", "1_0")
    first.run()
    second.assign(standby=("1_0",))
    second.run(30)
    task = second.processor.standbys.tasks[COUNT]
    assert task.phase is StandbyPhase.CREATED
    first.assign("0_0")
    first.run()
    second.run(60, 10.0)
    assert task.phase is StandbyPhase.FOLLOWING
    assert stored(second) == COUNTS


def test_standby_closes_when_the_tasks_are_lost(cluster, make_worker):
    feed(cluster)
    _, standby = pair(make_worker)
    standby.inbox.put(m.TasksLost())
    standby.run(5)
    assert standby.processor.standbys.tasks == {}
    assert standby.fetching == {}
    assert standby.said[-1] == m.Reconciled(frozenset(), frozenset())


def test_standby_that_is_not_wanted_any_more_closes(cluster, make_worker):
    feed(cluster)
    _, standby = pair(make_worker)
    standby.assign()
    standby.run(5)
    assert standby.processor.standbys.tasks == {}
    assert standby.fetching == {}


def test_following_takes_one_slice_a_step_while_a_task_has_records(cluster, make_worker):
    worker = make_worker(buffered=100_000)
    changes(cluster, 20 * SLICE_RECORDS)
    worker.assign("0_0", standby=("1_0",))
    worker.run(10)
    feed(cluster, TEXT * 2_000)
    worker.step()
    worker.step()
    standby = worker.processor.standbys.tasks[COUNT]
    before, processed = standby.restored, worker.processor.records
    worker.step()
    assert worker.processor.records > processed
    assert 0 < standby.restored - before <= SLICE_RECORDS


def test_wiped_changelog_is_followed_from_its_new_beginning(cluster, make_worker):
    feed(cluster)
    active, standby = pair(make_worker)
    active.run()
    standby.run()
    end = cluster.ends[CHANGELOG]
    changes(cluster, 2, start=60)
    standby.inbox.put(m.OutOfRange(CHANGELOG, end, end + 2, cluster.topic_id(CHANGELOG.topic)))
    standby.run()
    assert sorted(stored(standby)) == ["word-60", "word-61"]


def test_warm_up_is_followed_like_a_standby(cluster, make_worker):
    feed(cluster)
    active, other = make_worker("one"), make_worker("two")
    active.assign("0_0", "1_0")
    active.run()
    none = frozenset()
    other.inbox.put(m.Assigned(none, none, none, frozenset({COUNT})))
    other.run()
    assert stored(other) == COUNTS
    assert m.Reconciled(none, none, frozenset({COUNT})) in other.said


def test_listeners_hear_of_standbys_and_of_restores(cluster, make_worker):
    feed(cluster)
    told = Told()
    active = make_worker("one")
    active.assign("0_0", "1_0")
    active.run()
    other = make_worker("two", listeners=Listeners(told, told))
    other.assign(standby=("1_0",))
    other.run()
    assert told.calls[0] == ("on_update_start", CHANGELOG, "counts", 0)
    assert told.calls[1][:4] == ("on_batch_loaded", CHANGELOG, "counts", COUNT)
    end = cluster.ends[CHANGELOG]
    changes(cluster, 5, start=70)
    other.assign("0_0", "1_0")
    other.run()
    suspended = next(call for call in told.calls if call[0] == "on_update_suspended")
    assert suspended[3] == end
    assert suspended[-1] is SuspendReason.PROMOTED
    assert told.calls[-3:] == [
        ("on_restore_start", CHANGELOG, "counts", end, end + 5),
        ("on_batch_restored", CHANGELOG, "counts", end + 4, 5),
        ("on_restore_end", CHANGELOG, "counts", 5),
    ]


def test_roles_at_random_lose_and_double_nothing(cluster, make_worker):
    """Each of two hosts is active or standby in turn; the counts stay right."""
    chance = random.Random(20_263)
    workers = [make_worker("one", transactional=1), make_worker("two", transactional=1)]
    rounds = 12
    for number in range(rounds):
        active = chance.randrange(2)
        workers[1 - active].assign(standby=("1_0",))
        workers[1 - active].run(20)
        workers[active].assign("0_0", "1_0")
        feed(cluster, start=10_000 * number)
        for _ in range(60):
            for worker in workers:
                worker.step(5.0)
    assert cluster.table("output") == {word: rounds * n for word, n in COUNTS.items()}
    for worker in workers:
        worker.run(20)
        assert stored(worker) == {word: rounds * n for word, n in COUNTS.items()}


def test_far_behind_is_loaded_in_bulk_and_the_rest_record_by_record(cluster, make_worker):
    count = BULK_LAG_MIN + LOAD_RECORDS
    changes(cluster, count)
    worker = make_worker()
    worker.assign("0_0", "1_0")
    worker.run(5)
    while not worker.processor.tasks[COUNT].is_running:
        worker.step()
    assert len(stored(worker)) == count
    feed(cluster)
    worker.run()
    assert cluster.table("output") == COUNTS


def test_standby_given_up_in_the_middle_of_a_load_loses_nothing(cluster, make_worker):
    count = BULK_LAG_MIN + LOAD_RECORDS
    changes(cluster, count)
    worker = make_worker()
    worker.assign(standby=("1_0",))
    while (standby := worker.processor.standbys.tasks.get(COUNT)) is None or not standby.restored:
        worker.step()
    restored = standby.restored
    assert restored < LOAD_RECORDS
    worker.said.clear()
    worker.assign("0_0", "1_0")
    while not worker.processor.tasks or not worker.processor.tasks[COUNT].is_running:
        worker.step()
    assert len(stored(worker)) == count
    begun = [each.positions for each in worker.said if isinstance(each, m.StartFetching)]
    assert [each[CHANGELOG] for each in begun if CHANGELOG in each] == [restored]


def in_memory(make_worker, name):
    worker = make_worker(name)
    split, count = worker.processor._topology.subtopologies
    stores = tuple(replace(builder, persistent=False) for builder in count.stores)
    topology = replace(
        worker.processor._topology, subtopologies=(split, replace(count, stores=stores))
    )
    worker.processor._topology = worker.processor.standbys._topology = topology
    return worker


def test_state_in_memory_waits_for_the_running_task_that_the_coordinator_gives_next(
    cluster, make_worker
):
    feed(cluster)
    active, standby = make_worker("one"), in_memory(make_worker, "two")
    active.assign("0_0", "1_0")
    standby.assign(standby=("1_0",))
    active.run()
    standby.run()
    standby.assign()
    standby.run(10)
    assert standby.processor.standbys.tasks == {}
    standby.said.clear()
    standby.assign("0_0", "1_0")
    standby.run()
    begun = [each.positions for each in standby.said if isinstance(each, m.StartFetching)]
    assert all(CHANGELOG not in positions for positions in begun)
    feed(cluster, start=9_000)
    standby.run(100)
    assert cluster.table("output") == {word: 2 * n for word, n in COUNTS.items()}


def test_state_in_memory_that_nobody_takes_is_given_up_with_its_lock(cluster, make_worker):
    feed(cluster)
    standby, other = in_memory(make_worker, "shared"), make_worker("shared")
    standby.assign(standby=("1_0",))
    standby.run()
    standby.assign()
    standby.run(10)
    other.assign("1_0")
    other.run(30, 10.0)
    assert not other.processor.tasks[COUNT].is_running
    standby.run(3, PARKED_MS)
    other.run(60, 10.0)
    assert other.processor.tasks[COUNT].is_running

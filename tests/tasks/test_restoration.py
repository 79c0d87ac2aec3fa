"""Restoring the stores of one task, slice by slice, while others look on."""

from __future__ import annotations

from uuid import UUID

from streamkit.client.decode import Fetched
from streamkit.common.model import TopicPartition
from streamkit.records import encode, scan
from streamkit.serdes import string
from streamkit.state.backend import MemoryBackend
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.state.formats import decode_value
from streamkit.state.task_state import TaskState
from streamkit.tasks.listeners import SuspendReason
from streamkit.tasks.memory import Room
from streamkit.tasks.restoration import BULK_LAG_MIN, SLICE_RECORDS, Restoration, Restore

TOPIC_ID = UUID(int=4_711)
NAMES = ("ash", "beech", "cedar")
COUNT = 2 * SLICE_RECORDS + 7


def changelog(store):
    return TopicPartition(f"app-{store}-changelog", 3)


def a_state():
    builders = [
        StoreBuilder(name, StoreKind.TIMESTAMPED_KEY_VALUE, string, string, persistent=False)
        for name in NAMES
    ]
    return TaskState(builders, MemoryBackend)


def fetched(tp, records, base=500):
    data = encode(
        [(key, value, 60 + i, ()) for i, (key, value) in enumerate(records)], base_offset=base
    )
    headers = tuple(scan(data))
    end = headers[-1].last_offset + 1
    return Fetched(tp, data, headers, base, end, end, end, 0)


def begun(state, count=COUNT, room=None):
    """A restoration whose stores all wait to be written."""
    restores = {
        changelog(name): Restore(changelog(name), name, TOPIC_ID, 500, 500 + count, 500 + count)
        for name in NAMES
    }
    restoration = Restoration(state, restores, room=room)
    rows = [(b"%05d" % number, b"v%d" % number) for number in range(count)]
    for tp in restores:
        restoration.add(tp, fetched(tp, rows))
    return restoration


def test_stores_take_turns_and_hold_all_in_the_end():
    state = a_state()
    restoration = begun(state)
    ended = []
    while not restoration.is_done:
        ended += restoration.run()
    assert sorted(tp.topic for tp in ended) == [changelog(name).topic for name in NAMES]
    for name in NAMES:
        rows = list(state.overlays[name].scan(None, None))
        assert [key for key, _ in rows] == [b"%05d" % number for number in range(COUNT)]
        assert decode_value(rows[9][1]) == (b"v9", 69)
        assert state.stored_offset(name).offset == 500 + COUNT


def test_turns_do_not_disturb_who_counts_meanwhile():
    """Metrics read what is left from another thread; a slice may come between two stores."""
    restoration = begun(a_state())
    onlooker = iter(restoration.restores.values())
    seen = [next(onlooker).store]
    restoration.run()
    seen += [each.store for each in onlooker]
    assert seen == list(NAMES)
    assert restoration.remaining == 3 * COUNT - SLICE_RECORDS
    assert restoration.restored == SLICE_RECORDS


def test_one_store_in_the_process_gathers_at_a_time():
    room, count = Room(), BULK_LAG_MIN + 3 * SLICE_RECORDS
    one, two = begun(a_state(), count, room), begun(a_state(), count, room)
    one.run(is_busy=False)
    assert two.run(is_busy=False) == []
    assert (one.restored, two.restored) == (SLICE_RECORDS, 0)
    assert not two.has_work
    # What tasks that run leave of the time goes to all: they write record by record.
    two.run(is_busy=True)
    assert two.restored == SLICE_RECORDS
    while not one.is_done:
        one.run(is_busy=False)
    two.run(is_busy=False)
    assert two.has_work
    assert two.restored == 2 * SLICE_RECORDS


def test_load_that_is_given_up_lets_others_load():
    room, count = Room(), BULK_LAG_MIN + 3 * SLICE_RECORDS
    one, two = begun(a_state(), count, room), begun(a_state(), count, room)
    one.run(is_busy=False)
    one.suspend(SuspendReason.MIGRATED)
    two.run(is_busy=False)
    assert two.restored == SLICE_RECORDS


def test_one_store_after_the_other_has_its_fetched_data_open():
    restoration = begun(a_state())
    for _ in range(COUNT // SLICE_RECORDS):
        restoration.run()
    held = [each.held_bytes > 0 for each in restoration.restores.values()]
    written = [each.restored for each in restoration.restores.values()]
    assert written == [COUNT // SLICE_RECORDS * SLICE_RECORDS, 0, 0]
    assert held == [True, True, True]
    while not restoration.restores[changelog(NAMES[1])].restored:
        restoration.run()
    assert restoration.restores[changelog(NAMES[0])].held_bytes == 0


class Loads(MemoryBackend):
    """Remembers what was loaded and when that was over."""

    def __init__(self, families):
        super().__init__(families)
        self.calls = []

    def load(self, family, keys, entries):
        self.calls.append(len(keys))
        super().load(family, keys, entries)

    def end_load(self, family):
        self.calls.append("end")


def test_load_that_makes_room_for_tasks_that_run_is_one_load():
    """RocksDB is told of a load's beginning and end: not each time that records come between."""
    builder = StoreBuilder(NAMES[0], StoreKind.TIMESTAMPED_KEY_VALUE, string, string)
    backends = []

    def open_backend(families):
        backends.append(Loads(families))
        return backends[0]

    state = TaskState([builder], open_backend)
    tp, count = changelog(NAMES[0]), BULK_LAG_MIN + 6 * SLICE_RECORDS
    restore = Restore(tp, NAMES[0], TOPIC_ID, 500, 500 + count, 500 + count)
    restoration = Restoration(state, {tp: restore})
    restoration.add(tp, fetched(tp, [(b"%05d" % each, b"v") for each in range(count)]))
    for is_busy in (False, False, True, False, False):
        restoration.run(is_busy=is_busy)
    assert backends[0].calls == [3 * SLICE_RECORDS]
    while not restoration.is_done:
        restoration.run(is_busy=False)
    assert backends[0].calls == [3 * SLICE_RECORDS, 4 * SLICE_RECORDS, "end"]
    assert len(list(state.overlays[NAMES[0]].scan(None, None))) == count

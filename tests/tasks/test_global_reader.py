"""Global tables in a worker: all partitions are read before a task runs, and followed after."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

import streamkit as sk
from streamkit.client.decode import Fetched
from streamkit.common.model import TopicPartition
from streamkit.records import encode, scan
from streamkit.state.backend import MemoryBackend
from streamkit.state.restore import ChangelogBounds
from streamkit.tasks.global_reader import GlobalReader
from streamkit.tasks.global_state import GlobalState
from streamkit.tasks.mailbox import Outbox
from streamkit.tasks.messages import Command, PrepareGlobals, StartFetching


def people() -> sk.App:
    app = sk.App("everywhere")
    table = app.global_table("people", key=str, value=str, name="people-store")
    orders = app.stream("orders", key=str, value=str)
    orders.join(table, lambda order, name: name, on=lambda k, v: v, value=str).to("out")
    return app


@pytest.fixture
def outbox() -> Outbox[Command]:
    return Outbox()


@pytest.fixture
def state() -> GlobalState:
    return GlobalState("everywhere", people().topology.globals, MemoryBackend, lambda: 5)


def bounds(start: int, end: int, *, topic: int = 77) -> ChangelogBounds:
    return ChangelogBounds(UUID(int=topic), start, end)


def fetched(partition: int, offset: int, *rows: tuple[str, str | None]) -> Fetched:
    records: list[Any] = [
        (key.encode(), None if value is None else value.encode(), 7, ()) for key, value in rows
    ]
    data = encode(records, base_offset=offset)
    after = offset + len(rows)
    tp = TopicPartition("people", partition)
    return Fetched(tp, data, tuple(scan(data)), offset, after, after, after, 0)


def test_ready_when_every_partition_has_reached_its_first_end(
    state: GlobalState, outbox: Outbox[Command]
) -> None:
    reader = GlobalReader(state, outbox)
    reader.begin()
    assert outbox.take_all() == [PrepareGlobals(("people",))]
    assert not reader.is_ready
    starts = {TopicPartition("people", 0): 20, TopicPartition("people", 3): 30}
    ends = {tp: bounds(start, start + 2) for tp, start in starts.items()}
    reader.on_prepared(ends | {TopicPartition("people", 1): bounds(40, 40)})
    assert outbox.take_all() == [
        StartFetching(starts | {TopicPartition("people", 1): 40}, is_changelog=True)
    ]
    reader.add(fetched(0, 20, ("ann", "Ann"), ("bob", "Bob")))
    reader.add(fetched(3, 30, ("cid", "Cid")))
    assert not reader.is_ready
    reader.add(fetched(3, 31, ("cid", None)))
    assert reader.is_ready
    rows = {key: row.value for key, row in state.stores["people-store"].all()}
    assert rows == {"ann": "Ann", "bob": "Bob"}


def test_rows_are_followed_after_that(state: GlobalState, outbox: Outbox[Command]) -> None:
    reader = GlobalReader(state, outbox)
    reader.on_prepared({TopicPartition("people", 2): bounds(20, 20)})
    assert reader.is_ready
    reader.add(fetched(2, 20, ("ann", "Ann")))
    reader.add(fetched(2, 20, ("ann", "read twice"), ("ann", "Anna")))
    assert state.stores["people-store"].get("ann").value == "Anna"


def test_topic_that_was_cut_is_read_from_where_it_begins(
    state: GlobalState, outbox: Outbox[Command]
) -> None:
    reader = GlobalReader(state, outbox)
    tp = TopicPartition("people", 2)
    reader.on_prepared({tp: bounds(20, 20)})
    outbox.take_all()
    assert reader.owns(tp)
    reader.on_out_of_range(tp, 55)
    assert outbox.take_all() == [StartFetching({tp: 55}, is_changelog=True)]


P0, P1 = TopicPartition("people", 0), TopicPartition("people", 1)


class Restarts:
    """Runs a reader over one database, again and again."""

    def __init__(self) -> None:
        self.backends: dict[int, MemoryBackend] = {}
        self.told: list[tuple[Any, ...]] = []
        self.reader: GlobalReader | None = None

    def start(self, where: dict[TopicPartition, ChangelogBounds]) -> dict[TopicPartition, int]:
        """Start again; gives where it reads from."""
        if self.reader is not None:
            self.reader.close()
        parts, outbox = people().topology.globals, Outbox[Command]()
        state = GlobalState(
            "everywhere",
            parts,
            lambda families: self.backends.setdefault(7, MemoryBackend(families)),
            lambda: 5,
        )
        self.reader = GlobalReader(state, outbox, self)
        self.reader.on_prepared(where)
        (command,) = outbox.take_all()
        assert isinstance(command, StartFetching)
        return dict(command.positions)

    def rows(self) -> dict[str, str]:
        assert self.reader is not None
        store = self.reader.state.stores["people-store"]
        return {key: row.value for key, row in store.all()}

    def add(self, data: Fetched) -> None:
        assert self.reader is not None
        self.reader.add(data)

    def on_restore_start(self, *what: Any) -> None:
        self.told.append(("start", *what))

    def on_batch_restored(self, *what: Any) -> None:
        self.told.append(("batch", *what))

    def on_restore_end(self, *what: Any) -> None:
        self.told.append(("end", *what))

    def on_restore_suspended(self, *what: Any) -> None:
        self.told.append(("suspended", *what))


@pytest.fixture
def restarts() -> Restarts:
    runs = Restarts()
    runs.start({P0: bounds(20, 22), P1: bounds(40, 41)})
    runs.add(fetched(0, 20, ("ann", "Ann"), ("bob", "Bob")))
    runs.add(fetched(1, 40, ("cid", "Cid")))
    return runs


def test_start_reads_only_what_is_new(restarts: Restarts) -> None:
    assert restarts.start({P0: bounds(21, 24), P1: bounds(40, 41)}) == {P0: 22, P1: 41}
    assert restarts.rows() == {"ann": "Ann", "bob": "Bob", "cid": "Cid"}
    restarts.add(fetched(0, 22, ("ann", None), ("dan", "Dan")))
    assert restarts.rows() == {"bob": "Bob", "cid": "Cid", "dan": "Dan"}


def test_partition_that_came_later_is_read_from_its_beginning(restarts: Restarts) -> None:
    p2 = TopicPartition("people", 2)
    where = {P0: bounds(20, 22), P1: bounds(40, 41), p2: bounds(60, 65)}
    assert restarts.start(where) == {P0: 22, P1: 41, p2: 60}


@pytest.mark.parametrize("now", [bounds(20, 30, topic=78), bounds(23, 30), bounds(3, 9)])
def test_rows_of_another_log_are_deleted(restarts: Restarts, now: ChangelogBounds) -> None:
    assert restarts.start({P0: now, P1: bounds(40, 41)}) == {P0: now.start, P1: 40}
    assert restarts.rows() == {}


def test_listener_is_told_of_global_tables_too(restarts: Restarts) -> None:
    assert restarts.told == [
        ("start", P0, "people-store", 20, 22),
        ("start", P1, "people-store", 40, 41),
        ("batch", P0, "people-store", 21, 2),
        ("end", P0, "people-store", 2),
        ("batch", P1, "people-store", 40, 1),
        ("end", P1, "people-store", 1),
    ]
    restarts.told.clear()
    restarts.start({P0: bounds(20, 22), P1: bounds(40, 41)})
    assert restarts.told == []

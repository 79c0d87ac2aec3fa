"""Global tables in a worker: all partitions are read before a task runs, and followed after."""

from __future__ import annotations

from typing import Any

import pytest

import streamkit as sk
from streamkit.client.decode import Fetched
from streamkit.common.model import TopicPartition
from streamkit.records import encode, scan
from streamkit.state.backend import MemoryBackend
from streamkit.tasks.global_reader import GlobalReader
from streamkit.tasks.global_state import GlobalState
from streamkit.tasks.mailbox import Outbox
from streamkit.tasks.messages import Command, PrepareGlobals, StartFetching, StartPosition


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
    ends = {tp: StartPosition(start, start + 2) for tp, start in starts.items()}
    reader.on_prepared(ends | {TopicPartition("people", 1): StartPosition(40, 40)})
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
    reader.on_prepared({TopicPartition("people", 2): StartPosition(20, 20)})
    assert reader.is_ready
    reader.add(fetched(2, 20, ("ann", "Ann")))
    reader.add(fetched(2, 20, ("ann", "read twice"), ("ann", "Anna")))
    assert state.stores["people-store"].get("ann").value == "Anna"


def test_topic_that_was_cut_is_read_from_where_it_begins(
    state: GlobalState, outbox: Outbox[Command]
) -> None:
    reader = GlobalReader(state, outbox)
    tp = TopicPartition("people", 2)
    reader.on_prepared({tp: StartPosition(20, 20)})
    outbox.take_all()
    assert reader.owns(tp)
    reader.on_out_of_range(tp, 55)
    assert outbox.take_all() == [StartFetching({tp: 55}, is_changelog=True)]


def test_rows_of_an_earlier_run_are_gone() -> None:
    backends: dict[int, MemoryBackend] = {}

    def open_database(families: Any) -> MemoryBackend:
        return backends.setdefault(7, MemoryBackend(families))

    def opened() -> GlobalState:
        return GlobalState("everywhere", people().topology.globals, open_database, lambda: 5)

    one = opened()
    reader = GlobalReader(one, Outbox())
    reader.on_prepared({TopicPartition("people", 0): StartPosition(20, 20)})
    reader.add(fetched(0, 20, ("deleted meanwhile", "x")))
    one.close()
    assert list(opened().stores["people-store"].all()) == []

"""Global tables: joined by any key, filled by whatever writes to their topic, outside all tasks."""

from __future__ import annotations

import pytest

import streamkit as sk
from streamkit.common.errors import TopologyError


def program() -> sk.App:
    app = sk.App("everywhere")
    people = app.global_table("people", key=str, value=str, name="people-store")
    orders = app.stream("orders", key=int, value=str)
    orders.join(people, lambda order, name: f"{order} of {name}", on=lambda k, v: v, value=str).to(
        "known"
    )
    orders.left_join(people, lambda order, name: str(name), on=lambda k, v: v, value=str).to("all")
    return app


def test_rows_are_found_by_the_key_that_on_gives() -> None:
    with program().test() as t:
        t.pipe("people", "ann", "Ann")
        t.pipe("orders", 7, "ann")
        t.pipe("orders", 8, "bob")
        assert [(r.key, r.value) for r in t.read("known")] == [(7, "ann of Ann")]
        assert [r.value for r in t.read("all")] == ["Ann", "None"]
        assert t.store("people-store").get("ann") == "Ann"


def test_rows_are_in_every_partition() -> None:
    with program().test(partitions=5) as t:
        t.pipe("people", "ann", "Ann", partition=4)
        for partition in range(5):
            t.pipe("orders", 7, "ann", partition=partition)
        assert len(t.read("known")) == 5


def test_global_table_makes_no_tasks_and_no_changelog() -> None:
    topology = program().topology
    assert [part.source_topics for part in topology.subtopologies] == [("orders",)]
    assert [part.source_topics for part in topology.globals] == [("people",)]
    assert topology.subtopologies[0].changelogs == ()
    assert "for global store (will not generate tasks)" in topology.describe()
    assert "people-store" in topology.to_mermaid()


def test_topic_of_a_global_table_is_read_by_nothing_else() -> None:
    app = program()
    app.stream("people", key=str, value=str).to("out")
    with pytest.raises(TopologyError, match="already been registered"):
        app.topology.describe()


def test_join_says_which_row() -> None:
    app = sk.App("everywhere")
    people = app.global_table("people", key=str, value=str)
    with pytest.raises(TopologyError, match="on=lambda"):
        app.stream("orders", key=str, value=str).join(people, lambda a, b: a)  # type: ignore[call-overload]  # refused by types, too


def test_only_global_tables_take_on() -> None:
    app = sk.App("everywhere")
    table = app.table("people", key=str, value=str)
    with pytest.raises(TopologyError, match="re-key the stream"):
        app.stream("o", key=str, value=str).join(table, lambda a, b: a, on=lambda k, v: k)  # type: ignore[call-overload]  # refused by types, too

"""Versioned tables as declared: the row of a record's time, grace, what is refused."""

from __future__ import annotations

import pytest

import streamkit as sk
from streamkit.common.errors import TopologyError

VERSIONED = sk.Materialized("prices-store", kind="versioned", history="1m")


def program(**options: object) -> sk.App:
    app = sk.App("priced")
    prices = app.table("prices", key=str, value=int, store=VERSIONED)
    orders = app.stream("orders", key=str, value=int)
    orders.join(prices, lambda n, price: n * price, value=int, **options).to("out")  # type: ignore[call-overload]  # options of every kind
    return app


def test_row_is_that_of_the_records_time() -> None:
    with program().test() as t:
        t.pipe("prices", "pen", 10, at=1_000)
        t.pipe("prices", "pen", 20, at=2_000)
        t.pipe("orders", "pen", 3, at=1_500)
        t.pipe("orders", "pen", 3, at=2_500)
        assert [r.value for r in t.read("out")] == [30, 60]
        assert t.store("prices-store").get("pen", 1_999).value == 10


def test_with_grace_a_record_waits_for_late_rows() -> None:
    with program(grace="5s").test() as t:
        t.pipe("prices", "pen", 10, at=1_000)
        t.pipe("orders", "pen", 3, at=3_000)
        t.pipe("prices", "pen", 20, at=2_000)
        assert t.read("out") == []
        t.pipe("orders", "ink", 1, at=8_000)
        assert [(r.value, r.timestamp) for r in t.read("out")] == [(60, 3_000)]


def test_record_after_its_grace_is_joined_at_once() -> None:
    with program(grace="5s").test() as t:
        t.pipe("prices", "pen", 10, at=1_000)
        t.pipe("orders", "pen", 3, at=60_000)
        t.pipe("orders", "pen", 4, at=54_999)
        assert [r.value for r in t.read("out")] == [40]


def test_left_join_with_grace_lets_null_keys_pass() -> None:
    app = sk.App("priced")
    prices = app.table("prices", key=str, value=int, store=VERSIONED)
    orders = app.stream("orders", key=str, value=int)
    orders.left_join(prices, lambda n, price: n, value=int, grace="5s").to("out")
    with app.test() as t:
        t.pipe("orders", None, 3, at=60_000)
        assert [(r.key, r.value) for r in t.read("out")] == [(None, 3)]


def test_changelogs_keep_versions_from_compaction() -> None:
    (part,) = program(grace="5s", name="buy").topology.subtopologies
    configs = {log.name: log.configs for log in part.changelogs}
    of_table = configs["priced-prices-store-changelog"]
    assert of_table["min.compaction.lag.ms"] == str(60_000 + 86_400_000)
    assert configs["priced-buy-Buffer-changelog"]["cleanup.policy"] == "compact"


def test_grace_needs_a_history_as_long() -> None:
    with pytest.raises(TopologyError, match="at least the grace"):
        program(grace="61s").topology.describe()


def test_grace_is_for_versioned_tables() -> None:
    app = sk.App("priced")
    table = app.table("prices", key=str, value=int, name="plain")
    with pytest.raises(TopologyError, match="grace is for versioned tables"):
        app.stream("o", key=str, value=int).join(table, lambda a, b: a, grace="1s")


def test_versioned_store_says_its_history() -> None:
    app = sk.App("priced")
    with pytest.raises(TopologyError, match="needs a name and a history"):
        app.table("prices", key=str, value=int, store=sk.Materialized("p", kind="versioned"))
    with pytest.raises(TopologyError, match="is for kind='versioned'"):
        app.table("prices", key=str, value=int, store=sk.Materialized("p", history="1m"))


def test_versioned_rows_are_not_held_back() -> None:
    app = sk.App("priced")
    table = app.table("prices", key=str, value=int, store=VERSIONED)
    table.filter(lambda k, v: True).suppress("1m")
    with pytest.raises(TopologyError, match="cannot be held back"):
        app.topology.describe()


def test_global_tables_are_not_versioned() -> None:
    app = sk.App("priced")
    with pytest.raises(TopologyError, match="cannot be global"):
        app.global_table("prices", key=str, value=int, store=VERSIONED)

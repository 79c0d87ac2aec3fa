"""Stream-stream joins as declared: bounds, stores, changelogs, what is refused."""

from __future__ import annotations

from datetime import timedelta

import pytest

import streamkit as sk
from streamkit.common.errors import TopologyError


def two_streams() -> tuple[sk.App, sk.Stream[str, int], sk.Stream[str, str]]:
    app = sk.App("joined")
    numbers = app.stream("numbers", key=str, value=int)
    words = app.stream("words", key=str, value=str)
    return app, numbers, words


def pair(number: int | None, word: str | None) -> str:
    return f"{number}{word}"


def test_inner_join_gives_pairs_within_the_time() -> None:
    app, numbers, words = two_streams()
    numbers.join(words, pair, within="5ms").to("out")
    with app.test() as t:
        t.pipe("numbers", "k", 7, at=20)
        t.pipe("words", "k", "near", at=25)
        t.pipe("words", "k", "far", at=26)
        assert [(r.value, r.timestamp) for r in t.read("out")] == [("7near", 25)]


def test_bounds_may_lie_on_one_side_only() -> None:
    app, numbers, words = two_streams()
    after = timedelta(milliseconds=9)
    numbers.join(words, pair, before=timedelta(milliseconds=-3), after=after).to("out")
    with app.test() as t:
        t.pipe("numbers", "k", 7, at=20)
        for time in (22, 23, 29, 30):
            t.pipe("words", "k", str(time), at=time)
        assert [r.value for r in t.read("out")] == ["723", "729"]


def test_outer_join_sends_what_has_no_partner_once_time_and_grace_are_over() -> None:
    app, numbers, words = two_streams()
    numbers.outer_join(words, pair, within="5ms", grace="4ms", value=str).to("out")
    with app.test() as t:
        t.pipe("numbers", "k", 7, at=20)
        t.pipe("words", "other", "w", at=29)
        assert t.read("out") == []
        t.pipe("words", "other", "x", at=30)
        assert [(r.key, r.value, r.timestamp) for r in t.read("out")] == [("k", "7None", 20)]


def test_stores_keep_what_a_partner_may_need() -> None:
    app, numbers, words = two_streams()
    store = sk.Materialized("kept", kind="memory")
    numbers.left_join(words, pair, within="1m", grace="30s", store=store, value=str)
    (part,) = app.topology.subtopologies
    stores = {each.name: each for each in part.stores}
    assert list(stores) == [
        "kept-this-join-store", "kept-outer-other-join-store", "kept-left-shared-join-store",
    ]  # fmt: skip
    assert stores["kept-this-join-store"].retention_ms == 150_000
    configs = {each.name: each.configs for each in part.changelogs}
    of_window = configs["joined-kept-this-join-store-changelog"]
    assert of_window["cleanup.policy"] == "delete"
    assert of_window["retention.ms"] == str(86_400_000 + 150_000)
    assert configs["joined-kept-left-shared-join-store-changelog"]["cleanup.policy"] == "compact"
    assert part.copartition_groups == (("numbers", "words"),)


def test_join_of_streams_needs_a_time() -> None:
    _, numbers, words = two_streams()
    with pytest.raises(TopologyError, match="within='5m'"):
        numbers.join(words, pair)


def test_empty_window_is_refused() -> None:
    _, numbers, words = two_streams()
    with pytest.raises(TopologyError, match="is empty"):
        numbers.join(words, pair, before=timedelta(seconds=-5), after="4s")


def test_join_with_a_table_takes_no_time() -> None:
    app, numbers, _ = two_streams()
    with pytest.raises(TopologyError, match="joins of two streams"):
        numbers.join(app.table("t", key=str, value=str), pair, within="5m")

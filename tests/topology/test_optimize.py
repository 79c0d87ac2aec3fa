"""`topology.optimization`: what is merged, what is reused, what is refused."""

from __future__ import annotations

import pytest

import streamkit as sk
from streamkit.common.errors import ConfigError
from streamkit.topology.graph.optimize import optimizations_of


def rekeyed(optimization: str) -> sk.App:
    app = sk.App("fast", config={"topology.optimization": optimization})
    words = app.stream("lines", key=str, value=str).select_key(lambda k, v: v, key=str)
    words.group_by_key().count(name="all")
    words.filter(lambda k, v: len(v) > 3).group_by_key().count(name="long")
    return app


def repartition_topics(app: sk.App) -> list[str]:
    parts = app.topology.subtopologies
    return [topic.name for part in parts for topic in part.repartition_sources]


def test_repartition_topics_below_one_new_key_become_one() -> None:
    assert len(repartition_topics(rekeyed("none"))) == 2
    app = rekeyed("merge.repartition.topics")
    assert repartition_topics(app) == ["fast-all-repartition"]
    with app.test() as t:
        for word in ("be", "there", "there"):
            t.pipe("lines", None, word)
        assert dict(t.store("all").all()) == {"be": 1, "there": 2}
        assert dict(t.store("long").all()) == {"there": 2}


def test_declaring_goes_on_after_an_optimized_build() -> None:
    app = rekeyed("all")
    before = app.topology.describe()
    app.stream("more", key=str, value=str).filter(lambda k, v: True, name="later")
    assert app.topology.describe().startswith(before.rstrip())


def test_source_topic_serves_as_changelog() -> None:
    app = sk.App("fast", config={"topology.optimization": "reuse.ktable.source.topics"})
    app.table("prices", key=str, value=int, name="prices-store")
    (part,) = app.topology.subtopologies
    assert part.changelogs == ()
    assert part.stores[0].changelog_topic == "prices"
    with app.test() as t:
        t.pipe("prices", "pen", 5)
        assert [record.tp.topic for record in t.written] == []
        assert t.store("prices-store").get("pen") == 5


def test_stream_joined_with_itself_has_one_store() -> None:
    app = sk.App("fast", config={"topology.optimization": "single.store.self.join"})
    numbers = app.stream("numbers", key=str, value=int)
    numbers.join(numbers, lambda a, b: a * b, within="5ms", value=int).to("out")
    (part,) = app.topology.subtopologies
    assert len(part.stores) == 1
    with app.test(config={}) as t:
        t.pipe("numbers", "k", 2, at=20)
        t.pipe("numbers", "k", 3, at=22)
        assert [r.value for r in t.read("out")] == [4, 6, 6, 9]


def test_optimizations_are_named() -> None:
    assert len(optimizations_of("all")) == 3
    both = "reuse.ktable.source.topics, single.store.self.join"
    assert len(optimizations_of(both)) == 2
    with pytest.raises(ConfigError, match="use all, none, or some of"):
        sk.App("fast", config={"topology.optimization": "all,none"})

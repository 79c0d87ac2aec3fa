"""Options that would be ignored or fail later are refused where they are declared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import streamkit as sk
from streamkit.common.errors import ConfigError, TopologyError

HERE = r"test_refused_options\.py:\d+"


class Program:
    """Two streams, a group and a table to declare on."""

    def __init__(self) -> None:
        self.app = sk.App("refused")
        self.lines = self.app.stream("lines", key=str, value=str)
        self.others = self.app.stream("others", key=str, value=str)
        self.grouped = self.lines.group_by_key()
        self.windowed = self.grouped.windowed_by(sk.tumbling("1m"))


@pytest.fixture
def given() -> Program:
    return Program()


def both(one: str, two: str) -> str:
    return one + two


Declare = Callable[[Program], object]
STORES: dict[str, tuple[Callable[[], object], str]] = {
    "kind": (
        lambda: own(kind="rocksdb"),
        r"kind='rocksdb': use one of persistent, memory, lru",
    ),
    "options of a kind unknown": (
        lambda: sk.Materialized(kind="Persistent"),  # type: ignore[arg-type]
        r"kind='Persistent': use one of persistent, memory, lru, versioned",
    ),
    "windows of no size": (
        lambda: own(form="window", retention="1h"),
        r"say how long its windows are: window='1m'",
    ),
    "windows longer than they are kept": (
        lambda: own(form="window", retention="1h", window="2h"),
        r"retention='1h' is shorter than its windows, window='2h'",
    ),
    "retention of rows by key": (
        lambda: own(retention="1h"),
        r"retention= is for form='window', 'session' or 'versioned': .* ttl=",
    ),
    "window of rows by key": (lambda: own(window="1h"), r"window= is for form='window'"),
    "window of sessions": (
        lambda: own(form="session", retention="1h", window="1m"),
        r"window= is for form='window'",
    ),
    "segment of windows": (
        lambda: own(form="window", retention="1h", window="1m", segment="1m"),
        r"segment= is for form='versioned'",
    ),
    "history in memory": (
        lambda: own(form="versioned", retention="1h", kind="memory"),
        r"form='versioned' is kept on disk: leave out kind='memory'",
    ),
    "cache over a history": (
        lambda: own(form="versioned", retention="1h", caching=True),
        r"form='versioned' has no cache: leave out caching=",
    ),
}


def own(**options: Any) -> sk.StoreBuilder:
    return sk.store("seen", key=str, value=int, **options)


@pytest.mark.parametrize("case", STORES)
def test_store_option_is_refused(case: str) -> None:
    declare, says = STORES[case]
    with pytest.raises(TopologyError, match=r"at " + HERE + ": " + says):
        declare()


OPTIONS: dict[str, tuple[Declare, str]] = {
    "bounded windows": (
        lambda p: p.windowed.count(store=sk.Materialized("c", kind="lru", entries=7)),
        r"store c at .*: kind='lru' is for rows by key, not for windows",
    ),
    "versioned windows": (
        lambda p: p.windowed.count(store=sk.Materialized("c", kind="versioned", history="1h")),
        r"store c at .*: windows cannot be versioned",
    ),
    "bounded windows of a cogroup": (
        lambda p: (
            p.grouped.cogroup(lambda k, v, a: a)
            .windowed_by(sk.tumbling("1m"))
            .aggregate(0, value=int, store=sk.Materialized("c", kind="lru", entries=7))
        ),
        r"store c at .*: kind='lru' is for rows by key, not for windows",
    ),
    "retention of a table": (
        lambda p: p.grouped.count(store=sk.Materialized("c", retention="1h")),
        r"store c at .*: retention= is for windows",
    ),
    "segment of a table": (
        lambda p: p.grouped.count(store=sk.Materialized("c", segment="1h")),
        r"store c at .*: segment= is for kind='versioned'",
    ),
    "retention of a join": (
        lambda p: p.lines.join(
            p.others, both, within="1m", store=sk.Materialized("j", retention="1h")
        ),
        r"join\(\) at .*: its stores keep what its windows and grace need: leave out retention=",
    ),
    "versioned join": (
        lambda p: p.lines.join(
            p.others, both, within="1m", store=sk.Materialized(kind="versioned", history="1h")
        ),
        r"join\(\) at .*: kind='versioned' is not for windows: use persistent or memory",
    ),
    "bounded join": (
        lambda p: p.lines.join(
            p.others, both, within="1m", store=sk.Materialized(kind="lru", entries=7)
        ),
        r"join\(\) at .*: kind='lru' is not for windows: use persistent or memory",
    ),
    "store that is a name": (
        lambda p: p.grouped.count(store="c"),  # type: ignore[arg-type]
        r"store='c': give streamkit.Materialized\(...\), or name='c'",
    ),
    "store of a processor": (
        lambda p: p.grouped.count(store=own()),  # type: ignore[arg-type]
        r"store=: streamkit.store\(...\) is for processors: give streamkit.Materialized\('seen'",
    ),
    "join's store that is a name": (
        lambda p: p.lines.join(p.others, both, within="1m", store="j"),  # type: ignore[call-overload]
        r"store='j': give streamkit.Materialized\('j'\)",
    ),
    "partitions in words": (
        lambda p: p.lines.repartition(partitions="3"),  # type: ignore[arg-type]
        r"repartition\(\) .*partitions='3': give a number, 1 or more",
    ),
    "no partitions": (
        lambda p: p.lines.repartition(partitions=0),
        r"partitions=0: give a number, 1 or more",
    ),
    "fewer than no partitions": (
        lambda p: p.lines.repartition(partitions=-3),
        r"partitions=-3: give a number, 1 or more",
    ),
    "name that is no text": (
        lambda p: p.lines.filter(print, name=5),  # type: ignore[arg-type]
        r"name 5 is no text",
    ),
    "printing to a path": (
        lambda p: p.lines.print(to="path"),  # type: ignore[arg-type]
        r"print\(\) .*to='path' cannot be written to: give an open text file",
    ),
    "printing by no function": (
        lambda p: p.lines.print(mapper="x"),  # type: ignore[arg-type]
        r"'x' is no function",
    ),
    "illegal topic": (lambda p: p.lines.to("a b"), r"Name 'a b' is illegal"),
    "illegal store": (lambda p: p.grouped.count(name="a b"), r"Name 'a b' is illegal"),
    "illegal application": (lambda p: sk.App("a/b"), r"Name 'a/b' is illegal"),
    "illegal dead-letter topic": (
        lambda p: p.lines.to("out", on_error=sk.dead_letter("d lq")),
        r"Name 'd lq' is illegal",
    ),
    "dead-letter topic of nothing": (
        lambda p: sk.dead_letter(None),
        r"dead_letter\(\) .*None is no topic",
    ),
    "attempts in words": (
        lambda p: sk.dead_letter("dlq", attempts="3"),  # type: ignore[arg-type]
        r"attempts='3': give a number, 1 or more",
    ),
    "no attempts": (lambda p: sk.skip(attempts=0), r"attempts=0: give a number, 1 or more"),
    "app in place of a topology": (
        lambda p: sk.App("x", topology=p.app),  # type: ignore[arg-type]
        r"App\('x', topology=...\) .*an App is no streamkit.Topology",
    ),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_option_is_refused(given: Program, case: str) -> None:
    declare, says = OPTIONS[case]
    with pytest.raises(TopologyError, match=says) as refused:
        declare(given)
    refused.match(HERE)


def test_application_id_is_said_once() -> None:
    with pytest.raises(ConfigError, match=r"application.id=other: .* 'shop', is App's first"):
        sk.App("shop", config={"application.id": "other"})
    assert sk.App("shop", config={"application.id": "shop"}).id == "shop"


def test_configured_dead_letter_topic_is_checked() -> None:
    from streamkit.topology.failures import Policies, policies_with

    with pytest.raises(ConfigError, match=r"errors.dead.letter.queue.topic.name.*'d lq' is illeg"):
        policies_with(Policies(), {}, "d lq")


def test_internal_topic_whose_name_would_be_too_long_is_refused() -> None:
    app = sk.App("a" * 200)
    app.stream("lines", key=str, value=str).group_by_key().count(name="c" * 100)
    with pytest.raises(
        TopologyError, match=r"is 311 characters long, and Kafka takes 249: .*short"
    ):
        _ = app.topology


@pytest.mark.parametrize("after", ["branch", "default_branch"])
def test_default_branch_is_the_last(given: Program, after: str) -> None:
    branches = given.lines.split()
    branches.default_branch().to("rest")
    more = {
        "branch": lambda: branches.branch(lambda key, value: True),
        "default_branch": branches.default_branch,
    }
    says = HERE + r": default_branch\(\) takes all that is left, .* declare it last, and once"
    with pytest.raises(TopologyError, match=after + r"\(\) at " + says):
        more[after]()

"""Declaring: what is refused, in which words, and where serdes come from."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import streamkit as sk
from streamkit.common.errors import ConfigError, TopologyError
from streamkit.state.builders import StoreKind
from streamkit.topology.plan import NodeKind


@dataclass
class Order:
    item: str


def shop(**config: object) -> sk.App:
    return sk.App("shop", config={key.replace("_", "."): value for key, value in config.items()})


def words(app: sk.App) -> sk.Stream[str, str]:
    return app.stream("words", key=str, value=str)


def fails(app: sk.App, *parts: str) -> None:
    with pytest.raises(TopologyError) as caught:
        _ = app.topology
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_serde_names_operator_topic_fix_and_line() -> None:
    app = shop()
    words(app).map_values(len).to("lengths")
    fails(
        app,
        "to() (KSTREAM-SINK-0000000002) at test_declare.py:",
        "no serde for the value of topic lengths",
        "value=",
        "default.value.serde",
    )


def test_source_without_serde_is_refused() -> None:
    app = shop()
    app.stream(app.topic("words", value=str)).to("out")
    fails(app, "stream() (KSTREAM-SOURCE-0000000000)", "no serde for the key of topic words")


def test_repartition_without_serde_is_refused() -> None:
    app = shop()
    words(app).group_by(lambda key, word: len(word)).count(name="lengths")
    fails(app, "count()", "the key of repartition topic lengths-repartition")


def test_store_without_serde_is_refused() -> None:
    app = shop()
    words(app).group_by_key().aggregate(list, lambda k, w, all_: [*all_, w], name="all")
    fails(app, "aggregate()", "the value of store all")


def test_defaults_fill_in_what_is_unknown() -> None:
    app = shop(default_key_serde=str, default_value_serde="int")
    words(app).map_values(len).to("lengths")
    assert "lengths" in app.topology.describe()


def test_serdes_come_from_annotations() -> None:
    def parse(word: str) -> Order:
        return Order(word)

    def letters(word: str) -> list[str]:
        return list(word)

    def pair(key: str, word: str) -> tuple[int, Order]:
        return len(word), Order(word)

    def pairs(key: str, word: str) -> Iterable[tuple[int, Order]]:
        return [pair(key, word)]

    def size(key: str, word: str) -> int:
        return len(word)

    def add(size: int, word: str, total: float) -> float:
        return total + len(word)

    app = shop()
    words(app).map_values(parse).to("orders")
    words(app).flat_map_values(letters).to("letters")
    words(app).map(pair).to("pairs")
    words(app).flat_map(pairs).to("pairs")
    words(app).select_key(size).to("sizes")
    words(app).group_by(size).aggregate(0.0, add, name="totals").to_stream().to("totals")
    stores = [store for part in app.topology.subtopologies for store in part.stores]
    assert [store.value_serde for store in stores] == [sk.serdes.double]


def test_what_is_said_wins_over_annotations() -> None:
    def size(word: str) -> int:
        return len(word)

    app = shop()
    words(app).map_values(size, value=sk.serdes.integer).to("sizes")
    assert app.topology.subtopologies


def test_contradicting_types_are_refused_at_once() -> None:
    def size(word: str) -> int:
        return len(word)

    app = shop()
    with pytest.raises(TopologyError, match=r"size at test_declare.py:\d+: the operator says str"):
        words(app).map_values(size, value=str)
    lengths = app.topic("lengths", key=str, value=float)
    words(app).map_values(size).to(lengths)
    texts = app.topic("texts", key=str, value=str)
    with pytest.raises(TopologyError, match="topic texts has values of type str, but int comes"):
        words(app).map_values(size).to(texts)
    with pytest.raises(TopologyError, match="values of topic texts are str, but int comes"):
        app.stream(texts, value=int)


def test_function_of_another_value_type_is_refused_with_its_line() -> None:
    def double(number: int) -> int:
        return number * 2

    with pytest.raises(
        TopologyError, match=r"double at test_declare.py:\d+: it takes int, but str"
    ):
        words(shop()).process(double)


def test_merge_keeps_serdes_only_when_both_agree() -> None:
    app = shop()
    numbers = app.stream("numbers", key=str, value=int)
    words(app).merge(app.stream("more", key=str, value=str)).to("fine")
    words(app).merge(numbers).to("mixed")
    fails(app, "value of topic mixed")


def test_names_are_checked() -> None:
    with pytest.raises(TopologyError, match="'not legal' is illegal"):
        words(shop()).filter(lambda k, v: True, name="not legal")
    with pytest.raises(TopologyError, match="illegal"):
        sk.App("a/b")
    with pytest.raises(TopologyError, match="illegal"):
        shop().topic("x" * 250)


def test_async_functions_that_wait_for_stores_upstream_are_refused() -> None:
    async def ask(word: str) -> str:
        return word

    async def many(count: int) -> AsyncIterator[int]:
        yield count

    counts = words(shop()).group_by_key(key=str).count(name="counts").to_stream()
    counts.process(many)
    with pytest.raises(TopologyError, match=r"keeps counts: put .repartition\(\) in between"):
        counts._scope.graph.build("shop", {})
    twice = words(shop()).process(ask)
    twice.process(ask, name="again")
    with pytest.raises(TopologyError, match=r"behind ask, which is async"):
        twice._scope.graph.build("shop", {})


def test_parameter_that_nothing_can_fill_is_refused() -> None:
    def ask(word: str, known: dict[str, str]) -> str:
        return word

    def bare(word: str, known) -> str:  # type: ignore[no-untyped-def]  # the test
        return word

    with pytest.raises(
        TopologyError, match=r"parameter known is dict\[str, str\]: after the value"
    ):
        words(shop()).process(ask)
    with pytest.raises(TopologyError, match="parameter known is not annotated"):
        words(shop()).process(bare)


def test_unresolvable_annotation_is_refused() -> None:
    def ask(word: Missing) -> str:  # type: ignore[name-defined]  # noqa: F821  # the test
        return word

    with pytest.raises(TopologyError, match="name types that cannot be found"):
        words(shop()).process(ask)


def test_store_without_serde_names_the_store() -> None:
    def ask(word: str, kept: sk.KeyValue[str, object]) -> str:
        return word

    with pytest.raises(TopologyError, match="store kept: no serde for type object"):
        words(shop()).process(ask)


def test_stores_are_shared_only_on_purpose() -> None:
    def one(word: str, seen: sk.KeyValue[str, int]) -> None: ...

    def two(word: str, seen: sk.KeyValue[str, int]) -> None: ...

    def three(word: str, seen: sk.KeyValue[str, str]) -> None: ...

    app = shop()
    words(app).process(one)
    with pytest.raises(TopologyError, match=r"store seen belongs to processor one already"):
        words(app).process(two)
    words(app).process(two, stores={"seen": "seen"}, name="shares")
    words(app).process(two, stores={"seen": "own"})
    with pytest.raises(TopologyError, match="store seen of processor one has other types"):
        words(app).process(three, stores={"seen": "seen"})
    with pytest.raises(TopologyError, match=r"stores= names \['sen'\]"):
        words(app).process(three, stores={"sen": "x"})
    stores = app.topology.subtopology(0).stores
    assert [(store.name, store.kind) for store in stores] == [
        ("seen", StoreKind.KEY_VALUE),
        ("own", StoreKind.KEY_VALUE),
    ]


def test_same_function_twice_needs_a_name() -> None:
    def upper(word: str) -> str:
        return word.upper()

    app = shop()
    words(app).process(upper)
    words(app).process(upper)
    fails(app, "Processor upper is already added")


def test_internal_topics_have_kafkas_names_and_configs() -> None:
    app = sk.App("shop", config={"topic.segment.ms": 5000})
    grouped = words(app).group_by(lambda key, word: word, key=str)
    grouped.count(name="counts", store=sk.Materialized(changelog={"segment.ms": "7000"}))
    first, second = app.topology.subtopologies
    assert first.source_topics == ("words",)
    assert first.repartition_sinks == ("shop-counts-repartition",)
    assert second.topics == ("shop-counts-repartition",)
    assert dict(second.repartition_sources[0].configs) == {
        "cleanup.policy": "delete",
        "message.timestamp.type": "CreateTime",
        "retention.ms": "-1",
        "segment.bytes": "52428800",
        "segment.ms": "5000",
    }
    (changelog,) = second.changelogs
    assert changelog.name == "shop-counts-changelog"
    assert dict(changelog.configs) == {
        "cleanup.policy": "compact",
        "message.timestamp.type": "CreateTime",
        "segment.ms": "7000",
    }
    (store,) = second.stores
    assert (store.persistent, store.caching_enabled, store.logging_enabled) == (True, True, True)


def test_offset_resets_are_in_the_plan() -> None:
    app = shop()
    app.stream("a", key=str, value=str, offset_reset="latest").to("out")
    with pytest.raises(TopologyError, match="offset_reset='newest'"):
        app.stream("b", key=str, value=str, offset_reset="newest")
    assert dict(app.topology.subtopology(0).offset_resets) == {"a": "latest"}


def test_pattern_sources_are_in_the_plan() -> None:
    app = shop()
    app.stream(re.compile("in-[0-9]+"), key=str, value=str).to("out")
    part = app.topology.subtopology(0)
    assert (part.source_topics, part.source_patterns) == ((), ("in-[0-9]+",))


def test_unknown_and_bad_configuration_names_the_key() -> None:
    for key, value in (
        ("commit.intervall.ms", 5),
        ("commit.interval.ms", "soon"),
        ("processing.guarantee", "exactly_twice"),
        ("topology.optimization", "most"),
        ("default.key.serde", "text"),
    ):
        with pytest.raises(ConfigError) as caught:
            sk.App("shop", config={key: value})
        assert key.rsplit(".", 1)[0] in str(caught.value)
        assert "\n" not in str(caught.value)


def test_json_mermaid_and_dot_show_every_node_and_topic() -> None:
    app = shop()
    words(app).group_by(lambda key, word: word, key=str).count(name="counts").to_stream().to(
        app.topic("out", key=str, value=int)
    )
    document = json.loads(app.topology.to_json())
    assert document["application_id"] == "shop"
    names = [node["name"] for part in document["subtopologies"] for node in part["nodes"]]
    for text in (app.topology.to_mermaid(), app.topology.to_dot()):
        for name in [*names, "words", "out", "counts-repartition", "counts"]:
            assert name in text
    kinds = [spec.kind for part in app.topology.subtopologies for spec in part.nodes]
    assert kinds.count(NodeKind.SOURCE) == 2


def test_importing_streamkit_loads_neither_client_nor_event_loop() -> None:
    code = (
        "import sys, streamkit as sk; app = sk.App('shop');"
        "app.stream('in', key=str, value=str).to('out'); app.topology.describe();"
        "print(sorted({'asyncio', 'kio', 'uvloop', 'pydantic', 'rocksdict', 'socket'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_iterator_of_records_may_change_keys() -> None:
    def spread(word: str) -> Iterator[sk.Record[int, str]]:
        yield sk.Record(len(word), word, 5)

    app = shop()
    words(app).process(spread).group_by_key().count(name="sizes")
    assert "sizes-repartition" in app.topology.describe()


def test_annotation_any_says_nothing() -> None:
    def add(key: str, value: int, total: int) -> Any:
        return total + value

    app = sk.App("any")
    grouped = app.stream("numbers", key=str, value=int).group_by_key()
    grouped.aggregate(0, add, value=int).to_stream().to("out")
    assert "KSTREAM-AGGREGATE" in app.topology.describe()

"""Co-partition groups as Kafka Streams 4.3.1 tells of them, which was seen in its heartbeats."""

from __future__ import annotations

import streamkit as sk
from streamkit.rebalance.wire import topology_message
from streamkit.tasks.group_topology import group_topology
from streamkit.tasks.settings import StreamsSettings
from streamkit.topology.graph.copartition import copartition_groups


def add(one: int, other: int) -> int:
    return one + other


def test_join_with_itself_is_a_group_of_one_topic() -> None:
    app = sk.App("alone")
    numbers = app.stream("numbers", key=str, value=int)
    numbers.join(numbers, add, within="5ms").to("out")
    (part,) = app.topology.subtopologies
    assert part.copartition_groups == (("numbers",),)


def test_topics_of_a_group_are_told_in_the_order_of_the_hash_set() -> None:
    app = sk.App("told")
    tables = [app.table(f"c0-in-{number}", key=str, value=int) for number in range(3)]
    tables[0].join(tables[1], add).join(tables[2], add).to_stream().to("out")
    topology = group_topology(app.topology, StreamsSettings.from_mapping({}))
    (part,) = topology_message(topology).subtopologies
    assert part.source_topics == ("c0-in-0", "c0-in-1", "c0-in-2")
    assert [each.source_topics for each in part.copartition_groups] == [(1, 0, 2)]


def test_join_of_a_suppressed_table_asks_nothing_of_its_topic() -> None:
    app = sk.App("held")
    held, other = (app.table(topic, key=str, value=int) for topic in ("held", "other"))
    held.suppress(until="1s").map_values(abs).join(other, add).to_stream().to("out")
    (part,) = app.topology.subtopologies
    assert part.copartition_groups == (("other",),)


def test_source_that_an_optimized_table_restores_from_is_told_as_its_changelog() -> None:
    app = sk.App("reused", config={"topology.optimization": "all"})
    prices = app.table("prices", key=str, value=int, name="kept")
    app.stream("orders", key=str, value=int).join(prices, add).to("out")
    topology = group_topology(app.topology, StreamsSettings.from_mapping({}))
    (part,) = topology_message(topology).subtopologies
    (changelog,) = part.state_changelog_topics
    assert changelog.name == "prices"
    assert ("cleanup.policy", "compact") in [(c.key, c.value) for c in changelog.topic_configs]
    assert app.topology.subtopologies[0].changelogs == ()


def test_what_bridges_two_groups_joins_the_first_that_it_finds() -> None:
    groups = copartition_groups([["a", "b"], ["c", "d"], ["b", "c"]])
    assert sorted(map(sorted, groups)) == [["a", "b", "c"], ["c", "d"]]


def test_groups_with_the_same_topics_are_one() -> None:
    assert copartition_groups([["a", "b"], ["b", "a"], []]) == [("a", "b")]


def test_groups_come_in_the_order_of_a_hash_set_of_sets() -> None:
    groups = copartition_groups([["b"], ["a", "h"], ["a"]])
    assert groups == [("b",), ("a", "h")]

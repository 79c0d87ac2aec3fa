"""Partition counts, co-partitioning and the number of tasks."""

from __future__ import annotations

import pytest

from streamkit.rebalance.rules import (
    GroupSubtopology,
    GroupTopology,
    InternalTopic,
    InvalidTopologyError,
    StatusCode,
    configure,
)


def word_count(partitions: int = 0) -> GroupTopology:
    words = InternalTopic("words-repartition", partitions)
    return GroupTopology(
        4,
        (
            GroupSubtopology("0", ("text",), (), ("words-repartition",)),
            GroupSubtopology("1", (), (words,), (), (InternalTopic("counts-changelog"),)),
        ),
    )


def chain(*lengths: str) -> GroupTopology:
    """Sub-topologies that each write the repartition topic of the next one, given backwards."""
    topics = [InternalTopic(name) for name in lengths]
    subtopologies = [GroupSubtopology("0", ("text",), (), (lengths[0],))]
    for index, topic in enumerate(topics):
        sinks = lengths[index + 1 : index + 2]
        subtopologies.append(GroupSubtopology(str(index + 1), (), (topic,), tuple(sinks)))
    return GroupTopology(4, tuple(reversed(subtopologies)))


def test_missing_source_topics_are_named_sorted() -> None:
    topology = GroupTopology(4, (GroupSubtopology("0", ("b", "a")),))
    configured = configure(topology, {}.get)
    assert configured.problem is not None
    assert configured.problem.status is StatusCode.MISSING_SOURCE_TOPICS
    assert configured.problem.detail == "Source topics a, b are missing."
    assert configured.subtopologies is None


def test_counts_follow_the_source_and_missing_internal_topics_are_listed() -> None:
    configured = configure(word_count(), {"text": 6}.get)
    assert configured.problem is not None
    assert configured.problem.status is StatusCode.MISSING_INTERNAL_TOPICS
    counts = {topic.name: topic.partitions for topic in configured.missing_internal}
    assert counts == {"words-repartition": 6, "counts-changelog": 6}
    assert [configured.tasks_of(each) for each in ("0", "1", "9")] == [6, 6, None]


def test_given_count_of_a_repartition_topic_is_kept() -> None:
    configured = configure(word_count(partitions=3), {"text": 6}.get)
    assert [configured.tasks_of(each) for each in ("0", "1")] == [6, 3]


def test_topology_is_ready_once_internal_topics_exist() -> None:
    topics = {"text": 6, "words-repartition": 6, "counts-changelog": 6}
    assert configure(word_count(), topics.get).is_ready


def test_internal_topic_of_another_size_does_not_fit() -> None:
    topics = {"text": 6, "words-repartition": 5, "counts-changelog": 6}
    problem = configure(word_count(), topics.get).problem
    assert problem is not None
    assert problem.status is StatusCode.INCORRECTLY_PARTITIONED_TOPICS
    assert "words-repartition" in problem.detail


def test_counts_pass_through_a_chain_in_any_order() -> None:
    configured = configure(chain("r1", "r2", "r3"), {"text": 5}.get)
    assert {topic.partitions for topic in configured.missing_internal} == {5}


def test_repartition_topic_that_nobody_writes_is_an_invalid_topology() -> None:
    topology = GroupTopology(4, (GroupSubtopology("0", (), (InternalTopic("r"),)),))
    with pytest.raises(InvalidTopologyError, match="r"):
        configure(topology, {}.get)


def test_repartition_topics_in_a_loop_are_an_invalid_topology() -> None:
    topology = GroupTopology(
        4,
        (
            GroupSubtopology("0", (), (InternalTopic("a"),), ("b",)),
            GroupSubtopology("1", (), (InternalTopic("b"),), ("a",)),
        ),
    )
    with pytest.raises(InvalidTopologyError):
        configure(topology, {}.get)


def join(repartition: InternalTopic, *external: str) -> GroupTopology:
    group = (*external, repartition.name)
    return GroupTopology(
        4,
        (
            GroupSubtopology("0", ("up",), (), (repartition.name,)),
            GroupSubtopology("1", external, (repartition,), (), (), (group,)),
        ),
    )


def test_flexible_repartition_topic_takes_the_count_of_its_copartitioned_source() -> None:
    configured = configure(join(InternalTopic("r"), "table"), {"up": 9, "table": 4}.get)
    assert [topic.partitions for topic in configured.missing_internal] == [4]
    assert configured.tasks_of("1") == 4


def test_fixed_repartition_topic_has_to_match_its_copartitioned_source() -> None:
    configured = configure(join(InternalTopic("r", 7), "table"), {"up": 9, "table": 4}.get)
    assert configured.problem is not None
    assert configured.problem.status is StatusCode.INCORRECTLY_PARTITIONED_TOPICS


def test_copartitioned_sources_have_to_be_equal() -> None:
    topics = {"up": 9, "t1": 4, "t2": 5}
    problem = configure(join(InternalTopic("r"), "t1", "t2"), topics.get).problem
    assert problem is not None
    assert problem.status is StatusCode.INCORRECTLY_PARTITIONED_TOPICS
    assert "t1=4, t2=5" in problem.detail


def test_copartitioned_repartition_topics_take_the_largest_count() -> None:
    topology = GroupTopology(
        4,
        (
            GroupSubtopology("0", ("x",), (), ("rx",)),
            GroupSubtopology("1", ("y",), (), ("ry",)),
            GroupSubtopology(
                "2", (), (InternalTopic("rx"), InternalTopic("ry")), (), (), (("rx", "ry"),)
            ),
        ),
    )
    configured = configure(topology, {"x": 3, "y": 8}.get)
    assert [topic.partitions for topic in configured.missing_internal] == [8, 8]


def test_source_that_serves_as_changelog_keeps_its_count() -> None:
    part = GroupSubtopology("0", ("prices", "orders"), changelogs=(InternalTopic("prices"),))
    configured = configure(GroupTopology(0, (part,)), {"prices": 2, "orders": 6}.get)
    assert configured.is_ready
    assert configured.tasks_of("0") == 6

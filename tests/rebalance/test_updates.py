"""Which topologies may follow on which while a group runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamkit.common.errors import UsageError
from streamkit.rebalance.description import DescribedGroup, DescribedSubtopology
from streamkit.rebalance.rules import GroupSubtopology, GroupTopology, InternalTopic
from streamkit.rebalance.updates import (
    common,
    differences,
    is_behind,
    is_same,
    next_epoch,
    unfit,
    update_problems,
)

WORDS = InternalTopic("app-words-repartition")
COUNTS = InternalTopic("app-counts-changelog")
FIRST = GroupSubtopology("0", ("text",), (), (WORDS.name,))
SECOND = GroupSubtopology("1", (), (WORDS,), (), (COUNTS,))
KNOWN = GroupTopology(3, (FIRST, SECOND))


@pytest.mark.parametrize(
    "wanted",
    [
        (FIRST, SECOND, GroupSubtopology("2", ("more",))),
        (FIRST, replace(SECOND, changelogs=(COUNTS, InternalTopic("app-seen-changelog")))),
        (replace(FIRST, repartition_sinks=(WORDS.name, "app-more-repartition")), SECOND),
        (SECOND, FIRST),
    ],
)
def test_additions_are_compatible(wanted: tuple[GroupSubtopology, ...]) -> None:
    assert differences(KNOWN, GroupTopology(4, wanted)) == []


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ((FIRST,), ["sub-topology 1 is gone"]),
        (
            (replace(FIRST, source_topics=("text", "more")), SECOND),
            ["sub-topology 0 read text and would read more, text, so its tasks would be others"],
        ),
        (
            (FIRST, replace(SECOND, changelogs=())),
            ["sub-topology 1 would lose the state in app-counts-changelog"],
        ),
    ],
)
def test_what_changes_tasks_or_drops_state_is_not(
    wanted: tuple[GroupSubtopology, ...], why: list[str]
) -> None:
    assert differences(KNOWN, GroupTopology(4, wanted)) == why


def test_order_and_epoch_do_not_make_a_topology_another() -> None:
    assert is_same(KNOWN, GroupTopology(9, (SECOND, FIRST)))
    assert not is_same(KNOWN, GroupTopology(3, (FIRST,)))


def described(topology: GroupTopology | None) -> DescribedGroup:
    """The group as a broker shows it, its topics in an order of their own, with counts."""
    return DescribedGroup(
        group_id="app",
        state="Stable",
        epoch=7,
        assignment_epoch=7,
        topology_epoch=None if topology is None else topology.epoch,
        subtopologies=tuple(
            DescribedSubtopology(
                each.id,
                tuple(reversed(each.source_topics)),
                tuple(reversed(each.repartition_sinks)),
                tuple(InternalTopic(topic.name, 8) for topic in reversed(each.repartition_sources)),
                tuple(InternalTopic(topic.name, 8) for topic in reversed(each.changelogs)),
            )
            for each in (() if topology is None else topology.subtopologies)
        ),
        members=(),
    )


MORE = (FIRST, SECOND, GroupSubtopology("2", ("more", "else")))


@pytest.mark.parametrize(
    ("group", "wanted", "epoch"),
    [
        (None, KNOWN.subtopologies, 0),
        (described(None), KNOWN.subtopologies, 0),
        (described(KNOWN), KNOWN.subtopologies, 3),
        (described(KNOWN), MORE, 4),
        (described(GroupTopology(4, MORE)), MORE, 4),
        (described(GroupTopology(4, MORE)), KNOWN.subtopologies, 3),
    ],
)
def test_worker_joins_with_the_epoch_that_fits(
    group: DescribedGroup | None, wanted: tuple[GroupSubtopology, ...], epoch: int
) -> None:
    assert next_epoch(group, GroupTopology(0, wanted)) == epoch


def test_worker_of_another_topology_is_told_the_ways_on() -> None:
    with pytest.raises(UsageError, match=r"sub-topology 1 is gone\. Reset the application"):
        next_epoch(described(replace(KNOWN, epoch=0)), GroupTopology(0, (FIRST,)))


def counted(partitions: int) -> GroupTopology:
    """The topology with a stated number for its repartition topic."""
    words = replace(WORDS, partitions=partitions)
    return GroupTopology(0, (FIRST, replace(SECOND, repartition_sources=(words,))))


RECOUNTED = (
    "repartition topic app-words-repartition has 8 partitions and would have 3, so the tasks of "
    "sub-topology 1 would be others"
)


def test_other_number_for_a_repartition_topic_is_refused_as_the_check_says() -> None:
    assert update_problems(described(KNOWN), counted(3)) == [RECOUNTED]
    with pytest.raises(UsageError, match=RECOUNTED):
        next_epoch(described(KNOWN), counted(3))


@pytest.mark.parametrize("partitions", [0, 8])
def test_number_that_follows_from_the_input_or_is_the_same_is_no_other(partitions: int) -> None:
    assert update_problems(described(KNOWN), counted(partitions)) is None
    assert next_epoch(described(KNOWN), counted(partitions)) == KNOWN.epoch


@pytest.mark.parametrize(
    ("group", "wanted", "is_older"),
    [
        (GroupTopology(4, MORE), KNOWN, True),
        (GroupTopology(0, MORE), KNOWN, False),
        (GroupTopology(4, MORE), counted(3), False),
        (KNOWN, GroupTopology(4, MORE), False),
    ],
)
def test_program_that_the_group_may_have_had_is_behind(
    group: GroupTopology, wanted: GroupTopology, *, is_older: bool
) -> None:
    assert is_behind(described(group), wanted) == is_older


def test_topologies_have_in_common_what_has_the_same_inputs() -> None:
    other = GroupTopology(7, (replace(FIRST, source_topics=("else",)), SECOND, *MORE[2:]))
    assert common(KNOWN, other) == ("1",)


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        ({"text": 4}, None),
        ({"text": 4, WORDS.name: 4, COUNTS.name: 4}, None),
        ({}, "Source topics text are missing; make them, then start the worker again"),
        (
            {"text": 4, WORDS.name: 3},
            "Existing topic app-words-repartition has different number of partitions: expected 4, "
            "found 3; its number follows from the input topics, or from "
            ".repartition(partitions=N), and that was another when it was made: reset the "
            "application (streamkit reset PROGRAM), which makes it anew, or give it another id",
        ),
    ],
)
def test_topics_that_keep_a_topology_from_running_are_told(
    counts: dict[str, int], why: str | None
) -> None:
    assert unfit(KNOWN, counts.get) == why


def test_topology_that_no_cluster_could_run_is_told() -> None:
    loop = GroupTopology(0, (replace(SECOND, repartition_sinks=(WORDS.name,)),))
    assert "nobody writes to them" in (unfit(loop, {}.get) or "")

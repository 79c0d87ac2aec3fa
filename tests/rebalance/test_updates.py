"""Which topologies may follow on which while a group runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamkit.common.errors import UsageError
from streamkit.rebalance.description import DescribedGroup, DescribedSubtopology
from streamkit.rebalance.rules import GroupSubtopology, GroupTopology, InternalTopic
from streamkit.rebalance.updates import differences, is_same, next_epoch

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

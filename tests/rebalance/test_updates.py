"""Which topologies may follow on which while a group runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamkit.rebalance.rules import GroupSubtopology, GroupTopology, InternalTopic
from streamkit.rebalance.updates import differences, is_same

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

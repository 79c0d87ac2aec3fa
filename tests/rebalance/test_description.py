"""What a described streams group says of its topics."""

from __future__ import annotations

from streamkit.rebalance.description import DescribedGroup, DescribedSubtopology
from streamkit.rebalance.rules import InternalTopic


def test_source_that_serves_as_changelog_belongs_to_others() -> None:
    """Optimized programs of Kafka Streams name sources of tables among their changelogs."""
    reader = DescribedSubtopology(
        "0", ("prices",), ("app-by-city-repartition",), (), (InternalTopic("prices"),)
    )
    counter = DescribedSubtopology(
        "1",
        (),
        (),
        (InternalTopic("app-by-city-repartition"),),
        (InternalTopic("app-kept-changelog"),),
    )
    group = DescribedGroup("app", "Empty", 3, 3, 0, (reader, counter), ())
    assert group.internal_topics == ("app-by-city-repartition", "app-kept-changelog")
    assert group.source_topics == ("prices",)

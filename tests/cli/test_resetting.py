"""Which topics a reset takes, and what it says of those that it does not."""

from __future__ import annotations

import pytest

from streamkit.cli.group_offsets import Position
from streamkit.cli.resetting import KnownTopics, Reset, inputs_or_raise
from streamkit.common.errors import UsageError

TO = Position("earliest")
BETWEEN = "shop-words-repartition"
STREAMS = KnownTopics(
    existing=frozenset(["lines", "orders", "out", BETWEEN]),
    own=frozenset(["lines", "orders"]),
    internal=frozenset([BETWEEN]),
    has_topology=True,
)
CONSUMERS = KnownTopics(STREAMS.existing, STREAMS.own)


def refused(known: KnownTopics, *topics: str) -> str:
    with pytest.raises(UsageError) as caught:
        inputs_or_raise(Reset("shop", TO, topics), known)
    return str(caught.value)


def test_all_topics_of_the_group_are_taken_when_none_is_named() -> None:
    assert inputs_or_raise(Reset("shop", TO), STREAMS) == {"lines", "orders"}


def test_one_wrong_name_among_right_ones_refuses_all() -> None:
    assert refused(STREAMS, "lines", "linse") == (
        "group 'shop' does not read 'linse', but lines, orders. Nothing was changed; did you mean "
        "'lines'?"
    )


def test_topic_that_the_application_writes_is_refused() -> None:
    assert refused(STREAMS, "out").startswith("group 'shop' does not read 'out', but lines, orders")


def test_internal_topic_is_refused_with_the_way_to_delete_it() -> None:
    assert "is internal to group 'shop'" in refused(STREAMS, BETWEEN)
    assert "--internal" in refused(STREAMS, BETWEEN)


def test_topic_that_is_not_there_is_refused_for_consumers() -> None:
    assert refused(CONSUMERS, "oders") == (
        "there is no topic 'oders'; group 'shop' has offsets of lines, orders. Nothing was "
        "changed; did you mean 'orders'?"
    )


def test_consumers_may_begin_a_topic_that_they_committed_nothing_for() -> None:
    assert inputs_or_raise(Reset("shop", TO, ("out",)), CONSUMERS) == {"out"}


def test_own_topic_that_was_deleted_is_refused() -> None:
    known = KnownTopics(frozenset(["lines"]), STREAMS.own, has_topology=True)
    assert refused(known, "orders") == "there is no topic 'orders' any more"
    assert inputs_or_raise(Reset("shop", TO), known) == {"lines", "orders"}
    gone = KnownTopics(frozenset(["out"]), STREAMS.own)
    assert refused(gone) == "group 'shop' reads lines, orders: no such topic exists"


def test_group_without_offsets_asks_for_a_topic() -> None:
    assert "name its topics with --topic" in refused(KnownTopics(STREAMS.existing, frozenset()))

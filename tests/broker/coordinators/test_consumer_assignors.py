"""The assignors of consumer groups: complete, balanced, and sticky where they promise it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkit.broker.coordinators.group.consumer.assignors import by_range, uniform
from streamkit.broker.coordinators.group.consumer.assignors.spec import (
    Assignment,
    AssignmentMember,
    AssignmentSpec,
)

TOPICS = [UUID(int=number) for number in range(31, 36)]
TEXT, MORE = TOPICS[:2]

counts_of_topics = st.lists(st.integers(1, 9), min_size=1, max_size=5).map(
    lambda counts: dict(zip(TOPICS, counts, strict=False))
)


def spec_of(
    counts: Mapping[UUID, int],
    subscriptions: Sequence[frozenset[UUID]],
    before: Assignment | None = None,
    instances: Mapping[int, str] | None = None,
) -> AssignmentSpec:
    members = [
        AssignmentMember(
            f"m-{number:02}",
            (instances or {}).get(number),
            topics,
            (before or {}).get(f"m-{number:02}", frozenset()),
        )
        for number, topics in enumerate(subscriptions)
    ]
    return AssignmentSpec(members, counts, len(set(subscriptions)) == 1)


def check_complete(spec: AssignmentSpec, target: Assignment) -> None:
    """Every partition of a subscribed topic has one owner, a subscriber."""
    owners = Counter(partition for each in target.values() for partition in each)
    wanted = {
        (topic_id, index)
        for member in spec.members
        for topic_id in member.topics
        for index in range(spec.partitions[topic_id])
    }
    assert set(owners) == wanted
    assert set(owners.values()) <= {1}
    for member in spec.members:
        assert {topic_id for topic_id, _ in target[member.member_id]} <= member.topics


def sizes(target: Assignment) -> list[int]:
    return sorted(len(each) for each in target.values())


def text(target: Assignment) -> dict[str, str]:
    return {
        member_id: ",".join(f"{topic.int}:{index}" for topic, index in sorted(partitions))
        for member_id, partitions in target.items()
    }


def test_range_gives_neighbours_and_the_first_ones_more() -> None:
    spec = spec_of({TEXT: 5, MORE: 2}, [frozenset({TEXT, MORE})] * 3)
    assert text(by_range.assign(spec)) == {
        "m-00": "31:0,31:1,32:0",
        "m-01": "31:2,31:3,32:1",
        "m-02": "31:4",
    }


def test_range_puts_static_members_first_by_their_instances() -> None:
    spec = spec_of({TEXT: 4}, [frozenset({TEXT})] * 3, instances={1: "i-9", 2: "i-4"})
    assert text(by_range.assign(spec)) == {"m-02": "31:0,31:1", "m-01": "31:2", "m-00": "31:3"}


def test_range_co_partitions_topics_of_the_same_size() -> None:
    target = by_range.assign(spec_of({TEXT: 7, MORE: 7}, [frozenset({TEXT, MORE})] * 3))
    for partitions in target.values():
        of_text, of_more = (
            {index for topic, index in partitions if topic == each} for each in (TEXT, MORE)
        )
        assert of_text == of_more


@given(counts_of_topics, st.integers(1, 7))
def test_uniform_gives_equal_members_equally_many(counts: dict[UUID, int], members: int) -> None:
    spec = spec_of(counts, [frozenset(counts)] * members)
    target = uniform.assign(spec)
    check_complete(spec, target)
    assert sizes(target)[-1] - sizes(target)[0] <= 1


@given(counts_of_topics, st.integers(1, 7), st.integers(1, 7))
def test_uniform_moves_no_more_than_it_must(
    counts: dict[UUID, int], members: int, later: int
) -> None:
    topics = frozenset(counts)
    before = uniform.assign(spec_of(counts, [topics] * members))
    spec = spec_of(counts, [topics] * later, before)
    target = uniform.assign(spec)
    check_complete(spec, target)
    assert sizes(target)[-1] - sizes(target)[0] <= 1
    least, extra = divmod(sum(counts.values()), later)
    held = sorted((len(before.get(f"m-{n:02}", ())) for n in range(later)), reverse=True)
    quotas = [least + (place < extra) for place in range(later)]
    must_stay = sum(min(have, quota) for have, quota in zip(held, quotas, strict=True))
    stayed = sum(len(target[each] & before.get(each, frozenset())) for each in target)
    assert stayed == must_stay


@given(counts_of_topics, st.data())
def test_uniform_serves_different_subscriptions(
    counts: dict[UUID, int], data: st.DataObject
) -> None:
    some = st.frozensets(st.sampled_from(sorted(counts)), min_size=1)
    subscriptions = data.draw(st.lists(some, min_size=2, max_size=6))
    spec = spec_of(counts, subscriptions)
    target = uniform.assign(spec)
    check_complete(spec, target)
    # Subscribers of one topic differ by one at most, unless they have no partition of it to give.
    for topic_id in {topic for each in subscriptions for topic in each}:
        ours = [each.member_id for each in spec.members if topic_id in each.topics]
        givers = [each for each in ours if any(topic == topic_id for topic, _ in target[each])]
        least = min(len(target[each]) for each in ours)
        assert all(len(target[each]) - least <= 1 for each in givers)


@given(counts_of_topics, st.data())
def test_a_balanced_target_stays_as_it_is(counts: dict[UUID, int], data: st.DataObject) -> None:
    some = st.frozensets(st.sampled_from(sorted(counts)), min_size=1)
    subscriptions = data.draw(st.lists(some, min_size=1, max_size=6))
    before = uniform.assign(spec_of(counts, subscriptions))
    assert uniform.assign(spec_of(counts, subscriptions, before)) == before


def test_uniform_forgets_partitions_that_are_gone() -> None:
    before = {"m-00": frozenset({(TEXT, 0), (TEXT, 5), (MORE, 1)})}
    spec = spec_of({TEXT: 2}, [frozenset({TEXT})], before)
    assert uniform.assign(spec) == {"m-00": frozenset({(TEXT, 0), (TEXT, 1)})}


@pytest.mark.parametrize("assign", [uniform.assign, by_range.assign])
def test_a_group_without_members_has_no_target(assign: object) -> None:
    assert callable(assign)
    assert assign(spec_of({}, [])) == {}

"""Classic groups read back from their records, as after a restart."""

from __future__ import annotations

from dataclasses import replace

from streamkit.broker.coordinators.group import records as rec
from streamkit.broker.coordinators.group.classic.model import ClassicGroup, ClassicState
from streamkit.broker.coordinators.group.state import GroupShard

KEY = rec.GroupMetadataKey(group="g-3")
SUBSCRIPTION = bytes.fromhex("0003 00000001 0004 74657874 ffffffff 00000000 ffffffff ffff")
"""Version 3: topic `text`."""
MEMBER = rec.ClassicMember(
    member_id="c-31",
    group_instance_id="i-31",
    client_id="c",
    client_host="/10.0.0.9",
    rebalance_timeout=300_000,
    session_timeout=45_000,
    subscription=SUBSCRIPTION,
    assignment=b"two partitions",
)
NEW = rec.GroupMetadataValue(
    protocol_type="",
    generation=0,
    protocol=None,
    leader=None,
    current_state_timestamp=7_000,
    members=(),
)
STABLE = rec.GroupMetadataValue(
    protocol_type="consumer",
    generation=5,
    protocol="range",
    leader="c-31",
    current_state_timestamp=8_000,
    members=(MEMBER,),
)
LEFT = replace(
    STABLE, generation=6, protocol=None, leader=None, current_state_timestamp=9_000, members=()
)


def loaded(*values: rec.GroupMetadataValue | None) -> GroupShard:
    shard = GroupShard()
    for offset, value in enumerate(values):
        shard.replay(rec.Record(KEY, value), offset, -1)
    return shard


def group_of(*values: rec.GroupMetadataValue | None) -> ClassicGroup:
    return loaded(*values).classic["g-3"]


def test_members_are_there_again_with_their_assignments() -> None:
    group = group_of(NEW, STABLE)
    assert (group.state, group.generation, group.leader) == (ClassicState.STABLE, 5, "c-31")
    (member,) = group.members.values()
    assert member.instance_id == "i-31"
    assert member.assignment == b"two partitions"
    assert member.protocols == (("range", SUBSCRIPTION),)
    assert (member.session_timeout_ms, member.rebalance_timeout_ms) == (45_000, 300_000)
    assert group.is_subscribed("text")
    assert not group.is_subscribed("other")


def test_a_group_whose_members_left_is_empty_again() -> None:
    group = group_of(NEW, STABLE, LEFT)
    assert (group.state, group.generation) == (ClassicState.EMPTY, 6)
    assert group.members == {}
    assert group.state_timestamp_ms == 9_000
    assert group.leader is None


def test_members_come_back_after_all_had_left() -> None:
    other = replace(MEMBER, member_id="c-32", group_instance_id=None)
    again = replace(STABLE, generation=7, leader="c-32", members=(other,))
    group = group_of(NEW, STABLE, LEFT, again)
    assert list(group.members) == ["c-32"]
    assert (group.state, group.generation) == (ClassicState.STABLE, 7)


def test_a_tombstone_removes_the_group() -> None:
    assert loaded(NEW, STABLE, LEFT, None).classic == {}


def test_the_record_of_a_new_group_keeps_those_who_are_joining() -> None:
    shard = GroupShard()
    group = shard.classic["g-3"] = ClassicGroup("g-3")
    group.add(group_of(STABLE).members["c-31"], "consumer")
    group.transition(ClassicState.PREPARING, 7_500)
    shard.replay(rec.Record(KEY, NEW), 31, -1)
    assert list(group.members) == ["c-31"]
    assert group.state is ClassicState.PREPARING


def test_a_record_of_before_rebalance_timeouts_takes_the_session_timeout() -> None:
    group = group_of(replace(STABLE, members=(replace(MEMBER, rebalance_timeout=-1),)))
    assert group.members["c-31"].rebalance_timeout_ms == 45_000


def test_metadata_that_nobody_can_read_leaves_the_topics_unknown() -> None:
    unreadable = replace(MEMBER, subscription=b"\x00")
    group = group_of(replace(STABLE, members=(unreadable,)))
    assert group.subscribed_topics is None
    assert group.is_subscribed("any of them")

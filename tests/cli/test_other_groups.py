"""What is shown of classic and consumer groups."""

from __future__ import annotations

from dataclasses import replace

from streamkit.cli.other_groups import (
    assigned_partitions,
    other_head,
    other_members_text,
    other_object,
    reasons_of_other,
    shown_partitions,
)
from streamkit.client.group_descriptions import GroupDescription, MemberDescription
from streamkit.client.metadata import BrokerView
from streamkit.common.model import TopicPartition

ONE, TWO, THREE = (TopicPartition("lines", number) for number in (7, 8, 9))
COORDINATOR = BrokerView(7, "10.7.7.1", 9092)


def member(
    name: str, assigned: tuple[TopicPartition, ...], target: tuple[TopicPartition, ...]
) -> MemberDescription:
    return MemberDescription(name, None, f"client-{name}", "/10.7.7.7", None, 5, assigned, target)


def consumers(*members: MemberDescription) -> GroupDescription:
    return GroupDescription(
        "shop", "consumer", "Reconciling", "consumer", "uniform", 5, 4, members, COORDINATOR
    )


def classic(state: str, *members: MemberDescription, kind: str = "consumer") -> GroupDescription:
    plain = tuple(replace(each, epoch=-1) for each in members)
    return GroupDescription("shop", "classic", state, kind, "range", -1, -1, plain, COORDINATOR)


def test_stable_group_waits_for_nothing() -> None:
    assert reasons_of_other(consumers(member("a", (ONE,), (ONE,)))) == []
    assert reasons_of_other(classic("Stable", member("a", (ONE,), (ONE,)))) == []


def test_member_that_gives_back_and_member_that_waits_are_told_apart() -> None:
    group = consumers(member("a", (ONE, TWO), (ONE,)), member("b", (), (TWO, THREE)))
    gives, waits = reasons_of_other(group)
    assert gives.startswith("Member a has to give back lines(8): it does so with its next poll")
    assert waits == "Member b waits for lines(8,9), held by a."
    assert reasons_of_other(consumers(member("b", (), (TWO,)))) == [
        "Member b gets lines(8) with its next heartbeat."
    ]


def test_member_of_an_old_epoch_has_not_heard_yet() -> None:
    late = replace(member("a", (ONE,), (ONE,)), epoch=3)
    assert reasons_of_other(consumers(late)) == [
        "Member a has not heard of the assignment of epoch 4 yet: its next heartbeat tells it."
    ]


def test_partitions_on_their_way_count_as_the_groups() -> None:
    assert assigned_partitions(consumers(member("a", (ONE,), (TWO,)))) == {ONE, TWO}
    assert assigned_partitions(None) == set()


def test_classic_group_that_rebalances_says_what_for() -> None:
    group = classic("PreparingRebalance", member("a", (), ()))
    assert "until every member has joined again" in reasons_of_other(group)[0]


def test_group_without_members_says_so() -> None:
    assert reasons_of_other(consumers()) == ["The group has no members: nobody reads its topics."]
    assert other_members_text(consumers()) == ""


def test_consumer_members_show_epochs_and_moves() -> None:
    text = other_members_text(consumers(member("a", (ONE, TWO), (ONE, THREE))))
    head, row = text.splitlines()
    assert head.split() == [
        "MEMBER", "INSTANCE", "CLIENT", "HOST", "RACK", "EPOCH", "ASSIGNED", "MOVES",
    ]  # fmt: skip
    assert row.split("  ")[-2:] == ["lines(7,8)", "+lines(9) -lines(8)"]
    assert "  10.7.7.7  " in row
    assert other_head(consumers()) == ", epoch 5, assignment of epoch 4, assignor uniform"


def test_assignment_of_another_protocol_is_not_guessed() -> None:
    group = classic("Stable", member("a", (), ()), kind="connect")
    assert other_members_text(group).splitlines()[-1].endswith("?")
    assert other_head(group) == ", protocol type connect, assignor range"


def test_json_has_no_epochs_of_a_classic_group() -> None:
    shown = other_object(classic("Stable", member("a", (ONE,), (ONE,))))
    assert (shown["epoch"], shown["members"][0]["epoch"]) == (None, None)
    assert shown["members"][0]["assigned"] == [{"topic": "lines", "partition": 7}]
    assert other_object(consumers(member("a", (), ())))["members"][0]["epoch"] == 5


def test_many_partitions_are_cut() -> None:
    many = [TopicPartition("lines", number) for number in range(11)]
    assert shown_partitions(many) == "lines(0,1,2,3,4,5,6,7) and 3 more"

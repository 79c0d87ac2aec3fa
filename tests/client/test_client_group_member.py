"""The group member's rules: which heartbeat is due, and what an answer changes."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from streamkit.client.errors import AuthorizationError
from streamkit.client.group_member import GroupMember, MemberState
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ErrorCode
from streamkit.protocol.messages import response_type
from streamkit.protocol.versions import fill

TEXT = UUID(int=31)
MORE = UUID(int=32)
HELD = frozenset({(TEXT, 2), (TEXT, 3), (MORE, 5)})
NOW = 9_000.0


def answer(epoch: int = 7, assigned: Any = None, code: int = 0) -> Any:
    assignment = None
    if assigned is not None:
        topics = [{"topic_id": topic, "partitions": [index]} for topic, index in sorted(assigned)]
        assignment = {"topic_partitions": topics}
    fields = {
        "error_code": code,
        "member_id": "m-4",
        "member_epoch": epoch,
        "heartbeat_interval": 500,
        "assignment": assignment,
    }
    return fill(response_type(ApiKey.CONSUMER_GROUP_HEARTBEAT, 1), fields)


def member(**more: Any) -> GroupMember:
    made = GroupMember("g-3", "m-4", 60_000, **more)
    made.subscribe(["text"], None)
    return made


def settled(**more: Any) -> GroupMember:
    """In the group at epoch 7, with all it shall have, said so."""
    made = member(**more)
    assert made.poll(NOW) is not None
    made.on_response(answer(assigned=HELD), NOW)
    made.reconciled(HELD, made.target)
    assert made.poll(NOW) is not None
    made.on_response(answer(), NOW)
    return made


def test_the_first_heartbeat_says_everything() -> None:
    assert member(rack_id="r-1", assignor="range").poll(NOW) == {
        "group_id": "g-3",
        "member_id": "m-4",
        "instance_id": None,
        "member_epoch": 0,
        "rack_id": "r-1",
        "rebalance_timeout": 60_000,
        "subscribed_topic_names": ("text",),
        "subscribed_topic_regex": None,
        "server_assignor": "range",
        "topic_partitions": [],
    }


def test_a_heartbeat_waits_for_the_answer_to_the_one_before() -> None:
    made = member()
    assert made.poll(NOW) is not None
    assert made.poll(NOW + 90_000) is None
    assert made.next_wake_ms() is None


def test_later_heartbeats_say_only_what_changed() -> None:
    made = settled()
    assert made.poll(NOW + 499) is None
    said = made.poll(NOW + 500)
    assert said is not None
    assert said["member_epoch"] == 7
    silent = ("rack_id", "subscribed_topic_names", "subscribed_topic_regex", "topic_partitions")
    assert [said[name] for name in silent] == [None] * 4
    assert said["rebalance_timeout"] == -1


def test_what_the_caller_reads_is_told_at_once() -> None:
    made = settled()
    made.poll(NOW + 500)
    made.on_response(answer(8, assigned={(TEXT, 2)}), NOW + 500)
    assert made.needs_reconciliation
    made.reconciled(frozenset({(TEXT, 2)}), made.target)
    assert not made.needs_reconciliation
    said = made.poll(NOW + 500)
    assert said is not None
    assert (said["member_epoch"], said["topic_partitions"]) == (
        8,
        [{"topic_id": TEXT, "partitions": [2]}],
    )


def test_what_cannot_be_taken_on_is_tried_again_after_the_next_answer() -> None:
    made = settled()
    made.poll(NOW + 500)
    made.on_response(answer(8, assigned={*HELD, (MORE, 6)}), NOW + 500)
    made.reconciled(HELD, made.target)
    assert not made.needs_reconciliation
    assert made.next_wake_ms() == NOW + 1000
    made.poll(NOW + 1000)
    made.on_response(answer(8), NOW + 1000)
    assert made.needs_reconciliation


def test_a_target_that_changed_meanwhile_is_followed_too() -> None:
    made = settled()
    made.poll(NOW + 500)
    made.on_response(answer(8, assigned={(TEXT, 2)}), NOW + 500)
    followed = made.target
    made.poll(NOW + 1000)
    made.on_response(answer(9, assigned={(TEXT, 3)}), NOW + 1000)
    made.reconciled(followed, followed)
    assert made.needs_reconciliation


def test_what_changes_while_an_answer_is_awaited_is_told_after_it() -> None:
    made = settled()
    made.poll(NOW + 500)
    made.reconciled(frozenset({(TEXT, 2)}), made.target)
    made.on_response(answer(), NOW + 510)
    said = made.poll(NOW + 510)
    assert said is not None
    assert said["topic_partitions"] == [{"topic_id": TEXT, "partitions": [2]}]


def test_another_subscription_is_told_at_once_without_joining_anew() -> None:
    made = settled()
    made.subscribe((), "text.*")
    said = made.poll(NOW)
    assert said is not None
    assert said["member_epoch"] == 7
    assert said["subscribed_topic_names"] == ()
    assert said["subscribed_topic_regex"] == "text.*"


def test_after_a_lost_answer_everything_is_said_again() -> None:
    made = settled()
    made.poll(NOW + 500)
    made.on_failure(NOW + 500)
    assert made.poll(NOW + 599) is None
    said = made.poll(NOW + 600)
    assert said is not None
    assert said["member_epoch"] == 7
    assert said["subscribed_topic_names"] == ("text",)
    assert said["topic_partitions"] == [
        {"topic_id": TEXT, "partitions": [2, 3]},
        {"topic_id": MORE, "partitions": [5]},
    ]


def test_failures_wait_longer_and_longer_up_to_a_second() -> None:
    made, now, waits = member(), NOW, []
    for _ in range(6):
        assert made.poll(now) is not None
        made.on_failure(now)
        due = made.next_wake_ms()
        assert due is not None
        waits.append(due - now)
        now = due
    assert waits == [100, 200, 400, 800, 1000, 1000]


@pytest.mark.parametrize("code", [ErrorCode.fenced_member_epoch, ErrorCode.unknown_member_id])
def test_a_fenced_member_joins_again_when_it_has_let_go(code: ErrorCode) -> None:
    made = settled()
    made.poll(NOW + 500)
    made.on_response(answer(code=code), NOW + 500)
    assert made.state is MemberState.LOST
    assert made.needs_reconciliation
    assert made.poll(NOW + 900) is None
    made.reconciled(frozenset())
    said = made.poll(NOW + 900)
    assert said is not None
    assert (said["member_epoch"], said["topic_partitions"]) == (0, [])


@pytest.mark.parametrize(
    "code",
    [
        ErrorCode.fenced_instance_id,
        ErrorCode.unreleased_instance_id,
        ErrorCode.group_max_size_reached,
        ErrorCode.invalid_regular_expression,
        ErrorCode.unsupported_assignor,
    ],
)
def test_what_the_group_refuses_is_final(code: ErrorCode) -> None:
    made = member()
    made.poll(NOW)
    made.on_response(answer(code=code), NOW)
    assert made.state is MemberState.FAILED
    assert made.error is not None
    assert made.error.code is code
    assert made.poll(NOW + 90_000) is None


def test_a_missing_permission_is_the_users_business() -> None:
    made = member()
    made.poll(NOW)
    made.on_response(answer(code=ErrorCode.group_authorization_failed), NOW)
    assert isinstance(made.error, AuthorizationError)


def test_a_coordinator_that_loads_is_asked_again() -> None:
    made = settled()
    made.poll(NOW + 500)
    error = made.on_response(answer(code=ErrorCode.coordinator_load_in_progress), NOW + 500)
    assert error is not None
    assert made.state is MemberState.IN
    assert made.next_wake_ms() == NOW + 600


@pytest.mark.parametrize(
    ("instance_id", "for_good", "epoch"),
    [(None, True, -1), ("i-9", True, -1), ("i-9", False, -2), (None, False, None)],
)
def test_members_say_good_bye_by_their_kind(
    instance_id: str | None, for_good: bool, epoch: int | None
) -> None:
    said = settled(instance_id=instance_id).leave(for_good=for_good)
    assert (said and said["member_epoch"]) == epoch


def test_who_was_never_heard_of_leaves_silently() -> None:
    assert member().leave(for_good=True) is None


def test_an_answer_after_leaving_changes_nothing() -> None:
    made = settled()
    made.poll(NOW + 500)
    made.leave(for_good=True)
    made.on_response(answer(9, assigned=HELD), NOW + 501)
    assert (made.state, made.target) == (MemberState.OUT, frozenset())
    made.rejoin()
    said = made.poll(NOW + 502)
    assert said is not None
    assert said["member_epoch"] == 0

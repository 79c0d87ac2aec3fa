"""What is said of a group that is not stable."""

from __future__ import annotations

from dataclasses import replace

from streamkit.rebalance.assignor import EMPTY_TASKS, Task, Tasks
from streamkit.rebalance.description import DescribedGroup, DescribedMember, DescribedSubtopology
from streamkit.rebalance.reasons import reasons, shown
from streamkit.rebalance.rules import InternalTopic

COUNTS = {"lines": 2, "shop-words-repartition": 2, "shop-words-changelog": 2}


def tasks(*active: Task, standby: tuple[Task, ...] = ()) -> Tasks:
    return Tasks(frozenset(active), frozenset(standby))


def member(name: str, assigned: Tasks, target: Tasks, epoch: int = 7) -> DescribedMember:
    return DescribedMember(
        member_id=name,
        epoch=epoch,
        topology_epoch=3,
        process_id=f"process-{name}",
        client_id="client",
        client_host="127.0.0.1",
        rack_id=None,
        endpoint=None,
        assigned=assigned,
        target=target,
    )


def group(*members: DescribedMember, state: str = "Stable") -> DescribedGroup:
    return DescribedGroup(
        group_id="shop",
        state=state,
        epoch=7,
        assignment_epoch=7,
        topology_epoch=3,
        subtopologies=(
            DescribedSubtopology("0", ("lines",), ("shop-words-repartition",), (), ()),
            DescribedSubtopology(
                "1",
                (),
                (),
                (InternalTopic("shop-words-repartition"),),
                (InternalTopic("shop-words-changelog"),),
            ),
        ),
        members=members,
    )


ALL = tasks(("0", 0), ("0", 1), ("1", 0), ("1", 1))
HALF = tasks(("0", 0), ("1", 0))
REST = tasks(("0", 1), ("1", 1))


def test_stable_group_waits_for_nothing() -> None:
    assert reasons(group(member("a", HALF, HALF), member("b", REST, REST)), COUNTS.get) == []


def test_group_without_members_needs_a_worker() -> None:
    assert "start a worker" in reasons(group(state="Empty"), COUNTS.get)[0]


def test_missing_source_topic_is_named() -> None:
    counts = {name: count for name, count in COUNTS.items() if name != "lines"}
    (told,) = reasons(group(member("a", EMPTY_TASKS, EMPTY_TASKS), state="NotReady"), counts.get)
    assert "Source topics lines do not exist" in told


def test_missing_internal_topic_is_named() -> None:
    counts = {name: count for name, count in COUNTS.items() if not name.endswith("changelog")}
    (told,) = reasons(group(member("a", EMPTY_TASKS, EMPTY_TASKS), state="NotReady"), counts.get)
    assert "shop-words-changelog" in told


def test_partition_counts_that_do_not_fit_are_said() -> None:
    (told,) = reasons(group(member("a", EMPTY_TASKS, EMPTY_TASKS), state="NotReady"), COUNTS.get)
    assert "does not fit" in told


def test_member_that_must_revoke_and_member_that_waits_are_told_apart() -> None:
    found = reasons(
        group(member("a", ALL, HALF, epoch=6), member("b", EMPTY_TASKS, REST), state="Reconciling"),
        COUNTS.get,
    )
    assert [each.split(":")[0] for each in found] == [
        "Member a (epoch 6) has to give back 0_1, 1_1",
        "Member b (epoch 7) waits for 0_1, 1_1, held by a (epoch 6).",
    ]


def test_free_tasks_come_with_the_next_heartbeat() -> None:
    found = reasons(
        group(member("a", HALF, HALF), member("b", EMPTY_TASKS, REST), state="Reconciling"),
        COUNTS.get,
    )
    assert found == ["Member b (epoch 7) gets 0_1, 1_1 with its next heartbeat."]


def test_member_with_an_old_epoch_has_not_heard_yet() -> None:
    found = reasons(
        group(member("a", HALF, HALF, epoch=5), member("b", REST, REST), state="Reconciling"),
        COUNTS.get,
    )
    assert found == [
        "Member a (epoch 5) has not heard of the assignment of epoch 7 yet: its next heartbeat "
        "tells it."
    ]


def test_standby_in_the_way_on_the_same_process_is_named() -> None:
    copy = tasks(standby=(("1", 1),))
    first = member("a", copy, EMPTY_TASKS)
    second = replace(member("b", EMPTY_TASKS, tasks(("1", 1))), process_id="process-a")
    found = reasons(group(first, second, state="Reconciling"), COUNTS.get)
    assert "Member b (epoch 7) waits for 1_1, held by a (epoch 7)." in found


def test_delayed_assignment_is_said() -> None:
    waiting = replace(group(member("a", HALF, HALF), state="Assigning"), assignment_epoch=6)
    assert "initial rebalance delay" in reasons(waiting, COUNTS.get)[0]


def test_stale_topology_is_said() -> None:
    old = replace(member("a", ALL, ALL), topology_epoch=2)
    (told,) = reasons(group(old), COUNTS.get)
    assert "Member a runs topology epoch 2, the group has 3" in told


def test_partitions_that_were_added_since_are_said() -> None:
    (told,) = reasons(group(member("a", ALL, ALL)), {**COUNTS, "lines": 3}.get)
    assert told.startswith("Tasks 0_2 are no member's")


def test_many_tasks_are_cut() -> None:
    assert shown([("0", partition) for partition in range(11)]).endswith("0_7 and 3 more")


def test_standby_does_not_wait_for_the_owner_on_another_process() -> None:
    """Found when `streams.num.standby.replicas` was raised: the copy comes at once."""
    behind = member("b", REST, Tasks(REST.active, HALF.active), epoch=6)
    found = reasons(group(member("a", HALF, HALF), behind, state="Reconciling"), COUNTS.get)
    assert found == ["Member b (epoch 6) gets 0_0, 1_0 with its next heartbeat."]


def test_copy_waits_for_the_active_task_on_its_own_process() -> None:
    copy = replace(
        member("b", REST, Tasks(REST.active, HALF.active), epoch=6), process_id="process-a"
    )
    found = reasons(group(member("a", HALF, HALF), copy, state="Reconciling"), COUNTS.get)
    assert found == ["Member b (epoch 6) waits for 0_0, 1_0, held by a (epoch 7)."]


def test_sub_topology_that_no_members_program_has_is_named_with_what_to_do() -> None:
    first = tasks(("0", 0), ("0", 1))
    old = replace(member("a", first, first), topology_epoch=2)
    stale, nowhere = reasons(group(old), COUNTS.get)
    assert "runs topology epoch 2, the group has 3" in stale
    assert nowhere == (
        "Tasks 1_0, 1_1 run nowhere: sub-topology 1 (reads shop-words-repartition) is in the "
        "group's topology (epoch 3), but no member's program (epoch 2) has it: start a worker with "
        "the new program."
    )


def test_tasks_that_are_newer_are_told_apart_from_those_without_a_program() -> None:
    first = tasks(("0", 0), ("0", 1))
    old = replace(member("a", first, first), topology_epoch=2)
    told = reasons(group(old), {**COUNTS, "lines": 3}.get)
    assert [each.split(":")[0] for each in told[1:]] == [
        "Tasks 1_0, 1_1 run nowhere",
        "Tasks 0_2 are no member's",
    ]

"""Classic and consumer groups as text and as an object: members, what they have and will have."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from streamkit.cli.cluster import table
from streamkit.cli.group_view import host_of
from streamkit.client.group_descriptions import (
    CLASSIC,
    CONSUMER,
    GroupDescription,
    MemberDescription,
)
from streamkit.common.model import TopicPartition

_SHOWN_PARTITIONS_MAX = 8
_WAITS = {
    "PreparingRebalance": (
        "The group rebalances: the coordinator waits until every member has joined again, at most "
        "their rebalance timeout (max.poll.interval.ms of consumers)."
    ),
    "CompletingRebalance": (
        "The group rebalances: the coordinator waits for the assignment, which the leader among "
        "the members computes."
    ),
    "Assigning": "The target assignment is computed with the next heartbeat.",
}


def reasons_of_other(group: GroupDescription | None) -> list[str]:
    """What the group waits for; none when it runs as it should."""
    if group is None:
        return []
    if not group.members:
        return ["The group has no members: nobody reads its topics."]
    found = [_WAITS[group.state]] if group.state in _WAITS else []
    for member in group.members:
        owned, target = set(member.assignment), set(member.target)
        if goes := owned - target:
            found.append(
                f"Member {member.member_id} has to give back {shown_partitions(goes)}: it does so "
                "with its next poll; if it does not, it is removed after max.poll.interval.ms."
            )
        elif comes := target - owned:
            found.append(_comes(group, member, comes))
        elif member.epoch < group.assignment_epoch:
            found.append(
                f"Member {member.member_id} has not heard of the assignment of epoch "
                f"{group.assignment_epoch} yet: its next heartbeat tells it."
            )
    return found


def _comes(group: GroupDescription, member: MemberDescription, comes: set[TopicPartition]) -> str:
    holders = [each.member_id for each in group.members if comes.intersection(each.assignment)]
    name = f"Member {member.member_id}"
    if holders:
        return f"{name} waits for {shown_partitions(comes)}, held by {', '.join(holders)}."
    return f"{name} gets {shown_partitions(comes)} with its next heartbeat."


def other_head(group: GroupDescription) -> str:
    """What the first line says of epochs and assignor."""
    found = ""
    if group.type != CLASSIC:
        found = f", epoch {group.epoch}, assignment of epoch {group.assignment_epoch}"
    if group.protocol_type not in ("", CONSUMER):
        found += f", protocol type {group.protocol_type}"
    return found + (f", assignor {group.assignor}" if group.assignor else "")


def other_members_text(group: GroupDescription) -> str:
    """A table of the members; columns that a classic group cannot fill are left out."""
    if not group.members:
        return ""
    header = ["MEMBER", "INSTANCE", "CLIENT", "HOST"]
    header += ["ASSIGNED"] if group.type == CLASSIC else ["RACK", "EPOCH", "ASSIGNED", "MOVES"]
    return table(header, [_row(group, member) for member in group.members])


def _row(group: GroupDescription, member: MemberDescription) -> list[object]:
    known = [member.member_id, member.instance_id, member.client_id, host_of(member)]
    assigned = shown_partitions(member.assignment)
    if group.type == CLASSIC:
        return [*known, assigned if group.protocol_type == CONSUMER else "?"]
    return [*known, member.rack_id, member.epoch, assigned, _moves(member)]


def _moves(member: MemberDescription) -> str:
    """What is still to come (+) and to go (-)."""
    have, want = set(member.assignment), set(member.target)
    comes, goes = shown_partitions(want - have), shown_partitions(have - want)
    return " ".join(text for text in (comes and f"+{comes}", goes and f"-{goes}") if text)


def shown_partitions(partitions: Iterable[TopicPartition]) -> str:
    """`lines(0,1), orders(7)`, as Kafka's tool shows them; the first few of many."""
    found = sorted(partitions)
    listed = ", ".join(
        f"{topic}({','.join(str(tp.partition) for tp in some)})"
        for topic, some in groupby(found[:_SHOWN_PARTITIONS_MAX], lambda tp: tp.topic)
    )
    more = len(found) - _SHOWN_PARTITIONS_MAX
    return f"{listed} and {more} more" if more > 0 else listed


def assigned_partitions(group: GroupDescription | None) -> set[TopicPartition]:
    """All that some member has or will have."""
    members = () if group is None else group.members
    return {tp for each in members for tp in (*each.assignment, *each.target)}


def partition_owners(group: GroupDescription) -> dict[TopicPartition, str]:
    """The member that has each partition."""
    return {tp: member.member_id for member in group.members for tp in member.assignment}


def other_object(group: GroupDescription) -> dict[str, Any]:
    """The group for JSON; partitions as topic and number, epochs only where there are some."""
    is_classic = group.type == CLASSIC
    return {
        "epoch": None if is_classic else group.epoch,
        "assignment_epoch": None if is_classic else group.assignment_epoch,
        "assignor": group.assignor,
        "protocol_type": group.protocol_type,
        "members": [_member_object(member, is_classic=is_classic) for member in group.members],
    }


def _member_object(member: MemberDescription, *, is_classic: bool) -> dict[str, Any]:
    return {
        **{name: getattr(member, name) for name in ("member_id", "instance_id", "client_id")},
        "client_host": host_of(member),
        "rack_id": member.rack_id,
        "epoch": None if is_classic else member.epoch,
        "assigned": _plain(member.assignment),
        "target": _plain(member.target),
    }


def _plain(partitions: Iterable[TopicPartition]) -> list[dict[str, Any]]:
    return [{"topic": each.topic, "partition": each.partition} for each in partitions]

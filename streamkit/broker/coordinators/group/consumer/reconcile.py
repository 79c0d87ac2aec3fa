"""Reconciliation: one member's next step towards its target (CurrentAssignmentBuilder).

Revoke first: while a member holds a partition that it shall not have, it gets nothing new and its
epoch stays. A partition is given only when nobody holds it any more. A topic that the member no
longer subscribes to is taken away at once, whatever its target says.
"""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from streamkit.broker.coordinators.group.consumer.model import (
    Held,
    Holders,
    Member,
    MemberState,
    Partitions,
)
from streamkit.protocol.errors import ApiError, ErrorCode


def reconcile(
    member: Member,
    owned: Partitions | None,
    assignment_epoch: int,
    target: Partitions,
    subscribed: frozenset[UUID],
    holders: Holders,
    *,
    is_changed: bool,
) -> Member:
    """The member after its heartbeat; `owned` is None when it said nothing of its partitions.

    `is_changed` tells that it changed its subscription. Raises ApiError to fence it.
    """
    wanted = frozenset(each for each in target if each[0] in subscribed)
    match member.state:
        case MemberState.STABLE if member.epoch == assignment_epoch:
            return _without_unsubscribed(member, owned, subscribed) if is_changed else member
        case MemberState.UNREVOKED_PARTITIONS if _owns_any(owned, member.revoking):
            return _without_unsubscribed(member, owned, subscribed) if is_changed else member
        case MemberState.UNKNOWN if owned is None or owned:
            raise ApiError(
                ErrorCode.fenced_member_epoch,
                "The consumer group member is in a unknown state. The member must abandon all its "
                "partitions and rejoin.",
            )
        case MemberState.UNKNOWN:
            member = replace(member, epoch=assignment_epoch)
    return _next_step(member, owned, assignment_epoch, wanted, holders)


def _owns_any(owned: Partitions | None, held: Held) -> bool:
    """Whether the member has not given all of these back yet, as far as it says."""
    return owned is None or not owned.isdisjoint(held)


def _without_unsubscribed(
    member: Member, owned: Partitions | None, subscribed: frozenset[UUID]
) -> Member:
    kept = {each: epoch for each, epoch in member.assigned.items() if each[0] in subscribed}
    if len(kept) == len(member.assigned):
        return member
    gone = {each: epoch for each, epoch in member.assigned.items() if each not in kept}
    revoking = {**member.revoking, **gone}
    if not _owns_any(owned, revoking):
        return replace(member, previous_epoch=member.epoch, assigned=kept)
    return replace(
        member,
        previous_epoch=member.epoch,
        state=MemberState.UNREVOKED_PARTITIONS,
        assigned=kept,
        revoking=revoking,
    )


def _next_step(
    member: Member,
    owned: Partitions | None,
    assignment_epoch: int,
    wanted: Partitions,
    holders: Holders,
) -> Member:
    kept = {each: epoch for each, epoch in member.assigned.items() if each in wanted}
    revoking = {each: epoch for each, epoch in member.assigned.items() if each not in wanted}
    if revoking and _owns_any(owned, revoking):
        return replace(
            member,
            previous_epoch=member.epoch,
            state=MemberState.UNREVOKED_PARTITIONS,
            assigned=kept,
            revoking=revoking,
        )
    missing = wanted - kept.keys()
    # What it has to give back itself, it has given back by now.
    unreleased = {each for each in missing if each in holders and each not in member.revoking}
    given = dict.fromkeys(missing - unreleased, assignment_epoch)
    return replace(
        member,
        epoch=assignment_epoch,
        previous_epoch=member.epoch,
        state=MemberState.UNRELEASED_PARTITIONS if unreleased else MemberState.STABLE,
        assigned={**kept, **given},
        revoking={},
    )

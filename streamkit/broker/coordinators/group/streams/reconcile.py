"""Reconciliation: one member's next step towards its target (CurrentAssignmentBuilder).

Revoke first: while a member holds a task that its target does not give it, it gets nothing new
and its epoch stays. An active task is given only when nobody holds it any more, and never to a
process that holds a copy; a copy only to a process that holds the task in no role.

A member that takes part in our extension (`keeps_copies`) keeps its own copy of a task until it is
given that task: what it follows it need not close first, and others need not wait for that.
"""

from __future__ import annotations

from dataclasses import replace

from streamkit.broker.coordinators.group.streams.model import (
    EMPTY_HELD,
    HeldTasks,
    Holders,
    Member,
    MemberState,
)
from streamkit.rebalance.assignor import Task, Tasks


def reconcile(
    member: Member,
    owned: Tasks | None,
    assignment_epoch: int,
    target: Tasks,
    holders: Holders,
    *,
    keeps_copies: bool = False,
) -> Member:
    """The member after its heartbeat; `owned` is None when it said nothing of its tasks."""
    if member.is_reconciled_to(assignment_epoch):
        return member
    epoch = member.epoch
    if member.state is MemberState.UNREVOKED_TASKS:
        if owned is None or member.revoking.contains_any(owned):
            return member
        # All is given back: the step to the next epoch tells the acknowledged member apart.
        epoch += 1
    coming = target.active if keeps_copies else frozenset()
    return _next_step(member, epoch, assignment_epoch, target, holders, coming)


def _next_step(
    member: Member,
    epoch: int,
    assignment_epoch: int,
    target: Tasks,
    holders: Holders,
    coming: frozenset[Task],
) -> Member:
    held = member.assigned
    kept = HeldTasks(
        {task: given for task, given in held.active.items() if task in target.active},
        held.standby & (target.standby | coming),
        held.warmup & (target.warmup | coming),
    )
    revoking = HeldTasks(
        {task: given for task, given in held.active.items() if task not in target.active},
        held.standby - kept.standby,
        held.warmup - kept.warmup,
    )
    if not revoking.is_empty:
        return replace(
            member,
            epoch=epoch,
            previous_epoch=member.epoch,
            state=MemberState.UNREVOKED_TASKS,
            assigned=kept,
            revoking=revoking,
        )
    assigned = _granted(member, kept, assignment_epoch, target, holders)
    is_complete = assigned.tasks == target
    return replace(
        member,
        epoch=assignment_epoch,
        previous_epoch=member.epoch,
        state=MemberState.STABLE if is_complete else MemberState.UNRELEASED_TASKS,
        assigned=assigned,
        revoking=EMPTY_HELD,
    )


def _granted(
    member: Member, kept: HeldTasks, assignment_epoch: int, target: Tasks, holders: Holders
) -> HeldTasks:
    """What is kept and what of the target is free."""
    process_id = member.process_id
    own = kept.standby | kept.warmup
    active = {
        task: assignment_epoch
        for task in target.active - kept.active.keys()
        if not holders.is_active_anywhere(task)
        and not holders.has_copy(task, process_id, besides=int(task in own))
    }
    standby = {t for t in target.standby - kept.standby if not holders.has_any(t, process_id)}
    warmup = {t for t in target.warmup - kept.warmup if not holders.has_any(t, process_id)}
    return HeldTasks(
        {**kept.active, **active},
        (kept.standby - active.keys()) | standby,
        (kept.warmup - active.keys()) | warmup,
    )

"""SyncGroup, Heartbeat and LeaveGroup of classic members."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from streamkit.broker.coordinators.group.classic.messages import (
    Environment,
    HeartbeatRequest,
    Leaver,
    LeaverAnswer,
    SyncAnswer,
    SyncRequest,
)
from streamkit.broker.coordinators.group.classic.model import (
    ClassicGroup,
    ClassicState,
    group_record,
)
from streamkit.broker.coordinators.group.classic.rebalance import (
    after_removal,
    drop_member,
    maybe_complete,
    session_key,
    start_session,
    sync_key,
)
from streamkit.broker.coordinators.group.effects import Outcome, Ticket
from streamkit.protocol.errors import ApiError, ErrorCode

logger = logging.getLogger(__name__)


def sync(group: ClassicGroup, request: SyncRequest, env: Environment, ticket: Ticket) -> Outcome:
    """A member asks for its assignment; the leader brings everybody's. Raises ApiError."""
    member = group.member_or_raise(request.member_id, request.instance_id)
    if request.generation != group.generation:
        raise ApiError(ErrorCode.illegal_generation, f"the generation is {group.generation}")
    if _differs(request.protocol_type, group.protocol_type) or _differs(
        request.protocol_name, group.protocol
    ):
        raise ApiError(ErrorCode.inconsistent_group_protocol, f"the protocol is {group.protocol}")
    if group.state is ClassicState.PREPARING:
        raise ApiError(ErrorCode.rebalance_in_progress, "the group rebalances")
    out = Outcome()
    group.pending_sync.pop(request.member_id, None)
    if not group.pending_sync:
        out.cancel_timer(sync_key(group.group_id))
    if group.state is ClassicState.STABLE:
        out.answer(ticket, _sync_answer(group, member.assignment))
        return out
    out.answer(member.sync_ticket, SyncAnswer(ErrorCode.rebalance_in_progress))
    member.sync_ticket = ticket
    if group.leader == member.member_id:
        _assign(group, request, env, out)
    return out


def _differs(said: str | None, known: str | None) -> bool:
    return said is not None and known is not None and said != known


def _sync_answer(group: ClassicGroup, assignment: bytes) -> SyncAnswer:
    return SyncAnswer(
        protocol_type=group.protocol_type, protocol_name=group.protocol, assignment=assignment
    )


def _assign(group: ClassicGroup, request: SyncRequest, env: Environment, out: Outcome) -> None:
    """The record makes the group stable; who waits is answered when it is committed."""
    given = request.assignments
    missing = [member_id for member_id in group.members if member_id not in given]
    if missing:
        logger.warning("group %s: no assignments for %s", group.group_id, ", ".join(missing))
    out.records.append(group_record(group, given))
    for member in group.members.values():
        if member.sync_ticket is not None:
            out.answer(member.sync_ticket, _sync_answer(group, given.get(member.member_id, b"")))
            member.sync_ticket = None
            start_session(group, member, env, out)


def heartbeat(
    group: ClassicGroup, request: HeartbeatRequest, env: Environment
) -> tuple[Outcome, ErrorCode]:
    """A member lives; REBALANCE_IN_PROGRESS asks it to rejoin. Raises ApiError."""
    member = group.member_or_raise(request.member_id, request.instance_id)
    if request.generation != group.generation:
        raise ApiError(ErrorCode.illegal_generation, f"the generation is {group.generation}")
    out = Outcome()
    start_session(group, member, env, out)
    is_rebalancing = group.state is ClassicState.PREPARING
    return out, ErrorCode.rebalance_in_progress if is_rebalancing else ErrorCode.none


def leave(
    group: ClassicGroup, leavers: Sequence[Leaver], env: Environment
) -> tuple[Outcome, list[LeaverAnswer]]:
    """Members go, of their own will or an administrator's."""
    out = Outcome()
    answers = []
    for leaver in leavers:
        try:
            _remove(group, leaver, out)
        except ApiError as error:
            answers.append(LeaverAnswer(leaver.member_id, leaver.instance_id, error.code))
        else:
            answers.append(LeaverAnswer(leaver.member_id, leaver.instance_id))
    if group.state is ClassicState.PREPARING:
        maybe_complete(group, env, out)
    elif any(each.error_code is ErrorCode.none for each in answers):
        after_removal(group, env, out, "members left")
    return out, answers


def _remove(group: ClassicGroup, leaver: Leaver, out: Outcome) -> None:
    if leaver.member_id in group.pending:
        out.cancel_timer(session_key(group.group_id, leaver.member_id))
        group.remove(leaver.member_id)
        return
    member = group.static_member(leaver.instance_id) if not leaver.member_id else None
    if member is None:
        member = group.member_or_raise(leaver.member_id, leaver.instance_id)
    logger.info("group %s: %s left: %s", group.group_id, member.member_id, leaver.reason)
    drop_member(group, member, out)

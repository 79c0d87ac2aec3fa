"""JoinGroup: a member comes, or comes back; it waits for the barrier or gets what there is.

An operation raises ApiError before it changes anything; afterwards it only goes forward.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from streamkit.broker.coordinators.group.classic.messages import (
    NEW_MEMBER_JOIN_TIMEOUT_MS,
    Environment,
    JoinAnswer,
    JoinRequest,
    SyncAnswer,
)
from streamkit.broker.coordinators.group.classic.model import (
    ClassicGroup,
    ClassicMember,
    ClassicState,
    empty_group_record,
    group_record,
)
from streamkit.broker.coordinators.group.classic.rebalance import (
    join_answer,
    maybe_complete,
    maybe_prepare,
    prepare,
    session_key,
    start_session,
    start_session_timer,
)
from streamkit.broker.coordinators.group.effects import Outcome, Ticket
from streamkit.protocol.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from streamkit.broker.coordinators.group.state import GroupShard

logger = logging.getLogger(__name__)


def join(shard: GroupShard, request: JoinRequest, env: Environment, ticket: Ticket) -> Outcome:
    """One JoinGroup to a group without members of another type. Raises ApiError."""
    out = Outcome()
    group = shard.classic.get(request.group_id)
    is_new_group = group is None
    if group is None:
        if request.member_id:
            raise ApiError(ErrorCode.unknown_member_id, f"no group {request.group_id}")
        group = ClassicGroup(request.group_id, state_timestamp_ms=env.now_ms())
    _check(group, request, env)
    if is_new_group:
        out.records += shard.empty_tombstones(request.group_id)
        out.records.append(empty_group_record(group))
        shard.classic[request.group_id] = group
    if request.member_id:
        _join_known(group, request, env, ticket, out)
    elif request.instance_id is not None:
        _join_static(group, request, env, ticket, out)
    else:
        _join_dynamic(group, request, env, ticket, out)
    return out


def _check(group: ClassicGroup, request: JoinRequest, env: Environment) -> None:
    if not _has_room(group, request.member_id, env.size_max):
        raise ApiError(ErrorCode.group_max_size_reached, f"{env.size_max} members are the most")
    if not group.supports(request.protocol_type, (name for name, _ in request.protocols)):
        raise ApiError(ErrorCode.inconsistent_group_protocol, "no protocol in common")
    if not request.member_id or request.member_id in group.pending:
        return
    group.member_or_raise(request.member_id, request.instance_id)
    if group.is_empty:
        raise ApiError(ErrorCode.unknown_member_id, "the group is empty")


def _has_room(group: ClassicGroup, member_id: str, size_max: int) -> bool:
    """Members that wait are counted while a group rebalances, so that the last ones are let go."""
    if group.is_empty:
        return True
    member = group.members.get(member_id)
    if group.state is ClassicState.PREPARING:
        is_waiting = member is not None and member.join_ticket is not None
        return is_waiting or group.awaiting_join < size_max
    return member is not None or len(group.members) < size_max


def _join_dynamic(
    group: ClassicGroup, request: JoinRequest, env: Environment, ticket: Ticket, out: Outcome
) -> None:
    member_id = f"{request.client_id}-{env.make_id()}"
    if not request.requires_member_id:
        _add(group, request, member_id, env, ticket, out)
        return
    group.pending[member_id] = None
    start_session_timer(group.group_id, member_id, env, out, request.session_timeout_ms)
    out.answer(ticket, JoinAnswer(ErrorCode.member_id_required, member_id))


def _join_static(
    group: ClassicGroup, request: JoinRequest, env: Environment, ticket: Ticket, out: Outcome
) -> None:
    member_id = f"{request.instance_id}-{env.make_id()}"
    known = group.static_member(request.instance_id)
    if known is None:
        _add(group, request, member_id, env, ticket, out)
    else:
        _replace_static(group, request, known, member_id, env, ticket, out)


def _join_known(
    group: ClassicGroup, request: JoinRequest, env: Environment, ticket: Ticket, out: Outcome
) -> None:
    if request.member_id in group.pending:
        _add(group, request, request.member_id, env, ticket, out)
        return
    member = group.members[request.member_id]
    is_same = member.protocols == request.protocols
    is_leader = group.leader == member.member_id
    is_current = group.state is ClassicState.COMPLETING or not is_leader
    if group.state is not ClassicState.PREPARING and is_same and is_current:
        # It did not get the answer, or comes for nothing: no rebalance for that.
        out.answer(ticket, join_answer(group, member))
        return
    _update(member, request, ticket, out)
    maybe_prepare(group, env, out, f"{member.member_id} rejoined: {request.reason}")


def _add(
    group: ClassicGroup,
    request: JoinRequest,
    member_id: str,
    env: Environment,
    ticket: Ticket,
    out: Outcome,
) -> None:
    member = ClassicMember(
        member_id,
        request.instance_id,
        request.client_id,
        request.client_host,
        request.rebalance_timeout_ms,
        request.session_timeout_ms,
        request.protocols,
        join_ticket=ticket,
        is_new=True,
    )
    if group.state is ClassicState.PREPARING and group.previous_state is ClassicState.EMPTY:
        group.is_delay_extended = True
    group.add(member, request.protocol_type)
    start_session(group, member, env, out, NEW_MEMBER_JOIN_TIMEOUT_MS)
    maybe_prepare(group, env, out, f"{member_id} joined: {request.reason}")


def _update(member: ClassicMember, request: JoinRequest, ticket: Ticket, out: Outcome) -> None:
    # A client that gave up waiting asks again: the older request gets an answer nobody reads.
    out.answer(member.join_ticket, JoinAnswer(ErrorCode.rebalance_in_progress, member.member_id))
    member.protocols = request.protocols
    member.rebalance_timeout_ms = request.rebalance_timeout_ms
    member.session_timeout_ms = request.session_timeout_ms
    member.join_ticket = ticket


def _replace_static(
    group: ClassicGroup,
    request: JoinRequest,
    old: ClassicMember,
    member_id: str,
    env: Environment,
    ticket: Ticket,
    out: Outcome,
) -> None:
    """A static member restarted: its old id is fenced, its assignment stays."""
    old_leader = group.leader
    fenced = ErrorCode.fenced_instance_id
    out.answer(old.join_ticket, JoinAnswer(fenced, old.member_id))
    out.answer(old.sync_ticket, SyncAnswer(fenced))
    out.cancel_timer(session_key(group.group_id, old.member_id))
    member = group.replace_static(old, member_id)
    _update(member, request, ticket, out)
    start_session(group, member, env, out)
    logger.info("group %s: instance %s is %s now", group.group_id, old.instance_id, member_id)
    if group.state is ClassicState.COMPLETING:
        # The leader assigns to the old id: nobody would get that.
        prepare(group, env, out, f"static member {old.instance_id} restarted")
    elif group.state is not ClassicState.STABLE:
        maybe_complete(group, env, out)
    elif group.select_protocol() != group.protocol:
        maybe_prepare(group, env, out, f"static member {old.instance_id} changed its protocols")
    else:
        _keep_assignment(group, member, request, old_leader, out)


def _keep_assignment(
    group: ClassicGroup,
    member: ClassicMember,
    request: JoinRequest,
    old_leader: str | None,
    out: Outcome,
) -> None:
    out.records.append(group_record(group))
    answer = join_answer(group, member)
    is_leader = group.leader == member.member_id
    out.answer(
        member.join_ticket,
        JoinAnswer(
            member_id=member.member_id,
            generation_id=answer.generation_id,
            protocol_type=answer.protocol_type,
            protocol_name=answer.protocol_name,
            # Told that it leads, an older client would assign; it takes the old id for another's.
            leader=answer.leader if request.may_skip_assignment else old_leader or "",
            skip_assignment=is_leader and request.may_skip_assignment,
            members=answer.members if request.may_skip_assignment else (),
        ),
    )
    member.join_ticket = None

"""The barrier of a classic group: who must join, when all have, what happens to those who do not.

Prepare: waiting members rejoin within the longest of their rebalance timeouts; a new group waits
a while for more members first. Complete: the next generation begins, and its leader assigns.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from streamkit.broker.coordinators.group.classic.messages import (
    Environment,
    JoinAnswer,
    SyncAnswer,
)
from streamkit.broker.coordinators.group.classic.model import (
    ClassicGroup,
    ClassicMember,
    ClassicState,
    group_record,
)
from streamkit.broker.coordinators.group.effects import Outcome
from streamkit.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from streamkit.broker.coordinators.group.state import GroupShard

logger = logging.getLogger(__name__)


def session_key(group_id: str, member_id: str) -> tuple[str, str, str]:
    """The key of a member's session timer."""
    return ("classic session", group_id, member_id)


def join_key(group_id: str) -> tuple[str, str]:
    """The key of the timer of those who have not joined."""
    return ("classic join", group_id)


def sync_key(group_id: str) -> tuple[str, str]:
    """The key of the timer of those who have not synced."""
    return ("classic sync", group_id)


def maybe_prepare(group: ClassicGroup, env: Environment, out: Outcome, reason: str) -> None:
    """Start a rebalance, or end the one that is going on when this was all it waited for."""
    if group.can_rebalance:
        prepare(group, env, out, reason)
    else:
        maybe_complete(group, env, out)


def prepare(group: ClassicGroup, env: Environment, out: Outcome, reason: str) -> None:
    """Let everybody rejoin."""
    if group.state is ClassicState.COMPLETING:
        reset_assignments(group, out, ErrorCode.rebalance_in_progress)
    group.pending_sync.clear()
    out.cancel_timer(sync_key(group.group_id))
    is_initial = group.is_empty
    group.transition(ClassicState.PREPARING, env.now_ms())
    logger.info("group %s, generation %d: rebalance: %s", group.group_id, group.generation, reason)
    if is_initial:
        delay_ms = env.initial_delay_ms
        _wait_for_more(group.group_id, env, out, delay_ms, group.rebalance_timeout_ms - delay_ms)
    elif group.has_all_joined:
        complete(group, env, out)
    else:
        _wait_for_joins(group, env, out)


def maybe_complete(group: ClassicGroup, env: Environment, out: Outcome) -> None:
    """End the rebalance when all have joined; the initial one ends by its timer."""
    is_initial = group.previous_state is ClassicState.EMPTY
    if group.state is ClassicState.PREPARING and not is_initial and group.has_all_joined:
        complete(group, env, out)


def complete(group: ClassicGroup, env: Environment, out: Outcome) -> None:
    """Begin the next generation with those who have joined and the static members."""
    out.cancel_timer(join_key(group.group_id))
    for member in list(group.members.values()):
        if member.join_ticket is None and member.instance_id is None:
            logger.info("group %s: %s did not rejoin", group.group_id, member.member_id)
            group.remove(member.member_id)
            out.cancel_timer(session_key(group.group_id, member.member_id))
    if group.members and not group.maybe_elect_leader():
        # Only static members are left: their sessions decide.
        _wait_for_joins(group, env, out)
        return
    group.start_generation(env.now_ms())
    if group.is_empty:
        out.records.append(group_record(group))
        return
    for member in group.members.values():
        out.answer(member.join_ticket, join_answer(group, member))
        member.join_ticket = None
        member.is_new = False
        start_session(group, member, env, out)
        group.pending_sync[member.member_id] = None
    generation = group.generation
    out.start_timer(
        sync_key(group.group_id),
        group.rebalance_timeout_ms,
        lambda shard: _expire_sync(shard, group.group_id, generation, env),
    )


def join_answer(group: ClassicGroup, member: ClassicMember) -> JoinAnswer:
    """The current generation; its leader is told of all members."""
    is_leader = group.leader == member.member_id
    return JoinAnswer(
        member_id=member.member_id,
        generation_id=group.generation,
        protocol_type=group.protocol_type,
        protocol_name=group.protocol,
        leader=group.leader or "",
        members=group.joined_members() if is_leader else (),
    )


def reset_assignments(group: ClassicGroup, out: Outcome, error: ErrorCode) -> None:
    """Nobody has an assignment any more; those who wait for one are told why."""
    for member in group.members.values():
        member.assignment = b""
        if member.sync_ticket is not None:
            out.answer(member.sync_ticket, SyncAnswer(error))
            member.sync_ticket = None


def start_session(
    group: ClassicGroup,
    member: ClassicMember,
    env: Environment,
    out: Outcome,
    timeout_ms: int | None = None,
) -> None:
    """Count the member's session anew."""
    group_id, member_id = group.group_id, member.member_id
    start_session_timer(
        group_id,
        member_id,
        env,
        out,
        member.session_timeout_ms if timeout_ms is None else timeout_ms,
    )


def start_session_timer(
    group_id: str, member_id: str, env: Environment, out: Outcome, timeout_ms: int
) -> None:
    """Remove a member, or an id given out, unless it is heard of in time."""
    out.start_timer(
        session_key(group_id, member_id),
        timeout_ms,
        lambda shard: _expire_session(shard, group_id, member_id, env),
    )


def drop_member(group: ClassicGroup, member: ClassicMember, out: Outcome) -> None:
    """Forget a member. A join that waits is told to start over."""
    out.cancel_timer(session_key(group.group_id, member.member_id))
    out.answer(member.join_ticket, JoinAnswer(ErrorCode.unknown_member_id))
    out.answer(member.sync_ticket, SyncAnswer(ErrorCode.unknown_member_id))
    group.remove(member.member_id)


def drop_pending(group: ClassicGroup, member_id: str, env: Environment, out: Outcome) -> None:
    """Forget an id that was given out; a barrier may have waited for it."""
    out.cancel_timer(session_key(group.group_id, member_id))
    group.remove(member_id)
    if group.state is ClassicState.PREPARING and group.has_all_joined:
        complete(group, env, out)


def after_removal(group: ClassicGroup, env: Environment, out: Outcome, reason: str) -> None:
    """Somebody is gone: rebalance, or end the barrier that waited for it."""
    if group.state in (ClassicState.STABLE, ClassicState.COMPLETING):
        prepare(group, env, out, reason)
    elif group.state is ClassicState.PREPARING and group.has_all_joined:
        complete(group, env, out)


def _wait_for_joins(group: ClassicGroup, env: Environment, out: Outcome) -> None:
    group_id = group.group_id
    out.start_timer(
        join_key(group_id),
        group.rebalance_timeout_ms,
        lambda shard: _expire_join(shard, group_id, env),
    )


def _wait_for_more(
    group_id: str, env: Environment, out: Outcome, delay_ms: int, remaining_ms: int
) -> None:
    """The initial delay, again whenever a member came, up to one rebalance timeout."""

    def fire(shard: GroupShard) -> Outcome:
        then = Outcome()
        group = shard.classic.get(group_id)
        if group is None or group.state is not ClassicState.PREPARING:
            return then
        if group.is_delay_extended and remaining_ms > 0:
            group.is_delay_extended = False
            next_ms = min(env.initial_delay_ms, remaining_ms)
            _wait_for_more(group_id, env, then, next_ms, remaining_ms - delay_ms)
        else:
            complete(group, env, then)
        return then

    out.start_timer(join_key(group_id), delay_ms, fire)


def _expire_join(shard: GroupShard, group_id: str, env: Environment) -> Outcome:
    out = Outcome()
    group = shard.classic.get(group_id)
    if group is not None and group.state is ClassicState.PREPARING:
        complete(group, env, out)
    return out


def _expire_sync(shard: GroupShard, group_id: str, generation: int, env: Environment) -> Outcome:
    out = Outcome()
    group = shard.classic.get(group_id)
    if group is None or group.generation != generation or not group.pending_sync:
        return out
    if group.state not in (ClassicState.COMPLETING, ClassicState.STABLE):
        return out
    late = list(group.pending_sync)
    for member_id in late:
        drop_member(group, group.members[member_id], out)
    prepare(group, env, out, f"{', '.join(late)} did not sync")
    return out


def _expire_session(shard: GroupShard, group_id: str, member_id: str, env: Environment) -> Outcome:
    out = Outcome()
    group = shard.classic.get(group_id)
    if group is None:
        return out
    member = group.members.get(member_id)
    if member is not None and not member.is_excused:
        logger.info("group %s: member %s was not heard of", group_id, member_id)
        drop_member(group, member, out)
        after_removal(group, env, out, f"{member_id} was not heard of")
    elif member_id in group.pending:
        drop_pending(group, member_id, env, out)
    return out

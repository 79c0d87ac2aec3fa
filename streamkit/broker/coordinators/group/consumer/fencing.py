"""Members that go: leave, and session, rebalance, join and sync timeouts."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING

from streamkit.broker.coordinators.group.consumer.downgrade import downgrade, may_downgrade
from streamkit.broker.coordinators.group.consumer.environment import Environment
from streamkit.broker.coordinators.group.consumer.keys import (
    join_key,
    rebalance_key,
    session_key,
    sync_key,
    timers_of,
)
from streamkit.broker.coordinators.group.consumer.model import ConsumerGroup, Member
from streamkit.broker.coordinators.group.consumer.translate import (
    group_record,
    member_tombstones,
    regex_tombstone,
)
from streamkit.broker.coordinators.group.effects import Outcome
from streamkit.broker.coordinators.group.topics_hash import topics_hash

if TYPE_CHECKING:
    from streamkit.broker.coordinators.group.state import GroupShard

logger = logging.getLogger(__name__)


def remove(group: ConsumerGroup, leaving: Collection[str], env: Environment) -> Outcome:
    """Remove members; without the last one of its protocol the group may become classic."""
    if not leaving:
        return Outcome()
    if may_downgrade(group, leaving, 0, env.config(group.group_id)):
        return downgrade(group, leaving, env, rebalance="the last consumer member left")
    out = Outcome()
    for member_id in sorted(leaving):
        out.records += member_tombstones(group.group_id, member_id)
        for key in timers_of(group.group_id, member_id):
            out.cancel_timer(key)
    staying = [each for each in group.members.values() if each.member_id not in leaving]
    wanted = {each.regex for each in staying}
    gone = {group.members[each].regex for each in leaving} - wanted
    out.records += [regex_tombstone(group.group_id, regex) for regex in sorted(gone) if regex]
    new_hash = topics_hash(group.topics_of(staying), env.topics())
    out.records.append(group_record(group.group_id, group.epoch + 1, new_hash))
    return out


def start_session(group_id: str, member_id: str, env: Environment, out: Outcome) -> None:
    """Count the session of a consumer anew."""
    _start_session(group_id, member_id, env.config(group_id).session_timeout_ms, env, out)


def start_classic_session(group_id: str, member: Member, env: Environment, out: Outcome) -> None:
    """Count the session of a classic member anew, as long as it asked for."""
    said = member.classic
    assert said is not None, f"{member.member_id} speaks the classic protocol"
    _start_session(group_id, member.member_id, said.session_timeout_ms, env, out)


def _start_session(
    group_id: str, member_id: str, timeout_ms: int, env: Environment, out: Outcome
) -> None:
    out.start_timer(
        session_key(group_id, member_id),
        timeout_ms,
        lambda shard: _fence(shard, group_id, member_id, env, f"silent for {timeout_ms} ms"),
    )


def start_rebalance(group_id: str, member: Member, env: Environment, out: Outcome) -> None:
    """Remove the member unless it gives its partitions back in time."""

    def expire(shard: GroupShard) -> Outcome:
        group = shard.consumer.get(group_id)
        known = None if group is None else group.members.get(member.member_id)
        if known is None or known.epoch != member.epoch:
            return Outcome()
        why = f"it kept revoked partitions for {member.rebalance_timeout_ms} ms"
        return _fence(shard, group_id, member.member_id, env, why)

    out.start_timer(rebalance_key(group_id, member.member_id), member.rebalance_timeout_ms, expire)


def await_join(group: ConsumerGroup, member: Member, env: Environment, out: Outcome) -> None:
    """Remove a classic member unless it joins again in time; a running deadline stays."""
    if member.member_id in group.awaited:
        return
    group.awaited.add(member.member_id)
    out.start_timer(
        join_key(group.group_id, member.member_id),
        member.rebalance_timeout_ms,
        lambda shard: _fence(shard, group.group_id, member.member_id, env, "it did not rejoin"),
    )


def has_joined(group: ConsumerGroup, member_id: str, out: Outcome) -> None:
    """A classic member joined: its deadline is met."""
    group.awaited.discard(member_id)
    out.cancel_timer(join_key(group.group_id, member_id))


def await_sync(group_id: str, member: Member, env: Environment, out: Outcome) -> None:
    """Remove a classic member unless it asks for its assignment in time."""
    out.start_timer(
        sync_key(group_id, member.member_id),
        member.rebalance_timeout_ms,
        lambda shard: _fence(shard, group_id, member.member_id, env, "it did not sync"),
    )


def _fence(shard: GroupShard, group_id: str, member_id: str, env: Environment, why: str) -> Outcome:
    group = shard.consumer.get(group_id)
    if group is None or member_id not in group.members:
        return Outcome()
    group.awaited.discard(member_id)
    logger.info("group %s: member %s is fenced: %s", group_id, member_id, why)
    return remove(group, (member_id,), env)

"""Members that go: leave, session and rebalance timeouts; and groups that are empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.coordinators.group.records import Record
from streamkit.broker.coordinators.group.streams.model import MemberState, StreamsGroup
from streamkit.broker.coordinators.group.streams.translate import group_record, member_tombstones
from streamkit.broker.coordinators.runtime import CancelTimer, Result, StartTimer

if TYPE_CHECKING:
    from streamkit.broker.coordinators.group.state import GroupShard


def session_key(group_id: str, member_id: str) -> tuple[str, str, str]:
    """The key of a member's session timer."""
    return ("streams session", group_id, member_id)


def rebalance_key(group_id: str, member_id: str) -> tuple[str, str, str]:
    """The key of the timer of a member that has tasks to give back."""
    return ("streams rebalance", group_id, member_id)


def removal_records(group: StreamsGroup, member_id: str, cause: str) -> list[Record]:
    """The records that remove a member and bump the group's epoch; `cause` is for people."""
    group.soft.history.note(group.group_id, group.epoch + 1, [f"member {member_id} {cause}"])
    bumped = group_record(
        group.group_id,
        group.epoch + 1,
        group.metadata_hash,
        group.validated_topology_epoch,
        group.assignment_configs,
    )
    return [*member_tombstones(group.group_id, member_id), bumped]


def removal_effects(group_id: str, member_id: str) -> list[CancelTimer]:
    """The timers that go with a member."""
    keys = (session_key(group_id, member_id), rebalance_key(group_id, member_id))
    return [CancelTimer(key) for key in keys]


def session_timer(group_id: str, member_id: str, timeout_ms: int) -> StartTimer[GroupShard]:
    """Remove the member unless it is heard of in time."""

    def expire(state: GroupShard) -> Result[GroupShard, None]:
        group = state.streams.get(group_id)
        if group is None or member_id not in group.members:
            return Result(None)
        effects = removal_effects(group_id, member_id)
        cause = f"was not heard of for {timeout_ms} ms (session timeout)"
        return Result(None, removal_records(group, member_id, cause), effects)

    return StartTimer(session_key(group_id, member_id), timeout_ms, expire)


def rebalance_timer(
    group_id: str, member_id: str, member_epoch: int, timeout_ms: int
) -> StartTimer[GroupShard]:
    """Remove the member unless it gives its tasks back in time."""

    def expire(state: GroupShard) -> Result[GroupShard, None]:
        group = state.streams.get(group_id)
        member = None if group is None else group.members.get(member_id)
        if group is None or member is None or member.epoch != member_epoch:
            return Result(None)
        if member.state is not MemberState.UNREVOKED_TASKS:
            return Result(None)
        effects = removal_effects(group_id, member_id)
        cause = f"kept revoked tasks for {timeout_ms} ms (max.poll.interval.ms)"
        return Result(None, removal_records(group, member_id, cause), effects)

    return StartTimer(rebalance_key(group_id, member_id), timeout_ms, expire)

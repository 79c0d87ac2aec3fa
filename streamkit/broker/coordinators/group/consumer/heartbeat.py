"""One ConsumerGroupHeartbeat: check group, member and epoch, take a round, answer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from streamkit.broker.coordinators.group import records as rec
from streamkit.broker.coordinators.group.consumer.environment import Caller, Environment
from streamkit.broker.coordinators.group.consumer.fencing import remove, start_session
from streamkit.broker.coordinators.group.consumer.keys import join_key, sync_key
from streamkit.broker.coordinators.group.consumer.messages import (
    HeartbeatRequest,
    HeartbeatResponse,
    owned_partitions,
    response,
)
from streamkit.broker.coordinators.group.consumer.model import (
    JOIN_EPOCH,
    LEAVE_EPOCH,
    LEAVE_STATIC_EPOCH,
    ConsumerGroup,
    Member,
    Partitions,
)
from streamkit.broker.coordinators.group.consumer.round import Round
from streamkit.broker.coordinators.group.consumer.translate import current_record
from streamkit.broker.coordinators.group.consumer.upgrade import upgrade
from streamkit.broker.coordinators.group.consumer.validate import check_shape
from streamkit.broker.coordinators.group.effects import Outcome
from streamkit.broker.coordinators.runtime import Result
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.units import to_ms

if TYPE_CHECKING:
    from streamkit.broker.coordinators.group.state import GroupShard


def heartbeat(
    shard: GroupShard, request: HeartbeatRequest, caller: Caller, env: Environment
) -> Result[GroupShard, HeartbeatResponse]:
    """Raises ApiError when the request is refused."""
    check_shape(request, caller.api_version, env.config(request.group_id).assignors)
    if request.member_epoch in (LEAVE_EPOCH, LEAVE_STATIC_EPOCH):
        return _leave(shard, request, env)
    out = Outcome()
    group = _enter_group(shard, request, env, out)
    member_id = request.member_id or env.make_id()
    _check_room(group, member_id, env.config(request.group_id).size_max)
    owned = owned_partitions(request)
    step = Round(group, env, out)
    before = _enter_member(step, request, member_id, owned)
    step.update(before, _said(before, request, caller))
    after = step.move(owned)
    start_session(request.group_id, member_id, env, out)
    if before.is_classic:
        out.cancel_timer(join_key(request.group_id, member_id))
        out.cancel_timer(sync_key(request.group_id, member_id))
    is_news = (
        request.member_epoch == JOIN_EPOCH or _is_full(request) or after.assigned != before.assigned
    )
    interval_ms = env.config(request.group_id).heartbeat_interval_ms
    return out.result(
        response(member_id, after.epoch, interval_ms, after.assigned if is_news else None)
    )


def _leave(
    shard: GroupShard, request: HeartbeatRequest, env: Environment
) -> Result[GroupShard, HeartbeatResponse]:
    group = _consumer_group(shard, request.group_id)
    if request.instance_id is None:
        member = member_or_raise(group, request.member_id)
    else:
        member = static_member_or_raise(group, request.member_id, request.instance_id)
    answer = response(request.member_id, request.member_epoch)
    if request.member_epoch == LEAVE_EPOCH:
        return remove(group, (member.member_id,), env).result(answer)
    # It comes back within its session: what it has waits for it under another member id.
    away = replace(
        member,
        epoch=LEAVE_STATIC_EPOCH,
        assigned=dict.fromkeys(member.assigned, 0),
        revoking={},
    )
    return Outcome([current_record(group.group_id, away)]).result(answer)


def _enter_group(
    shard: GroupShard, request: HeartbeatRequest, env: Environment, out: Outcome
) -> ConsumerGroup:
    group_id = request.group_id
    if request.member_epoch != JOIN_EPOCH or group_id in shard.consumer:
        return _consumer_group(shard, group_id)
    classic = shard.classic.get(group_id)
    if classic is not None and not classic.is_empty:
        return upgrade(classic, env, out)
    if classic is not None:
        out.records += shard.empty_tombstones(group_id)
    elif group_id in shard.streams:
        raise _not_found(f"Group {group_id} is not a consumer group.")
    return ConsumerGroup(group_id)


def _consumer_group(shard: GroupShard, group_id: str) -> ConsumerGroup:
    group = shard.consumer.get(group_id)
    if group is None:
        is_other = shard.has_group(group_id)
        text = f"Group {group_id} is not a consumer group."
        raise _not_found(text if is_other else f"Consumer group {group_id} not found.")
    return group


def _check_room(group: ConsumerGroup, member_id: str, size_max: int) -> None:
    if len(group.members) >= size_max and member_id not in group.members:
        raise ApiError(
            ErrorCode.group_max_size_reached,
            f"The consumer group has reached its maximum capacity of {size_max} members.",
        )


def _enter_member(
    step: Round, request: HeartbeatRequest, member_id: str, owned: Partitions | None
) -> Member:
    group, is_joining = step.group, request.member_epoch == JOIN_EPOCH
    if request.instance_id is None:
        known = group.members.get(member_id)
        if known is None and is_joining:
            return Member(member_id)
        member = known or member_or_raise(group, member_id)
    elif is_joining:
        return _enter_static(step, request.instance_id, member_id)
    else:
        member = static_member_or_raise(group, member_id, request.instance_id)
    _check_epoch(member, request.member_epoch, owned)
    return member


def _enter_static(step: Round, instance_id: str, member_id: str) -> Member:
    old = step.group.static_member(instance_id)
    if old is None:
        return step.group.members.get(member_id) or Member(member_id)
    if not old.is_classic and old.epoch != LEAVE_STATIC_EPOCH:
        raise ApiError(
            ErrorCode.unreleased_instance_id,
            f"Static member {member_id} with instance id {instance_id} cannot join the group "
            f"because the instance id is owned by {old.member_id} member.",
        )
    return step.take_over(old, member_id)


def member_or_raise(group: ConsumerGroup, member_id: str) -> Member:
    """A member by its id. Raises ApiError."""
    member = group.members.get(member_id)
    if member is None:
        message = f"Member {member_id} is not a member of group {group.group_id}."
        raise ApiError(ErrorCode.unknown_member_id, message)
    return member


def static_member_or_raise(group: ConsumerGroup, member_id: str, instance_id: str) -> Member:
    """A static member by both of its ids; any member id when it is empty. Raises ApiError."""
    member = group.static_member(instance_id)
    if member is None:
        raise ApiError(ErrorCode.unknown_member_id, f"Instance id {instance_id} is unknown.")
    if member.member_id != member_id:
        raise ApiError(
            ErrorCode.fenced_instance_id,
            f"Static member {member_id} with instance id {instance_id} was fenced by member "
            f"{member.member_id}.",
        )
    return member


def _check_epoch(member: Member, epoch: int, owned: Partitions | None) -> None:
    """An older epoch is right when the answer that brought the new one was lost."""
    if epoch in (JOIN_EPOCH, member.epoch):
        return
    is_lost_answer = (
        epoch == member.previous_epoch and owned is not None and owned <= member.assigned.keys()
    )
    if epoch > member.epoch or not is_lost_answer:
        how = "greater" if epoch > member.epoch else "smaller"
        raise ApiError(
            ErrorCode.fenced_member_epoch,
            f"The consumer group member has a {how} member epoch ({epoch}) than the one known by "
            f"the group coordinator ({member.epoch}). The member must abandon all its partitions "
            "and rejoin.",
        )


def _said(
    before: Member, request: HeartbeatRequest, caller: Caller
) -> rec.ConsumerGroupMemberMetadataValue:
    """What the member says of itself; what it leaves out stays as it was."""
    said: dict[str, Any] = {
        "client_id": caller.client_id,
        "client_host": caller.client_host,
        "classic_member_metadata": None,
    }
    given = {
        "instance_id": request.instance_id,
        "rack_id": request.rack_id,
        "server_assignor": request.server_assignor,
        "subscribed_topic_regex": request.subscribed_topic_regex,
    }
    said |= {name: value for name, value in given.items() if value is not None}
    timeout_ms = to_ms(request.rebalance_timeout)
    if timeout_ms != -1:
        said["rebalance_timeout_ms"] = timeout_ms
    if request.subscribed_topic_names is not None:
        said["subscribed_topic_names"] = tuple(sorted(set(request.subscribed_topic_names)))
    return replace(before.metadata, **said)


def _is_full(request: HeartbeatRequest) -> bool:
    """Whether the member said all that it says when it joins, or after an error."""
    has_subscription = (
        request.subscribed_topic_names is not None or request.subscribed_topic_regex is not None
    )
    return (
        to_ms(request.rebalance_timeout) != -1
        and has_subscription
        and request.topic_partitions is not None
    )


def _not_found(message: str) -> ApiError:
    return ApiError(ErrorCode.group_id_not_found, message)

"""Members that speak the classic protocol in a consumer group, while it is being migrated.

Their generation is their member epoch. There is no barrier: JoinGroup is one step of
reconciliation, SyncGroup tells what the member has, and a heartbeat sends it to join again when
there is another step to take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from streamkit.broker.coordinators.group import records as rec
from streamkit.broker.coordinators.group.classic.messages import (
    HeartbeatRequest,
    JoinAnswer,
    JoinRequest,
    Leaver,
    LeaverAnswer,
    SyncAnswer,
    SyncRequest,
)
from streamkit.broker.coordinators.group.classic.subscription import (
    CONSUMER,
    MalformedSubscriptionError,
    Subscription,
    read_subscription,
)
from streamkit.broker.coordinators.group.consumer.config import MigrationPolicy
from streamkit.broker.coordinators.group.consumer.downgrade import (
    assignment_of,
    downgrade,
    may_downgrade,
)
from streamkit.broker.coordinators.group.consumer.environment import Environment
from streamkit.broker.coordinators.group.consumer.fencing import (
    await_join,
    await_sync,
    has_joined,
    remove,
    start_classic_session,
)
from streamkit.broker.coordinators.group.consumer.heartbeat import (
    member_or_raise,
    static_member_or_raise,
)
from streamkit.broker.coordinators.group.consumer.keys import sync_key
from streamkit.broker.coordinators.group.consumer.model import (
    ConsumerGroup,
    Member,
    MemberState,
)
from streamkit.broker.coordinators.group.consumer.round import Round
from streamkit.broker.coordinators.group.consumer.upgrade import classic_metadata, partitions_of
from streamkit.broker.coordinators.group.effects import Outcome, Ticket
from streamkit.protocol.errors import ApiError, ErrorCode


def join(group: ConsumerGroup, request: JoinRequest, env: Environment, ticket: Ticket) -> Outcome:
    """One JoinGroup to a consumer group with members. Raises ApiError."""
    out = Outcome()
    member_id = request.member_id or env.make_id()
    _check_join(group, request, member_id, env)
    if not request.member_id and request.instance_id is None and request.requires_member_id:
        out.answer(ticket, JoinAnswer(ErrorCode.member_id_required, member_id))
        return out
    said = _subscription(request)
    step = Round(group, env, out)
    before = _enter(step, request, member_id)
    replaced = group.static_member(request.instance_id)
    is_downgrade = (
        replaced is not None
        and not replaced.is_classic
        and may_downgrade(group, (replaced.member_id,), 1, env.config(group.group_id))
    )
    after = step.update(before, _said(before, said, request))
    owned = partitions_of(said.owned, env.topics())
    if is_downgrade:
        return _join_and_downgrade(group, step, after, env, ticket)
    after = step.move(owned)
    has_joined(group, member_id, out)
    start_classic_session(group.group_id, after, env, out)
    await_sync(group.group_id, after, env, out)
    out.answer(ticket, _answer(after))
    return out


def _check_join(
    group: ConsumerGroup, request: JoinRequest, member_id: str, env: Environment
) -> None:
    config = env.config(group.group_id)
    if config.migration is MigrationPolicy.DISABLED:
        raise _inconsistent("the group migration is disabled")
    if len(group.members) >= config.size_max and member_id not in group.members:
        raise ApiError(ErrorCode.group_max_size_reached, f"{config.size_max} members are the most")
    names = {name for name, _ in request.protocols}
    for member in group.classic_members:
        assert member.classic is not None, "a classic member"
        names &= {each.name for each in member.classic.supported_protocols}
    if request.protocol_type != CONSUMER or not names:
        raise _inconsistent(f"the protocols of {member_id} are not supported")


def _inconsistent(why: str) -> ApiError:
    return ApiError(ErrorCode.inconsistent_group_protocol, f"Cannot join: {why}.")


def _subscription(request: JoinRequest) -> Subscription:
    # All protocols of a consumer carry the same subscription.
    try:
        return read_subscription(request.protocols[0][1])
    except MalformedSubscriptionError as error:
        raise _inconsistent("the subscription is malformed") from error


def _enter(step: Round, request: JoinRequest, member_id: str) -> Member:
    group = step.group
    if request.instance_id is None:
        return group.members.get(member_id) or Member(member_id)
    if request.member_id:
        return static_member_or_raise(group, member_id, request.instance_id)
    known = group.static_member(request.instance_id)
    return Member(member_id) if known is None else step.take_over(known, member_id)


def _said(
    before: Member, said: Subscription, request: JoinRequest
) -> rec.ConsumerGroupMemberMetadataValue:
    return replace(
        before.metadata,
        instance_id=request.instance_id or before.instance_id,
        rack_id=said.rack or before.metadata.rack_id,
        rebalance_timeout_ms=request.rebalance_timeout_ms,
        client_id=request.client_id,
        client_host=request.client_host,
        subscribed_topic_names=tuple(sorted(set(said.topics))),
        subscribed_topic_regex="",
        classic_member_metadata=classic_metadata(request.session_timeout_ms, request.protocols),
    )


def _join_and_downgrade(
    group: ConsumerGroup, step: Round, member: Member, env: Environment, ticket: Ticket
) -> Outcome:
    """The last consumer came back as a classic member: the group is a classic one from now on."""
    is_stale = step.epoch > group.assignment_epoch
    why = f"{member.member_id} came back with another subscription" if is_stale else None
    out = downgrade(group, (), env, joining=member, rebalance=why)
    # The rest of the round concerns a group that is gone. With a stale target the member has the
    # epoch of one that joins: its SyncGroup will send it to join again, as all others.
    out.answer(ticket, _answer(member if is_stale else replace(member, epoch=group.epoch)))
    return out


def _answer(member: Member) -> JoinAnswer:
    assert member.classic is not None, f"{member.member_id} speaks the classic protocol"
    return JoinAnswer(
        member_id=member.member_id,
        generation_id=member.epoch,
        protocol_type=CONSUMER,
        protocol_name=member.classic.supported_protocols[0].name,
    )


def sync(group: ConsumerGroup, request: SyncRequest, env: Environment, ticket: Ticket) -> Outcome:
    """What the member has. Raises ApiError."""
    member = _classic_member(group, request.member_id, request.instance_id)
    _check_generation(member, request.generation)
    answer = _answer(member)
    for told, known in (
        (request.protocol_type, answer.protocol_type),
        (request.protocol_name, answer.protocol_name),
    ):
        if told is not None and told != known:
            raise _inconsistent(f"it is {known}, not {told}")
    out = Outcome()
    if (
        group.assignment_epoch > member.epoch
        and member.state is not MemberState.UNREVOKED_PARTITIONS
    ):
        await_join(group, member, env, out)
        out.answer(ticket, SyncAnswer(ErrorCode.rebalance_in_progress))
        return out
    out.cancel_timer(sync_key(group.group_id, member.member_id))
    start_classic_session(group.group_id, member, env, out)
    assert member.classic is not None, "a classic member"
    version = read_subscription(member.classic.supported_protocols[0].metadata).version
    assignment = assignment_of(member.assigned, version, env.topics())
    out.answer(
        ticket,
        SyncAnswer(
            protocol_type=request.protocol_type,
            protocol_name=request.protocol_name,
            assignment=assignment,
        ),
    )
    return out


def heartbeat(
    group: ConsumerGroup, request: HeartbeatRequest, env: Environment
) -> tuple[Outcome, ErrorCode]:
    """REBALANCE_IN_PROGRESS when there is another step to take. Raises ApiError."""
    member = _classic_member(group, request.member_id, request.instance_id)
    _check_generation(member, request.generation)
    out = Outcome()
    start_classic_session(group.group_id, member, env, out)
    if not _has_to_join(group, member):
        return out, ErrorCode.none
    await_join(group, member, env, out)
    return out, ErrorCode.rebalance_in_progress


def _has_to_join(group: ConsumerGroup, member: Member) -> bool:
    if member.epoch < group.assignment_epoch:
        return True
    if member.state is MemberState.UNREVOKED_PARTITIONS:
        return True
    if member.state is not MemberState.UNRELEASED_PARTITIONS:
        return False
    missing = group.target_of(member.member_id) - member.assigned.keys()
    return all(partition not in group.holders for partition in missing)


def leave(
    group: ConsumerGroup, leavers: Sequence[Leaver], env: Environment
) -> tuple[Outcome, list[LeaverAnswer]]:
    """Members go, of their own will or an administrator's."""
    leaving: list[str] = []
    answers = []
    for leaver in leavers:
        try:
            leaving.append(_leaver(group, leaver).member_id)
        except ApiError as error:
            answers.append(LeaverAnswer(leaver.member_id, leaver.instance_id, error.code))
        else:
            answers.append(LeaverAnswer(leaver.member_id, leaver.instance_id))
    return remove(group, dict.fromkeys(leaving), env), answers


def _leaver(group: ConsumerGroup, leaver: Leaver) -> Member:
    if leaver.instance_id is None:
        return member_or_raise(group, leaver.member_id)
    known = group.static_member(leaver.instance_id)
    if known is not None and not leaver.member_id:
        return known
    return static_member_or_raise(group, leaver.member_id, leaver.instance_id)


def _classic_member(group: ConsumerGroup, member_id: str, instance_id: str | None) -> Member:
    if instance_id is None:
        member = member_or_raise(group, member_id)
    else:
        member = static_member_or_raise(group, member_id, instance_id)
    if not member.is_classic:
        message = f"Member {member_id} does not use the classic protocol."
        raise ApiError(ErrorCode.unknown_member_id, message)
    return member


def _check_generation(member: Member, generation: int) -> None:
    if generation != member.epoch:
        raise ApiError(
            ErrorCode.illegal_generation, f"The generation of {member.member_id} is {member.epoch}."
        )

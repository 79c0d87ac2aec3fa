"""A consumer group becomes a classic one: its last member of the new protocol has gone.

The records do it. What a classic group has beyond them (all protocols of its members, sessions, a
rebalance) follows in an operation of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from streamkit.broker.coordinators.group import records as rec
from streamkit.broker.coordinators.group.classic.messages import Protocols
from streamkit.broker.coordinators.group.classic.model import (
    ClassicGroup,
    ClassicMember,
    ClassicState,
    group_record,
)
from streamkit.broker.coordinators.group.classic.rebalance import maybe_prepare, start_session
from streamkit.broker.coordinators.group.classic.subscription import (
    CONSUMER,
    MalformedSubscriptionError,
    read_subscription,
    write_assignment,
)
from streamkit.broker.coordinators.group.consumer.config import ConsumerConfig
from streamkit.broker.coordinators.group.consumer.environment import Environment
from streamkit.broker.coordinators.group.consumer.keys import timers_of
from streamkit.broker.coordinators.group.consumer.model import (
    ConsumerGroup,
    Member,
    Partitions,
)
from streamkit.broker.coordinators.group.consumer.translate import by_topic, group_tombstones
from streamkit.broker.coordinators.group.effects import Outcome
from streamkit.broker.coordinators.runtime import CancelTimer
from streamkit.broker.coordinators.seams import TopicCatalog
from streamkit.protocol.errors import ApiError, ErrorCode

if TYPE_CHECKING:
    from streamkit.broker.coordinators.group.state import GroupShard

logger = logging.getLogger(__name__)


def may_downgrade(
    group: ConsumerGroup, leaving: Collection[str], joining: int, config: ConsumerConfig
) -> bool:
    """Whether those who stay, and as many who join, all speak the classic protocol."""
    staying = [each for each in group.members.values() if each.member_id not in leaving]
    size = len(staying) + joining
    return (
        size > 0
        and all(each.is_classic for each in staying)
        and config.migration.may_downgrade
        and size <= config.classic_size_max
    )


def downgrade(
    group: ConsumerGroup,
    leaving: Collection[str],
    env: Environment,
    *,
    joining: Member | None = None,
    rebalance: str | None = None,
) -> Outcome:
    """The group as a classic one; `joining` has the target of the instance that it replaces.

    `rebalance` says why the members have to join anew. Raises ApiError when a member's
    subscription cannot be read.
    """
    members = [each for each in group.member_list if each.member_id not in leaving]
    targets = {each.member_id: group.target_of(each.member_id) for each in members}
    if joining is not None:
        replaced = group.static_member(joining.instance_id)
        assert replaced is not None, "a member that joins here takes an instance over"
        members = [each for each in members if each is not replaced] + [joining]
        targets[joining.member_id] = group.target_of(replaced.member_id)
    try:
        classic = _classic_group(group, members, targets, env.topics(), env.now_ms())
    except MalformedSubscriptionError as error:
        message = f"Cannot downgrade the classic group {group.group_id}: {error}."
        raise ApiError(ErrorCode.group_id_not_found, message) from error
    logger.info("group %s becomes a classic group", group.group_id)
    new_ids = () if joining is None else (joining.member_id,)
    out = Outcome([*group_tombstones(group, new_ids), group_record(classic)])
    out.effects += [
        CancelTimer(key)
        for member_id in (*group.members, *new_ids)
        for key in timers_of(group.group_id, member_id)
    ]
    protocols = {each.member_id: each.protocols for each in classic.members.values()}
    out.start_timer(
        ("consumer downgrade", group.group_id),
        0,
        lambda shard: _begin(shard, group.group_id, protocols, rebalance, env),
    )
    return out


def _classic_group(
    group: ConsumerGroup,
    members: list[Member],
    targets: Mapping[str, Partitions],
    topics: TopicCatalog,
    now_ms: int,
) -> ClassicGroup:
    classic = ClassicGroup(
        group.group_id,
        ClassicState.STABLE,
        state_timestamp_ms=now_ms,
        generation=group.epoch,
        protocol_type=CONSUMER,
    )
    for member in members:
        classic.add(_classic_member(member), CONSUMER)
    classic.protocol = classic.select_protocol()
    for each in classic.members.values():
        version = read_subscription(each.metadata(classic.protocol)).version
        each.assignment = assignment_of(targets[each.member_id], version, topics)
    return classic


def _classic_member(member: Member) -> ClassicMember:
    said = member.classic
    assert said is not None, f"{member.member_id} speaks the classic protocol"
    return ClassicMember(
        member.member_id,
        member.instance_id,
        member.metadata.client_id,
        member.metadata.client_host,
        member.rebalance_timeout_ms,
        said.session_timeout_ms,
        protocols_of(said),
    )


def protocols_of(said: rec.ClassicMemberMetadata) -> Protocols:
    """A classic member's protocols as JoinGroup brought them."""
    return tuple((each.name, each.metadata) for each in said.supported_protocols)


def assignment_of(partitions: Any, version: int, topics: TopicCatalog) -> bytes:
    """Partitions by topic id as SyncGroup answers them; topics that are gone are left out."""
    named = {
        name: indexes
        for topic_id, indexes in by_topic(partitions).items()
        if (name := topics.topic_name(topic_id)) is not None
    }
    return write_assignment(version, named)


def _begin(
    shard: GroupShard,
    group_id: str,
    protocols: Mapping[str, Protocols],
    rebalance: str | None,
    env: Environment,
) -> Outcome:
    out = Outcome()
    group = shard.classic.get(group_id)
    if group is None:
        return out
    for member in group.members.values():
        if member.join_ticket is None:
            member.protocols = protocols.get(member.member_id, member.protocols)
            start_session(group, member, env.classic, out)
    if rebalance is not None:
        maybe_prepare(group, env.classic, out, rebalance)
    return out

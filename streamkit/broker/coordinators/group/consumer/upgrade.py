"""A classic group with members becomes a consumer group: somebody joins by the new protocol.

Its generation becomes the group epoch, and what its members have their target. They go on by the
classic protocol until they are restarted (`classic_members`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from uuid import UUID

from streamkit.broker.coordinators.group import records as rec
from streamkit.broker.coordinators.group.classic import rebalance
from streamkit.broker.coordinators.group.classic.messages import (
    JoinAnswer,
    Protocols,
    SyncAnswer,
)
from streamkit.broker.coordinators.group.classic.model import ClassicGroup, ClassicMember
from streamkit.broker.coordinators.group.classic.subscription import (
    MalformedSubscriptionError,
    read_assignment,
    read_subscription,
)
from streamkit.broker.coordinators.group.consumer.config import ConsumerConfig
from streamkit.broker.coordinators.group.consumer.environment import Environment
from streamkit.broker.coordinators.group.consumer.fencing import start_classic_session
from streamkit.broker.coordinators.group.consumer.model import (
    ConsumerGroup,
    Member,
    Partition,
)
from streamkit.broker.coordinators.group.consumer.translate import (
    current_record,
    group_record,
    member_record,
    target_metadata_record,
    target_record,
)
from streamkit.broker.coordinators.group.effects import Outcome
from streamkit.broker.coordinators.group.topics_hash import topics_hash
from streamkit.broker.coordinators.seams import TopicCatalog
from streamkit.protocol.errors import ApiError, ErrorCode

logger = logging.getLogger(__name__)


def upgrade(classic: ClassicGroup, env: Environment, out: Outcome) -> ConsumerGroup:
    """The group as the records in `out` will make it. Raises ApiError when it may not be."""
    _check(classic, env.config(classic.group_id))
    try:
        members = [_converted(classic, each, env.topics()) for each in classic.members.values()]
    except MalformedSubscriptionError as error:
        raise _refused(classic, "the embedded consumer protocol is malformed") from error
    group = ConsumerGroup(classic.group_id)
    for record in _records(classic, members, env.topics()):
        out.records.append(record)
        _replay(group, record)
    _release_waiting(classic, out)
    for member in members:
        start_classic_session(group.group_id, member, env, out)
    logger.info("group %s becomes a consumer group", classic.group_id)
    return group


def _check(classic: ClassicGroup, config: ConsumerConfig) -> None:
    if not config.migration.may_upgrade:
        raise _refused(classic, "online upgrade is disabled")
    if not classic.is_consumers:
        raise _refused(classic, "the group does not use the consumer embedded protocol")
    if len(classic.members) > config.size_max:
        raise _refused(classic, "the group size exceeds the consumer group maximum size")


def _refused(classic: ClassicGroup, why: str) -> ApiError:
    message = f"Cannot upgrade classic group {classic.group_id} to consumer group because {why}."
    return ApiError(ErrorCode.group_id_not_found, message)


def _converted(classic: ClassicGroup, member: ClassicMember, topics: TopicCatalog) -> Member:
    # A group whose first rebalance goes on has not chosen a protocol yet.
    protocol = classic.protocol or classic.select_protocol()
    said = read_subscription(member.metadata(protocol))
    named: Mapping[str, tuple[int, ...]] = {}
    if member.assignment:
        named, user_data = read_assignment(member.assignment)
        if user_data:
            raise _refused(classic, "an unsupported custom assignor is in use")
    metadata = rec.ConsumerGroupMemberMetadataValue(
        instance_id=member.instance_id,
        rack_id=said.rack or None,
        client_id=member.client_id,
        client_host=member.client_host,
        subscribed_topic_names=tuple(sorted(set(said.topics))),
        rebalance_timeout_ms=member.rebalance_timeout_ms,
        classic_member_metadata=classic_metadata(member.session_timeout_ms, member.protocols),
    )
    return Member(
        member.member_id,
        metadata,
        classic.generation,
        classic.generation,
        assigned=dict.fromkeys(partitions_of(named, topics), classic.generation),
    )


def classic_metadata(session_timeout_ms: int, protocols: Protocols) -> rec.ClassicMemberMetadata:
    """What a record keeps of a member that speaks the classic protocol."""
    return rec.ClassicMemberMetadata(
        session_timeout_ms=session_timeout_ms,
        supported_protocols=tuple(
            rec.ClassicProtocol(name=name, metadata=metadata) for name, metadata in protocols
        ),
    )


def partitions_of(
    named: Mapping[str, tuple[int, ...]], topics: TopicCatalog
) -> frozenset[Partition]:
    """Partitions by topic id; those of topics that are gone are left out."""
    found: set[tuple[UUID, int]] = set()
    for name, indexes in named.items():
        topic_id = topics.topic_id(name)
        if topic_id is not None:
            found.update((topic_id, index) for index in indexes)
    return frozenset(found)


def _records(
    classic: ClassicGroup, members: list[Member], topics: TopicCatalog
) -> list[rec.Record]:
    group_id, generation = classic.group_id, classic.generation
    names = {name for each in members for name in each.topics}
    return [
        rec.Record(rec.GroupMetadataKey(group=group_id), None),
        *(member_record(group_id, each) for each in members),
        group_record(group_id, generation, topics_hash(names, topics)),
        *(target_record(group_id, each.member_id, frozenset(each.assigned)) for each in members),
        target_metadata_record(group_id, generation, 0),
        *(current_record(group_id, each) for each in members),
    ]


def _replay(group: ConsumerGroup, record: rec.Record) -> None:
    key, value = record.key, record.value
    match key:
        case rec.ConsumerGroupMetadataKey():
            group.replay_metadata(value)
        case rec.ConsumerGroupMemberMetadataKey():
            group.replay_member(key.member_id, value)
        case rec.ConsumerGroupTargetAssignmentMetadataKey():
            group.replay_target_metadata(value)
        case rec.ConsumerGroupTargetAssignmentMemberKey():
            group.replay_target(key.member_id, value)
        case rec.ConsumerGroupCurrentMemberAssignmentKey():
            group.replay_current(key.member_id, value)


def _release_waiting(classic: ClassicGroup, out: Outcome) -> None:
    """Those who wait for the barrier join anew, now to the consumer group."""
    group_id, moved = classic.group_id, ErrorCode.rebalance_in_progress
    out.cancel_timer(rebalance.join_key(group_id))
    out.cancel_timer(rebalance.sync_key(group_id))
    for member_id in classic.pending:
        out.cancel_timer(rebalance.session_key(group_id, member_id))
    for member in classic.members.values():
        out.cancel_timer(rebalance.session_key(group_id, member.member_id))
        out.answer(member.join_ticket, JoinAnswer(moved, member.member_id))
        out.answer(member.sync_ticket, SyncAnswer(moved))

"""ConsumerGroupDescribe: a group as its committed records tell it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from streamkit.broker.coordinators.group.consumer.model import ConsumerGroup, Member, Partition
from streamkit.broker.coordinators.group.consumer.target import preferred_assignor
from streamkit.broker.coordinators.group.consumer.translate import by_topic
from streamkit.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from streamkit.broker.coordinators.group.consumer.config import ConsumerConfig
    from streamkit.broker.coordinators.group.state import GroupShard
    from streamkit.broker.coordinators.seams import TopicCatalog

CLASSIC_MEMBER = 0
CONSUMER_MEMBER = 1

Values = dict[str, object]


def describe(
    shard: GroupShard, group_id: str, config: ConsumerConfig, topics: TopicCatalog
) -> Values:
    """A `DescribedGroup` by field name, or GROUP_ID_NOT_FOUND in its place."""
    group = shard.consumer.get(group_id)
    if group is None:
        is_other = shard.has_group(group_id)
        why = f"Group {group_id} is not a consumer group." if is_other else _unknown(group_id)
        return described_error(group_id, ErrorCode.group_id_not_found, why)
    return {
        "error_code": ErrorCode.none,
        "error_message": None,
        "group_id": group_id,
        "group_state": group.state.value,
        "group_epoch": group.epoch,
        "assignment_epoch": group.assignment_epoch,
        "assignor_name": preferred_assignor(group.members.values(), config),
        "members": [_member(group, each, topics) for each in group.member_list],
    }


def _unknown(group_id: str) -> str:
    return f"Group {group_id} not found."


def described_error(group_id: str, code: ErrorCode, message: str) -> Values:
    """A group that cannot be described."""
    return {
        "error_code": code,
        "error_message": message or None,
        "group_id": group_id,
        "group_state": "",
        "group_epoch": 0,
        "assignment_epoch": 0,
        "assignor_name": "",
        "members": [],
    }


def _member(group: ConsumerGroup, member: Member, topics: TopicCatalog) -> Values:
    said = member.metadata
    return {
        "member_id": member.member_id,
        "instance_id": said.instance_id,
        "rack_id": said.rack_id,
        "member_epoch": member.epoch,
        "client_id": said.client_id,
        "client_host": said.client_host,
        "subscribed_topic_names": said.subscribed_topic_names,
        "subscribed_topic_regex": said.subscribed_topic_regex,
        # It answers for what it has to give back until it has.
        "assignment": _assignment({**member.assigned, **member.revoking}, topics),
        "target_assignment": _assignment(group.target_of(member.member_id), topics),
        "member_type": CLASSIC_MEMBER if member.is_classic else CONSUMER_MEMBER,
    }


def _assignment(partitions: Iterable[Partition], topics: TopicCatalog) -> Values:
    named = (
        (topic_id, topics.topic_name(topic_id), indexes)
        for topic_id, indexes in by_topic(partitions).items()
    )
    return {
        "topic_partitions": [
            {"topic_id": topic_id, "topic_name": name, "partitions": indexes}
            for topic_id, name, indexes in named
            if name is not None
        ]
    }

"""Groups of consumers, classic and new, as their coordinators describe them: one shape for both."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from streamkit.client.metadata import BrokerView
from streamkit.common.model import TopicPartition

CONSUMER = "consumer"
CLASSIC = "classic"


@dataclass(frozen=True, slots=True)
class MemberDescription:
    """One member; `target` is what it will have once the rebalance is done.

    Of a classic member `epoch` is -1, and `target` what it has: its group moves all at once.
    """

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    rack_id: str | None
    epoch: int
    assignment: tuple[TopicPartition, ...]
    target: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class GroupDescription:
    """A group of consumers; `type` is classic or consumer, `state` by Kafka's name (`Stable`, …).

    The epochs are those of a new group, -1 for a classic one. `protocol_type` is "consumer"
    unless a classic group shares something else than partitions; its assignments are empty then.
    """

    group_id: str
    type: str
    state: str
    protocol_type: str
    assignor: str
    epoch: int
    assignment_epoch: int
    members: tuple[MemberDescription, ...]
    coordinator: BrokerView


def consumer_group(answer: Any, coordinator: BrokerView) -> GroupDescription:
    """A `DescribedGroup` of ConsumerGroupDescribe."""
    members = (
        MemberDescription(
            each.member_id,
            each.instance_id,
            each.client_id,
            each.client_host,
            each.rack_id,
            int(each.member_epoch),
            _named(each.assignment.topic_partitions),
            _named(each.target_assignment.topic_partitions),
        )
        for each in answer.members
    )
    return GroupDescription(
        str(answer.group_id),
        CONSUMER,
        answer.group_state,
        CONSUMER,
        answer.assignor_name,
        int(answer.group_epoch),
        int(answer.assignment_epoch),
        tuple(members),
        coordinator,
    )


def classic_group(answer: Any, coordinator: BrokerView) -> GroupDescription:
    """A `DescribedGroup` of DescribeGroups."""
    is_consumer = answer.protocol_type == CONSUMER
    members = []
    for each in answer.members:
        shared = _assigned(each.member_assignment) if is_consumer else ()
        members.append(
            MemberDescription(
                each.member_id,
                each.group_instance_id,
                each.client_id,
                each.client_host,
                None,
                -1,
                shared,
                shared,
            )
        )
    return GroupDescription(
        str(answer.group_id),
        CLASSIC,
        answer.group_state,
        answer.protocol_type,
        answer.protocol_data,
        -1,
        -1,
        tuple(members),
        coordinator,
    )


def _named(topics: Iterable[Any]) -> tuple[TopicPartition, ...]:
    return tuple(
        sorted(
            TopicPartition(str(topic.topic_name), int(index))
            for topic in topics
            for index in topic.partitions
        )
    )


def _assigned(data: bytes) -> tuple[TopicPartition, ...]:
    """The partitions in a classic member's assignment; none where it is not a consumer's.

    The members write it: an int16 version, then topics with their partitions (ConsumerProtocol).
    """
    found: list[TopicPartition] = []
    try:
        (topics,) = struct.unpack_from(">i", data, 2)
        position = 6
        for _ in range(topics):
            (length,) = struct.unpack_from(">h", data, position)
            position += 2 + length
            topic = bytes(data[position - length : position]).decode()
            (count,) = struct.unpack_from(">i", data, position)
            indexes = struct.unpack_from(f">{max(count, 0)}i", data, position + 4)
            position += 4 + 4 * len(indexes)
            found += (TopicPartition(topic, index) for index in indexes)
    except (struct.error, UnicodeDecodeError):
        return ()
    return tuple(sorted(found))

"""The `range` assignor: neighbouring partitions to each member, topic by topic.

Members come in the same order for every topic, static ones first, so that topics with equal
partition counts and subscribers are co-partitioned (RangeAssignor).
"""

from __future__ import annotations

from uuid import UUID

from streamkit.broker.coordinators.group.consumer.assignors.spec import (
    Assignment,
    AssignmentMember,
    AssignmentSpec,
)
from streamkit.broker.coordinators.group.consumer.model import Partition

NAME = "range"


def assign(spec: AssignmentSpec) -> Assignment:
    """A range of each topic for each of its subscribers; the first ones get one more."""
    members = sorted(spec.members, key=_static_first)
    target: dict[str, set[Partition]] = {each.member_id: set() for each in members}
    for topic_id in sorted(spec.partitions):
        _assign_topic(spec, topic_id, members, target)
    return {member_id: frozenset(partitions) for member_id, partitions in target.items()}


def _static_first(member: AssignmentMember) -> tuple[bool, str]:
    if member.instance_id is not None:
        return False, member.instance_id
    return True, member.member_id


def _assign_topic(
    spec: AssignmentSpec,
    topic_id: UUID,
    members: list[AssignmentMember],
    target: dict[str, set[Partition]],
) -> None:
    subscribers = [each for each in members if topic_id in each.topics]
    if not subscribers:
        return
    least, extra = divmod(spec.partitions[topic_id], len(subscribers))
    start = 0
    for place, member in enumerate(subscribers):
        end = start + least + (place < extra)
        target[member.member_id].update((topic_id, index) for index in range(start, end))
        start = end

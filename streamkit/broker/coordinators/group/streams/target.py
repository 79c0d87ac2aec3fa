"""The target assignment of a streams group, and the hash that says when its topics changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from streamkit.broker.coordinators.group.records import Record
from streamkit.broker.coordinators.group.streams.model import Member, StreamsGroup
from streamkit.broker.coordinators.group.streams.translate import (
    target_metadata_record,
    target_record,
)
from streamkit.broker.coordinators.seams import TopicsView
from streamkit.rebalance.assignor import EMPTY_TASKS, AssignmentMember, Tasks, assign
from streamkit.rebalance.rules import ConfiguredTopology, GroupTopology


def compute_target(
    group: StreamsGroup,
    members: Iterable[Member],
    configured: ConfiguredTopology | None,
    standby_replicas: int,
) -> dict[str, Tasks]:
    """The target of every member; empty for all until the topology is ready."""
    members = list(members)
    if configured is None or not configured.is_ready or configured.subtopologies is None:
        return {member.member_id: EMPTY_TASKS for member in members}
    return assign(
        [
            AssignmentMember(each.member_id, each.process_id, group.target_of(each.member_id))
            for each in members
        ],
        configured.subtopologies,
        standby_replicas,
    )


def target_records(
    group: StreamsGroup, target: dict[str, Tasks], epoch: int, timestamp: int
) -> list[Record]:
    """What of the target is new, then its epoch."""
    records = [
        target_record(group.group_id, member_id, tasks)
        for member_id, tasks in sorted(target.items())
        if group.targets.get(member_id) != tasks
    ]
    return [*records, target_metadata_record(group.group_id, epoch, timestamp)]


def metadata_hash(topology: GroupTopology, topics: TopicsView) -> int:
    """A signed 64-bit hash of the topology's topics: id, partition count and racks of each."""
    digest = hashlib.blake2b(digest_size=8)
    found = False
    for name in topology.required_topics:
        count = topics.partition_count(name)
        if count is None:
            continue
        found = True
        racks = [list(each) for each in topics.partition_racks(name)]
        digest.update(repr((name, str(topics.topic_id(name)), count, racks)).encode())
    # Kafka's hash of no topics is 0, and so is that of a new group: nothing changed.
    return int.from_bytes(digest.digest(), "big", signed=True) if found else 0

"""The target assignment of a consumer group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from streamkit.broker.coordinators.group.consumer.assignors import by_range, uniform
from streamkit.broker.coordinators.group.consumer.assignors.spec import (
    AssignmentMember,
    AssignmentSpec,
    Assignor,
)
from streamkit.broker.coordinators.group.consumer.config import ConsumerConfig
from streamkit.broker.coordinators.group.consumer.model import (
    NO_PARTITIONS,
    ConsumerGroup,
    Member,
    Partitions,
)
from streamkit.broker.coordinators.group.consumer.subscriptions import (
    is_homogeneous,
    topic_ids,
)
from streamkit.broker.coordinators.group.consumer.translate import (
    target_metadata_record,
    target_record,
)
from streamkit.broker.coordinators.group.records import Record
from streamkit.broker.coordinators.seams import TopicCatalog

ASSIGNORS: Mapping[str, Assignor] = MappingProxyType(
    {uniform.NAME: uniform.assign, by_range.NAME: by_range.assign}
)


def is_due(group: ConsumerGroup, interval_ms: int, now_ms: int) -> bool:
    """Whether the next target may be computed now (KIP-1263)."""
    last_ms = group.assignment_timestamp
    return last_ms == 0 or interval_ms == 0 or now_ms >= last_ms + interval_ms


def preferred_assignor(members: Iterable[Member], config: ConsumerConfig) -> str:
    """What most members wish; the configured one when they wish nothing."""
    wishes = Counter(
        each.metadata.server_assignor
        for each in members
        if each.metadata.server_assignor in ASSIGNORS
    )
    (found, _), *_ = wishes.most_common(1) or [(None, 0)]
    return found or config.assignors[0]


def compute_target(
    group: ConsumerGroup,
    members: Mapping[str, Member],
    config: ConsumerConfig,
    topics: TopicCatalog,
) -> dict[str, Partitions]:
    """The target of `members`, those of the group after what the request changes."""
    chosen = [members[member_id] for member_id in sorted(members)]
    specs = [
        AssignmentMember(
            each.member_id,
            each.instance_id,
            topic_ids(group.topics_of([each]), topics),
            _target_so_far(group, each),
        )
        for each in chosen
    ]
    counts = {
        topic_id: topics.partition_count(topics.topic_name(topic_id) or "") or 0
        for topic_id in {topic_id for each in specs for topic_id in each.topics}
    }
    spec = AssignmentSpec(specs, counts, is_homogeneous(chosen))
    return ASSIGNORS[preferred_assignor(chosen, config)](spec)


def _target_so_far(group: ConsumerGroup, member: Member) -> Partitions:
    """A static member takes over what its instance had under another member id."""
    before = group.static_member(member.instance_id)
    return group.target_of(member.member_id if before is None else before.member_id)


def target_records(
    group: ConsumerGroup, target: Mapping[str, Partitions], epoch: int, timestamp: int
) -> list[Record]:
    """What of the target is new, then its epoch."""
    records = [
        target_record(group.group_id, member_id, target.get(member_id, NO_PARTITIONS))
        for member_id in sorted(target)
        if group.targets.get(member_id) != target[member_id]
    ]
    return [*records, target_metadata_record(group.group_id, epoch, timestamp)]

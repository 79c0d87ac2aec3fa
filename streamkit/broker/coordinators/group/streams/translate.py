"""A streams group's records made from requests and from the values of `rebalance`, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from streamkit.broker.coordinators.group import records as rec
from streamkit.rebalance.assignor import Task, Tasks, group_tasks
from streamkit.rebalance.rules import GroupSubtopology, GroupTopology, InternalTopic

if TYPE_CHECKING:
    from streamkit.broker.coordinators.group.streams.model import HeldTasks, Member


def topology_value(message: Any) -> rec.StreamsGroupTopologyValue:
    """The record of a request's topology: as sent, lists in their order."""
    return rec.StreamsGroupTopologyValue(
        epoch=message.epoch,
        subtopologies=tuple(_subtopology_value(each) for each in message.subtopologies),
    )


def _subtopology_value(message: Any) -> rec.Subtopology:
    return rec.Subtopology(
        subtopology_id=message.subtopology_id,
        source_topics=tuple(message.source_topics),
        source_topic_regex=tuple(message.source_topic_regex),
        state_changelog_topics=_topic_values(message.state_changelog_topics),
        repartition_sink_topics=tuple(message.repartition_sink_topics),
        repartition_source_topics=_topic_values(message.repartition_source_topics),
        copartition_groups=tuple(
            rec.CopartitionGroup(
                source_topics=tuple(group.source_topics),
                source_topic_regex=tuple(group.source_topic_regex),
                repartition_source_topics=tuple(group.repartition_source_topics),
            )
            for group in message.copartition_groups
        ),
    )


def _topic_values(messages: Iterable[Any]) -> tuple[rec.TopicInfo, ...]:
    return tuple(
        rec.TopicInfo(
            name=message.name,
            partitions=message.partitions,
            replication_factor=message.replication_factor,
            topic_configs=key_values((each.key, each.value) for each in message.topic_configs),
        )
        for message in messages
    )


def topology_of_value(value: rec.StreamsGroupTopologyValue) -> GroupTopology:
    """The topology of a record."""
    return GroupTopology(value.epoch, tuple(_subtopology_of(each) for each in value.subtopologies))


def _subtopology_of(value: rec.Subtopology) -> GroupSubtopology:
    repartition = _topics_of(value.repartition_source_topics)
    return GroupSubtopology(
        id=value.subtopology_id,
        source_topics=value.source_topics,
        repartition_sources=repartition,
        repartition_sinks=value.repartition_sink_topics,
        changelogs=_topics_of(value.state_changelog_topics),
        copartition_groups=tuple(
            tuple(value.source_topics[index] for index in group.source_topics)
            + tuple(repartition[index].name for index in group.repartition_source_topics)
            for group in value.copartition_groups
        ),
    )


def _topics_of(values: Iterable[rec.TopicInfo]) -> tuple[InternalTopic, ...]:
    return tuple(
        InternalTopic(
            name=value.name,
            partitions=value.partitions,
            replication_factor=value.replication_factor,
            configs=tuple((config.key, config.value) for config in value.topic_configs),
        )
        for value in values
    )


def key_values(pairs: Iterable[tuple[str, str]]) -> tuple[rec.KeyValue, ...]:
    """Pairs as records carry them."""
    return tuple(rec.KeyValue(key=key, value=value) for key, value in pairs)


def group_record(
    group_id: str,
    epoch: int,
    metadata_hash: int,
    validated_topology_epoch: int,
    configs: Mapping[str, str],
) -> rec.Record:
    """The record of a group's epoch."""
    value = rec.StreamsGroupMetadataValue(
        epoch=epoch,
        metadata_hash=metadata_hash,
        validated_topology_epoch=validated_topology_epoch,
        last_assignment_configs=key_values(sorted(configs.items())),
    )
    return rec.Record(rec.StreamsGroupMetadataKey(group_id=group_id), value)


def member_record(
    group_id: str, member_id: str, value: rec.StreamsGroupMemberMetadataValue
) -> rec.Record:
    """The record of what a member says of itself."""
    key = rec.StreamsGroupMemberMetadataKey(group_id=group_id, member_id=member_id)
    return rec.Record(key, value)


def target_record(group_id: str, member_id: str, tasks: Tasks) -> rec.Record:
    """The record of a member's target."""
    key = rec.StreamsGroupTargetAssignmentMemberKey(group_id=group_id, member_id=member_id)
    value = rec.StreamsGroupTargetAssignmentMemberValue(
        active_tasks=_target_tasks(tasks.active),
        standby_tasks=_target_tasks(tasks.standby),
        warmup_tasks=_target_tasks(tasks.warmup),
    )
    return rec.Record(key, value)


def target_metadata_record(group_id: str, epoch: int, timestamp: int) -> rec.Record:
    """The record of the epoch that the target was computed for."""
    key = rec.StreamsGroupTargetAssignmentMetadataKey(group_id=group_id)
    value = rec.StreamsGroupTargetAssignmentMetadataValue(
        assignment_epoch=epoch, assignment_timestamp=timestamp
    )
    return rec.Record(key, value)


def current_record(group_id: str, member: Member) -> rec.Record:
    """The record of a member's assignment."""
    key = rec.StreamsGroupCurrentMemberAssignmentKey(group_id=group_id, member_id=member.member_id)
    assigned, revoking = _held_lists(member.assigned), _held_lists(member.revoking)
    value = rec.StreamsGroupCurrentMemberAssignmentValue(
        member_epoch=member.epoch,
        previous_member_epoch=member.previous_epoch,
        state=int(member.state),
        active_tasks=assigned[0],
        standby_tasks=assigned[1],
        warmup_tasks=assigned[2],
        active_tasks_pending_revocation=revoking[0],
        standby_tasks_pending_revocation=revoking[1],
        warmup_tasks_pending_revocation=revoking[2],
    )
    return rec.Record(key, value)


def topology_record(group_id: str, value: rec.StreamsGroupTopologyValue) -> rec.Record:
    """The record of a group's topology."""
    return rec.Record(rec.StreamsGroupTopologyKey(group_id=group_id), value)


def member_tombstones(group_id: str, member_id: str) -> list[rec.Record]:
    """The records that remove a member."""
    keys = (
        rec.StreamsGroupCurrentMemberAssignmentKey(group_id=group_id, member_id=member_id),
        rec.StreamsGroupTargetAssignmentMemberKey(group_id=group_id, member_id=member_id),
        rec.StreamsGroupMemberMetadataKey(group_id=group_id, member_id=member_id),
    )
    return [rec.Record(key, None) for key in keys]


def group_tombstones(group_id: str) -> list[rec.Record]:
    """The records that remove an empty group."""
    keys = (
        rec.StreamsGroupTargetAssignmentMetadataKey(group_id=group_id),
        rec.StreamsGroupTopologyKey(group_id=group_id),
        rec.StreamsGroupMetadataKey(group_id=group_id),
    )
    return [rec.Record(key, None) for key in keys]


def _target_tasks(tasks: Iterable[Task]) -> tuple[rec.TargetTaskIds, ...]:
    return tuple(
        rec.TargetTaskIds(subtopology_id=subtopology_id, partitions=partitions)
        for subtopology_id, partitions in group_tasks(tasks).items()
    )


def _held_lists(held: HeldTasks) -> tuple[tuple[rec.CurrentTaskIds, ...], ...]:
    active = tuple(
        rec.CurrentTaskIds(
            subtopology_id=subtopology_id,
            partitions=partitions,
            assignment_epochs=tuple(held.active[subtopology_id, each] for each in partitions),
        )
        for subtopology_id, partitions in group_tasks(held.active).items()
    )
    return active, _current_tasks(held.standby), _current_tasks(held.warmup)


def _current_tasks(tasks: Iterable[Task]) -> tuple[rec.CurrentTaskIds, ...]:
    return tuple(
        rec.CurrentTaskIds(subtopology_id=subtopology_id, partitions=partitions)
        for subtopology_id, partitions in group_tasks(tasks).items()
    )

"""The target assignment of a streams group."""

from __future__ import annotations

from collections.abc import Iterable

from streamkit.broker.coordinators.group.records import Record
from streamkit.broker.coordinators.group.streams.config import StreamsConfig
from streamkit.broker.coordinators.group.streams.model import Member, StreamsGroup
from streamkit.broker.coordinators.group.streams.translate import (
    target_metadata_record,
    target_record,
)
from streamkit.broker.coordinators.group.topics_hash import topics_hash
from streamkit.broker.coordinators.seams import TopicsView
from streamkit.rebalance.assignor import EMPTY_TASKS, AssignmentMember, Tasks, assign
from streamkit.rebalance.rules import ConfiguredSubtopology, ConfiguredTopology, GroupTopology


def compute_target(
    group: StreamsGroup,
    members: Iterable[Member],
    configured: ConfiguredTopology | None,
    config: StreamsConfig,
) -> dict[str, Tasks]:
    """The target of every member; empty for all until the topology is ready."""
    members = list(members)
    if configured is None or configured.subtopologies is None:
        return {member.member_id: EMPTY_TASKS for member in members}
    if not configured.is_ready:
        kept = _unaffected(configured) if config.takes_topology_updates else frozenset()
        return {each.member_id: group.target_of(each.member_id).within(kept) for each in members}
    stale = [
        each
        for each in members
        if config.takes_topology_updates and each.topology_epoch < configured.epoch
    ]
    # A member of an older topology has only the sub-topologies that were there before: those of
    # which it, or another one like it, has a task.
    known = {task[0] for each in stale for task in group.target_of(each.member_id).every}
    old = [each for each in configured.subtopologies if not stale or each.id in known]
    new = [each for each in configured.subtopologies if each not in old]
    target = _assigned(group, members, old, config)
    fresh = [each for each in members if each not in stale]
    for member_id, more in _assigned(group, fresh, new, config).items():
        target[member_id] = target[member_id].union(more)
    return target


def _unaffected(configured: ConfiguredTopology) -> frozenset[str]:
    """The sub-topologies that miss no internal topic: an update does not stop their tasks."""
    missing = {topic.name for topic in configured.missing_internal}
    return frozenset(
        each.id
        for each in configured.subtopologies or ()
        if missing.isdisjoint(topic.name for topic in each.repartition_sources + each.changelogs)
        and missing.isdisjoint(each.repartition_sinks)
    )


def _assigned(
    group: StreamsGroup,
    members: Iterable[Member],
    subtopologies: Iterable[ConfiguredSubtopology],
    config: StreamsConfig,
) -> dict[str, Tasks]:
    return assign(
        [
            AssignmentMember(
                each.member_id, each.process_id, group.target_of(each.member_id), each.place
            )
            for each in members
        ],
        subtopologies,
        config.standby_replicas,
        config.spread_by,
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
    """The hash of the topology's topics."""
    return topics_hash(topology.required_topics, topics)

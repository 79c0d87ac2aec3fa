"""A streams group as StreamsGroupDescribe shows it, in the values of this package."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from streamkit.rebalance.assignor import Task, Tasks
from streamkit.rebalance.rules import InternalTopic


@dataclass(frozen=True, slots=True)
class DescribedSubtopology:
    """A sub-topology of the group; counts of internal topics are 0 until they are known."""

    id: str
    source_topics: tuple[str, ...]
    repartition_sinks: tuple[str, ...]
    repartition_sources: tuple[InternalTopic, ...]
    changelogs: tuple[InternalTopic, ...]

    @property
    def input_topics(self) -> tuple[str, ...]:
        """External sources first, then repartition sources."""
        return self.source_topics + tuple(topic.name for topic in self.repartition_sources)

    @property
    def internal_topics(self) -> tuple[str, ...]:
        """Repartition topics it reads, then changelogs, but for sources that serve as such."""
        topics = self.repartition_sources + self.changelogs
        return tuple(topic.name for topic in topics if topic.name not in self.source_topics)


@dataclass(frozen=True, slots=True)
class DescribedMember:
    """A member with what it has and what it is to have."""

    member_id: str
    epoch: int
    topology_epoch: int
    process_id: str
    client_id: str
    client_host: str
    rack_id: str | None
    endpoint: tuple[str, int] | None
    assigned: Tasks
    target: Tasks
    client_tags: tuple[tuple[str, str], ...] = ()
    offsets: Mapping[Task, int] = field(default_factory=dict)
    """How far its state of a task is: the sum over the task's changelogs; of those who report."""
    ends: Mapping[Task, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DescribedGroup:
    """A streams group; `note` is what a broker with our extensions says of it beyond that."""

    group_id: str
    state: str
    epoch: int
    assignment_epoch: int
    topology_epoch: int | None
    subtopologies: tuple[DescribedSubtopology, ...]
    members: tuple[DescribedMember, ...]
    note: str = ""

    def behind(self, task: Task, member: DescribedMember) -> int | None:
        """How many changelog offsets a member's copy of a task is behind; None when not known."""
        ends = [each.ends[task] for each in self.members if task in each.ends]
        offset = member.offsets.get(task)
        return None if offset is None or not ends else max(max(ends) - offset, 0)

    @property
    def source_topics(self) -> tuple[str, ...]:
        """The topics that others write, sorted."""
        return tuple(sorted({name for each in self.subtopologies for name in each.source_topics}))

    @property
    def repartition_topics(self) -> tuple[str, ...]:
        """The topics between sub-topologies, sorted."""
        topics = {topic.name for each in self.subtopologies for topic in each.repartition_sources}
        return tuple(sorted(topics))

    @property
    def internal_topics(self) -> tuple[str, ...]:
        """The topics that belong to the application alone, sorted."""
        return tuple(sorted({name for each in self.subtopologies for name in each.internal_topics}))


def described_group(message: Any) -> DescribedGroup:
    """The values of a `DescribedGroup` in the answer to StreamsGroupDescribe."""
    topology = message.topology
    return DescribedGroup(
        group_id=message.group_id,
        state=message.group_state,
        epoch=message.group_epoch,
        assignment_epoch=message.assignment_epoch,
        topology_epoch=None if topology is None else topology.epoch,
        subtopologies=()
        if topology is None
        else tuple(_subtopology(each) for each in topology.subtopologies or ()),
        members=tuple(_member(each) for each in message.members),
        note=message.error_message or "",
    )


def _subtopology(message: Any) -> DescribedSubtopology:
    return DescribedSubtopology(
        id=message.subtopology_id,
        source_topics=tuple(message.source_topics),
        repartition_sinks=tuple(message.repartition_sink_topics),
        repartition_sources=_topics(message.repartition_source_topics),
        changelogs=_topics(message.state_changelog_topics),
    )


def _topics(messages: Iterable[Any]) -> tuple[InternalTopic, ...]:
    return tuple(InternalTopic(topic.name, topic.partitions) for topic in messages)


def _member(message: Any) -> DescribedMember:
    endpoint = message.user_endpoint
    return DescribedMember(
        member_id=message.member_id,
        epoch=message.member_epoch,
        topology_epoch=message.topology_epoch,
        process_id=message.process_id,
        client_id=message.client_id,
        client_host=message.client_host.lstrip("/"),
        rack_id=message.rack_id,
        endpoint=None if endpoint is None else (endpoint.host, endpoint.port),
        assigned=_assignment(message.assignment),
        target=_assignment(message.target_assignment),
        client_tags=tuple((tag.key, tag.value) for tag in message.client_tags),
        offsets=_offsets(message.task_offsets),
        ends=_offsets(message.task_end_offsets),
    )


def _offsets(messages: Iterable[Any]) -> dict[Task, int]:
    return {(each.subtopology_id, int(each.partition)): int(each.offset) for each in messages}


def _assignment(message: Any) -> Tasks:
    return Tasks(
        _tasks(message.active_tasks),
        _tasks(message.standby_tasks),
        _tasks(message.warmup_tasks),
    )


def _tasks(messages: Iterable[Any]) -> frozenset[Task]:
    return frozenset((each.subtopology_id, int(p)) for each in messages for p in each.partitions)

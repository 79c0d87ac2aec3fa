"""StreamsGroupDescribe: a group as its committed records tell it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamkit.protocol import kio_import as _kio_import  # noqa: F401  # before any of kio

# isort: split
from kio.schema.streams_group_describe.v0 import response as rs
from kio.schema.types import GroupId, TopicName
from kio.static.primitive import i16, i32, i64, u16

from streamkit.broker.coordinators.group.streams.model import Member, StreamsGroup
from streamkit.protocol.errors import ErrorCode
from streamkit.rebalance.assignor import Task, Tasks, group_tasks
from streamkit.rebalance.rules import (
    ConfiguredSubtopology,
    GroupSubtopology,
    InternalTopic,
    PartitionsOf,
    configure,
)

if TYPE_CHECKING:
    from streamkit.broker.coordinators.group.state import GroupShard

NO_OPERATIONS = i32(-2147483648)
QUEUED_SHOWN_MAX = 8


@dataclass(frozen=True, slots=True)
class Silence:
    """Who is not heard of: members whose last heartbeat is older than `longest_ms` at `now_ms`."""

    now_ms: int
    longest_ms: int
    session_timeout_ms: int


def describe(
    shard: GroupShard,
    group_id: str,
    partitions_of: PartitionsOf,
    silence: Silence | None = None,
) -> rs.DescribedGroup:
    """The group, or GROUP_ID_NOT_FOUND in its place."""
    group = shard.streams.get(group_id)
    if group is None:
        message = f"Group {group_id} not found."
        return described_error(group_id, ErrorCode.group_id_not_found, message)
    return rs.DescribedGroup(
        error_code=ErrorCode.none,
        error_message=_note(group, silence),
        group_id=GroupId(group_id),
        group_state=group.state.value,
        group_epoch=i32(group.epoch),
        assignment_epoch=i32(group.assignment_epoch),
        topology=_topology(group, partitions_of),
        members=tuple(_member(group, member) for member in group.member_list),
        authorized_operations=NO_OPERATIONS,
    )


def _note(group: StreamsGroup, silence: Silence | None) -> str | None:
    """What goes beside error code 0: what the group waits for, and why it was rebalanced."""
    if not group.soft.history.is_told:
        return None
    told = [*_stalls(group, silence), group.soft.history.text()]
    return " ".join(text for text in told if text) or None


def _stalls(group: StreamsGroup, silence: Silence | None) -> Iterator[str]:
    soft = group.soft
    if not group.members:
        return
    if soft.shutdown_member_id is not None:
        yield f"Member {soft.shutdown_member_id} asked all members to stop."
    problem = None if soft.configured is None else soft.configured.problem
    if problem is not None:
        failed = "".join(f" {name}: {text}." for name, (text, _) in soft.creation_errors.items())
        yield f"Not ready: {problem.detail.rstrip('.')}.{failed}"
    if silence is not None:
        for member_id, heard_ms in sorted(soft.heard_ms.items()):
            if silence.now_ms - heard_ms > silence.longest_ms:
                yield (
                    f"Member {member_id} has not been heard of for {silence.now_ms - heard_ms} ms; "
                    f"its tasks go to others after {silence.session_timeout_ms} ms."
                )
    queued = soft.progress.queued
    if queued:
        listed = ", ".join(
            f"{m.task[0]}_{m.task[1]} to {m.heir}" for m in queued[:QUEUED_SHOWN_MAX]
        )
        left = len(queued) - QUEUED_SHOWN_MAX
        more = f" and {left} more" if left > 0 else ""
        yield f"Waiting for a place to warm up (streams.num.warmup.replicas): {listed}{more}."


def described_error(group_id: str, code: ErrorCode, message: str) -> rs.DescribedGroup:
    """A group that cannot be described."""
    return rs.DescribedGroup(
        error_code=code,
        error_message=message or None,
        group_id=GroupId(group_id),
        group_state="",
        group_epoch=i32(0),
        assignment_epoch=i32(0),
        topology=None,
        members=(),
        authorized_operations=NO_OPERATIONS,
    )


def _topology(group: StreamsGroup, partitions_of: PartitionsOf) -> rs.Topology | None:
    topology = group.topology
    if topology is None:
        return None
    shown: Iterable[ConfiguredSubtopology | GroupSubtopology] = topology.subtopologies
    if group.validated_topology_epoch == topology.epoch:
        configured = group.soft.configured or configure(topology, partitions_of)
        shown = configured.subtopologies or topology.subtopologies
    return rs.Topology(
        epoch=i32(topology.epoch), subtopologies=tuple(_subtopology(each) for each in shown)
    )


def _subtopology(each: ConfiguredSubtopology | GroupSubtopology) -> rs.Subtopology:
    return rs.Subtopology(
        subtopology_id=each.id,
        source_topics=_names(each.source_topics),
        repartition_sink_topics=_names(each.repartition_sinks),
        state_changelog_topics=_topics(each.changelogs),
        repartition_source_topics=_topics(each.repartition_sources),
    )


def _names(names: Iterable[str]) -> tuple[TopicName, ...]:
    return tuple(TopicName(name) for name in sorted(names))


def _topics(topics: Iterable[InternalTopic]) -> tuple[rs.TopicInfo, ...]:
    return tuple(
        rs.TopicInfo(
            name=TopicName(topic.name),
            partitions=i32(topic.partitions),
            replication_factor=i16(topic.replication_factor),
            topic_configs=tuple(rs.KeyValue(key=key, value=value) for key, value in topic.configs),
        )
        for topic in sorted(topics, key=lambda topic: topic.name)
    )


def _member(group: StreamsGroup, member: Member) -> rs.Member:
    said = member.metadata
    endpoint = member.endpoint
    report = group.soft.progress.report_of(member.member_id)
    return rs.Member(
        member_id=member.member_id,
        member_epoch=i32(member.epoch),
        instance_id=None,
        rack_id=None if said is None else said.rack_id,
        client_id="" if said is None else said.client_id,
        client_host="" if said is None else said.client_host,
        topology_epoch=i32(-1 if said is None else said.topology_epoch),
        process_id=member.process_id,
        user_endpoint=None
        if endpoint is None
        else rs.Endpoint(host=endpoint.host, port=u16(endpoint.port)),
        client_tags=tuple(
            rs.KeyValue(key=tag.key, value=tag.value)
            for tag in (said.client_tags if said is not None else ())
        ),
        task_offsets=_offsets(report.offsets),
        task_end_offsets=_offsets(report.ends),
        assignment=_assignment(member.assigned.tasks),
        target_assignment=_assignment(group.target_of(member.member_id)),
        is_classic=False,
    )


def _offsets(offsets: Mapping[Task, int]) -> tuple[rs.TaskOffset, ...]:
    return tuple(
        rs.TaskOffset(subtopology_id=name, partition=i32(partition), offset=i64(offset))
        for (name, partition), offset in sorted(offsets.items())
    )


def _assignment(tasks: Tasks) -> rs.Assignment:
    return rs.Assignment(
        active_tasks=_tasks(tasks.active),
        standby_tasks=_tasks(tasks.standby),
        warmup_tasks=_tasks(tasks.warmup),
    )


def _tasks(tasks: Iterable[Task]) -> tuple[rs.TaskIds, ...]:
    return tuple(
        rs.TaskIds(subtopology_id=subtopology_id, partitions=tuple(map(i32, partitions)))
        for subtopology_id, partitions in group_tasks(tasks).items()
    )

"""What a StreamsGroupHeartbeat must look like, before anything is asked of the group.

The order and the words are those of Kafka 4.3 (GroupCoordinatorService, KafkaApis): topology
names first, then features not supported yet, then the shape. Task offsets and warm-up tasks are an
extension of ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from streamkit.broker.coordinators.group.streams.messages import HeartbeatRequest
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.units import to_ms

JOIN_EPOCH = 0
LEAVE_EPOCH = -1
LEAVE_STATIC_EPOCH = -2
_TOPIC_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_INTERNAL_TOPICS = frozenset({"__consumer_offsets", "__transaction_state", "__share_group_state"})


def check_shape(request: HeartbeatRequest, *, takes_task_offsets: bool = False) -> None:
    """Raises ApiError when no group could take the request."""
    if request.topology is not None:
        _check_topic_names(request.topology)
    _check_features(request, takes_task_offsets=takes_task_offsets)
    _check_identity(request)
    if request.member_epoch == JOIN_EPOCH:
        _check_join(request)
    elif request.topology is not None:
        raise _invalid("Topology can only be provided when (re-)joining.")
    offsets = (request.task_offsets, request.task_end_offsets)
    if (offsets[0] is None) != (offsets[1] is None):
        raise _invalid("TaskOffsets and TaskEndOffsets must be given together.")
    lists = (request.active_tasks, request.standby_tasks, request.warmup_tasks)
    if any(tasks is None for tasks in lists) and any(tasks is not None for tasks in lists):
        raise _invalid("If one task-type is non-null, all must be non-null.")
    if request.topology is not None:
        _check_topology(request.topology)


def _check_topic_names(topology: Any) -> None:
    names = sorted(set(_topic_names(topology)))
    bad = [name for name in names if not _TOPIC_NAME.fullmatch(name) or name in (".", "..")]
    if bad:
        raise _invalid_topology(f"Topic names {','.join(bad)} are not valid topic names.")
    internal = [name for name in names if name in _INTERNAL_TOPICS]
    if internal:
        raise _invalid_topology(
            f"Use of Kafka internal topics {','.join(internal)} in a Kafka Streams topology "
            "is prohibited."
        )


def _topic_names(topology: Any) -> Iterable[str]:
    for subtopology in topology.subtopologies:
        yield from subtopology.source_topics
        yield from subtopology.repartition_sink_topics
        yield from (topic.name for topic in subtopology.repartition_source_topics)
        yield from (topic.name for topic in subtopology.state_changelog_topics)


def _check_features(request: HeartbeatRequest, *, takes_task_offsets: bool) -> None:
    if request.instance_id is not None:
        raise _invalid("Static membership is not yet supported.")
    if request.task_offsets is not None and not takes_task_offsets:
        raise _invalid("TaskOffsets are not supported yet.")
    if request.task_end_offsets is not None and not takes_task_offsets:
        raise _invalid("TaskEndOffsets are not supported yet.")
    if request.warmup_tasks and not takes_task_offsets:
        raise _invalid("WarmupTasks are not supported yet.")
    for subtopology in request.topology.subtopologies if request.topology else ():
        if subtopology.source_topic_regex:
            raise _invalid("Regular expressions for source topics are not supported yet.")


def _check_identity(request: HeartbeatRequest) -> None:
    if not request.member_id:
        raise _invalid("MemberId can't be empty.")
    if not request.group_id:
        raise _invalid("GroupId can't be empty.")
    if request.rack_id == "":
        raise _invalid("RackId can't be empty.")
    epoch = request.member_epoch
    if epoch < LEAVE_STATIC_EPOCH:
        raise _invalid(f"MemberEpoch is {epoch}, but must be greater than or equal to -2.")
    if epoch == LEAVE_STATIC_EPOCH:
        raise _invalid("InstanceId can't be null.")


def _check_join(request: HeartbeatRequest) -> None:
    if to_ms(request.rebalance_timeout) == -1:
        raise _invalid("RebalanceTimeoutMs must be provided in first request.")
    if request.topology is None:
        raise _invalid("Topology must be non-null when (re-)joining.")
    lists = {
        "ActiveTasks": request.active_tasks,
        "StandbyTasks": request.standby_tasks,
        "WarmupTasks": request.warmup_tasks,
    }
    for name, tasks in lists.items():
        if tasks is None or tasks:
            raise _invalid(f"{name} must be empty when (re-)joining.")


def _check_topology(topology: Any) -> None:
    for subtopology in topology.subtopologies:
        for changelog in subtopology.state_changelog_topics:
            if changelog.partitions != 0:
                raise _invalid_topology(
                    f"Changelog topic {changelog.name} must have an undefined partition count, "
                    f"but it is set to {changelog.partitions}."
                )
        _check_indexes(subtopology)


def _check_indexes(subtopology: Any) -> None:
    sources = range(len(subtopology.source_topics))
    repartition = range(len(subtopology.repartition_source_topics))
    for group in subtopology.copartition_groups:
        if any(index not in sources for index in group.source_topics) or any(
            index not in repartition for index in group.repartition_source_topics
        ):
            raise _invalid_topology(
                f"A copartition group of subtopology {subtopology.subtopology_id} names a topic "
                "that is not there."
            )


def _invalid(message: str) -> ApiError:
    return ApiError(ErrorCode.invalid_request, message)


def _invalid_topology(message: str) -> ApiError:
    return ApiError(ErrorCode.streams_invalid_topology, message)

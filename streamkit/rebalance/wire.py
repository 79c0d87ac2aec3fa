"""StreamsGroupHeartbeat's messages to and from the values of this package.

The member's topology goes out as the Java client sends it: everything sorted by name, co-partition
groups in their order as indexes into the sorted arrays.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from streamkit.protocol import kio_import as _kio_import  # noqa: F401  # before any of kio

# isort: split
from kio.schema.streams_group_heartbeat.v0 import request as rq
from kio.schema.streams_group_heartbeat.v0 import response as rs
from kio.schema.types import TopicName
from kio.static.primitive import i16, i32, i32Timedelta

from streamkit.common.model import TopicPartition
from streamkit.rebalance.assignor import Task, group_tasks
from streamkit.rebalance.effects import EndpointPartitions
from streamkit.rebalance.rules import GroupSubtopology, GroupTopology, InternalTopic

HeartbeatRequest = rq.StreamsGroupHeartbeatRequest
HeartbeatResponse = rs.StreamsGroupHeartbeatResponse


def timedelta_ms(value_ms: int) -> i32Timedelta:
    """Milliseconds as the type of kio's 32-bit time fields."""
    return i32Timedelta.parse(datetime.timedelta(milliseconds=value_ms))


def milliseconds(value: datetime.timedelta) -> int:
    """kio's time fields as milliseconds."""
    return value // datetime.timedelta(milliseconds=1)


def topology_message(topology: GroupTopology) -> rq.Topology:
    """The topology as a joining member sends it."""
    subtopologies = sorted(topology.subtopologies, key=lambda each: each.id)
    return rq.Topology(
        epoch=i32(topology.epoch),
        subtopologies=tuple(_subtopology_message(each) for each in subtopologies),
    )


def _subtopology_message(subtopology: GroupSubtopology) -> rq.Subtopology:
    sources = sorted(subtopology.source_topics)
    repartition = sorted(subtopology.repartition_sources, key=lambda topic: topic.name)
    return rq.Subtopology(
        subtopology_id=subtopology.id,
        source_topics=tuple(TopicName(name) for name in sources),
        source_topic_regex=(),
        state_changelog_topics=tuple(
            _topic_message(topic, partitions=0)
            for topic in sorted(subtopology.changelogs, key=lambda topic: topic.name)
        ),
        repartition_sink_topics=tuple(
            TopicName(name) for name in sorted(subtopology.repartition_sinks)
        ),
        repartition_source_topics=tuple(
            _topic_message(topic, partitions=topic.partitions) for topic in repartition
        ),
        copartition_groups=tuple(
            _copartition_message(group, sources, [topic.name for topic in repartition])
            for group in subtopology.copartition_groups
        ),
    )


def _topic_message(topic: InternalTopic, partitions: int) -> rq.TopicInfo:
    return rq.TopicInfo(
        name=TopicName(topic.name),
        partitions=i32(partitions),
        replication_factor=i16(topic.replication_factor),
        topic_configs=tuple(
            rq.KeyValue(key=key, value=value) for key, value in sorted(topic.configs)
        ),
    )


def _copartition_message(
    group: Iterable[str], sources: list[str], repartition: list[str]
) -> rq.CopartitionGroup:
    names = tuple(group)
    return rq.CopartitionGroup(
        source_topics=tuple(i16(sources.index(name)) for name in names if name in sources),
        source_topic_regex=(),
        repartition_source_topics=tuple(
            i16(repartition.index(name)) for name in names if name not in sources
        ),
    )


def request_tasks(tasks: Iterable[Task]) -> tuple[rq.TaskIds, ...]:
    """Owned tasks as a request carries them."""
    return tuple(
        rq.TaskIds(subtopology_id=subtopology_id, partitions=tuple(map(i32, partitions)))
        for subtopology_id, partitions in group_tasks(tasks).items()
    )


def tasks_of(message: Iterable[rq.TaskIds | rs.TaskIds]) -> frozenset[Task]:
    """The tasks of a request's or response's list."""
    return frozenset(
        (entry.subtopology_id, int(partition))
        for entry in message
        for partition in entry.partitions
    )


def endpoints_of(
    message: Iterable[rs.EndpointToPartitions],
) -> tuple[EndpointPartitions, ...]:
    """Who answers interactive queries for which partitions."""
    return tuple(
        EndpointPartitions(
            host=entry.user_endpoint.host,
            port=entry.user_endpoint.port,
            active=_partitions(entry.active_partitions),
            standby=_partitions(entry.standby_partitions),
        )
        for entry in message
    )


def _partitions(message: Iterable[rs.TopicPartition]) -> tuple[TopicPartition, ...]:
    return tuple(
        TopicPartition(entry.topic, int(partition))
        for entry in message
        for partition in entry.partitions
    )

"""Who answers interactive queries for which partitions (EndpointToPartitionsManager)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streamkit.protocol import kio_import as _kio_import  # noqa: F401  # before any of kio

# isort: split
from kio.schema.streams_group_heartbeat.v0 import response as rs
from kio.schema.types import TopicName
from kio.static.primitive import i32, u16

from streamkit.broker.coordinators.group.streams.model import Member
from streamkit.broker.coordinators.seams import TopicsView
from streamkit.rebalance.assignor import Task
from streamkit.rebalance.rules import ConfiguredTopology


def endpoint_partitions(
    members: Mapping[str, Member], configured: ConfiguredTopology, topics: TopicsView
) -> tuple[rs.EndpointToPartitions, ...]:
    """One entry for each member with an endpoint: input partitions, changelogs not."""
    entries = []
    for member_id in sorted(members):
        member = members[member_id]
        endpoint = member.endpoint
        if endpoint is None:
            continue
        entries.append(
            rs.EndpointToPartitions(
                user_endpoint=rs.Endpoint(host=endpoint.host, port=u16(endpoint.port)),
                active_partitions=_partitions(member.assigned.active, configured, topics),
                standby_partitions=_partitions(member.assigned.standby, configured, topics),
            )
        )
    return tuple(entries)


def _partitions(
    tasks: Iterable[Task], configured: ConfiguredTopology, topics: TopicsView
) -> tuple[rs.TopicPartition, ...]:
    inputs = {each.id: each.input_topics for each in configured.subtopologies or ()}
    found: dict[str, list[int]] = {}
    for subtopology_id, partition in sorted(tasks):
        for topic in inputs.get(subtopology_id, ()):
            # A task reads only the topics of its sub-topology that have its partition.
            if partition < (topics.partition_count(topic) or 0):
                found.setdefault(topic, []).append(partition)
    return tuple(
        rs.TopicPartition(topic=TopicName(topic), partitions=tuple(map(i32, found[topic])))
        for topic in sorted(found)
    )

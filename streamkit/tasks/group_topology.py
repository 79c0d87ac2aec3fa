"""The topology as the group needs to know it; pure."""

from __future__ import annotations

from collections.abc import Mapping

from streamkit.common.errors import TopologyError
from streamkit.rebalance.rules import GroupSubtopology, GroupTopology, InternalTopic
from streamkit.tasks.settings import StreamsSettings
from streamkit.topology.plan import InternalTopicSpec, Subtopology, Topology


def group_topology(topology: Topology, settings: StreamsSettings, epoch: int = 0) -> GroupTopology:
    """What a joining member tells the coordinator, internal topics with the `topic.` settings.

    To the letter what Kafka Streams tells of the same program: Apache Kafka refuses a member whose
    topology differs from the group's in anything. Raises TopologyError for a source with a pattern.
    """
    refuse_patterns(topology)
    factor = settings.replication_factor
    configs = settings.topic_configs()
    return GroupTopology(
        epoch,
        tuple(_subtopology(part, factor, configs) for part in topology.subtopologies),
    )


def refuse_patterns(topology: Topology) -> None:
    """Raises TopologyError for a source with a pattern: no coordinator takes one from a member."""
    for part in topology.subtopologies:
        for node in part.nodes:
            if node.pattern is not None:
                raise TopologyError(
                    f"source {node.name} reads the topics that match {node.pattern!r}: workers "
                    "cannot, since the coordinator of a streams group assigns topics by name "
                    "(SourceTopicRegex is not implemented, neither in Apache Kafka 4.3 nor here); "
                    "list the topics: app.stream(app.topic(...), app.topic(...))"
                )


def _subtopology(part: Subtopology, factor: int, configs: Mapping[str, str]) -> GroupSubtopology:
    changelogs = {spec.name: spec for spec in (*part.source_changelogs, *part.changelogs)}
    return GroupSubtopology(
        id=str(part.id),
        source_topics=part.source_topics,
        repartition_sources=tuple(
            _internal(spec, factor, configs) for spec in part.repartition_sources
        ),
        repartition_sinks=part.repartition_sinks,
        changelogs=tuple(_internal(spec, factor, configs) for spec in changelogs.values()),
        copartition_groups=part.copartition_groups,
    )


def _internal(spec: InternalTopicSpec, factor: int, configs: Mapping[str, str]) -> InternalTopic:
    merged = {**spec.configs, **configs, **spec.store_configs}
    return InternalTopic(spec.name, spec.partitions or 0, factor, tuple(sorted(merged.items())))

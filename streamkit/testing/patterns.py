"""Sources with a pattern in the test driver: topics join when a test writes to them.

Until then such a source has one topic, whose name is the pattern, as in Kafka's own driver. A
worker refuses patterns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from streamkit.common.model import TopicPartition
from streamkit.tasks.task import StreamTask
from streamkit.topology.plan import NodeSpec, Subtopology, Topology


@dataclass(frozen=True, slots=True)
class Patterns:
    """The sources with a pattern, each with its sub-topology; internal topics match none."""

    sources: tuple[tuple[int, NodeSpec], ...]
    internal: frozenset[str]

    def join(self, topic: str, tasks: Iterable[StreamTask]) -> dict[TopicPartition, StreamTask]:
        """Have tasks read a topic that matches; which do, by partition."""
        if topic in self.internal:
            return {}
        for part, spec in self.sources:
            pattern = spec.pattern or ""
            if re.fullmatch(pattern, topic):
                owners = [task for task in tasks if task.id.subtopology == part]
                for task in owners:
                    task.read_also(topic, spec.make, like=pattern)
                return {TopicPartition(topic, task.id.partition): task for task in owners}
        return {}


def patterns_of(topology: Topology) -> Patterns:
    """What may join."""
    internal = {
        topic.name
        for part in topology.subtopologies
        for topic in (*part.changelogs, *part.repartition_sources)
    }
    sources = [
        (part.id, spec)
        for part in topology.subtopologies
        for spec in part.nodes
        if spec.pattern is not None
    ]
    return Patterns(tuple(sources), frozenset(internal))


def with_pattern_topics(part: Subtopology) -> Subtopology:
    """A sub-topology whose patterns are topics."""
    nodes = tuple(
        spec if spec.pattern is None else replace(spec, topics=(spec.pattern,))
        for spec in part.nodes
    )
    return replace(part, nodes=nodes, source_topics=part.source_topics + part.source_patterns)

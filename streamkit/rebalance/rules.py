"""The topology of a streams group, and how many partitions and tasks it comes to.

Both ends share these values: the member sends them, the coordinator stores and configures them.
Sub-topology ids are texts, as on the wire. Everything here is a function of its arguments. The
rules are those of Kafka's InternalTopicManager, RepartitionTopics, ChangelogTopics and
CopartitionedTopicsEnforcer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

from streamkit.common.errors import StreamkitError

PartitionsOf = Callable[[str], int | None]
"""How many partitions a topic has in the cluster; None when there is no such topic."""


class StatusCode(IntEnum):
    """What a heartbeat's answer says of the group besides the assignment."""

    STALE_TOPOLOGY = 0
    MISSING_SOURCE_TOPICS = 1
    INCORRECTLY_PARTITIONED_TOPICS = 2
    MISSING_INTERNAL_TOPICS = 3
    SHUTDOWN_APPLICATION = 4
    ASSIGNMENT_DELAYED = 5


_UNEQUAL = "do not have the same number of partitions"
_UNLIKE_SOURCE = "of the source topic"
_OTHER_COUNT = "has different number of partitions"


class InvalidTopologyError(StreamkitError):
    """The topology contradicts itself (STREAMS_INVALID_TOPOLOGY)."""


@dataclass(frozen=True, slots=True)
class InternalTopic:
    """A repartition or changelog topic; 0 partitions: derived, 0 replicas: cluster default."""

    name: str
    partitions: int = 0
    replication_factor: int = 0
    configs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class GroupSubtopology:
    """One sub-topology as the group knows it: topics by name, tasks not yet counted."""

    id: str
    source_topics: tuple[str, ...] = ()
    repartition_sources: tuple[InternalTopic, ...] = ()
    repartition_sinks: tuple[str, ...] = ()
    changelogs: tuple[InternalTopic, ...] = ()
    copartition_groups: tuple[tuple[str, ...], ...] = ()

    @property
    def input_topics(self) -> tuple[str, ...]:
        """External sources first, then repartition sources."""
        return self.source_topics + tuple(topic.name for topic in self.repartition_sources)

    @property
    def is_stateful(self) -> bool:
        return bool(self.changelogs)


@dataclass(frozen=True, slots=True)
class GroupTopology:
    """The topology that a group runs; a changed one needs a higher epoch."""

    epoch: int
    subtopologies: tuple[GroupSubtopology, ...]

    @property
    def required_topics(self) -> tuple[str, ...]:
        """Every topic the topology reads or writes its state to, sorted, each once."""
        names: set[str] = set()
        for subtopology in self.subtopologies:
            names.update(subtopology.input_topics)
            names.update(topic.name for topic in subtopology.changelogs)
        return tuple(sorted(names))

    @property
    def source_topics(self) -> tuple[str, ...]:
        """The topics whose records tasks read: external and repartition sources, sorted."""
        return tuple(sorted({name for each in self.subtopologies for name in each.input_topics}))


@dataclass(frozen=True, slots=True)
class ConfiguredSubtopology:
    """A sub-topology whose internal topics have counts; `tasks` is its number of tasks."""

    id: str
    tasks: int
    source_topics: tuple[str, ...]
    repartition_sources: tuple[InternalTopic, ...]
    repartition_sinks: tuple[str, ...]
    changelogs: tuple[InternalTopic, ...]

    @property
    def input_topics(self) -> tuple[str, ...]:
        """External sources first, then repartition sources."""
        return self.source_topics + tuple(topic.name for topic in self.repartition_sources)

    @property
    def is_stateful(self) -> bool:
        return bool(self.changelogs)


@dataclass(frozen=True, slots=True)
class TopologyProblem:
    """Why a topology cannot run yet: a status code and a detail for people."""

    status: StatusCode
    detail: str


@dataclass(frozen=True, slots=True)
class ConfiguredTopology:
    """The outcome of `configure`: counts where they are known, topics to create, a problem."""

    epoch: int
    subtopologies: tuple[ConfiguredSubtopology, ...] | None
    missing_internal: tuple[InternalTopic, ...] = ()
    problem: TopologyProblem | None = None

    @property
    def is_ready(self) -> bool:
        return self.problem is None and self.subtopologies is not None

    def tasks_of(self, subtopology_id: str) -> int | None:
        """The number of tasks of a sub-topology; None when there is no such one."""
        for subtopology in self.subtopologies or ():
            if subtopology.id == subtopology_id:
                return subtopology.tasks
        return None


def way_on(status: int, detail: str) -> str:
    """What a user does about a status of a group; empty when that is not known."""
    if status == StatusCode.MISSING_SOURCE_TOPICS:
        return "make them, then start the worker again"
    if status != StatusCode.INCORRECTLY_PARTITIONED_TOPICS:
        return ""
    if _OTHER_COUNT in detail:
        return (
            "its number follows from the input topics, or from .repartition(partitions=N), and "
            "that was another when it was made: reset the application (streamkit reset PROGRAM), "
            "which makes it anew, or give it another id"
        )
    if _UNEQUAL in detail or _UNLIKE_SOURCE in detail:
        return (
            "topics that are joined have equal numbers of partitions: make them so, or put "
            ".repartition(partitions=N) before the join"
        )
    return ""


class _MisfitError(Exception):
    """Raised inside `configure` to end it with a problem instead of counts."""

    def __init__(self, problem: TopologyProblem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def configure(topology: GroupTopology, partitions_of: PartitionsOf) -> ConfiguredTopology:
    """Count partitions and tasks, and find what is missing or does not fit.

    Raises InvalidTopologyError when no cluster could ever run the topology.
    """
    try:
        _require_source_topics(topology, partitions_of)
        counts = decide_partition_counts(topology, partitions_of)
        subtopologies = tuple(
            _configured(subtopology, counts, partitions_of)
            for subtopology in sorted(topology.subtopologies, key=lambda each: each.id)
        )
        missing = _missing_internal_topics(subtopologies, partitions_of)
    except _MisfitError as misfit:
        return ConfiguredTopology(topology.epoch, None, (), misfit.problem)
    problem = None
    if missing:
        names = ", ".join(topic.name for topic in missing)
        detail = f"Internal topics are missing: {names}"
        problem = TopologyProblem(StatusCode.MISSING_INTERNAL_TOPICS, detail)
    return ConfiguredTopology(topology.epoch, subtopologies, missing, problem)


def decide_partition_counts(
    topology: GroupTopology, partitions_of: PartitionsOf
) -> Mapping[str, int]:
    """The partition count of every internal topic, by name."""
    counts = _repartition_counts(topology, partitions_of)
    flexible = {
        topic.name
        for subtopology in topology.subtopologies
        for topic in subtopology.repartition_sources
        if topic.partitions == 0
    }
    for subtopology in topology.subtopologies:
        for group in subtopology.copartition_groups:
            _copartition(group, flexible, counts, partitions_of)
    sources = {name for each in topology.subtopologies for name in each.source_topics}
    for subtopology in topology.subtopologies:
        inputs = [_count_of(name, counts, partitions_of) or 0 for name in subtopology.input_topics]
        for changelog in subtopology.changelogs:
            # A source that serves as changelog is as large as others made it.
            known = partitions_of(changelog.name) if changelog.name in sources else None
            counts[changelog.name] = known or max(inputs, default=0)
    return counts


def _require_source_topics(topology: GroupTopology, partitions_of: PartitionsOf) -> None:
    missing = sorted(
        {
            name
            for subtopology in topology.subtopologies
            for name in subtopology.source_topics
            if partitions_of(name) is None
        }
    )
    if missing:
        detail = f"Source topics {', '.join(missing)} are missing."
        raise _MisfitError(TopologyProblem(StatusCode.MISSING_SOURCE_TOPICS, detail))


def _repartition_counts(topology: GroupTopology, partitions_of: PartitionsOf) -> dict[str, int]:
    """Counts given by the topology, then counts derived from what is upstream, to a fixed point."""
    counts: dict[str, int] = {}
    undecided: list[str] = []
    for subtopology in topology.subtopologies:
        for topic in subtopology.repartition_sources:
            if topic.partitions:
                counts[topic.name] = topic.partitions
            elif topic.name not in undecided:
                undecided.append(topic.name)
    while undecided:
        left = []
        for name in undecided:
            count = _upstream_count(name, topology, counts, partitions_of)
            if count is None:
                left.append(name)
            else:
                counts[name] = count
        if len(left) == len(undecided):
            names = ", ".join(sorted(left))
            raise InvalidTopologyError(
                f"Failed to compute the number of partitions of repartition topics {names}: "
                "nobody writes to them, or they depend on each other."
            )
        undecided = left
    return counts


def _upstream_count(
    name: str, topology: GroupTopology, counts: Mapping[str, int], partitions_of: PartitionsOf
) -> int | None:
    """The largest known input of the first sub-topology that writes to `name` and has one."""
    for subtopology in topology.subtopologies:
        if name not in subtopology.repartition_sinks:
            continue
        external = [partitions_of(topic) for topic in subtopology.source_topics]
        internal = [counts.get(topic.name) for topic in subtopology.repartition_sources]
        known = [count for count in external + internal if count is not None]
        if known:
            return max(known)
    return None


def _count_of(name: str, counts: Mapping[str, int], partitions_of: PartitionsOf) -> int | None:
    decided = counts.get(name)
    return partitions_of(name) if decided is None else decided


def _copartition(
    group: Iterable[str],
    flexible: set[str],
    counts: dict[str, int],
    partitions_of: PartitionsOf,
) -> None:
    """Give flexible repartition topics of a group its count; the others must have it already."""
    names = sorted(set(group))
    if not names:
        return
    repartition = {name: counts[name] for name in names if name in counts}
    external = {name: partitions_of(name) for name in names if name not in counts}
    fixed = {name: count for name, count in repartition.items() if name not in flexible}
    binding = external or fixed
    if len(set(binding.values())) > 1:
        listed = ", ".join(f"{name}={count}" for name, count in sorted(binding.items()))
        detail = f"Following topics {_UNEQUAL}: [{{{listed}}}]"
        raise _MisfitError(TopologyProblem(StatusCode.INCORRECTLY_PARTITIONED_TOPICS, detail))
    wanted = next(iter(binding.values()), None) or max(repartition.values())
    for name, count in sorted(fixed.items()):
        if count != wanted:
            detail = (
                f"Number of partitions [{count}] of repartition topic [{name}] doesn't match "
                f"number of partitions [{wanted}] {_UNLIKE_SOURCE}."
            )
            raise _MisfitError(TopologyProblem(StatusCode.INCORRECTLY_PARTITIONED_TOPICS, detail))
    for name in repartition:
        counts[name] = wanted


def _configured(
    subtopology: GroupSubtopology, counts: Mapping[str, int], partitions_of: PartitionsOf
) -> ConfiguredSubtopology:
    inputs = [_count_of(name, counts, partitions_of) for name in subtopology.input_topics]
    tasks = max((count for count in inputs if count is not None), default=0)
    if tasks == 0:
        raise InvalidTopologyError(f"No source topics found for subtopology {subtopology.id}")
    return ConfiguredSubtopology(
        id=subtopology.id,
        tasks=tasks,
        source_topics=subtopology.source_topics,
        repartition_sources=_with_counts(subtopology.repartition_sources, counts),
        repartition_sinks=subtopology.repartition_sinks,
        changelogs=_with_counts(subtopology.changelogs, counts),
    )


def _with_counts(
    topics: Iterable[InternalTopic], counts: Mapping[str, int]
) -> tuple[InternalTopic, ...]:
    return tuple(replace(topic, partitions=counts[topic.name]) for topic in topics)


def _missing_internal_topics(
    subtopologies: Iterable[ConfiguredSubtopology], partitions_of: PartitionsOf
) -> tuple[InternalTopic, ...]:
    missing: dict[str, InternalTopic] = {}
    for subtopology in subtopologies:
        for topic in subtopology.repartition_sources + subtopology.changelogs:
            found = partitions_of(topic.name)
            if found is None:
                missing[topic.name] = topic
            elif found != topic.partitions:
                detail = (
                    f"Existing topic {topic.name} {_OTHER_COUNT}: "
                    f"expected {topic.partitions}, found {found}"
                )
                raise _MisfitError(
                    TopologyProblem(StatusCode.INCORRECTLY_PARTITIONED_TOPICS, detail)
                )
    return tuple(missing[name] for name in sorted(missing))

"""What a deploy would orphan: a topology beside the one that was deployed before.

Plain values in and out. The former topology is its JSON (`topology describe --format json`), or
what the cluster knows of it: the group's sub-topologies, or the names of the internal topics alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from streamkit.topology.plan import Topology

_GENERATED = re.compile(r"[A-Z]+-([A-Z]+-)*\d{10}")
CHANGELOG = "-changelog"
REPARTITION = "-repartition"


@dataclass(frozen=True, slots=True)
class Outline:
    """What of a topology outlives a deploy; `stores` and topics by their sub-topology.

    `is_whole` False: only internal topics are known, and not to which sub-topology they belong.
    `is_running` True: `partitions` are those of topics that exist, also where the program leaves
    the count to its inputs.
    """

    sources: frozenset[str] = frozenset()
    changelogs: Mapping[str, int] = field(default_factory=dict)
    repartitions: Mapping[str, int] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)
    partitions: Mapping[str, int] = field(default_factory=dict)
    is_whole: bool = True
    is_running: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One difference; `is_loss` when something is left behind or begins empty in its place."""

    what: str
    name: str
    text: str
    is_loss: bool


def outline_of(topology: Topology) -> Outline:
    """That of a compiled topology."""
    parts = topology.subtopologies
    repartitions = [(topic, part.id) for part in parts for topic in part.repartition_sources]
    return Outline(
        sources=frozenset(topic for part in parts for topic in part.source_topics),
        changelogs={topic.name: part.id for part in parts for topic in part.changelogs},
        repartitions={topic.name: number for topic, number in repartitions},
        kinds={
            f"{topology.application_id}-{store.name}{CHANGELOG}": store.kind.value
            for part in parts
            for store in part.stores
        },
        partitions={
            topic.name: topic.partitions
            for topic, _ in repartitions
            if topic.partitions is not None
        },
    )


def outline_of_document(document: Mapping[str, Any]) -> Outline:
    """That of the JSON of a topology. Raises KeyError for JSON of something else."""
    parts = document["subtopologies"]
    prefix = document["application_id"]
    return Outline(
        sources=frozenset(topic for part in parts for topic in part["source_topics"]),
        changelogs={t["name"]: part["id"] for part in parts for t in part["changelogs"]},
        repartitions={t["name"]: part["id"] for part in parts for t in part["repartition_sources"]},
        kinds={
            f"{prefix}-{store['name']}{CHANGELOG}": store["kind"]
            for part in parts
            for store in part["stores"]
        },
        partitions={
            t["name"]: t["partitions"]
            for part in parts
            for t in part["repartition_sources"]
            if t["partitions"] is not None
        },
    )


def outline_of_group(subtopologies: Iterable[Any]) -> Outline:
    """That of the topology which a streams group runs, as its coordinator describes it."""
    parts = list(subtopologies)
    numbers = {id(part): int(part.subtopology_id) for part in parts}
    return Outline(
        sources=frozenset(str(topic) for part in parts for topic in part.source_topics),
        changelogs={
            str(topic.name): numbers[id(part)]
            for part in parts
            for topic in part.state_changelog_topics
            if topic.name not in part.source_topics
        },
        repartitions={
            str(topic.name): numbers[id(part)]
            for part in parts
            for topic in part.repartition_source_topics
        },
        partitions={
            str(topic.name): int(topic.partitions)
            for part in parts
            for topic in part.repartition_source_topics
            if topic.partitions
        },
        is_running=True,
    )


def outline_of_topics(application_id: str, topics: Iterable[str]) -> Outline:
    """What the internal topics on a cluster say."""
    own = [topic for topic in topics if topic.startswith(f"{application_id}-")]
    return Outline(
        changelogs={topic: -1 for topic in own if topic.endswith(CHANGELOG)},
        repartitions={topic: -1 for topic in own if topic.endswith(REPARTITION)},
        is_whole=False,
    )


def changes(before: Outline, after: Outline) -> list[Change]:
    """What a deploy of the second over the first changes, losses first."""
    found = [
        *_stores(before, after),
        *_repartitions(before, after),
        *_sources(before, after),
    ]
    return sorted(found, key=lambda change: (not change.is_loss, change.what, change.name))


def generated(outline: Outline) -> list[str]:
    """Internal topics whose names come from the order of operators, and move with it."""
    topics = (*outline.changelogs, *outline.repartitions)
    return sorted(topic for topic in topics if _GENERATED.search(topic))


def _stores(before: Outline, after: Outline) -> Iterable[Change]:
    for topic, part in before.changelogs.items():
        if topic not in after.changelogs:
            text = "its store is no more: the state in it is orphaned"
            yield Change("store", topic, text, True)
            continue
        kinds = before.kinds.get(topic), after.kinds.get(topic)
        if None not in kinds and kinds[0] != kinds[1]:
            text = f"was a {kinds[0]} store and is a {kinds[1]} store: its rows cannot be read"
            yield Change("store", topic, text, True)
        elif before.is_whole and part != after.changelogs[topic]:
            text = (
                f"moves from sub-topology {part} to {after.changelogs[topic]}: it is restored from "
                "its changelog"
            )
            yield Change("store", topic, text, False)
    for topic in after.changelogs:
        if topic not in before.changelogs:
            yield Change("store", topic, "is new, and begins empty", False)


def _repartitions(before: Outline, after: Outline) -> Iterable[Change]:
    for topic in before.repartitions:
        if topic not in after.repartitions:
            text = "is read no more: records in it that are not processed yet are orphaned"
            yield Change("repartition topic", topic, text, True)
            continue
        counts = before.partitions.get(topic), after.partitions.get(topic)
        is_left_open = before.is_running and counts[1] is None
        if before.is_whole and counts[0] != counts[1] and not is_left_open:
            text = f"had {counts[0] or 'derived'} partitions and has {counts[1] or 'derived'}"
            yield Change("repartition topic", topic, text, True)
    for topic in after.repartitions:
        if topic not in before.repartitions:
            yield Change("repartition topic", topic, "is new", False)


def _sources(before: Outline, after: Outline) -> Iterable[Change]:
    if not before.is_whole:
        return
    for topic in sorted(before.sources - after.sources):
        text = "is read no more: its committed offsets are left behind"
        yield Change("input topic", topic, text, True)
    for topic in sorted(after.sources - before.sources):
        yield Change("input topic", topic, "is new", False)

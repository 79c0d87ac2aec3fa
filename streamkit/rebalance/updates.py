"""Whether a topology may take the place of another while the group runs; pure.

It may when tasks stay what they are: every sub-topology keeps its number, its inputs and their
partitions, and no state is dropped. New sub-topologies, new stores and new repartition sinks may
come, as soon as the topics that they read are there.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from streamkit.common.errors import UsageError
from streamkit.rebalance.description import DescribedGroup, DescribedSubtopology
from streamkit.rebalance.rules import (
    GroupSubtopology,
    GroupTopology,
    InternalTopic,
    InvalidTopologyError,
    PartitionsOf,
    StatusCode,
    configure,
    way_on,
)


def differences(known: GroupTopology, wanted: GroupTopology) -> list[str]:
    """Why `wanted` cannot follow on `known` without a reset; empty: it can."""
    later = {each.id: each for each in wanted.subtopologies}
    found: list[str] = []
    for each in known.subtopologies:
        if each.id not in later:
            found.append(f"sub-topology {each.id} is gone")
        else:
            found += _changes(each, later[each.id])
    return found + recounted(known.subtopologies, wanted.subtopologies)


def recounted(
    known: Iterable[DescribedSubtopology | GroupSubtopology], wanted: Iterable[GroupSubtopology]
) -> list[str]:
    """What becomes of repartition topics that are asked for with another number than they have.

    0 says nothing: the number follows from the input.
    """
    before = {topic.name: topic.partitions for each in known for topic in each.repartition_sources}
    return [
        f"repartition topic {topic.name} has {before[topic.name]} partitions and would have "
        f"{topic.partitions}, so the tasks of sub-topology {each.id} would be others"
        for each in wanted
        for topic in each.repartition_sources
        if 0 != topic.partitions != before.get(topic.name, 0) != 0
    ]


def common(one: GroupTopology, other: GroupTopology) -> tuple[str, ...]:
    """The sub-topologies that both have, by id: they have the same inputs, so the same tasks."""
    inputs = {each.id: _inputs(each) for each in other.subtopologies}
    return tuple(
        sorted(each.id for each in one.subtopologies if inputs.get(each.id) == _inputs(each))
    )


def unfit(wanted: GroupTopology, partitions_of: PartitionsOf) -> str | None:
    """Why no task of `wanted` could run on a cluster now, and what to do.

    None when its topics are there and fit; internal ones that are missing will be made.
    """
    try:
        problem = configure(wanted, partitions_of).problem
    except InvalidTopologyError as error:
        return str(error).rstrip(".")
    if problem is None or problem.status == StatusCode.MISSING_INTERNAL_TOPICS:
        return None
    way = way_on(problem.status, problem.detail)
    return "; ".join(filter(None, (problem.detail.rstrip("."), way)))


def is_same(one: GroupTopology, other: GroupTopology) -> bool:
    """Whether both have the same sub-topologies, whatever their epochs."""
    return {each.id: each for each in one.subtopologies} == {
        each.id: each for each in other.subtopologies
    }


def update_problems(described: DescribedGroup, wanted: GroupTopology) -> list[str] | None:
    """Why a group cannot go on with `wanted`; empty: it can, None: that is what it has."""
    known = _outline(0, described.subtopologies)
    own = _outline(0, wanted.subtopologies)
    counts = recounted(described.subtopologies, wanted.subtopologies)
    return (counts or None) if is_same(known, own) else differences(known, own) + counts


def is_behind(described: DescribedGroup, wanted: GroupTopology) -> bool:
    """Whether the group's topology may have followed on `wanted`, in a rolling upgrade or before.

    The coordinator alone knows whether it had `wanted`. Then a worker of it runs the sub-topologies
    that both have, and a group without other members goes back to it.
    """
    known, own = _outline(0, described.subtopologies), _outline(0, wanted.subtopologies)
    counts = recounted(described.subtopologies, wanted.subtopologies)
    return bool(described.topology_epoch) and not counts and not differences(own, known)


def fingerprint(topology: GroupTopology) -> str:
    """What tells a topology from another, its epoch and the topics' configurations aside."""
    outline = _outline(0, sorted(topology.subtopologies, key=lambda each: each.id))
    return blake2b(repr(outline).encode(), digest_size=8).hexdigest()


def next_epoch(described: DescribedGroup | None, wanted: GroupTopology) -> int:
    """The epoch with which a worker of the topology `wanted` joins a group.

    The group's own when the topology is its topology, the next when it may follow on, the one
    before when the group is ahead: this worker is an old one in a rolling upgrade, or of a program
    that lost something; the coordinator, which knows what the group had, tells them apart. Raises
    UsageError when neither can follow on the other.
    """
    if described is None or described.topology_epoch is None:
        return wanted.epoch
    epoch = described.topology_epoch
    known, own = _outline(epoch, described.subtopologies), _outline(epoch, wanted.subtopologies)
    counts = recounted(described.subtopologies, wanted.subtopologies)
    if is_same(known, own) and not counts:
        return epoch
    forward = differences(known, own) + counts
    if not forward:
        return epoch + 1
    if is_behind(described, wanted):
        return epoch - 1
    raise UsageError(
        f"the group {described.group_id!r} has another topology: {'; '.join(forward)}. Reset the "
        "application (streamkit reset PROGRAM), give it another id, or go back to its program"
    )


def _outline(
    epoch: int, subtopologies: Iterable[DescribedSubtopology | GroupSubtopology]
) -> GroupTopology:
    """What of a topology a description shows: its topics by name."""
    return GroupTopology(
        epoch,
        tuple(
            GroupSubtopology(
                each.id,
                tuple(sorted(each.source_topics)),
                _by_name(each.repartition_sources),
                tuple(sorted(each.repartition_sinks)),
                _by_name(each.changelogs),
            )
            for each in subtopologies
        ),
    )


def _by_name(topics: Iterable[InternalTopic]) -> tuple[InternalTopic, ...]:
    return tuple(InternalTopic(name) for name in sorted(topic.name for topic in topics))


def _changes(known: GroupSubtopology, wanted: GroupSubtopology) -> Iterable[str]:
    before, after = _inputs(known), _inputs(wanted)
    if before != after:
        yield (
            f"sub-topology {known.id} read {_listed(before)} and would read {_listed(after)}, "
            "so its tasks would be others"
        )
    lost = {each.name for each in known.changelogs} - {each.name for each in wanted.changelogs}
    if lost:
        yield f"sub-topology {known.id} would lose the state in {_listed(lost)}"


def _inputs(subtopology: GroupSubtopology) -> set[str]:
    return set(subtopology.input_topics)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"

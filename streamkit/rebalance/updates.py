"""Whether a topology may take the place of another while the group runs; pure.

It may when tasks stay what they are: every sub-topology keeps its number and its inputs, and no
state is dropped. New sub-topologies, new stores and new repartition sinks may come.
"""

from __future__ import annotations

from collections.abc import Iterable

from streamkit.rebalance.rules import GroupSubtopology, GroupTopology


def differences(known: GroupTopology, wanted: GroupTopology) -> list[str]:
    """Why `wanted` cannot follow on `known` without a reset; empty: it can."""
    later = {each.id: each for each in wanted.subtopologies}
    found: list[str] = []
    for each in known.subtopologies:
        if each.id not in later:
            found.append(f"sub-topology {each.id} is gone")
        else:
            found += _changes(each, later[each.id])
    return found


def is_same(one: GroupTopology, other: GroupTopology) -> bool:
    """Whether both have the same sub-topologies, whatever their epochs."""
    return {each.id: each for each in one.subtopologies} == {
        each.id: each for each in other.subtopologies
    }


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

"""The target assignment of a streams group: what the assignor says, but for what warms up first."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial

from streamkit.broker.coordinators.group.records import Record
from streamkit.broker.coordinators.group.streams.config import StreamsConfig
from streamkit.broker.coordinators.group.streams.model import Member, StreamsGroup
from streamkit.broker.coordinators.group.streams.translate import (
    target_metadata_record,
    target_record,
)
from streamkit.broker.coordinators.group.topics_hash import topics_hash
from streamkit.broker.coordinators.seams import TopicsView
from streamkit.rebalance.assignor import (
    EMPTY_TASKS,
    AssignmentMember,
    Task,
    Tasks,
    assign,
    tasks_of,
)
from streamkit.rebalance.balance import heaviest, spread
from streamkit.rebalance.costs import task_costs
from streamkit.rebalance.rules import ConfiguredSubtopology, ConfiguredTopology, GroupTopology
from streamkit.rebalance.warmup import Move, hold_back, settled


def compute_target(
    group: StreamsGroup,
    members: Iterable[Member],
    configured: ConfiguredTopology | None,
    config: StreamsConfig,
) -> dict[str, Tasks]:
    """The target of every member; empty for all until the topology is ready."""
    members = list(members)
    if configured is None or configured.subtopologies is None:
        return {member.member_id: EMPTY_TASKS for member in members}
    takes_updates = config.takes_topology_updates
    has = parts_of_stale(group, members, configured.epoch) if takes_updates else {}
    if not configured.is_ready:
        kept = _unaffected(configured) if takes_updates else frozenset()
        return {
            name: group.target_of(name).within(kept & has.get(name, kept))
            for name in (each.member_id for each in members)
        }
    final = {each.member_id: EMPTY_TASKS for each in members}
    for able, parts in _by_members(members, configured.subtopologies, has):
        for member_id, more in _assigned(group, able, parts, config).items():
            final[member_id] = final[member_id].union(more)
    return _held_back(group, members, final, config)


def parts_of_stale(
    group: StreamsGroup, members: Iterable[Member], topology_epoch: int
) -> dict[str, frozenset[str]]:
    """The sub-topologies that members of older topologies have; the others have all of them.

    Those that a member told; of one that joined before that was noted, those of which it, or
    another one like it, has a task.
    """
    stale = [each for each in members if each.topology_epoch < topology_epoch]
    untold = [each for each in stale if not each.subtopologies]
    seen = frozenset(task[0] for each in untold for task in group.target_of(each.member_id).every)
    return {each.member_id: each.subtopologies or seen for each in stale}


def idle_parts(group: StreamsGroup, members: Iterable[Member], topology: GroupTopology) -> str:
    """A sentence for people on the sub-topologies that no member has; empty: there are none.

    Only where topologies may be updated: the group remembers former ones.
    """
    members = list(members)
    has = parts_of_stale(group, members, topology.epoch) if group.former_topologies else {}
    if len(has) < len(members) or not members:
        return ""
    known = frozenset().union(*has.values())
    idle = sorted(each.id for each in topology.subtopologies if each.id not in known)
    if not idle:
        return ""
    which = (
        f"Sub-topology {idle[0]} runs"
        if len(idle) == 1
        else f"Sub-topologies {', '.join(idle)} run"
    )
    return (
        f"{which} nowhere, since no member's program has it: start a worker of the new program, "
        "or stop all members for the group to go back to the older one."
    )


def _by_members(
    members: Sequence[Member],
    subtopologies: Iterable[ConfiguredSubtopology],
    has: Mapping[str, frozenset[str]],
) -> Iterable[tuple[list[Member], list[ConfiguredSubtopology]]]:
    """Sub-topologies that the same members have, with those members."""
    parts: dict[tuple[str, ...], list[ConfiguredSubtopology]] = {}
    by_id = {each.member_id: each for each in members}
    for part in subtopologies:
        able = tuple(name for name in by_id if name not in has or part.id in has[name])
        parts.setdefault(able, []).append(part)
    return [([by_id[name] for name in able], each) for able, each in parts.items()]


def uneven(
    group: StreamsGroup, configured: ConfiguredTopology | None, config: StreamsConfig
) -> str | None:
    """How much better the tasks could be spread by what they cost now; None when well enough."""
    subtopologies = () if configured is None else configured.subtopologies or ()
    members = list(group.member_list)
    costs = _costs(group, subtopologies, config)
    if costs is None or any(each.topology_epoch < _topology_epoch(group) for each in members):
        return None
    before = {
        task: each.member_id
        for each in settled(_assignment_members(group, members))
        for task in each.previous.active
        if task in costs
    }
    final = _assigned(group, members, subtopologies, config)
    after = {task: member_id for member_id, each in final.items() for task in each.active}
    if not before or after == before:
        return None
    average = sum(costs.values()) / len(members)
    return (
        f"load is uneven: one member has {heaviest(before, costs) / average:.2f} times the "
        f"average, {heaviest(after, costs) / average:.2f} is possible"
    )


def _topology_epoch(group: StreamsGroup) -> int:
    """The topology epoch of the group."""
    return -1 if group.topology is None else group.topology.epoch


def _held_back(
    group: StreamsGroup,
    members: Collection[Member],
    final: dict[str, Tasks],
    config: StreamsConfig,
) -> dict[str, Tasks]:
    """What holds until those tasks that have to wait are warm where they go to."""
    progress = group.soft.progress

    def waits(move: Move) -> bool:
        is_warming = move.task in group.target_of(move.heir).warmup
        return progress.waits(move, config, is_warming=is_warming)

    held = hold_back(final, _assignment_members(group, members), waits, config.warmup_replicas)
    progress.queued = held.queued
    return dict(held.target)


def _costs(
    group: StreamsGroup, subtopologies: Iterable[ConfiguredSubtopology], config: StreamsConfig
) -> dict[Task, float] | None:
    """What each task costs; None when only the number of tasks counts."""
    measures = group.soft.progress.measures()
    costs = task_costs(
        tasks_of(subtopologies),
        config.task_weights,
        measures.busy,
        measures.lags,
        by_lag=config.is_balanced_by_lag,
    )
    return None if costs is None else dict(costs)


def _unaffected(configured: ConfiguredTopology) -> frozenset[str]:
    """The sub-topologies that miss no internal topic: an update does not stop their tasks."""
    missing = {topic.name for topic in configured.missing_internal}
    return frozenset(
        each.id
        for each in configured.subtopologies or ()
        if missing.isdisjoint(topic.name for topic in each.repartition_sources + each.changelogs)
        and missing.isdisjoint(each.repartition_sinks)
    )


def _assigned(
    group: StreamsGroup,
    members: Collection[Member],
    subtopologies: Iterable[ConfiguredSubtopology],
    config: StreamsConfig,
) -> dict[str, Tasks]:
    subtopologies = list(subtopologies)
    progress = group.soft.progress
    ends = progress.measures().ends
    costs = _costs(group, subtopologies, config)
    return assign(
        settled(_assignment_members(group, members)),
        subtopologies,
        config.standby_replicas,
        config.spread_by,
        spread=None if costs is None else partial(spread, costs),
        lag_of=progress.lag_of_copies(ends, config.recovery_lag_max) if ends else None,
    )


def _assignment_members(group: StreamsGroup, members: Collection[Member]) -> list[AssignmentMember]:
    return [
        AssignmentMember(
            each.member_id, each.process_id, group.target_of(each.member_id), each.place
        )
        for each in members
    ]


def target_records(
    group: StreamsGroup, target: dict[str, Tasks], epoch: int, timestamp: int
) -> list[Record]:
    """What of the target is new, then its epoch."""
    records = [
        target_record(group.group_id, member_id, tasks)
        for member_id, tasks in sorted(target.items())
        if group.targets.get(member_id) != tasks
    ]
    return [*records, target_metadata_record(group.group_id, epoch, timestamp)]


def metadata_hash(topology: GroupTopology, topics: TopicsView) -> int:
    """The hash of the topology's topics."""
    return topics_hash(topology.required_topics, topics)

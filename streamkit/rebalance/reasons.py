"""Why a streams group is not stable: which member, which epoch, what it waits for, what to do.

Made from a description alone, so it works for any broker's groups. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from streamkit.rebalance.assignor import Task, Tasks
from streamkit.rebalance.description import DescribedGroup, DescribedMember
from streamkit.rebalance.rules import PartitionsOf

_SHOWN_TASKS_MAX = 8


def reasons(group: DescribedGroup, partitions_of: PartitionsOf) -> list[str]:
    """One sentence for each thing the group waits for; none when it runs as it should."""
    if not group.members:
        return ["The group has no members: start a worker."]
    missing = [name for name in group.source_topics if partitions_of(name) is None]
    if missing:
        return [
            f"Source topics {', '.join(missing)} do not exist: create them, and the group goes on."
        ]
    if group.state == "NotReady":
        return list(_not_ready(group, partitions_of))
    found = list(_stale_topologies(group))
    if group.state == "Assigning":
        found.append(
            f"The target assignment is of epoch {group.assignment_epoch}, the group's epoch is "
            f"{group.epoch}: it is computed with the next heartbeat, after the initial rebalance "
            "delay and the assignment interval."
        )
    found += [*_unreconciled(group), *_warming_up(group)]
    return found + list(_unassigned(group, partitions_of))


def _not_ready(group: DescribedGroup, partitions_of: PartitionsOf) -> Iterator[str]:
    missing = [name for name in group.internal_topics if partitions_of(name) is None]
    if missing:
        yield (
            f"Internal topics {', '.join(missing)} do not exist yet: the coordinator creates them "
            "with the next heartbeat; when it does not, its log or a worker's log says why."
        )
        return
    yield (
        "The topology does not fit its topics: co-partitioned topics, or a topic made with "
        "another partition count (a worker's log names them). Repair the counts, or reset the "
        "application."
    )


def _stale_topologies(group: DescribedGroup) -> Iterator[str]:
    for member in group.members:
        if not _has_program(group, member):
            yield (
                f"Member {member.member_id} runs topology epoch {member.topology_epoch}, the group "
                f"has {group.topology_epoch}: restart it with the new program."
            )


def _unreconciled(group: DescribedGroup) -> Iterator[str]:
    for member in group.members:
        revoked = _minus(member.assigned, member.target)
        if revoked:
            yield (
                f"Member {_named(member)} has to give back {shown(revoked)}: it commits and closes "
                "them first; if it does not, it is removed after its max.poll.interval.ms."
            )
        wanted = _minus(member.target, member.assigned)
        if not wanted:
            if not revoked and member.epoch < group.assignment_epoch:
                yield (
                    f"Member {_named(member)} has not heard of the assignment of epoch "
                    f"{group.assignment_epoch} yet: its next heartbeat tells it."
                )
            continue
        holders = _holders(group, wanted, member)
        if holders:
            listed = ", ".join(f"{other.member_id} (epoch {other.epoch})" for other in holders)
            yield f"Member {_named(member)} waits for {shown(wanted)}, held by {listed}."
        elif not revoked:
            yield f"Member {_named(member)} gets {shown(wanted)} with its next heartbeat."


def _warming_up(group: DescribedGroup) -> Iterator[str]:
    """The tasks that move when they are warm; until then they run where they ran."""
    for member in group.members:
        for task in sorted(member.target.warmup):
            owners = [each for each in group.members if task in each.target.active]
            where = f"stays with {owners[0].member_id}" if owners else "runs nowhere"
            behind = group.behind(task, member)
            far = "it has not said how far it is" if behind is None else f"{behind} offsets behind"
            yield (
                f"Task {shown([task])} {where} until its state is warm on {member.member_id}: "
                f"{far}."
            )


def _unassigned(group: DescribedGroup, partitions_of: PartitionsOf) -> Iterator[str]:
    if group.state == "Assigning":
        return
    targets = {task for member in group.members for task in member.target.active}
    lost = [
        (each.id, partition)
        for each in group.subtopologies
        for partition in range(max((partitions_of(n) or 0 for n in each.input_topics), default=0))
        if (each.id, partition) not in targets
    ]
    absent = _absent(group, lost, {subtopology for subtopology, _ in targets})
    nobodys = [task for task in lost if task[0] in absent]
    if nobodys:
        yield _without_a_program(group, nobodys, absent)
    newer = [task for task in lost if task[0] not in absent]
    if newer:
        yield (
            f"Tasks {shown(newer)} are no member's: their partitions are newer than the "
            "assignment; the next heartbeat that sees them starts a rebalance."
        )


def _absent(group: DescribedGroup, lost: Iterable[Task], given: set[str]) -> list[str]:
    """The sub-topologies of lost tasks that no member's program has, as far as is known.

    Members tell only their topology epochs. When all of them are of another than the group's,
    nobody can run what no one was given a task of: the coordinator gives tasks of a sub-topology
    that is new in an epoch to members of that epoch only.
    """
    if any(_has_program(group, member) for member in group.members):
        return []
    return sorted({subtopology for subtopology, _ in lost} - given)


def _without_a_program(group: DescribedGroup, tasks: list[Task], absent: list[str]) -> str:
    topics = {each.id: ", ".join(each.input_topics) for each in group.subtopologies}
    which = ", ".join(f"{each} (reads {topics[each]})" for each in absent)
    epochs = ", ".join(map(str, sorted({member.topology_epoch for member in group.members})))
    is_are, it = ("is", "it") if len(absent) == 1 else ("are", "them")
    return (
        f"Tasks {shown(tasks)} run nowhere: sub-topolog{'y' if it == 'it' else 'ies'} {which} "
        f"{is_are} in the group's topology (epoch {group.topology_epoch}), but no member's program "
        f"(epoch {epochs}) has {it}: start a worker with the new program."
    )


def _has_program(group: DescribedGroup, member: DescribedMember) -> bool:
    """Whether it runs the program that the group's topology is of."""
    return group.topology_epoch is None or member.topology_epoch >= group.topology_epoch


def _minus(one: Tasks, other: Tasks) -> frozenset[Task]:
    return (one.active - other.active) | (one.standby - other.standby) | (one.warmup - other.warmup)


def _holders(
    group: DescribedGroup, wanted: frozenset[Task], waiting: DescribedMember
) -> list[DescribedMember]:
    """Who has to let go of a task first.

    An active task has one owner in the group, and any role of a task one in a process; a copy
    does not wait for the owner on another process (CurrentAssignmentBuilder).
    """
    active = wanted & waiting.target.active
    return [
        other
        for other in group.members
        if other.member_id != waiting.member_id
        and (
            not active.isdisjoint(other.assigned.active)
            or (
                other.process_id == waiting.process_id
                and not wanted.isdisjoint(other.assigned.every)
            )
        )
    ]


def _named(member: DescribedMember) -> str:
    return f"{member.member_id} (epoch {member.epoch})"


def shown(tasks: Iterable[Task]) -> str:
    """Tasks as Kafka Streams names them, the first few of many."""
    names = [f"{subtopology}_{partition}" for subtopology, partition in sorted(tasks)]
    if len(names) > _SHOWN_TASKS_MAX:
        more = len(names) - _SHOWN_TASKS_MAX
        return f"{', '.join(names[:_SHOWN_TASKS_MAX])} and {more} more"
    return ", ".join(names)

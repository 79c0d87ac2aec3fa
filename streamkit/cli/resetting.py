"""A group set back: its offsets moved, its internal topics deleted, each step shown."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from streamkit.cli.cluster import table
from streamkit.cli.group_offsets import PartitionLag, Position, commit, lags, new_offsets
from streamkit.cli.group_view import (
    Echo,
    GroupView,
    members_are_named,
    near,
    no_group,
    wait_empty,
)
from streamkit.client.admin import Admin
from streamkit.client.offsets import Membership
from streamkit.common.errors import UsageError
from streamkit.common.model import TopicPartition


@dataclass(frozen=True, slots=True)
class Reset:
    """What is to be set back; without `topics` all input topics of the group."""

    group_id: str
    position: Position
    topics: tuple[str, ...] = ()
    with_internal: bool = False
    is_dry_run: bool = False
    wait_s: float = 0.0
    """How long members that are still there may take to leave or to time out."""


async def existing(admin: Admin, topics: Iterable[str]) -> list[str]:
    """Those of the topics that are there, sorted."""
    known = set(await admin.list_topics(internal=True))
    return sorted(known.intersection(topics))


async def reset_group(admin: Admin, reset: Reset, echo: Echo) -> None:
    """Move the offsets, then delete the internal topics.

    Raises UsageError, and changes nothing, when the group has members or one of the topics is not
    a topic of it.
    """
    group = await wait_empty(admin, reset.group_id, reset.wait_s, echo)
    if group is None and not reset.topics:
        raise await no_group(admin, reset.group_id)
    known = await _known_topics(admin, reset.group_id, group)
    inputs = inputs_or_raise(reset, known)
    topics = sorted(known.existing.intersection(_deleted_with(group, reset)))
    current = await lags(admin, reset.group_id, inputs)
    offsets = await new_offsets(admin, current, reset.position)
    if new := ", ".join(sorted(inputs - known.own)):
        echo(f"group {reset.group_id!r} has no offsets of {new} yet: these are the first")
    echo(offsets_table(current, offsets))
    if gone := ", ".join(sorted(inputs - known.existing)):
        echo(f"left out, since there is no such topic any more: {gone}")
    if reset.is_dry_run:
        echo(f"dry run: nothing was changed{would_delete(topics)}")
        return
    async with members_are_named(admin, reset.group_id):
        await commit(admin, reset.group_id, offsets)
    echo(f"group {reset.group_id}: {offsets_set(offsets)}")
    await delete_topics(admin, topics, echo)


def _deleted_with(group: GroupView | None, reset: Reset) -> Collection[str]:
    return internal_topics(group, reset.group_id) if reset.with_internal else ()


def internal_topics(group: GroupView | None, group_id: str) -> Collection[str]:
    """The internal topics of a group.

    Raises UsageError when the group does not tell them: only a streams group does.
    """
    if group is None:
        return ()
    if group.streams is None:
        raise UsageError(
            f"--internal: group {group_id!r} is a {group.listing.type} group, which does not tell "
            "its internal topics; `streamkit reset PROGRAM` knows them"
        )
    return group.streams.internal_topics


@dataclass(frozen=True, slots=True)
class KnownTopics:
    """Which topics there are, which the group reads, which it keeps for itself.

    What a group with a topology reads is known; of another, only what it committed.
    """

    existing: frozenset[str]
    own: frozenset[str]
    internal: frozenset[str] = frozenset()
    has_topology: bool = False


async def _known_topics(admin: Admin, group_id: str, group: GroupView | None) -> KnownTopics:
    there = frozenset(await admin.list_topics(internal=True))
    if group is None:
        return KnownTopics(there, frozenset())
    committed = {tp.topic for tp in await admin.offsets.fetch(Membership(group_id))}
    if group.streams is None:
        return KnownTopics(there, frozenset(committed))
    streams = group.streams
    internal = frozenset([*streams.internal_topics, *streams.repartition_topics])
    own = committed.union(streams.source_topics) - internal
    return KnownTopics(there, frozenset(own), internal, has_topology=True)


def inputs_or_raise(reset: Reset, known: KnownTopics) -> frozenset[str]:
    """The topics whose offsets are moved.

    Raises UsageError for one that is not the group's, or is not there, and when none is left.
    """
    if reset.topics:
        return _named_or_raise(reset, known)
    if not known.own:
        raise UsageError(
            f"group {reset.group_id!r} has committed nothing: name its topics with --topic"
        )
    if known.own.isdisjoint(known.existing):
        raise UsageError(
            f"group {reset.group_id!r} reads {', '.join(sorted(known.own))}: no such topic exists"
        )
    return known.own


def _named_or_raise(reset: Reset, known: KnownTopics) -> frozenset[str]:
    for name in reset.topics:
        if name in known.internal:
            raise UsageError(
                f"topic {name!r} is internal to group {reset.group_id!r}: it is not set back but "
                "deleted, by --internal"
            )
    # Nobody knows what a group without a topology will read: any topic may be given to it.
    allowed = known.own if known.has_topology else known.own | known.existing
    wrong = [name for name in reset.topics if name not in allowed]
    if wrong:
        raise UsageError(_not_its_own(reset.group_id, wrong, known))
    if gone := [name for name in reset.topics if name not in known.existing]:
        raise UsageError(f"there is no topic {', '.join(map(repr, gone))} any more")
    return frozenset(reset.topics)


def _not_its_own(group_id: str, wrong: Sequence[str], known: KnownTopics) -> str:
    listed = ", ".join(map(repr, wrong))
    own = ", ".join(sorted(known.own)) or "nothing"
    if known.has_topology:
        why = f"group {group_id!r} does not read {listed}, but {own}"
    else:
        why = f"there is no topic {listed}; group {group_id!r} has offsets of {own}"
    return f"{why}. Nothing was changed{near(wrong[0], known.own or known.existing)}"


async def delete_topics(admin: Admin, topics: Sequence[str], echo: Echo) -> None:
    """Delete topics one by one."""
    for number, name in enumerate(topics, 1):
        await admin.delete_topics([name])
        echo(f"topic {name} deleted ({number} of {len(topics)})")


def offsets_table(current: Iterable[PartitionLag], offsets: Mapping[TopicPartition, int]) -> str:
    """What is committed beside what will be."""
    rows = [
        (each.partition.topic, each.partition.partition, each.committed, offsets[each.partition])
        for each in current
    ]
    return table(("TOPIC", "PARTITION", "COMMITTED", "NEW"), rows)


def offsets_set(offsets: Collection[TopicPartition]) -> str:
    """`1 offset set`, `7 offsets set`."""
    return f"{len(offsets)} offset{'s' * (len(offsets) != 1)} set"


def would_delete(topics: Sequence[str]) -> str:
    """The end of a sentence about a dry run."""
    return f"; would delete {', '.join(topics)}" if topics else ""

"""A group set back: its offsets moved, its internal topics deleted, each step shown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from streamkit.cli.cluster import table
from streamkit.cli.group_offsets import PartitionLag, Position, commit, lags, new_offsets
from streamkit.client.admin import Admin
from streamkit.client.errors import CodedError
from streamkit.common.errors import UsageError
from streamkit.common.model import TopicPartition
from streamkit.protocol.errors import ErrorCode
from streamkit.rebalance.description import DescribedGroup, described_group

WAIT_STEP_S = 0.5

Echo = Callable[[str], None]


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


async def find_streams_group(admin: Admin, group_id: str) -> DescribedGroup | None:
    """The streams group, or None when there is none of this id."""
    try:
        return described_group(await admin.describe_streams_group(group_id))
    except CodedError as error:
        if error.code == ErrorCode.group_id_not_found:
            return None
        raise


async def existing(admin: Admin, topics: Iterable[str]) -> list[str]:
    """Those of the topics that are there, sorted."""
    known = set(await admin.list_topics(internal=True))
    return sorted(known.intersection(topics))


async def reset_group(admin: Admin, reset: Reset, echo: Echo) -> None:
    """Move the offsets, then delete the internal topics.

    Raises UsageError when the group has members, or knows none of the topics.
    """
    group = await wait_empty(admin, reset, echo)
    inputs = set(reset.topics) or (set(group.source_topics) if group is not None else None)
    current = await lags(admin, reset.group_id, inputs)
    if inputs is not None and not current:
        raise UsageError(f"none of the topics {', '.join(sorted(inputs))} exists")
    if not current:
        raise UsageError(f"there is no group {reset.group_id!r} with offsets")
    offsets = await new_offsets(admin, current, reset.position)
    echo(offsets_table(current, offsets))
    internal = group.internal_topics if group is not None and reset.with_internal else ()
    topics = await existing(admin, internal)
    if reset.is_dry_run:
        echo(f"dry run: nothing was changed{would_delete(topics)}")
        return
    await commit(admin, reset.group_id, offsets)
    echo(f"group {reset.group_id}: {len(offsets)} offsets set")
    await delete_topics(admin, topics, echo)


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


async def wait_empty(admin: Admin, reset: Reset, echo: Echo) -> DescribedGroup | None:
    """The group once it has no members; None when there is none."""
    left_s, told = reset.wait_s, 0
    while True:
        group = await find_streams_group(admin, reset.group_id)
        count = len(group.members) if group is not None else 0
        if count == 0:
            return group
        if left_s <= 0:
            raise UsageError(
                f"group {reset.group_id!r} still has members ({count}): stop its workers first; "
                "one that crashed is removed after its session timeout (--wait SECONDS)"
            )
        if count != told:
            echo(f"waiting for {count} members to leave or to time out")
            told = count
        await asyncio.sleep(WAIT_STEP_S)
        left_s -= WAIT_STEP_S


def would_delete(topics: Sequence[str]) -> str:
    """The end of a sentence about a dry run."""
    return f"; would delete {', '.join(topics)}" if topics else ""

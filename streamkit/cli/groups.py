"""`streamkit groups`: look at the groups of a cluster, move their offsets, delete them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import click

from streamkit.cli.cluster import as_json, cluster_options, table, with_admin
from streamkit.cli.group_offsets import PartitionLag, lags, parse_position
from streamkit.cli.resetting import Reset, delete_topics, existing, find_streams_group, reset_group
from streamkit.client.admin import Admin
from streamkit.client.groups import GroupListing
from streamkit.common.errors import UsageError
from streamkit.common.system import system_seams
from streamkit.rebalance.description import DescribedGroup, DescribedMember
from streamkit.rebalance.reasons import reasons, shown

TYPES = ("streams", "classic", "consumer", "share")


@click.group(name="groups")
def command() -> None:
    """Look at groups, move their offsets, delete them."""


@command.command(name="list")
@click.option("--type", "types", type=click.Choice(TYPES), multiple=True, help="Only these types.")
@click.option("--json", "is_json", is_flag=True, help="A JSON list.")
@cluster_options
def list_command(
    types: Sequence[str],
    is_json: bool,
    bootstrap: str,
    assignments: Sequence[str],
    config: str | None,
) -> None:
    """Print every group with its type and state."""
    found = with_admin(bootstrap, assignments, config, lambda admin: admin.groups.list(types=types))
    if is_json:
        click.echo(as_json([asdict(group) for group in found]))
        return
    rows = [(group.group_id, group.type, group.state) for group in found]
    click.echo(table(("GROUP", "TYPE", "STATE"), rows))


@dataclass(frozen=True, slots=True)
class _View:
    """What `describe` shows; `streams` is None for a group of another type."""

    listing: GroupListing
    coordinator: str
    streams: DescribedGroup | None
    lags: Sequence[PartitionLag]
    reasons: Sequence[str]


@command.command(name="describe")
@click.argument("group")
@click.option("--json", "is_json", is_flag=True, help="A JSON object.")
@cluster_options
def describe_command(
    group: str,
    is_json: bool,
    bootstrap: str,
    assignments: Sequence[str],
    config: str | None,
) -> None:
    """Print GROUP: its state and epochs, members, tasks, topology and lags.

    When a streams group is not stable, it says which member waits for what, and what to do.
    """
    view = with_admin(bootstrap, assignments, config, lambda admin: _look(admin, group))
    click.echo(as_json(_as_object(view)) if is_json else _as_text(view))


@command.command(name="reset")
@click.argument("group")
@click.option(
    "--to",
    "position",
    default="earliest",
    show_default=True,
    metavar="WHERE",
    help="earliest, latest, current, an offset, +N, -N, 2h (ago) or a time.",
)
@click.option("--topic", "topics", multiple=True, help="Only these input topics; default: all.")
@click.option("--internal", is_flag=True, help="Delete the application's internal topics, too.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@cluster_options
def reset_command(
    group: str,
    position: str,
    topics: Sequence[str],
    internal: bool,
    dry_run: bool,
    bootstrap: str,
    assignments: Sequence[str],
    config: str | None,
) -> None:
    """Move the offsets of GROUP, which must have no members."""
    where = parse_position(position, system_seams().clock.now_ms())
    reset = Reset(group, where, tuple(topics), internal, dry_run)
    with_admin(bootstrap, assignments, config, lambda admin: reset_group(admin, reset, click.echo))


@command.command(name="delete")
@click.argument("group")
@click.option("--internal", is_flag=True, help="Delete the application's internal topics, too.")
@cluster_options
def delete_command(
    group: str, internal: bool, bootstrap: str, assignments: Sequence[str], config: str | None
) -> None:
    """Delete GROUP, which must have no members, with its offsets."""
    with_admin(bootstrap, assignments, config, lambda admin: _delete(admin, group, internal))


async def _delete(admin: Admin, group_id: str, internal: bool) -> None:
    streams = await find_streams_group(admin, group_id)
    topics = await existing(admin, streams.internal_topics if internal and streams else ())
    if not await admin.groups.delete(group_id):
        raise UsageError(f"there is no group {group_id!r}")
    click.echo(f"group {group_id} deleted")
    await delete_topics(admin, topics, click.echo)


async def _look(admin: Admin, group_id: str) -> _View:
    listed = {group.group_id: group for group in await admin.groups.list()}
    if group_id not in listed:
        raise UsageError(f"there is no group {group_id!r}")
    listing = listed[group_id]
    broker = await admin.groups.coordinator(group_id)
    coordinator = f"{broker.host}:{broker.port} ({broker.node_id})"
    if listing.type != "streams":
        return _View(listing, coordinator, None, await lags(admin, group_id), ())
    streams = await find_streams_group(admin, group_id)
    assert streams is not None, "a group that is listed can be described"
    inputs = {name for each in streams.subtopologies for name in each.input_topics}
    known = await existing(admin, {*inputs, *streams.internal_topics})
    counts = {
        name: len(topic.partitions) for name, topic in (await admin.describe_topics(known)).items()
    }
    told = reasons(streams, counts.get)
    return _View(listing, coordinator, streams, await lags(admin, group_id, inputs), told)


def _as_text(view: _View) -> str:
    group, parts = view.streams, []
    if group is None:
        listing = view.listing
        parts.append(
            f"{listing.group_id}: {listing.type} group, {listing.state}, coordinator "
            f"{view.coordinator}"
        )
    else:
        epoch = "none" if group.topology_epoch is None else group.topology_epoch
        parts.append(
            f"{group.group_id}: streams group, {group.state}, epoch {group.epoch}, assignment of "
            f"epoch {group.assignment_epoch}, topology epoch {epoch}, "
            f"{_members_count(group)}, coordinator {view.coordinator}"
        )
        parts += [f"* {reason}" for reason in view.reasons]
        if group.note:
            parts.append(group.note)
        parts.append(_members_text(group))
        parts.append(_topology_text(group))
    tasks = _task_owners(group)
    rows = [
        (
            each.partition.topic,
            each.partition.partition,
            each.committed,
            each.end,
            each.lag,
            tasks.get((each.partition.topic, each.partition.partition), ""),
        )
        for each in view.lags
    ]
    total = sum(each.lag for each in view.lags)
    header = ("TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "TASK")
    parts.append(f"{table(header, rows)}\nlag in all: {total}")
    return "\n\n".join(part for part in parts if part)


def _members_text(group: DescribedGroup) -> str:
    if not group.members:
        return ""
    rows = [
        (
            member.member_id,
            member.process_id,
            member.client_id,
            member.client_host,
            member.rack_id,
            member.epoch,
            shown(member.assigned.active),
            shown(member.assigned.standby),
            shown(member.assigned.warmup),
            _moves(member),
            _behind(group, member),
        )
        for member in group.members
    ]
    header = [
        "MEMBER", "PROCESS", "CLIENT", "HOST", "RACK", "EPOCH", "ACTIVE", "STANDBY", "WARM-UP",
        "MOVES", "BEHIND",
    ]  # fmt: skip
    return table(header, rows)


def _behind(group: DescribedGroup, member: DescribedMember) -> str:
    """How many changelog offsets its copies are behind, those that are."""
    copies = sorted(member.assigned.standby | member.assigned.warmup)
    lags = ((task, group.behind(task, member)) for task in copies)
    return ", ".join(f"{shown([task])}: {lag}" for task, lag in lags if lag)


def _moves(member: DescribedMember) -> str:
    """What is still to come (+) and to go (-)."""
    have, want = member.assigned.every, member.target.every
    comes, goes = shown(want - have), shown(have - want)
    return " ".join(text for text in (comes and f"+{comes}", goes and f"-{goes}") if text)


def _topology_text(group: DescribedGroup) -> str:
    rows = [
        (
            each.id,
            ", ".join(each.input_topics),
            ", ".join(each.repartition_sinks),
            ", ".join(topic.name for topic in each.changelogs),
        )
        for each in group.subtopologies
    ]
    return table(("SUB-TOPOLOGY", "READS", "REPARTITIONS TO", "CHANGELOGS"), rows)


def _members_count(group: DescribedGroup) -> str:
    return f"{len(group.members)} member" + "s" * (len(group.members) != 1)


def _task_owners(group: DescribedGroup | None) -> dict[tuple[str, int], str]:
    """`SUBTOPOLOGY_PARTITION at MEMBER` by input partition."""
    if group is None:
        return {}
    inputs = {each.id: each.input_topics for each in group.subtopologies}
    return {
        (topic, partition): f"{subtopology}_{partition} at {member.member_id}"
        for member in group.members
        for subtopology, partition in sorted(member.assigned.active)
        for topic in inputs.get(subtopology, ())
    }


def _as_object(view: _View) -> dict[str, Any]:
    found: dict[str, Any] = {
        **asdict(view.listing),
        "coordinator": view.coordinator,
        "lags": [
            {
                "topic": each.partition.topic,
                "partition": each.partition.partition,
                "committed": each.committed,
                "end": each.end,
                "lag": each.lag,
            }
            for each in view.lags
        ],
    }
    group = view.streams
    if group is not None:
        found |= {
            "epoch": group.epoch,
            "assignment_epoch": group.assignment_epoch,
            "topology_epoch": group.topology_epoch,
            "reasons": list(view.reasons),
            "note": group.note,
            "subtopologies": [asdict(each) for each in group.subtopologies],
            "members": [_member_object(member) for member in group.members],
        }
    return found


def _member_object(member: DescribedMember) -> dict[str, Any]:
    plain = {
        name: getattr(member, name)
        for name in (
            "member_id", "epoch", "topology_epoch", "process_id", "client_id", "client_host",
            "rack_id", "endpoint",
        )
    }  # fmt: skip
    plain["client_tags"] = dict(member.client_tags)
    for name, offsets in (("offsets", member.offsets), ("end_offsets", member.ends)):
        plain[name] = {f"{task[0]}_{task[1]}": offset for task, offset in sorted(offsets.items())}
    for name, tasks in (("assigned", member.assigned), ("target", member.target)):
        plain[name] = {
            role: [f"{subtopology}_{partition}" for subtopology, partition in sorted(found)]
            for role, found in (
                ("active", tasks.active), ("standby", tasks.standby), ("warmup", tasks.warmup)
            )
        }  # fmt: skip
    return plain

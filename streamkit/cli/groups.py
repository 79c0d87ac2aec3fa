"""`streamkit groups`: look at the groups of a cluster, move their offsets, delete them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import click

from streamkit.cli.cluster import as_json, cluster_options, table, wait_option, with_admin
from streamkit.cli.group_offsets import lags, parse_position
from streamkit.cli.group_text import DescribedView, as_object, as_text
from streamkit.cli.group_view import group_or_raise, members_are_named, no_group, wait_empty
from streamkit.cli.other_groups import assigned_partitions, reasons_of_other
from streamkit.cli.resetting import (
    Reset,
    delete_topics,
    existing,
    internal_topics,
    reset_group,
)
from streamkit.client.admin import Admin
from streamkit.common.system import system_seams
from streamkit.rebalance.reasons import reasons

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
    """Print GROUP: its state, its members with what they are assigned, and lags.

    Of a streams group also tasks and topology; when one is not stable, it says which member waits
    for what, and what to do.
    """
    view = with_admin(bootstrap, assignments, config, lambda admin: _look(admin, group))
    click.echo(as_json(as_object(view)) if is_json else as_text(view))


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
@click.option(
    "--topic",
    "topics",
    metavar="TOPIC",
    multiple=True,
    help="Only this input topic; may be given again.  [default: all]",
)
@click.option("--internal", is_flag=True, help="Delete the application's internal topics, too.")
@wait_option
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@cluster_options
def reset_command(
    group: str,
    position: str,
    topics: Sequence[str],
    internal: bool,
    wait_s: float,
    dry_run: bool,
    bootstrap: str,
    assignments: Sequence[str],
    config: str | None,
) -> None:
    """Move the offsets of GROUP, which must have no members."""
    where = parse_position(position, system_seams().clock.now_ms())
    reset = Reset(group, where, tuple(topics), internal, dry_run, wait_s)
    with_admin(bootstrap, assignments, config, lambda admin: reset_group(admin, reset, click.echo))


@command.command(name="delete")
@click.argument("group")
@click.option("--internal", is_flag=True, help="Delete the application's internal topics, too.")
@wait_option
@cluster_options
def delete_command(
    group: str,
    internal: bool,
    wait_s: float,
    bootstrap: str,
    assignments: Sequence[str],
    config: str | None,
) -> None:
    """Delete GROUP, which must have no members, with its offsets."""
    with_admin(
        bootstrap, assignments, config, lambda admin: _delete(admin, group, internal, wait_s)
    )


async def _delete(admin: Admin, group_id: str, internal: bool, wait_s: float) -> None:
    group = await wait_empty(admin, group_id, wait_s, click.echo)
    if group is None:
        raise await no_group(admin, group_id)
    topics = await existing(admin, internal_topics(group, group_id) if internal else ())
    async with members_are_named(admin, group_id):
        if not await admin.groups.delete(group_id):
            raise await no_group(admin, group_id)
    click.echo(f"group {group_id} deleted")
    await delete_topics(admin, topics, click.echo)


async def _look(admin: Admin, group_id: str) -> DescribedView:
    group = await group_or_raise(admin, group_id)
    broker = await admin.groups.coordinator(group_id)
    coordinator = f"{broker.host}:{broker.port} ({broker.node_id})"
    if group.streams is None:
        found = await lags(admin, group_id, also=assigned_partitions(group.other))
        return DescribedView(group, coordinator, found, reasons_of_other(group.other))
    streams = group.streams
    inputs = {name for each in streams.subtopologies for name in each.input_topics}
    known = await existing(admin, {*inputs, *streams.internal_topics})
    counts = {
        name: len(topic.partitions) for name, topic in (await admin.describe_topics(known)).items()
    }
    told = reasons(streams, counts.get)
    return DescribedView(group, coordinator, await lags(admin, group_id, inputs), told)

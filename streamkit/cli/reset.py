"""`streamkit reset`: an application as if it had never run."""

from __future__ import annotations

from collections.abc import Sequence

import click

from streamkit.cli import program as programs
from streamkit.cli.cluster import patient, run_admin, wait_option
from streamkit.cli.configuration import read_settings, settings_options
from streamkit.cli.group_offsets import commit, lags, new_offsets, parse_position
from streamkit.cli.group_view import Echo, GroupView, members_are_named, wait_empty
from streamkit.cli.resetting import (
    Reset,
    delete_topics,
    existing,
    offsets_set,
    offsets_table,
    would_delete,
)
from streamkit.cli.worker import settings_of
from streamkit.client.admin import Admin
from streamkit.common.errors import UsageError
from streamkit.common.system import system_seams
from streamkit.rebalance.rules import GroupTopology
from streamkit.tasks.group_topology import group_topology
from streamkit.tasks.state_directory import Release, StateDirectory
from streamkit.tasks.worker import state_directory


@click.command(name="reset")
@programs.argument
@click.option("--bootstrap", metavar="HOST:PORT[,...]", help="The cluster; or bootstrap.servers.")
@click.option(
    "--to",
    "position",
    default="earliest",
    show_default=True,
    metavar="WHERE",
    help="Where input is read from next: earliest, latest, an offset, 2h (ago) or a time.",
)
@wait_option
@click.option("--keep-state", is_flag=True, help="Leave this machine's state directory alone.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@settings_options
def command(
    program: str,
    bootstrap: str | None,
    position: str,
    wait_s: float,
    keep_state: bool,
    dry_run: bool,
    assignments: Sequence[str],
    config: str | None,
) -> None:
    """Make the application of PROGRAM begin anew; all its workers must have been stopped.

    Deletes its group, its internal topics and this machine's state directory, and sets the
    offsets of its input topics. What it wrote to output topics stays. On other machines delete
    the state directory, too.
    """
    seams = system_seams()
    given = read_settings(seams.disk, assignments, config)
    if bootstrap is not None:
        given["bootstrap.servers"] = bootstrap
    app = programs.load(program)
    settings = settings_of(app, given)
    if not settings.bootstrap_servers:
        raise UsageError("which cluster? give --bootstrap HOST:PORT, or set bootstrap.servers")
    topology = group_topology(app.topology, settings)
    where = parse_position(position, seams.clock.now_ms())
    reset = Reset(app.id, where, (), True, dry_run, wait_s)
    directory = None if keep_state else state_directory(app.topology, settings, seams)
    run_admin(
        patient(settings.client()),
        seams,
        lambda admin: _reset(admin, reset, topology, directory, click.echo),
    )


async def _reset(
    admin: Admin,
    reset: Reset,
    topology: GroupTopology,
    directory: StateDirectory | None,
    echo: Echo,
) -> None:
    """All of it, once nobody is in the group and nobody here has the state."""
    group = await wait_empty(admin, reset.group_id, reset.wait_s, echo)
    release = None if directory is None else _lock(directory)
    try:
        await _reset_cluster(admin, reset, topology, group, directory, echo)
        if directory is not None:
            _delete_state(directory, reset.is_dry_run, echo)
    finally:
        if release is not None:
            release()


def _lock(directory: StateDirectory) -> Release:
    try:
        return directory.lock()
    except UsageError:
        raise UsageError(
            f"a worker on this host still has the state directory {directory.path}: stop it first, "
            "or leave its state as it is with --keep-state"
        ) from None


async def _reset_cluster(
    admin: Admin,
    reset: Reset,
    topology: GroupTopology,
    group: GroupView | None,
    directory: StateDirectory | None,
    echo: Echo,
) -> None:
    inputs = {name for each in topology.subtopologies for name in each.source_topics}
    internal = set(topology.required_topics) - inputs
    if group is not None and group.streams is not None:
        internal.update(group.streams.internal_topics)
    topics = await existing(admin, internal)
    current = await lags(admin, reset.group_id, inputs)
    missing = sorted(inputs.difference(each.partition.topic for each in current))
    if missing and not (current or topics or group or (directory and directory.tasks())):
        raise UsageError(f"nothing to reset: {_missing(missing)}")
    offsets = await new_offsets(admin, current, reset.position)
    if current:
        echo(offsets_table(current, offsets))
    if missing:
        echo(f"left out: {_missing(missing)}")
    if reset.is_dry_run:
        known = [] if group is None else [f"group {reset.group_id}"]
        echo(f"dry run: nothing was changed{would_delete([*known, *topics])}")
        return
    async with members_are_named(admin, reset.group_id):
        if await admin.groups.delete(reset.group_id):
            echo(f"group {reset.group_id} deleted")
        await delete_topics(admin, topics, echo)
        await commit(admin, reset.group_id, offsets)
    if offsets:
        echo(f"group {reset.group_id}: {offsets_set(offsets)}")


def _missing(names: Sequence[str]) -> str:
    one = len(names) == 1
    return (
        f"input topic{'s' * (not one)} {', '.join(names)} {'does' if one else 'do'} not exist; "
        "create what is missing before a worker starts"
    )


def _delete_state(directory: StateDirectory, is_dry_run: bool, echo: Echo) -> None:
    tasks = sorted(directory.tasks())
    for number, task_id in enumerate(tasks, 1):
        if is_dry_run:
            echo(f"dry run: would delete the state of task {task_id} in {directory.path}")
        elif directory.delete_task(task_id):
            echo(f"state of task {task_id} deleted ({number} of {len(tasks)})")
        else:
            raise UsageError(f"the state of task {task_id} in {directory.path} is in use")

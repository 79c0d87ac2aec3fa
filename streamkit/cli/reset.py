"""`streamkit reset`: an application as if it had never run."""

from __future__ import annotations

from collections.abc import Sequence

import click

from streamkit.cli import program as programs
from streamkit.cli.cluster import API_TIMEOUT_MS, run_admin
from streamkit.cli.configuration import read_settings, settings_options
from streamkit.cli.group_offsets import commit, lags, new_offsets, parse_position
from streamkit.cli.resetting import (
    Echo,
    Reset,
    delete_topics,
    existing,
    offsets_table,
    wait_empty,
    would_delete,
)
from streamkit.cli.worker import settings_of
from streamkit.client.admin import Admin
from streamkit.common.errors import UsageError
from streamkit.common.system import system_seams
from streamkit.rebalance.rules import GroupTopology
from streamkit.tasks.group_topology import group_topology
from streamkit.tasks.state_directory import StateDirectory
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
@click.option("--wait", "wait_s", type=float, default=0.0, help="Seconds for members to leave.")
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
    quick = settings.client().model_copy(update={"default_api_timeout_ms": API_TIMEOUT_MS})
    directory = None if keep_state else state_directory(app.topology, settings, seams)
    release = directory.lock() if directory is not None else None
    try:
        run_admin(quick, seams, lambda admin: _reset(admin, reset, topology, click.echo))
        if directory is not None:
            _delete_state(directory, dry_run, click.echo)
    finally:
        if release is not None:
            release()


async def _reset(admin: Admin, reset: Reset, topology: GroupTopology, echo: Echo) -> None:
    group = await wait_empty(admin, reset, echo)
    inputs = {name for each in topology.subtopologies for name in each.source_topics}
    current = await lags(admin, reset.group_id, inputs)
    offsets = await new_offsets(admin, current, reset.position)
    internal = set(topology.required_topics) - inputs
    if group is not None:
        internal.update(group.internal_topics)
    topics = await existing(admin, internal)
    echo(offsets_table(current, offsets))
    if reset.is_dry_run:
        echo(f"dry run: nothing was changed{would_delete(topics)}")
        return
    if await admin.groups.delete(reset.group_id):
        echo(f"group {reset.group_id} deleted")
    await delete_topics(admin, topics, echo)
    await commit(admin, reset.group_id, offsets)
    echo(f"group {reset.group_id}: {len(offsets)} offsets set")


def _delete_state(directory: StateDirectory, is_dry_run: bool, echo: Echo) -> None:
    tasks = sorted(directory.tasks())
    for number, task_id in enumerate(tasks, 1):
        if is_dry_run:
            echo(f"dry run: would delete the state of task {task_id} in {directory.path}")
        elif directory.delete_task(task_id):
            echo(f"state of task {task_id} deleted ({number} of {len(tasks)})")
        else:
            raise UsageError(f"the state of task {task_id} in {directory.path} is in use")

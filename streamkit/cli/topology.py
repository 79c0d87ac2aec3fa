"""`streamkit topology`: look at what a program compiles to, and at what a deploy would change."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path

import click
import orjson

from streamkit.cli import program as programs
from streamkit.cli.cluster import patient, run_admin
from streamkit.cli.configuration import read_settings, settings_options
from streamkit.cli.resetting import existing
from streamkit.cli.worker import settings_of
from streamkit.client.admin import Admin
from streamkit.client.errors import CodedError, UnsupportedByBrokerError
from streamkit.common.errors import UsageError
from streamkit.common.system import system_seams
from streamkit.protocol.errors import ErrorCode
from streamkit.rebalance.description import DescribedGroup, described_group
from streamkit.rebalance.extensions import TOPOLOGY_UPDATES
from streamkit.rebalance.rules import GroupTopology
from streamkit.rebalance.updates import is_behind, unfit, update_problems
from streamkit.tasks.group_topology import group_topology, refuse_patterns
from streamkit.topology.compare import (
    Change,
    Outline,
    changes,
    generated,
    outline_of,
    outline_of_document,
    outline_of_group,
    outline_of_topics,
)

BEHIND = (
    "if the group had it before, it may run beside newer workers, and a group without members "
    "goes back to it"
)
FORMATS = ("text", "json", "mermaid", "dot")


@click.group(name="topology")
def command() -> None:
    """Look at a program's topology."""


@command.command()
@programs.argument
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True)
def describe(program: str, form: str) -> None:
    """Print the sub-topologies of PROGRAM; as text, exactly what Kafka Streams prints."""
    topology = programs.load(program).topology
    render = {
        "text": topology.describe,
        "json": topology.to_json,
        "mermaid": topology.to_mermaid,
        "dot": topology.to_dot,
    }
    text = render[form]()
    click.echo(text, nl=not text.endswith("\n"))


@command.command()
@programs.argument
@click.option(
    "--against",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A former topology: what `topology describe --format json` printed.",
)
@click.option("--bootstrap", metavar="HOST:PORT[,...]", help="The cluster that it runs on.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options
def check(
    program: str,
    against: Path | None,
    bootstrap: str | None,
    as_json: bool,
    assignments: Sequence[str],
    config: str | None,
) -> int:
    """Say what deploying PROGRAM would orphan: stores, internal topics, input.

    Compares it with a former topology in a file, or with what runs on the cluster; then it says
    also whether the running group can take PROGRAM over. Exit status 1 when something would be
    lost, or the group cannot.
    """
    seams = system_seams()
    given = read_settings(seams.disk, assignments, config)
    if bootstrap is not None:
        given["bootstrap.servers"] = bootstrap
    app = programs.load(program)
    settings = settings_of(app, given)
    update = None
    if against is not None:
        refuse_patterns(app.topology)
        before = _read(against)
    elif settings.bootstrap_servers:
        wanted = group_topology(app.topology, settings)
        before, update = run_admin(
            patient(settings.client()), seams, lambda admin: _deployed(admin, app.id, wanted)
        )
    else:
        raise UsageError("compared with what? give --against FILE or --bootstrap HOST:PORT")
    after = outline_of(app.topology)
    found = changes(before, after)
    if as_json:
        rows = [dataclasses.asdict(change) for change in found]
        shown = {"changes": rows, "generated": generated(after)}
        if update is not None:
            shown["update"] = dataclasses.asdict(update)
        click.echo(orjson.dumps(shown).decode())
    else:
        _print(found, generated(after))
        if update is not None:
            click.echo(update.text)
    is_refused = update is not None and not update.is_possible
    return int(is_refused or any(change.is_loss for change in found))


def _read(path: Path) -> Outline:
    try:
        return outline_of_document(orjson.loads(path.read_bytes()))
    except (ValueError, KeyError, TypeError):
        raise UsageError(
            f"{path} is no topology: write it with `streamkit topology describe --format json`"
        ) from None


@dataclasses.dataclass(frozen=True, slots=True)
class Update:
    """Whether the group that runs can go on with another topology, and how."""

    is_possible: bool
    text: str


async def _deployed(
    admin: Admin, application_id: str, wanted: GroupTopology
) -> tuple[Outline, Update | None]:
    """The group's topology, or what its internal topics say when there is no group."""
    try:
        group = await admin.describe_streams_group(application_id)
    except UnsupportedByBrokerError:
        group = None
    except CodedError as error:
        if error.code != ErrorCode.group_id_not_found:
            raise
        group = None
    if group is None or group.topology is None:
        return outline_of_topics(application_id, await admin.list_topics()), None
    extensions = await admin.supported_features()
    topics = await admin.describe_topics(await existing(admin, wanted.required_topics))
    counts = {name: len(topic.partitions) for name, topic in topics.items()}
    lacking = unfit(wanted, counts.get)
    update = update_of(described_group(group), wanted, extensions, lacking)
    return outline_of_group(group.topology.subtopologies or ()), update


def update_of(
    group: DescribedGroup,
    wanted: GroupTopology,
    extensions: Collection[str],
    lacking: str | None = None,
) -> Update | None:
    """What becomes of the group's topology; None when it is the program's.

    `lacking` says what topics of `wanted` are missing or do not fit.
    """
    problems = update_problems(group, wanted)
    if problems is None:
        return None
    ways = "reset the application (streamkit reset PROGRAM), or give it another id"
    if problems:
        text = f"the group cannot go on with it: {'; '.join(problems)}; {ways}"
        return Update(False, text + (f"; {BEHIND}" if is_behind(group, wanted) else ""))
    if TOPOLOGY_UPDATES not in extensions:
        return Update(False, f"the cluster takes no changed topology for a group: {ways}")
    if lacking is not None:
        return Update(False, f"the group cannot take it over yet: {lacking}")
    epoch = (group.topology_epoch or 0) + 1
    return Update(True, f"the group takes it over while it runs, as topology epoch {epoch}")


def _print(found: Sequence[Change], unstable: Sequence[str]) -> None:
    for change in found:
        mark = "!" if change.is_loss else " "
        click.echo(f"{mark} {change.what} {change.name}: {change.text}")
    if not found:
        click.echo("nothing changes")
    elif not any(change.is_loss for change in found):
        click.echo("nothing is lost")
    if unstable:
        click.echo(
            "generated names, which move when operators are added before them: "
            + ", ".join(unstable)
        )

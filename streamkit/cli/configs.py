"""`streamkit configs`: look at and change the configuration of topics, brokers and groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from streamkit.cli.cluster import as_json, cluster_options, table, with_admin
from streamkit.client.admin import Admin, AlterOperation, Resource, ResourceType
from streamkit.common.settings import parse_assignments

KINDS = {"topic": ResourceType.TOPIC, "broker": ResourceType.BROKER, "group": ResourceType.GROUP}
SOURCES = {
    1: "topic", 2: "broker", 3: "all brokers", 4: "server file", 5: "default", 8: "group",
}  # fmt: skip
"""Kafka's numbers of where a value comes from, in words."""

F = TypeVar("F", bound=Callable[..., Any])


@click.group(name="configs")
def command() -> None:
    """Look at and change configurations of topics, brokers and groups."""


def _of_resource(command: F) -> F:
    name = click.argument("name")(command)
    return click.argument("kind", type=click.Choice(list(KINDS)))(name)


@command.command(name="describe")
@_of_resource
@click.option("--all", "is_all", is_flag=True, help="Defaults, too.")
@click.option("--json", "is_json", is_flag=True, help="A JSON list.")
@cluster_options
def describe_command(
    kind: str,
    name: str,
    is_all: bool,
    is_json: bool,
    bootstrap: str,
    assignments: Sequence[str],
    config: str | None,
) -> None:
    """Print what was set on the topic, broker or group NAME; with --all everything that holds."""
    resource = Resource(KINDS[kind], name)
    found = with_admin(
        bootstrap, assignments, config, lambda admin: admin.describe_configs(resource)
    )
    shown = sorted(
        (entry for entry in found.values() if is_all or not entry.is_default),
        key=lambda entry: entry.name,
    )
    rows = [
        (entry.name, entry.value, SOURCES.get(entry.source, str(entry.source))) for entry in shown
    ]
    if is_json:
        click.echo(
            as_json([dict(zip(("key", "value", "source"), row, strict=True)) for row in rows])
        )
        return
    click.echo(table(("KEY", "VALUE", "FROM"), rows))


@command.command(name="alter")
@_of_resource
@click.option("--add", metavar="KEY=VALUE", multiple=True, help="Set a key.")
@click.option("--delete", metavar="KEY", multiple=True, help="Set a key back to its default.")
@click.option("--append", metavar="KEY=VALUE", multiple=True, help="Add to a key's list.")
@click.option("--subtract", metavar="KEY=VALUE", multiple=True, help="Take from a key's list.")
@cluster_options
def alter_command(
    kind: str,
    name: str,
    add: Sequence[str],
    delete: Sequence[str],
    append: Sequence[str],
    subtract: Sequence[str],
    bootstrap: str,
    assignments: Sequence[str],
    config: str | None,
) -> None:
    """Change keys of the topic, broker or group NAME while it runs."""
    changes: list[tuple[AlterOperation, dict[str, str | None]]] = [
        (AlterOperation.SET, {**parse_assignments(add), **dict.fromkeys(delete)}),
        (AlterOperation.APPEND, {**parse_assignments(append)}),
        (AlterOperation.SUBTRACT, {**parse_assignments(subtract)}),
    ]
    if not any(values for _, values in changes):
        raise click.UsageError("nothing to change: give --add, --delete, --append or --subtract")

    async def work(admin: Admin) -> None:
        for operation, values in changes:
            if values:
                await admin.alter_configs(Resource(KINDS[kind], name), values, operation=operation)

    with_admin(bootstrap, assignments, config, work)

"""`streamkit topics`: list, describe, create, alter and delete the topics of a cluster."""

from __future__ import annotations

from collections.abc import Sequence

import click

from streamkit.cli.cluster import as_json, cluster_options, table, with_admin
from streamkit.client.admin import DEFAULT, Admin, NewTopic, Resource, ResourceType
from streamkit.client.metadata import TopicView
from streamkit.common.settings import parse_assignments


@click.group(name="topics")
def command() -> None:
    """List, describe, create, alter and delete topics."""


@command.command(name="list")
@click.option("--internal", is_flag=True, help="Kafka's own topics, too.")
@click.option("--json", "is_json", is_flag=True, help="A JSON list.")
@cluster_options
def list_command(
    internal: bool, is_json: bool, bootstrap: str, assignments: Sequence[str], config: str | None
) -> None:
    """Print the names of all topics."""
    names = with_admin(
        bootstrap, assignments, config, lambda admin: admin.list_topics(internal=internal)
    )
    click.echo(as_json(names) if is_json else "\n".join(names), nl=bool(names) or is_json)


@command.command(name="describe")
@click.argument("topics", metavar="TOPIC...", nargs=-1, required=True)
@click.option("--json", "is_json", is_flag=True, help="A JSON list.")
@cluster_options
def describe_command(
    topics: Sequence[str],
    is_json: bool,
    bootstrap: str,
    assignments: Sequence[str],
    config: str | None,
) -> None:
    """Print the partitions of each TOPIC, and the configuration that was set on it."""
    found = with_admin(bootstrap, assignments, config, lambda admin: _look(admin, topics))
    if is_json:
        click.echo(as_json([_as_object(view, configs) for view, configs in found]))
        return
    click.echo("\n\n".join(_as_text(view, configs) for view, configs in found))


@command.command(name="create")
@click.argument("topic")
@click.option("--partitions", type=click.IntRange(1), help="Default: the broker's.")
@click.option("--replication-factor", type=click.IntRange(1), help="Default: the broker's.")
@click.option(
    "--with",
    "configs",
    metavar="KEY=VALUE",
    multiple=True,
    help="A topic configuration; may be given again.",
)
@click.option("--if-not-exists", is_flag=True, help="Leave a topic of this name as it is.")
@cluster_options
def create_command(
    topic: str,
    partitions: int | None,
    replication_factor: int | None,
    configs: Sequence[str],
    if_not_exists: bool,
    bootstrap: str,
    assignments: Sequence[str],
    config: str | None,
) -> None:
    """Create TOPIC."""
    new = NewTopic(
        topic, partitions or DEFAULT, replication_factor or DEFAULT, parse_assignments(configs)
    )
    with_admin(
        bootstrap,
        assignments,
        config,
        lambda admin: admin.create_topics([new], exist_ok=if_not_exists),
    )


@command.command(name="alter")
@click.argument("topic")
@click.option("--partitions", type=click.IntRange(1), required=True, help="How many in all.")
@cluster_options
def alter_command(
    topic: str, partitions: int, bootstrap: str, assignments: Sequence[str], config: str | None
) -> None:
    """Give TOPIC more partitions.

    A key may then belong to another partition than before: stop the applications that read it.
    """
    with_admin(
        bootstrap,
        assignments,
        config,
        lambda admin: admin.create_partitions(topic, partitions),
    )


@command.command(name="delete")
@click.argument("topics", metavar="TOPIC...", nargs=-1, required=True)
@cluster_options
def delete_command(
    topics: Sequence[str], bootstrap: str, assignments: Sequence[str], config: str | None
) -> None:
    """Delete each TOPIC with its records."""
    with_admin(bootstrap, assignments, config, lambda admin: admin.delete_topics(topics))


async def _look(admin: Admin, names: Sequence[str]) -> list[tuple[TopicView, dict[str, str]]]:
    views = await admin.describe_topics(names)
    found = []
    for name in names:
        entries = await admin.describe_configs(Resource(ResourceType.TOPIC, name))
        configs = {
            entry.name: entry.value or ""
            for entry in entries.values()
            if entry.source == _SET_ON_TOPIC
        }
        found.append((views[name], configs))
    return found


_SET_ON_TOPIC = 1


def _as_text(view: TopicView, configs: dict[str, str]) -> str:
    told = ", ".join(f"{name}={value}" for name, value in sorted(configs.items()))
    head = f"{view.name}: id {view.topic_id}, configs: {told or '-'}"
    rows = [
        (each.index, each.leader, _numbers(each.replicas), _numbers(each.isr))
        for each in view.partitions
    ]
    return f"{head}\n\n{table(('PARTITION', 'LEADER', 'REPLICAS', 'ISR'), rows)}"


def _as_object(view: TopicView, configs: dict[str, str]) -> dict[str, object]:
    return {
        "name": view.name,
        "topic_id": str(view.topic_id),
        "configs": configs,
        "partitions": [
            {
                "partition": each.index,
                "leader": each.leader,
                "replicas": list(each.replicas),
                "isr": list(each.isr),
            }
            for each in view.partitions
        ],
    }


def _numbers(values: Sequence[int]) -> str:
    return ",".join(map(str, values))

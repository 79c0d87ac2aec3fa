"""`streamkit transactions`: list and describe them, see producers, abort one that hangs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import click

from streamkit.cli.cluster import as_json, cluster_options, table, with_admin
from streamkit.common.errors import UsageError
from streamkit.common.model import TopicPartition
from streamkit.common.system import system_seams


@click.group(name="transactions")
def command() -> None:
    """Look at transactions, abort one that hangs."""


@command.command(name="list")
@click.option("--state", "states", multiple=True, help="Ongoing, PrepareCommit, Empty, ...")
@click.option("--producer-id", "producer_ids", type=int, multiple=True)
@click.option("--running-longer-than", "longer_ms", type=int, default=-1, metavar="MS")
@click.option("--id", "pattern", metavar="PATTERN", help="A regular expression (RE2).")
@click.option("--json", "is_json", is_flag=True, help="A JSON list.")
@cluster_options
def list_command(
    states: Sequence[str],
    producer_ids: Sequence[int],
    longer_ms: int,
    pattern: str | None,
    is_json: bool,
    bootstrap: str,
    assignments: Sequence[str],
    config: str | None,
) -> None:
    """Print every transactional id with its producer id and state."""
    found = with_admin(
        bootstrap,
        assignments,
        config,
        lambda admin: admin.transactions.list(
            states=states,
            producer_ids=producer_ids,
            running_longer_than_ms=longer_ms,
            id_pattern=pattern,
        ),
    )
    if is_json:
        click.echo(as_json([asdict(each) for each in found]))
        return
    rows = [(each.transactional_id, each.producer_id, each.state) for each in found]
    click.echo(table(("TRANSACTIONAL ID", "PRODUCER", "STATE"), rows))


@command.command(name="describe")
@click.argument("transactional_id", metavar="ID")
@click.option("--json", "is_json", is_flag=True, help="A JSON object.")
@cluster_options
def describe_command(
    transactional_id: str,
    is_json: bool,
    bootstrap: str,
    assignments: Sequence[str],
    config: str | None,
) -> None:
    """Print the transaction of the transactional id ID, and the partitions in it."""
    found = with_admin(
        bootstrap,
        assignments,
        config,
        lambda admin: admin.transactions.describe(transactional_id),
    )
    if is_json:
        click.echo(as_json(asdict(found)))
        return
    is_open = found.started_ms > 0
    age = f", open for {system_seams().clock.now_ms() - found.started_ms} ms" if is_open else ""
    click.echo(
        f"{found.transactional_id}: {found.state}{age}, producer {found.producer_id} of epoch "
        f"{found.producer_epoch}, timeout {found.timeout_ms} ms"
    )
    for partition in found.partitions:
        click.echo(f"  {partition}")


@command.command(name="producers")
@click.argument("partition", metavar="TOPIC:PARTITION")
@click.option("--json", "is_json", is_flag=True, help="A JSON list.")
@cluster_options
def producers_command(
    partition: str, is_json: bool, bootstrap: str, assignments: Sequence[str], config: str | None
) -> None:
    """Print who wrote to a partition lately, and whose transaction is open there since where."""
    where = _partition(partition)
    found = with_admin(
        bootstrap, assignments, config, lambda admin: admin.transactions.producers(where)
    )
    if is_json:
        click.echo(as_json([asdict(each) for each in found]))
        return
    header = ("PRODUCER", "EPOCH", "LAST SEQUENCE", "LAST WRITE", "OPEN SINCE OFFSET")
    rows = [
        (
            each.producer_id,
            each.producer_epoch,
            each.last_sequence,
            _moment(each.last_timestamp),
            None if each.transaction_start < 0 else each.transaction_start,
        )
        for each in found
    ]
    click.echo(table(header, rows))


@command.command(name="abort")
@click.argument("partition", metavar="TOPIC:PARTITION")
@click.option(
    "--start-offset", type=click.IntRange(0), required=True, help="Where it began: `producers`."
)
@cluster_options
def abort_command(
    partition: str,
    start_offset: int,
    bootstrap: str,
    assignments: Sequence[str],
    config: str | None,
) -> None:
    """Abort the transaction that is open in a partition since --start-offset.

    For one that hangs, since its coordinator knows nothing of it; a live one is its producer's.
    """
    where = _partition(partition)
    producer = with_admin(
        bootstrap, assignments, config, lambda admin: admin.transactions.abort(where, start_offset)
    )
    click.echo(
        f"aborted in {where}: producer {producer.producer_id} of epoch {producer.producer_epoch}"
    )


def _partition(text: str) -> TopicPartition:
    topic, separator, number = text.rpartition(":")
    if not separator or not topic or not number.isdecimal():
        raise UsageError(f"{text!r} is no partition: write TOPIC:PARTITION, such as orders:0")
    return TopicPartition(topic, int(number))


def _moment(timestamp_ms: int) -> str | None:
    if timestamp_ms < 0:
        return None
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC).isoformat(timespec="milliseconds")

"""`streamkit produce`: lines of standard input, or of arguments, to a topic."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import click

from streamkit.cli.configuration import DEFAULT_LISTEN, read_settings, settings_options
from streamkit.cli.values import choice, encoded
from streamkit.client.errors import UnknownTopicError
from streamkit.client.producer import Producer
from streamkit.common.errors import UsageError
from streamkit.common.system import run_loop, system_seams

BLOCK_MS = 5000
"""A person waits for the answer: a topic that is not there is said sooner than Kafka's minute."""


@click.command(name="produce")
@click.argument("topic")
@click.argument("values", nargs=-1)
@click.option("--bootstrap", metavar="HOST:PORT[,...]", default=DEFAULT_LISTEN, show_default=True)
@click.option("--key", "key_type", type=choice, default="str", show_default=True)
@click.option("--value", "value_type", type=choice, default="str", show_default=True)
@click.option("--key-separator", metavar="TEXT", help="What stands between key and value.")
@click.option("--partition", type=click.IntRange(0), help="Default: by the key's hash.")
@settings_options
def command(
    topic: str,
    values: Sequence[str],
    bootstrap: str,
    key_type: str,
    value_type: str,
    key_separator: str | None,
    partition: int | None,
    assignments: Sequence[str],
    config: str | None,
) -> None:
    """Write VALUES, or else the lines of standard input, to TOPIC.

    With --key-separator a line is KEY SEPARATOR VALUE; without, records have no key.
    """
    seams = system_seams()
    settings = {
        "bootstrap.servers": bootstrap,
        "max.block.ms": str(BLOCK_MS),
        **read_settings(seams.disk, assignments, config),
    }
    lines = values or (line.rstrip("\n") for line in sys.stdin)

    async def send(lines: Iterable[str]) -> None:
        async with Producer(settings, seams=seams) as producer:
            for line in lines:
                key, value = _split(line, key_separator)
                await producer.send(
                    topic,
                    encoded(value, value_type),
                    key=None if key is None else encoded(key, key_type),
                    partition=partition,
                )

    try:
        run_loop(send(lines))
    except UnknownTopicError:
        raise UsageError(
            f"there is no topic {topic!r}, and the cluster does not make one by itself; "
            "create it first"
        ) from None


def _split(line: str, separator: str | None) -> tuple[str | None, str]:
    if not separator:
        return None, line
    key, found, value = line.partition(separator)
    return (key, value) if found else (None, line)

"""`streamkit broker`: the included broker as a process of its own."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Sequence

import click

from streamkit.broker.node import Node
from streamkit.broker.settings import settings_for
from streamkit.cli.configuration import read_settings, settings_options
from streamkit.cli.logs import log_options, log_to_stderr
from streamkit.common.processes import end_with_parent
from streamkit.common.seams import Seams
from streamkit.common.system import run_loop, system_seams

DEFAULT_LISTEN = "127.0.0.1:9092"
DEFAULT_DATA = "streamkit-data"


@click.group(name="broker")
def command() -> None:
    """Start the included broker."""


@command.command()
@click.option("--listen", metavar="HOST:PORT", default=DEFAULT_LISTEN, show_default=True)
@click.option("--data", metavar="DIR", default=DEFAULT_DATA, show_default=True)
@settings_options
@log_options("warning")
@click.option("--ready-file", hidden=True, help="Gets the address when the broker answers.")
@click.option("--quiet", is_flag=True, hidden=True, help="Print nothing when ready.")
def start(
    listen: str,
    data: str,
    assignments: Sequence[str],
    config: str | None,
    log_format: str,
    log_level: str,
    ready_file: str | None,
    quiet: bool,
) -> None:
    """Start one broker and serve until SIGTERM or Ctrl-C.

    The data directory is formatted when it is empty.
    """
    end_with_parent()
    log_to_stderr(log_format, log_level)
    seams = system_seams()
    settings = settings_for(listen, data, read_settings(seams.disk, assignments, config))
    run_loop(_serve(Node(settings, seams), seams, ready_file, quiet))


async def _serve(node: Node, seams: Seams, ready_file: str | None, quiet: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await node.start()
    # What lives now lives for good: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    if ready_file is not None:
        seams.disk.write_atomic(ready_file, node.bootstrap.encode())
    if not quiet:
        click.echo(f"streamkit: broker on {node.bootstrap}, data in {node.settings.data_dir}")
    await node.run_until(stop)

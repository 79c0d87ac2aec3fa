"""`streamkit run`: a program with everything it needs, on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from streamkit.broker.child import BrokerChild, start_broker
from streamkit.cli import program as programs
from streamkit.cli.configuration import DEFAULT_LISTEN, read_settings, settings_options
from streamkit.cli.logs import log_to_stderr
from streamkit.cli.variant import codec_variant
from streamkit.cli.worker import (
    WorkerCommand,
    as_options,
    run_worker,
    settings_of,
    supervise,
)
from streamkit.client.admin import Admin, NewTopic
from streamkit.common.errors import UsageError
from streamkit.common.seams import Seams
from streamkit.common.system import pause, run_loop, system_seams
from streamkit.tasks.settings import StreamsSettings
from streamkit.topology.plan import NodeKind, Topology

DEFAULT_DATA = ".streamkit"


@click.command(name="run")
@programs.argument
@click.option("--data", metavar="DIR", default=DEFAULT_DATA, show_default=True)
@click.option("--listen", metavar="HOST:PORT", default=DEFAULT_LISTEN, show_default=True)
@click.option("--processes", type=click.IntRange(1), help="Worker processes.")
@click.option("--partitions", type=click.IntRange(1), help="Of topics that are made; default: one.")
@settings_options
def command(
    program: str,
    data: str,
    listen: str,
    processes: int | None,
    partitions: int | None,
    assignments: Sequence[str],
    config: str | None,
) -> int:
    """Start a broker, make the topics of PROGRAM, and run it until Ctrl-C.

    The broker's log and the program's state are kept in the data directory for the next run.
    """
    log_to_stderr()
    seams = system_seams()
    app = programs.load(program)
    options = read_settings(seams.disk, assignments, config)
    if "bootstrap.servers" in options:
        raise UsageError(
            "run starts a broker of its own; on a cluster it is streamkit worker "
            f"{program} --bootstrap {options['bootstrap.servers']}"
        )
    given = {"state.dir": f"{data}/state", **app.config, **options}
    if not app.topology.subtopologies:
        raise UsageError(f"{program} reads no topic: declare a stream, a table or a processor")
    topics = [NewTopic(name, partitions or processes or 1) for name in topics_of(app.topology)]
    settings_of(app, given)  # what is wrong is said before a broker starts
    broker = start_broker(seams.disk, seams.spawn, pause, f"{data}/broker", listen=listen)
    seams.spawn.thread(lambda: _end_with(broker), "broker-watch")
    try:
        given["bootstrap.servers"] = broker.bootstrap
        settings = settings_of(app, given)
        run_loop(_make_topics(settings, seams, topics))
        click.echo(
            f"streamkit: broker on {broker.bootstrap}, data in {data}, "
            f"hot modules {codec_variant()}; Ctrl-C stops"
        )
        if processes is None:
            return run_worker(app, settings, seams)
        passed_on = as_options([f"state.dir={given['state.dir']}", *assignments], config)
        passed_on += ["--bootstrap", broker.bootstrap]
        return supervise(app, settings, seams, WorkerCommand(program, tuple(passed_on)), processes)
    finally:
        broker.stop()


def _end_with(broker: BrokerChild) -> None:
    """Wait for the broker's end, and when nobody asked for it, end this process at once.

    Nothing can be committed any more, and state is whole after any end of a worker.
    """
    status = broker.child.wait()
    if not broker.is_stopping:
        click.echo(
            f"streamkit: the broker ended with status {status}, so the program ends; what it had "
            f"committed is kept in {broker.data}",
            err=True,
        )
        os._exit(1)


def topics_of(topology: Topology) -> list[str]:
    """The topics that the program reads and writes, dead letters too; internal ones are the
    group's."""
    internal = {name for part in topology.subtopologies for name in part.repartition_sinks}
    named = {
        topic
        for part in topology.parts
        for node in part.nodes
        if node.kind in {NodeKind.SOURCE, NodeKind.SINK}
        for topic in node.topics
    }
    return sorted((named | set(topology.policies.topics)) - internal)


async def _make_topics(settings: StreamsSettings, seams: Seams, topics: list[NewTopic]) -> None:
    async with Admin(settings.client(), seams=seams) as admin:
        await admin.create_topics(topics, exist_ok=True)

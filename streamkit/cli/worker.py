"""`streamkit worker`: a program's workers on a cluster."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import click

from streamkit.app import App
from streamkit.cli import program as programs
from streamkit.cli.configuration import read_settings, settings_options
from streamkit.cli.logs import log_options, log_to_stderr
from streamkit.cli.variant import warn_if_interpreted
from streamkit.client.client import Client
from streamkit.common.errors import StreamkitError, UsageError
from streamkit.common.processes import end_with_parent
from streamkit.common.seams import Seams
from streamkit.common.system import run_loop, system_seams
from streamkit.tasks.settings import StreamsSettings
from streamkit.tasks.supervisor import Supervisor
from streamkit.tasks.worker import Listener, Worker, tune_interpreter

log = logging.getLogger(__name__)

LOGIN_TIMEOUT_MS = 2000
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@click.command(name="worker")
@programs.argument
@click.option("--bootstrap", metavar="HOST:PORT[,...]", help="The cluster; or bootstrap.servers.")
@click.option("--processes", type=click.IntRange(1), help="Worker processes; restarted on a crash.")
@click.option(
    "--web", metavar="[HOST:]PORT", help="Serve metrics, health and queries; web.listener."
)
@click.option(
    "--remain-in-group",
    is_flag=True,
    help="A stop keeps the membership, for a restart within the session timeout.",
)
@settings_options
@log_options("info")
@click.option("--slot", type=int, hidden=True, help="Which of the supervisor's children this is.")
@click.option("--process-id", type=UUID, hidden=True, help="The supervisor's process id.")
def command(
    program: str,
    bootstrap: str | None,
    processes: int | None,
    web: str | None,
    remain_in_group: bool,
    assignments: Sequence[str],
    config: str | None,
    log_format: str,
    log_level: str,
    slot: int | None,
    process_id: UUID | None,
) -> int:
    """Run the workers of PROGRAM until SIGTERM or Ctrl-C.

    A stop drains: work in hand is finished and committed, then the group is left, unless
    --remain-in-group has the tasks wait for the restart instead of moving twice.
    """
    end_with_parent()
    log_to_stderr(log_format, log_level)
    seams = system_seams()
    given = read_settings(seams.disk, assignments, config)
    if bootstrap is not None:
        given["bootstrap.servers"] = bootstrap
    if web is not None:
        given["web.listener"] = web if ":" in web else f"127.0.0.1:{web}"
    app = programs.load(program)
    settings = settings_of(app, given)
    if not settings.bootstrap_servers:
        raise UsageError("which cluster? give --bootstrap HOST:PORT, or set bootstrap.servers")
    if not app.topology.subtopologies:  # and what is wrong in it is said before connecting
        raise UsageError(f"{program} reads no topic: declare a stream, a table or a processor")
    if processes is None or slot is not None:
        return run_worker(
            app,
            settings,
            seams,
            slot=slot or 0,
            process_id=process_id,
            remains_in_group=remain_in_group,
        )
    options = as_options(assignments, config)
    options += ["--log-format", log_format, "--log-level", log_level]
    if bootstrap is not None:
        options += ["--bootstrap", bootstrap]
    if web is not None:
        options += ["--web", web]
    if remain_in_group:
        options += ["--remain-in-group"]
    return supervise(app, settings, seams, WorkerCommand(program, tuple(options)), processes)


@dataclass(frozen=True, slots=True)
class WorkerCommand:
    """How a child is started: the program and the options that were given for it."""

    program: str
    options: tuple[str, ...]

    def argv(self) -> list[str]:
        """The child's command line, but for its slot."""
        return [sys.executable, "-m", "streamkit", "worker", self.program, *self.options]


def as_options(assignments: Sequence[str], config: str | None) -> list[str]:
    """The settings as they were typed: a secret in a file stays in that file."""
    options = [text for pair in assignments for text in ("--set", pair)]
    return options if config is None else ["--config", config, *options]


def settings_of(app: App, given: Mapping[str, object]) -> StreamsSettings:
    """The program's own settings under those of the command line. Raises ConfigError."""
    app.configure(given)
    return StreamsSettings.from_mapping({**app.config, "application.id": app.id})


def run_worker(
    app: App,
    settings: StreamsSettings,
    seams: Seams,
    *,
    slot: int = 0,
    process_id: UUID | None = None,
    listener: Listener | None = None,
    remains_in_group: bool = False,
) -> int:
    """One worker in this process, until it is told to stop; its exit status."""
    warn_if_interpreted()
    tune_interpreter()

    async def serve() -> int:
        worker = Worker(
            app.topology,
            settings,
            seams,
            slot=slot,
            process_id=process_id,
            listener=listener,
            listeners=app.listeners,
            remains_in_group=remains_in_group,
        )
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, worker.request_stop)
        return await worker.serve()

    return run_loop(serve())


def supervise(
    app: App, settings: StreamsSettings, seams: Seams, command: WorkerCommand, processes: int
) -> int:
    """Worker processes as children, restarted when they crash, until told to stop."""
    warn_if_interpreted()
    run_loop(_refuse_bad_login(settings, seams))
    supervisor = Supervisor(app.topology, settings, seams, command.argv(), processes)
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: supervisor.request_stop())
    return supervisor.run()


async def _refuse_bad_login(settings: StreamsSettings, seams: Seams) -> None:
    """Say once, not once for each child, what the cluster refuses.

    A cluster that does not answer is no reason to end: the children wait for it.
    """
    quick = settings.client().model_copy(update={"default_api_timeout_ms": LOGIN_TIMEOUT_MS})
    try:
        async with Client(quick, seams):
            return
    except UsageError:
        raise
    except StreamkitError as error:
        log.warning("%s; the workers go on trying", error)

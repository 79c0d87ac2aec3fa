"""The `streamkit` command: finds the command, runs it, and turns errors into one line.

Commands are imported when they are used, so that starting stays fast. Exit status: 0 done, 1 it
failed at run time, 2 it was used wrongly.
"""

from __future__ import annotations

import gc
import importlib
import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

from streamkit.common.errors import AlreadySaidError, StreamkitError, UsageError

if TYPE_CHECKING:
    from streamkit.app import App

GC_OBJECTS = 100_000
"""Imports make no garbage: to look for it every 700 objects takes a sixth of a worker's start."""

COMMANDS = {
    "run": ("streamkit.cli.run", "Run a program on an embedded broker."),
    "worker": ("streamkit.cli.worker", "Run a program's workers on a cluster."),
    "broker": ("streamkit.cli.broker", "Start the included broker."),
    "topology": ("streamkit.cli.topology", "Look at a program's topology."),
    "groups": ("streamkit.cli.groups", "Look at groups, move their offsets, delete them."),
    "topics": ("streamkit.cli.topics", "List, describe, create, alter and delete topics."),
    "configs": ("streamkit.cli.configs", "Look at and change configurations."),
    "transactions": ("streamkit.cli.transactions", "Look at transactions, abort one that hangs."),
    "reset": ("streamkit.cli.reset", "Make an application begin anew."),
    "produce": ("streamkit.cli.produce", "Write lines to a topic."),
    "consume": ("streamkit.cli.consume", "Print the records of a topic."),
}
TAKES_PROGRAM = {
    ("run",), ("worker",), ("topology", "describe"), ("topology", "check"), ("reset",),
}  # fmt: skip


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = COMMANDS.get(cmd_name)
        if found is None:
            return None
        command = importlib.import_module(found[0]).command
        assert isinstance(command, click.Command), f"{found[0]} has no command"
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _print_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from streamkit import __version__
    from streamkit.cli.variant import codec_variant, warn_if_interpreted

    click.echo(f"streamkit {__version__} ({codec_variant()})")
    warn_if_interpreted()
    ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version and whether the hot modules are compiled.",
)
def streamkit() -> None:
    """Kafka Streams for Python, with the cluster in the box."""


def main(arguments: Sequence[str] | None = None, *, app: App | None = None) -> NoReturn:
    """Run the command line and exit.

    With `app`, the commands that take a PROGRAM get the file that was started, and that app.
    """
    gc.set_threshold(GC_OBJECTS)
    # Commands that do not turn logging on say what is wrong in their last line, and only there.
    logging.getLogger("streamkit").addHandler(logging.NullHandler())
    given = list(sys.argv[1:] if arguments is None else arguments)
    if app is not None:
        given = _with_program(given, sys.argv[0])
    try:
        status = streamkit.main(given, prog_name="streamkit", standalone_mode=False, obj=app)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help(), err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except AlreadySaidError:
        sys.exit(2)
    except UsageError as error:
        _fail(str(error), 2)
    except StreamkitError as error:
        _fail(str(error), 1)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int) -> NoReturn:
    one_line = " ".join(message.split())
    click.echo(f"streamkit: {one_line}", err=True)
    sys.exit(status)


def _with_program(arguments: list[str], program: str) -> list[str]:
    """Put the program's path behind the command's words, where a user of the CLI types it."""
    for length in (2, 1):
        words: tuple[Any, ...] = tuple(arguments[:length])
        if words in TAKES_PROGRAM:
            return [*words, program, *arguments[length:]]
    return arguments

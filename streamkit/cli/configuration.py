"""`--set` and `--config`: settings on the command line and from a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from streamkit.common.errors import StorageError, UsageError
from streamkit.common.seams import Disk
from streamkit.common.settings import parse_assignments, parse_properties

DEFAULT_LISTEN = "127.0.0.1:9092"
"""Where `run` and `broker start` listen, and where the other commands look for a cluster."""

F = TypeVar("F", bound=Callable[..., Any])


def settings_options(command: F) -> F:
    """Give a command the options `--set` (as `assignments`) and `--config`."""
    command = click.option(
        "--config", metavar="FILE", help="A file of key=value lines; --set wins over it."
    )(command)
    return click.option(
        "--set",
        "assignments",
        metavar="KEY=VALUE",
        multiple=True,
        help="A configuration key of Kafka's; may be given again.",
    )(command)


def read_settings(disk: Disk, assignments: Sequence[str], config: str | None) -> dict[str, str]:
    """The settings given by file and by option. Raises UsageError, ConfigError."""
    values: dict[str, str] = {}
    if config is not None:
        try:
            text = disk.read(config).decode()
        except FileNotFoundError:
            raise UsageError(f"there is no configuration file {config}") from None
        except (StorageError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read the configuration file {config}: {error}") from None
        values = parse_properties(text, where=config)
    return values | parse_assignments(assignments)

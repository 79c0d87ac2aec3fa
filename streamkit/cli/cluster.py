"""What the commands for a cluster share: `--bootstrap`, an admin client, aligned tables."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import click
import orjson

from streamkit.cli.configuration import DEFAULT_LISTEN, read_settings, settings_options
from streamkit.client.admin import Admin
from streamkit.client.settings import ClientSettings
from streamkit.common.seams import Seams
from streamkit.common.system import run_loop, system_seams

API_TIMEOUT_MS = 5000
"""A person waits for the answer: a cluster that is not there is said before Kafka's minute."""

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

wait_option: Callable[[Any], Any] = click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0),
    default=0.0,
    metavar="SECONDS",
    help="How long members may take to leave or to time out.",
)
"""Seconds that members of a group are waited for, before it is changed."""


def cluster_options(command: F) -> F:
    """Give a command `--bootstrap`, `--set` and `--config`."""
    return click.option(
        "--bootstrap", metavar="HOST:PORT[,...]", default=DEFAULT_LISTEN, show_default=True
    )(settings_options(command))


def with_admin(
    bootstrap: str,
    assignments: Sequence[str],
    config: str | None,
    work: Callable[[Admin], Awaitable[T]],
) -> T:
    """Connect, do the work, disconnect; gives what the work gives."""
    seams = system_seams()
    settings = {
        "bootstrap.servers": bootstrap,
        "default.api.timeout.ms": str(API_TIMEOUT_MS),
        **read_settings(seams.disk, assignments, config),
    }
    return run_admin(settings, seams, work)


def run_admin(
    settings: Mapping[str, Any] | ClientSettings,
    seams: Seams,
    work: Callable[[Admin], Awaitable[T]],
) -> T:
    """`with_admin` for settings that were read already."""

    async def connected() -> T:
        async with Admin(settings, seams=seams) as admin:
            return await work(admin)

    return run_loop(connected())


def patient(settings: ClientSettings) -> ClientSettings:
    """A program's settings for a command: no more patience than a person has, unless they say."""
    if "default_api_timeout_ms" in settings.model_fields_set:
        return settings
    return settings.model_copy(update={"default_api_timeout_ms": API_TIMEOUT_MS})


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns aligned, two blanks between them; numbers to the right."""
    texts = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(header))]
    columns = list(zip(*rows, strict=True)) or [()] * len(header)
    right = [
        any(isinstance(value, int) for value in column)
        and all(isinstance(value, int) or value is None for value in column)
        for column in columns
    ]
    lines = []
    for row in texts:
        cells = (
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def as_json(value: object) -> str:
    """One JSON text, for scripts."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else str(value)

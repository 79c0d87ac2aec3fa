"""The log of a command: to standard error, one line a record, as text or as JSON.

One record is one line whatever is in it, so that what reads logs never takes the middle of a
message for the beginning of another. JSON lines hold `time` (UTC), `level`, `logger`, `message`,
`exception` where there is one, and what the record's `extra` says.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import click
import orjson

F = TypeVar("F", bound=Callable[..., Any])

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")
TEXT = "%(asctime)s %(levelname)s %(message)s"

_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; all else came with `extra`."""


def log_options(level: str) -> Callable[[F], F]:
    """`--log-format` and `--log-level`, for a command that calls `log_to_stderr` with them."""

    def decorate(command: F) -> F:
        command = click.option(
            "--log-level", type=click.Choice(LEVELS), default=level, show_default=True,
            help="What is logged.",
        )(command)  # fmt: skip
        return click.option(
            "--log-format", type=click.Choice(FORMATS), default="text", show_default=True,
            help="How: one line a record.",
        )(command)  # fmt: skip

    return decorate


def log_to_stderr(log_format: str = "text", level: str = "info") -> None:
    """Log from here on, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines(TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler])


class TextLines(logging.Formatter):
    """Text for people; a line break within a record is shown as `\\n`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return super().format(record).rstrip("\n").replace("\r", "\\r").replace("\n", "\\n")


class JsonLines(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        moment = datetime.fromtimestamp(record.created, UTC)
        values: dict[str, object] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            values["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            values["stack"] = self.formatStack(record.stack_info)
        for name, value in vars(record).items():
            if name not in _OWN_FIELDS:
                values.setdefault(name, value)
        return _json(values)


def _json(values: dict[str, object]) -> str:
    try:
        return orjson.dumps(values, default=str).decode()
    except orjson.JSONEncodeError:
        # Texts of broken bytes, and keys that are not texts: what can be shown is shown.
        shown = {name: repr(value) for name, value in values.items()}
        return orjson.dumps(shown).decode()

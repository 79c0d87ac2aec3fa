"""What a worker does when it fails for good: stop, be replaced, or have all workers stop.

Kafka's StreamsUncaughtExceptionHandler (KIP-671). A replaced worker begins anew in the same
process, after a back-off, at its last commit; a record that fails each time keeps it doing so.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from streamkit.common.errors import ConfigError, UsageError

STATUS_STOP_APPLICATION = 3
"""A supervised worker's exit status after it had all workers stop: it is not started again."""

REPLACE_BACKOFF_MS = 500.0
REPLACE_BACKOFF_MAX_MS = 30_000.0


class Reply(Enum):
    """What is done."""

    STOP = "stop"
    REPLACE = "replace"
    STOP_APPLICATION = "stop_application"


def reply_to(choice: str | Callable[[BaseException], str] | None, error: BaseException) -> Reply:
    """The reply to a failure. What the user must change stops the worker in any case."""
    if isinstance(error, UsageError) or choice is None:
        return Reply.STOP
    said = choice if isinstance(choice, str) else choice(error)
    try:
        return Reply(said)
    except ValueError:
        known = ", ".join(each.value for each in Reply)
        raise ConfigError(f"on_uncaught={said!r}: use one of {known}") from error


def backoff_ms(failures: int) -> float:
    """The wait before the next life."""
    return min(REPLACE_BACKOFF_MS * float(1 << min(failures - 1, 10)), REPLACE_BACKOFF_MAX_MS)

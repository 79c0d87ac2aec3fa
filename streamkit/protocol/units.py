"""Kafka's int64 and int32 milliseconds and kio's timedeltas and datetimes, both ways."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

_MILLISECOND: Final = timedelta(milliseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def to_ms(duration: timedelta) -> int:
    """A duration field of a message in milliseconds."""
    return duration // _MILLISECOND


def from_ms(duration_ms: int) -> timedelta:
    """Milliseconds as a duration field of a message."""
    return timedelta(milliseconds=duration_ms)


def to_timestamp(moment: datetime | None) -> int:
    """A time field of a message in milliseconds since the epoch; -1 when there is none."""
    return -1 if moment is None else (moment - _EPOCH) // _MILLISECOND


def moment_of(timestamp: int) -> datetime:
    """Milliseconds since the epoch as a time field that cannot be null, -1 for none as it is."""
    return _EPOCH + timestamp * _MILLISECOND


def from_timestamp(timestamp: int) -> datetime | None:
    """Milliseconds since the epoch as a time field of a message; None for -1."""
    return None if timestamp == -1 else _EPOCH + timestamp * _MILLISECOND

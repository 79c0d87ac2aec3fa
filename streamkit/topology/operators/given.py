"""Records that user code hands on: what is looked at before they count."""

from __future__ import annotations

from typing import Any

from streamkit.common.errors import TopologyError
from streamkit.common.model import Record


def checked_time(name: str, record: Record[Any, Any]) -> int:
    """A record's time. Raises TopologyError when it is none (Kafka's `Record` refuses it too)."""
    time = record.timestamp
    if not isinstance(time, int):
        raise TopologyError(
            f"processor {name} hands on a record with key {record.key!r} and the timestamp "
            f"{time!r}: give whole milliseconds since the epoch, an int"
        )
    if time < 0:
        raise TopologyError(
            f"processor {name} hands on a record with key {record.key!r} and the negative "
            f"timestamp {time}: give milliseconds since the epoch, or the time of its input"
        )
    return time

"""Nodes and their context: the inner face of everything that runs in a task.

A node is linked once to its children and is then called directly: `process(key, value,
timestamp, headers)`. No record object exists on the way; a node that needs one makes it.
"""

from __future__ import annotations

from typing import Any, Protocol

from streamkit.common.model import Headers, TaskId


class SinkWriter(Protocol):
    """Appends serialised records to the batches of one topic."""

    def append(
        self,
        key: bytes | None,
        value: bytes | None,
        timestamp: int,
        headers: Headers,
        partition: int = -1,
        /,
    ) -> None:
        """Partition -1 chooses by the key's murmur2 hash, as the Java producer does."""


class ProcessorContext(Protocol):
    """What a task gives its nodes. The record fields are those of the record being processed."""

    task_id: TaskId
    application_id: str
    topic: str
    partition: int
    offset: int
    timestamp: int
    headers: Headers
    stream_time: int

    def store(self, name: str) -> Any:
        """The store of that name in this task."""

    def sink(self, topic: str) -> SinkWriter:
        """The writer for a topic, by its full name."""

    def drop(self, reason: str) -> None:
        """Count and log a dropped record."""

    def wall_time_ms(self) -> int: ...

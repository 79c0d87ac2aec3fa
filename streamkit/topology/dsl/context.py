"""What a function sees of the task that calls it: `sk.Context`."""

from __future__ import annotations

from typing import Any

from streamkit.common.model import Headers, Record, TaskId
from streamkit.topology.operators.node import Node, ProcessorContext


class Context:
    """The record being processed, the task's times, and a way to send more records on.

    Times are in milliseconds since the epoch.
    """

    __slots__ = ("_context", "_node")

    def __init__(self, node: Node, context: ProcessorContext) -> None:
        self._node = node
        self._context = context

    def forward(self, record: Record[Any, Any]) -> None:
        """Hand a record to every child, at once."""
        self._node.forward(record.key, record.value, record.timestamp, record.headers)

    @property
    def application_id(self) -> str:
        """The application's id."""
        return self._context.application_id

    @property
    def task_id(self) -> TaskId:
        """The task's sub-topology and partition."""
        return self._context.task_id

    @property
    def topic(self) -> str:
        """The topic that the record being processed was read from."""
        return self._context.topic

    @property
    def partition(self) -> int:
        """The partition that the record being processed was read from."""
        return self._context.partition

    @property
    def offset(self) -> int:
        """The offset of the record being processed."""
        return self._context.offset

    @property
    def timestamp(self) -> int:
        """The time of the record being processed."""
        return self._context.timestamp

    @property
    def headers(self) -> Headers:
        """The headers of the record being processed."""
        return self._context.headers

    @property
    def stream_time(self) -> int:
        """The highest time that this task has seen; -1 before the first record."""
        return self._context.stream_time

    def wall_time_ms(self) -> int:
        """The wall clock."""
        return self._context.wall_time_ms()

"""`suppress()`: holds the changes of a table back until they are due, or the buffer is full."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from streamkit.common.errors import FatalError
from streamkit.common.model import Headers
from streamkit.topology.operators.node import Node, ProcessorContext


@dataclass(frozen=True, slots=True)
class Suppression:
    """When changes go on: `wait_ms` after their time, or after the end of their window.

    A final result is never a delete: a window that was emptied again gives none.
    """

    wait_ms: int
    is_final: bool
    max_records: int | None
    max_bytes: int | None
    shuts_down: bool


class SuppressNode(Node):
    """Buffers each change and sends on those that are due by the stream time it has seen."""

    def __init__(self, name: str, store_name: str, how: Suppression) -> None:
        super().__init__(name)
        self._store_name = store_name
        self._how = how
        self._buffer: Any = None
        self._stream_time = -1
        self.emitted = 0

    def init(self, context: ProcessorContext) -> None:
        """Look up the buffer."""
        super().init(context)
        self._buffer = context.store(self._store_name)

    def process_change(
        self, key: Any, new: Any, old: Any, timestamp: int, headers: Headers
    ) -> None:
        self._see(timestamp)
        buffer, how = self._buffer, self._how
        time = key.end if how.is_final else timestamp
        buffer.put(key, new, old, time, timestamp, headers)
        self._emit_due()
        if self._is_full() and how.shuts_down:
            raise FatalError(
                f"{self.name}: the buffer is full, {buffer.records} records and "
                f"{buffer.size_bytes} bytes: raise max_records or max_bytes"
            )
        while self._is_full():
            self._emit_first()

    def advance_time(self, time: int) -> None:
        self._see(time)
        self._emit_due()

    def _see(self, time: int) -> None:
        if time > self._stream_time:
            self.on_failure(self._set_stream_time, self._stream_time)
            self._stream_time = time

    def _set_stream_time(self, time: int) -> None:
        self._stream_time = time

    def _emit_due(self) -> None:
        while self._buffer.min_time <= self._stream_time - self._how.wait_ms:
            self._emit_first()

    def _is_full(self) -> bool:
        how, buffer = self._how, self._buffer
        if how.max_records is not None and buffer.records > how.max_records:
            return True
        return how.max_bytes is not None and buffer.size_bytes > how.max_bytes

    def _emit_first(self) -> None:
        due, context = self._buffer.first(), self.context
        origin = due.origin
        if due.new is not None or not self._how.is_final:
            here = context.topic, context.partition, context.offset, context.headers
            context.topic, context.partition = origin.topic, origin.partition
            context.offset, context.headers = origin.offset, origin.headers
            self.forward_change(due.key, due.new, due.old, origin.timestamp, origin.headers)
            context.topic, context.partition, context.offset, context.headers = here
            self.emitted += 1
        self._buffer.evict()

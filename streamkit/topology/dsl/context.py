"""What a function or processor sees of the task that calls it: `sk.Context`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal, Protocol

from streamkit.common.errors import TopologyError
from streamkit.common.model import Headers, Record, TaskId
from streamkit.topology.dsl.windows import Duration, duration_ms
from streamkit.topology.operators.given import checked_time
from streamkit.topology.operators.node import Node, ProcessorContext
from streamkit.topology.sensors import Sensor

_METRIC = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class Cancellable(Protocol):
    """A scheduled punctuation."""

    def cancel(self) -> None:
        """Call it no more."""


class Context:
    """The record being processed, the task's times, and a way to send more records on.

    Times are in milliseconds since the epoch. In a punctuation there is no record: `topic` is ""
    and partition and offset are -1.
    """

    __slots__ = ("_context", "_fixes_key", "_key", "_node")

    def __init__(
        self,
        node: Node,
        context: ProcessorContext,
        *,
        fixes_key: bool = False,
    ) -> None:
        self._node = node
        self._context = context
        self._fixes_key = fixes_key
        self._key: Any = None

    def forward(self, record: Record[Any, Any], child: str | None = None) -> None:
        """Hand a record to every child, or to the one of that name, at once.

        Raises TopologyError when there is no such child, when the timestamp is negative, or when
        the key must stay and does not.
        """
        if self._fixes_key and record.key is not self._key and record.key != self._key:
            raise TopologyError(
                f"processor {self._node.name} keeps keys, but it forwards {record.key!r} while it "
                f"processes {self._key!r}: make it a streamkit.Processor"
            )
        time = record.timestamp
        if type(time) is not int or time < 0:
            time = checked_time(self._node.name, record)
        if child is None:
            self._node.forward(record.key, record.value, time, record.headers)
            return
        for node in self._node.children:
            if node.name == child:
                self._context.current = node
                node.process(record.key, record.value, time, record.headers)
                self._context.current = self._node
                return
        names = ", ".join(node.name for node in self._node.children) or "none"
        raise TopologyError(
            f"processor {self._node.name} has no child {child!r}; its children: {names}"
        )

    def store(self, name: str) -> Any:
        """A store that the processor is connected to, or a global one, which it may only read.

        Raises TopologyError.
        """
        return self._context.store_for(self._node.name, name)

    def schedule(
        self,
        interval: Duration,
        callback: Callable[[int], object],
        *,
        clock: Literal["stream", "wall"] = "stream",
        start: datetime | int | None = None,
    ) -> Cancellable:
        """Have `callback(time)` called each interval, by stream time or by the wall clock.

        By stream time it fires with the first record, then at each multiple of the interval; by
        the wall clock first after one interval. `start`, a time or milliseconds since the epoch,
        anchors it (KIP-1146). Marks that were missed are made up for by one call.
        """
        if clock not in {"stream", "wall"}:
            raise TopologyError(f"schedule(): clock={clock!r}: use 'stream' or 'wall'")
        start_ms = int(start.timestamp() * 1000) if isinstance(start, datetime) else start
        return self._context.schedule(
            self._node,
            duration_ms(interval),
            callback,
            by_wall_clock=clock == "wall",
            start_ms=start_ms,
        )

    def sensor(self, name: str) -> Sensor:
        """A metric of this processor: `sensor.record()`, or `.record(value)` to average values.

        Shown as `kafka_streams_stream_processor_node_metrics_NAME_total`, `_rate` and `_avg`, with
        dots and dashes as underscores. The same name gives the same sensor. Raises TopologyError
        for a name that a metric cannot have.
        """
        return self._context.sensor(self._node.name, _metric_name(name))

    def commit(self) -> None:
        """Ask for a commit at the next turn."""
        self._context.request_commit()

    def with_key_fixed(
        self, process: Callable[[Record[Any, Any]], object]
    ) -> Callable[[Record[Any, Any]], None]:
        """`process`, with the key of its record held on to."""

        def call(record: Record[Any, Any]) -> None:
            self._key = record.key
            process(record)

        return call

    @property
    def application_id(self) -> str:
        """The application's id."""
        return self._context.application_id

    @property
    def task_id(self) -> TaskId:
        """The task's sub-topology and partition."""
        return self._context.task_id

    @property
    def app_configs(self) -> Mapping[str, object]:
        """The application's configuration by Kafka's keys, defaults included."""
        return self._context.app_configs

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


def _metric_name(name: str) -> str:
    plain = name.replace("-", "_").replace(".", "_")
    if not _METRIC.fullmatch(plain):
        raise TopologyError(f"sensor({name!r}): a name is letters, digits, '_', '-' and '.'")
    return plain

"""The processor context of one task, and the partition time in its committed offsets."""

from __future__ import annotations

import base64
import binascii
import logging
import struct
from collections.abc import Callable
from typing import Any

from streamkit.common.errors import TopologyError
from streamkit.common.model import TaskId
from streamkit.tasks.collector import Collector, TopicWriter
from streamkit.topology.operators.node import ProcessorContext

log = logging.getLogger(__name__)

_METADATA = struct.Struct(">bq")
_METADATA_VERSION = 2
DROPS_LOGGED = 10
"""Dropped records that a task logs one by one; the rest is only counted."""


class TaskContext(ProcessorContext):
    """What the nodes of one task see."""

    def __init__(
        self,
        application_id: str,
        task_id: TaskId,
        collector: Collector,
        now_ms: Callable[[], int],
        partition_count: Callable[[str], int],
    ) -> None:
        super().__init__(application_id, task_id)
        self.stores: dict[str, Any] = {}
        self.dropped = 0
        self._collector = collector
        self._now_ms = now_ms
        self._find_count = partition_count

    def store(self, name: str) -> Any:
        """The store of that name. Raises TopologyError when the sub-topology has none."""
        try:
            return self.stores[name]
        except KeyError:
            raise TopologyError(f"task {self.task_id} has no store {name!r}") from None

    def sink(self, topic: str) -> TopicWriter:
        writer = self._collector.writer(topic)
        if writer.count == 0:
            writer.set_count(self._find_count(topic))
        return writer

    def partition_count(self, topic: str) -> int:
        return self.sink(topic).count

    def drop(self, reason: str) -> None:
        self.dropped += 1
        if self.dropped <= DROPS_LOGGED:
            log.warning(
                "task %s: dropped %s-%d offset %d: %s",
                self.task_id, self.topic, self.partition, self.offset, reason,
            )  # fmt: skip

    def wall_time_ms(self) -> int:
        return self._now_ms()


def encode_partition_time(partition_time: int) -> str:
    """The metadata of a committed offset, as Kafka Streams' TopicPartitionMetadata writes it."""
    if partition_time < 0:
        return ""
    return base64.b64encode(_METADATA.pack(_METADATA_VERSION, partition_time)).decode()


def decode_partition_time(metadata: str) -> int:
    """The partition time of committed metadata; -1 when there is none or it is not readable."""
    try:
        data = base64.b64decode(metadata, validate=True)
    except (binascii.Error, ValueError):
        return -1
    if len(data) < _METADATA.size or data[0] not in (1, _METADATA_VERSION):
        return -1
    return int(_METADATA.unpack_from(data)[1])

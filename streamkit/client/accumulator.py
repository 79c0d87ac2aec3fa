"""Records of a producer on their way into batches: partitions chosen, batches filled; pure.

Records without a key stick to one partition until its batch is closed (KIP-480), so that batches
are full ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from streamkit.client.records import RecordMetadata
from streamkit.common.errors import StreamkitError
from streamkit.common.model import Headers, TopicPartition
from streamkit.common.partitioner import partition_for
from streamkit.records import BatchBuilder

OnDelivery = Callable[[RecordMetadata | None, StreamkitError | None], None]
"""Called with the record's place, or with the error."""


@dataclass(slots=True)
class OpenBatch:
    """A batch that is being filled; `callbacks` by the record's place in it."""

    tp: TopicPartition
    builder: BatchBuilder
    opened_ms: float
    callbacks: list[tuple[int, int, OnDelivery]] = field(default_factory=list)

    @property
    def has_all_callbacks(self) -> bool:
        """Whether every record's sender hears of its fate."""
        return len(self.callbacks) == self.builder.count


class Accumulator:
    """The open batches of one producer, at most one for each partition."""

    def __init__(self, batch_bytes: int, compression: int, chance: Callable[[int], int]) -> None:
        self._batch_bytes = batch_bytes
        self._compression = compression
        self._chance = chance
        self._open: dict[TopicPartition, OpenBatch] = {}
        self._sticky: dict[str, int] = {}

    def choose(self, topic: str, key: bytes | None, partitions: int) -> int:
        """Kafka's partition for a key, the sticky one without a key."""
        if key is not None:
            return partition_for(key, partitions)
        sticky = self._sticky.get(topic, partitions)
        if sticky >= partitions:
            sticky = self._sticky[topic] = self._chance(partitions)
        return sticky

    def append(
        self,
        tp: TopicPartition,
        key: bytes | None,
        value: bytes | None,
        timestamp: int,
        headers: Headers,
        on_delivery: OnDelivery | None,
        now_ms: float,
    ) -> OpenBatch | None:
        """Add a record; gives a batch that is full and closed by it, to be sent."""
        closed = None
        batch = self._open.get(tp)
        if batch is None or not batch.builder.append(key, value, timestamp, headers):
            closed = self.close(tp) if batch is not None else None
            builder = BatchBuilder(self._batch_bytes, self._compression)
            batch = self._open[tp] = OpenBatch(tp, builder, now_ms)
            builder.append(key, value, timestamp, headers)
        if on_delivery is not None:
            batch.callbacks.append((batch.builder.count - 1, timestamp, on_delivery))
        return closed

    def close(self, tp: TopicPartition) -> OpenBatch:
        """Take a partition's open batch."""
        self._sticky.pop(tp.topic, None)
        return self._open.pop(tp)

    def close_older(self, opened_before_ms: float) -> list[OpenBatch]:
        """Take the open batches that have lingered long enough."""
        old = [tp for tp, batch in self._open.items() if batch.opened_ms <= opened_before_ms]
        return [self.close(tp) for tp in old]

    def oldest_ms(self) -> float | None:
        """When the oldest open batch was opened."""
        return min((batch.opened_ms for batch in self._open.values()), default=None)

"""What the public producer and consumer give: single records and decoded batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from streamkit.common.model import Headers, TopicPartition
from streamkit.records import DecodedBatch


class RecordMetadata(NamedTuple):
    """Where a sent record lies; `offset` is -1 where the broker does not say (acks=0)."""

    topic: str
    partition: int
    offset: int
    timestamp: int


class ConsumerRecord(NamedTuple):
    """One record as it lies in the log; `timestamp` in milliseconds since the epoch."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class ConsumedBatch:
    """The records of one batch, in columns; iterate for single records."""

    tp: TopicPartition
    columns: DecodedBatch

    def __len__(self) -> int:
        return len(self.columns)

    def __iter__(self) -> Iterator[ConsumerRecord]:
        return iter(self.records())

    def records(self) -> list[ConsumerRecord]:
        """The batch as a list of records."""
        topic, partition = self.tp
        b = self.columns
        return [
            ConsumerRecord(topic, partition, *row)
            for row in zip(b.offsets, b.timestamps, b.keys, b.values, b.headers, strict=True)
        ]

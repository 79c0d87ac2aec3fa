"""A batch that is too large for its topic becomes two (Kafka's `splitAndReenqueue`).

The halves stand in its place, with its sequences. Who waits for the batch is told once both are
done, or, when it can take parts (`OnParts`), of each.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

from streamkit.client.batch import SEQUENCES, Batch, OnDone
from streamkit.common.errors import StreamkitError
from streamkit.common.model import TopicPartition
from streamkit.records import BatchBuilder, decode, scan


@runtime_checkable
class OnParts(Protocol):
    """Takes what became of some records of a batch, by the index of the first."""

    def on_part(
        self,
        first: int,
        count: int,
        tp: TopicPartition,
        base_offset: int,
        error: StreamkitError | None,
    ) -> None: ...


@dataclass(slots=True)
class _Part:
    """Passes on what became of one half to who takes parts."""

    whole: OnParts
    first: int
    count: int

    def __call__(self, tp: TopicPartition, base_offset: int, error: StreamkitError | None) -> None:
        self.whole.on_part(self.first, self.count, tp, base_offset, error)

    def on_part(
        self,
        first: int,
        count: int,
        tp: TopicPartition,
        base_offset: int,
        error: StreamkitError | None,
    ) -> None:
        self.whole.on_part(self.first + first, count, tp, base_offset, error)


@dataclass(slots=True)
class _Joined:
    """Tells of a batch when all of its records are done: where they end, or what failed first."""

    on_done: OnDone
    total: int
    left: int = field(init=False)
    offset_end: int = -1
    error: StreamkitError | None = None

    def __post_init__(self) -> None:
        self.left = self.total

    def on_part(
        self,
        first: int,
        count: int,
        tp: TopicPartition,
        base_offset: int,
        error: StreamkitError | None,
    ) -> None:
        self.left -= count
        self.error = self.error or error
        if base_offset >= 0:
            self.offset_end = max(self.offset_end, base_offset + count)
        if self.left == 0:
            failed = self.error is not None or self.offset_end < 0
            self.on_done(tp, -1 if failed else self.offset_end - self.total, self.error)


def halves_of(batch: Batch) -> tuple[Batch, Batch]:
    """The batch as two, in order; it has at least two records."""
    data = batch.builder.build()
    (header,) = scan(data)
    rows = decode(data, header)
    count = batch.builder.count
    middle = count // 2
    whole = batch.on_done if isinstance(batch.on_done, OnParts) else _Joined(batch.on_done, count)
    made = []
    for start, stop in ((0, middle), (middle, count)):
        builder = BatchBuilder(batch.builder.size_max, batch.builder.compression)
        for index in range(start, stop):
            taken = builder.append(
                rows.keys[index], rows.values[index], rows.timestamps[index], rows.headers[index]
            )
            assert taken, "half of a batch fits where all of it did"
        sequence = batch.sequence
        made.append(
            replace(
                batch,
                builder=builder,
                on_done=_Part(whole, start, stop - start),
                size=builder.size,
                part=batch.part if start == 0 else batch.part + batch.width / 2,
                width=batch.width / 2,
                sequence=sequence if sequence < 0 else (sequence + start) % SEQUENCES,
                data=b"",
                retry_at_ms=0.0,
            )
        )
    return made[0], made[1]

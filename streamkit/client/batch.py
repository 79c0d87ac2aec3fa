"""One batch of a producer on its way to a partition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from streamkit.common.errors import StreamkitError
from streamkit.common.model import TopicPartition
from streamkit.records import BatchBuilder

SEQUENCES: Final = 2**31
"""Sequences count from 0 and begin again here."""

OnDone = Callable[[TopicPartition, int, StreamkitError | None], None]


class ProducerIdentity(NamedTuple):
    """Producer id and epoch, as batches carry them."""

    producer_id: int
    epoch: int


NO_IDENTITY: Final = ProducerIdentity(-1, -1)


@dataclass(slots=True, eq=False)
class Batch:
    """One batch on its way; `data` is what was or will be sent.

    A piece of a batch that was split has its `number`, and begins at its `part` of it.
    """

    tp: TopicPartition
    builder: BatchBuilder
    on_done: OnDone
    deadline_ms: float
    size: int
    number: int
    part: float = 0.0
    width: float = 1.0
    sequence: int = -1
    identity: ProducerIdentity = NO_IDENTITY
    data: bytes = b""
    attempts: int = 0
    retry_at_ms: float = 0.0
    is_on_wire: bool = False
    is_done: bool = False
    last_error: StreamkitError | None = None

    @property
    def wire_size(self) -> int:
        """Bytes to send; an upper bound before it is built."""
        return len(self.data) or self.size

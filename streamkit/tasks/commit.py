"""The commit of a processing thread, step by step, and its counterpart; pure.

Flush the caches, have every output and changelog record acknowledged, commit the input offsets
with member id and epoch, then apply the overlays with the changelog offsets. Between those steps
processing waits and events go on being handled. Exactly once, all of that is one transaction,
which ends with the offsets; rolling back waits until it has ended without.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from streamkit.common.errors import StreamkitError
from streamkit.common.model import TopicPartition


class CommitPhase(Enum):
    """What a commit waits for."""

    IDLE = "idle"
    ACKNOWLEDGEMENTS = "acknowledgements"
    OFFSETS = "offsets"
    ROLLING_BACK = "rolling back"


class Deliveries:
    """Batches that are on their way, and how far each partition is written."""

    def __init__(self) -> None:
        self.outstanding = 0
        self.bytes_outstanding = 0
        self.written: dict[TopicPartition, int] = {}
        self._sizes: dict[TopicPartition, list[int]] = {}

    def sent(self, tp: TopicPartition, size: int) -> None:
        """A batch was handed over."""
        self.outstanding += 1
        self.bytes_outstanding += size
        self._sizes.setdefault(tp, []).append(size)

    def clear(self) -> None:
        """Nobody answers for anything any more."""
        self.outstanding = self.bytes_outstanding = 0
        self.written.clear()
        self._sizes.clear()

    def acknowledged(self, tp: TopicPartition, offset_end: int) -> None:
        """A batch is written; batches of one partition are answered in order."""
        self.outstanding -= 1
        self.bytes_outstanding -= self._sizes[tp].pop(0)
        if offset_end > self.written.get(tp, -1):
            self.written[tp] = offset_end


class Commit:
    """One commit after the other."""

    def __init__(self) -> None:
        self.phase = CommitPhase.IDLE
        self.number = 0
        self.offsets: dict[TopicPartition, tuple[int, str]] = {}
        self.last_ms = 0.0
        self.error: StreamkitError | None = None

    @property
    def is_idle(self) -> bool:
        return self.phase is CommitPhase.IDLE

    def begin(self, offsets: Mapping[TopicPartition, tuple[int, str]]) -> None:
        """Everything is flushed; wait for the acknowledgements."""
        assert self.is_idle, f"commit {self.number} is still under way"
        self.number += 1
        self.offsets = dict(offsets)
        self.phase = CommitPhase.ACKNOWLEDGEMENTS

    def to_offsets(self) -> None:
        """Everything is acknowledged; wait for the offsets."""
        assert self.phase is CommitPhase.ACKNOWLEDGEMENTS, "nothing was waiting"
        self.phase = CommitPhase.OFFSETS

    def is_answered_by(self, number: int) -> bool:
        """Whether an answer belongs to this commit; those of abandoned commits do not."""
        return self.phase is CommitPhase.OFFSETS and number == self.number

    def roll_back(self) -> None:
        """Nothing since the last commit counts; wait for the end of the transaction."""
        self.number += 1
        self.offsets = {}
        self.phase = CommitPhase.ROLLING_BACK

    @property
    def is_rolling_back(self) -> bool:
        return self.phase is CommitPhase.ROLLING_BACK

    def is_rolled_back_by(self, number: int) -> bool:
        """Whether this is the end of the roll-back under way."""
        return self.is_rolling_back and number == self.number

    def end(self, now_ms: float) -> None:
        """Through, or abandoned."""
        self.phase = CommitPhase.IDLE
        self.offsets = {}
        self.last_ms = now_ms

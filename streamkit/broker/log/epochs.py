"""Which leader epoch wrote from which offset on (Kafka's LeaderEpochFileCache).

Entries (epoch, start offset) strictly grow in both. The file is replaced by `persist`, which the
log's flush calls before it moves the recovery point: recovery finds in the batches above that
point what the file did not get.
"""

from __future__ import annotations

from bisect import bisect_right

from streamkit.broker.log.checkpoint import format_epochs, parse_epochs
from streamkit.common.errors import StorageError
from streamkit.common.seams import Disk

UNDEFINED = (-1, -1)


class LeaderEpochs:
    """The epochs of one log, kept in its leader-epoch-checkpoint."""

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk = disk
        self._path = path
        self.entries: list[tuple[int, int]] = []
        self._persisted = self.entries
        if disk.exists(path):
            try:
                self.entries = self._persisted = parse_epochs(disk.read(path))
            except StorageError:
                # Recovery finds the epochs again in the batches.
                self.entries = []
                self._persisted = [UNDEFINED]

    @property
    def latest(self) -> int:
        """The latest epoch; -1 when there is none."""
        return self.entries[-1][0] if self.entries else -1

    def assign(self, epoch: int, start: int) -> None:
        """From `start` on `epoch` leads; later entries are dropped. Nothing for a known epoch."""
        if epoch < 0 or (self.entries and epoch <= self.latest):
            return
        kept = [entry for entry in self.entries if entry[1] < start]
        self.entries = [*kept, (epoch, start)]

    def end_offset_for(self, epoch: int, log_end_offset: int) -> tuple[int, int]:
        """The largest epoch not above `epoch`, and the offset where it ends; else (-1, -1)."""
        if epoch < 0 or not self.entries:
            return UNDEFINED
        if epoch == self.latest:
            return (epoch, log_end_offset)
        if epoch > self.latest:
            return UNDEFINED
        above = bisect_right(self.entries, epoch, key=lambda entry: entry[0])
        if above == 0:
            # Older than all we know: whoever asks goes back to where our first epoch begins.
            return (epoch, self.entries[0][1])
        return (self.entries[above - 1][0], self.entries[above][1])

    def epoch_for(self, offset: int) -> int:
        """The epoch that wrote `offset`; -1 when it is unknown."""
        above = bisect_right(self.entries, offset, key=lambda entry: entry[1])
        return self.entries[above - 1][0] if above else -1

    def truncate_end(self, offset: int) -> None:
        """Drop the epochs that begin at `offset` or later."""
        kept = [entry for entry in self.entries if entry[1] < offset]
        if len(kept) != len(self.entries):
            self.entries = kept

    def truncate_start(self, offset: int) -> None:
        """Begin at `offset`: earlier epochs go, the one that wrote it begins there."""
        above = bisect_right(self.entries, offset, key=lambda entry: entry[1])
        if above == 0 or (above == 1 and self.entries[0][1] == offset):
            return
        first = (self.entries[above - 1][0], offset)
        self.entries = [first, *self.entries[above:]]

    def persist(self) -> None:
        """Bring the file to what is known here; may run in a thread. Raises StorageError."""
        # Lists are never changed in place, so this one stays as it is while it is written.
        entries = self.entries
        if entries != self._persisted:
            self._disk.write_atomic(self._path, format_epochs(entries))
            self._persisted = entries

"""What a group coordinator counts of the records that it writes.

A rebalance is an epoch, or a generation with members, that the group did not have before: records
say the same again when a static member comes back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from streamkit.broker.coordinators.group import records as rec


@dataclass(slots=True)
class GroupCounts:
    """Since the node's start."""

    offsets_expired: int = 0
    offsets_deleted: int = 0
    classic_rebalances: int = 0
    consumer_rebalances: int = 0
    streams_rebalances: int = 0
    _epochs: dict[str, int] = field(default_factory=dict)

    def note(self, records: Iterable[rec.Record]) -> None:
        """Records of this node's own were written."""
        for record in records:
            key, value = record.key, record.value
            match key:
                case rec.GroupMetadataKey():
                    generation = None if value is None else value.generation
                    is_new = self._is_new(key.group, generation)
                    self.classic_rebalances += (
                        is_new and value is not None and len(value.members) > 0
                    )
                case rec.ConsumerGroupMetadataKey():
                    epoch = None if value is None else value.epoch
                    self.consumer_rebalances += self._is_new(key.group_id, epoch)
                case rec.StreamsGroupMetadataKey():
                    epoch = None if value is None else value.epoch
                    self.streams_rebalances += self._is_new(key.group_id, epoch)

    def _is_new(self, group_id: str, epoch: int | None) -> bool:
        if epoch is None:
            self._epochs.pop(group_id, None)
            return False
        known = self._epochs.get(group_id)
        self._epochs[group_id] = epoch
        return epoch != known


def offset_tombstones(records: Iterable[rec.Record]) -> int:
    """How many of the records remove a committed offset."""
    return sum(
        record.value is None and isinstance(record.key, rec.OffsetCommitKey) for record in records
    )

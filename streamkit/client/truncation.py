"""Whether a leader's log still has what was read of it (KIP-320); pure.

A position knows the leader epoch of the last batch in front of it. The leader says where that
epoch ends in its own log: an end below the position means that the log was cut off, by a leader
that lacked the records or by a disk that lost them. An end at or behind the position is good, also
of an older epoch: what was written under the asked one may have been compacted away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from streamkit.client.errors import LogTruncationError
from streamkit.common.model import TopicPartition

CONSUMERS_SINCE: Final = 3
"""OffsetForLeaderEpoch is for consumers, who may describe a topic only, since this version."""

UNKNOWN_EPOCH: Final = -1


@dataclass(frozen=True, slots=True)
class Unchecked:
    """A position whose leader has another epoch than when it was last found good."""

    generation: int
    position: int
    last_epoch: int
    leader_epoch: int


def truncation(
    tp: TopicPartition, position: int, last_epoch: int, epoch: int, end_offset: int
) -> LogTruncationError | None:
    """What the end of `last_epoch`, as the leader knows it, means for a position."""
    if epoch < 0 or end_offset < 0:
        return LogTruncationError(tp, position, last_epoch, None)
    if end_offset < position:
        return LogTruncationError(tp, position, last_epoch, end_offset, epoch)
    return None


def epoch_topics(unchecked: Mapping[TopicPartition, Unchecked]) -> list[dict[str, Any]]:
    """The `topics` of OffsetForLeaderEpoch."""
    topics: dict[str, list[dict[str, int]]] = {}
    for tp, each in unchecked.items():
        topics.setdefault(tp.topic, []).append(
            {
                "partition": tp.partition,
                "current_leader_epoch": each.leader_epoch,
                "leader_epoch": each.last_epoch,
            }
        )
    return [{"topic": name, "partitions": partitions} for name, partitions in topics.items()]


def epoch_ends(response: Any) -> Iterator[tuple[TopicPartition, Any]]:
    """The partitions of the answer."""
    for topic in response.topics:
        for answer in topic.partitions:
            yield TopicPartition(str(topic.topic), int(answer.partition)), answer

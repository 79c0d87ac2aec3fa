"""Offset requests and answers as plain values: handlers translate them from and to each version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from streamkit.common.model import TopicPartition
from streamkit.protocol.errors import ErrorCode

NO_OFFSET = -1
NO_EPOCH = -1


class OffsetToCommit(NamedTuple):
    """One partition's position; `leader_epoch` -1 when unknown."""

    offset: int
    leader_epoch: int = NO_EPOCH
    metadata: str | None = ""


@dataclass(frozen=True, slots=True)
class CommitRequest:
    """OffsetCommit; `member_epoch` is the generation of a classic group, -1 without membership."""

    group_id: str
    offsets: Mapping[TopicPartition, OffsetToCommit]
    member_id: str = ""
    member_epoch: int = NO_EPOCH
    instance_id: str | None = None
    topic_ids: Mapping[str, UUID] = field(default_factory=dict)
    """The ids of the topics by name, where the request or the image has them."""
    api_version: int = 10
    is_transactional: bool = False
    """TxnOffsetCommit; a member is checked only when one is named (KIP-447)."""

    @property
    def is_anonymous(self) -> bool:
        """Whether neither a member nor an epoch is named."""
        return not self.member_id and self.member_epoch <= NO_EPOCH and self.instance_id is None


class CommittedOffset(NamedTuple):
    """One partition's answer; offset -1 and no error when nothing was committed."""

    offset: int = NO_OFFSET
    leader_epoch: int = NO_EPOCH
    metadata: str = ""
    error: ErrorCode = ErrorCode.none


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """One group of an OffsetFetch; `partitions` None means every partition with an offset."""

    group_id: str
    partitions: Sequence[TopicPartition] | None = None
    member_id: str | None = None
    member_epoch: int = NO_EPOCH
    require_stable: bool = False


@dataclass(frozen=True, slots=True)
class FetchAnswer:
    """One group's answer; with an error there are no offsets."""

    group_id: str
    offsets: Mapping[TopicPartition, CommittedOffset] = field(default_factory=dict)
    error: ErrorCode = ErrorCode.none

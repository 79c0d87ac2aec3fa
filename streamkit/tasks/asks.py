"""What an interactive query asks of processing, and what comes back; values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from streamkit.common.model import TopicPartition
from streamkit.state.queries import Page, Query


class Failure(Enum):
    """Why a partition gave no rows (KIP-796's FailureReason)."""

    UNKNOWN_QUERY_TYPE = "the store does not answer such a query"
    NOT_ACTIVE = "the task is no running one here, and stale reads were not asked for"
    NOT_UP_TO_BOUND = "the store has not come to the position asked for"
    NOT_PRESENT = "the partition is not here"
    DOES_NOT_EXIST = "the program has no such store"


@dataclass(frozen=True, slots=True)
class PartitionAnswer:
    """What one partition gives. `position` is the highest offset of each input that it holds."""

    partition: int
    page: Page | None = None
    failure: Failure | None = None
    position: Mapping[TopicPartition, int] = field(default_factory=dict)
    is_active: bool = True
    lag: int = 0


Reply = Callable[[list[PartitionAnswer]], None]
"""Takes the answers; called by the processing thread."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One query. Without `partitions`, of all that are here; `after` goes on with their pages."""

    store: str
    query: Query
    reply: Reply
    partitions: frozenset[int] | None = None
    is_stale_welcome: bool = False
    bound: Mapping[TopicPartition, int] = field(default_factory=dict)
    limit: int = 1_000
    after: Mapping[int, bytes] = field(default_factory=dict)
    deadline_ms: float = 0.0

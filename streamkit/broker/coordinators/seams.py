"""What coordinators need from the node around them, as protocols."""

from __future__ import annotations

from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from typing import Protocol
from uuid import UUID

from streamkit.broker.log.producer_state import UNVERIFIED, InTransaction
from streamkit.common.seams import Bytes
from streamkit.rebalance.rules import InternalTopic

StartTask = Callable[[Coroutine[None, None, None]], object]
"""Runs a coroutine in the node's task group."""

Cancel = Callable[[], None]

CreateInternalTopics = Callable[[Sequence[InternalTopic]], Awaitable[Mapping[str, str]]]
"""Creates topics (replication factor 0 is the cluster's default); returns why, by the name of
each topic that could not be created. A topic that is there already is no error."""

GroupConfigs = Callable[[str], Mapping[str, str]]
"""The dynamic configs of a group (resource type GROUP) by its id; empty when it has none."""


class Timers(Protocol):
    """Calls back later, on the event loop."""

    def call_later(self, delay_ms: float, callback: Callable[[], None]) -> Cancel: ...


class PartitionLog(Protocol):
    """One partition of the internal topic that this node leads."""

    async def append(self, batch: bytes, transaction: InTransaction = UNVERIFIED) -> int:
        """Append one batch and wait until it is committed; returns its base offset.

        Raises ApiError when this node does not lead any more, or the disk fails.
        """

    def read_all(self) -> AsyncIterator[Bytes]:
        """The whole log from its start to its end, as pieces of whole batches."""


class TopicsView(Protocol):
    """The topics of the cluster as of one metadata image."""

    def partition_count(self, topic: str) -> int | None:
        """None when there is no such topic."""

    def topic_id(self, topic: str) -> UUID | None: ...

    def partition_racks(self, topic: str) -> Sequence[Sequence[str]]:
        """For each partition the racks of its replicas, sorted; empty without racks."""


class TopicCatalog(TopicsView, Protocol):
    """The same topics by id as well, and all of their names."""

    @property
    def version(self) -> int:
        """Which image this is; higher in newer ones."""

    def topic_name(self, topic_id: UUID) -> str | None: ...

    def topic_names(self) -> Iterable[str]: ...

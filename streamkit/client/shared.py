"""The partitions that a consumer has from its group: let go, taken on, committed.

All of it happens in the consumer's own calls: in `poll` it learns what the coordinator wants,
commits and lets go of what goes to others, takes on what is new, and tells the coordinator.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from streamkit.client.client import Client
from streamkit.client.closing import CloseOptions
from streamkit.client.errors import StaleMemberEpochError
from streamkit.client.group import GroupSession
from streamkit.client.group_member import NOTHING, Partition, Partitions
from streamkit.client.offsets import ConsumerGroupMetadata, Membership
from streamkit.common.errors import RejoinError, RetriableError
from streamkit.common.model import TopicPartition

if TYPE_CHECKING:
    from streamkit.client.consumer import Consumer

_log = logging.getLogger(__name__)

Callback = Callable[[Sequence[TopicPartition]], Awaitable[None] | None]
"""A function of partitions, async or not."""


@dataclass(frozen=True, slots=True)
class RebalanceListener:
    """What to call when partitions come and go; none of it is needed.

    `on_revoked` comes before they go to others, after their positions were committed. `on_lost`
    comes when others may have them already, so that nothing can be committed; without it
    `on_revoked` is called.
    """

    on_assigned: Callback | None = None
    on_revoked: Callback | None = None
    on_lost: Callback | None = None


NO_LISTENER = RebalanceListener()


class SharedPartitions:
    """The share of one consumer."""

    def __init__(self, consumer: Consumer, client: Client, wake: Callable[[], None]) -> None:
        self._consumer = consumer
        self._client = client
        self._settings = consumer.settings
        self._session = GroupSession(client, consumer.settings, wake)
        self._listener = NO_LISTENER
        self._owned: dict[Partition, TopicPartition] = {}
        self._commit_due_ms = self._next_commit_ms()
        self._topics: tuple[str, ...] = ()
        self._has_pattern = False

    @property
    def membership(self) -> Membership:
        """On whose behalf offsets are committed now."""
        return self._session.membership

    @property
    def metadata(self) -> ConsumerGroupMetadata:
        """Who the member is or was last."""
        return self._session.metadata

    @property
    def has_news(self) -> bool:
        """Whether `follow` has something to do."""
        return self._session.has_news

    def subscribe(
        self, topics: Iterable[str], pattern: str | None, listener: RebalanceListener
    ) -> None:
        """Change what is read, and who is told."""
        names = tuple(dict.fromkeys(topics))
        self._client.metadata.watch(names)
        self._client.metadata.unwatch(self._topics)
        self._topics, self._has_pattern = names, pattern is not None
        self._listener = listener
        self._session.subscribe(names, pattern)

    async def follow(self) -> None:
        """Let go and take on as the group says. Raises what the group refused."""
        self._session.polled()
        if self._session.is_lost:
            await self._lose()
        elif self._session.has_news:
            await self._reconcile(self._session.member.target)

    async def maybe_commit(self) -> None:
        """Commit positions when it is time."""
        is_due = self._client.seams.clock.monotonic_ms() >= self._commit_due_ms
        if self._settings.enable_auto_commit and is_due and not self._session.is_lost:
            await self._commit()

    async def close(self, options: CloseOptions) -> None:
        """Commit, let go of everything, leave."""
        if not self._session.is_lost:
            await self._revoke(list(self._owned))
        self._client.metadata.unwatch(self._topics)
        await self._session.close(options)

    async def _lose(self) -> None:
        gone = sorted(self._owned.values())
        self._owned.clear()
        self._consumer.let_go(gone)
        if gone:
            _log.warning("lost %s: others read them now", ", ".join(map(str, gone)))
            await _call(self._listener.on_lost or self._listener.on_revoked, gone)
        self._session.reconciled(NOTHING, NOTHING)

    async def _reconcile(self, target: Partitions) -> None:
        names = await self._names({topic_id for topic_id, _ in target})
        await self._revoke([each for each in self._owned if each not in target])
        new = {
            each: TopicPartition(names[each[0]], each[1])
            for each in target
            if each not in self._owned and each[0] in names
        }
        self._owned.update(new)
        taken = sorted(new.values())
        self._consumer.take_on(taken)
        if taken:
            _log.info("assigned %s", ", ".join(map(str, taken)))
            await _call(self._listener.on_assigned, taken)
        # A topic that nobody could name yet is tried again with the next answer.
        self._session.reconciled(frozenset(each for each in target if each in self._owned), target)

    async def _names(self, wanted: Collection[UUID]) -> Mapping[UUID, str]:
        known = self._client.view.names
        if all(topic_id in known for topic_id in wanted):
            return known
        refresh = self._client.metadata.refresh
        view = await refresh(self._topics, all_topics=self._has_pattern)
        return view.names

    async def _revoke(self, partitions: Sequence[Partition]) -> None:
        if not partitions:
            return
        going = sorted(self._owned[each] for each in partitions)
        _log.info("revoked %s", ", ".join(map(str, going)))
        if self._settings.enable_auto_commit:
            await self._commit()
        await _call(self._listener.on_revoked, going)
        self._consumer.let_go(going)
        for each in partitions:
            del self._owned[each]

    async def _commit(self) -> None:
        """Positions, as far as they can be committed: a later commit says them again."""
        self._commit_due_ms = self._next_commit_ms()
        try:
            await self._consumer.commit()
        except (RetriableError, RejoinError, StaleMemberEpochError) as error:
            _log.warning("positions were not committed: %s", error)

    def _next_commit_ms(self) -> float:
        return self._client.seams.clock.monotonic_ms() + self._settings.auto_commit_interval_ms


async def _call(callback: Callback | None, partitions: Sequence[TopicPartition]) -> None:
    outcome = None if callback is None else callback(partitions)
    if inspect.isawaitable(outcome):
        await outcome

"""The shell of a group member: it sends the heartbeats of one consumer and watches its polls.

`GroupMember` decides. Partitions change hands in the consumer's own `poll`, never behind its back;
a consumer that does not poll for `max.poll.interval.ms` leaves the group until it does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from streamkit.client.client import Client, CoordinatorKind
from streamkit.client.closing import CloseOptions
from streamkit.client.connections import Channel
from streamkit.client.draft import Draft
from streamkit.client.group_member import Fields, GroupMember, MemberState, Partitions
from streamkit.client.offsets import ConsumerGroupMetadata, Membership
from streamkit.client.settings import ConsumerSettings
from streamkit.common.errors import RefreshMetadataError, RetriableError, StreamkitError
from streamkit.protocol.apis import ApiKey

_log = logging.getLogger(__name__)

WATCH_INTERVAL_MS = 1_000.0
PATTERNS_SINCE = 1
"""ConsumerGroupHeartbeat knows regular expressions since then."""


class GroupSession:
    """The membership of one consumer."""

    def __init__(
        self, client: Client, settings: ConsumerSettings, on_news: Callable[[], None]
    ) -> None:
        self.member = GroupMember(
            settings.group_id,
            str(client.seams.random.uuid4()),
            settings.max_poll_interval_ms,
            instance_id=settings.group_instance_id or None,
            rack_id=settings.client_rack or None,
            assignor=settings.group_remote_assignor or None,
        )
        self._client = client
        self._clock = client.seams.clock
        self._poll_interval_max_ms = settings.max_poll_interval_ms
        self._on_news = on_news
        self._poke = asyncio.Event()
        self._polled_ms = self._clock.monotonic_ms()
        self._uses_pattern = False
        self._was_late = False
        self._task = client.background.spawn(self._run(), "group")

    @property
    def membership(self) -> Membership:
        """On whose behalf offsets are committed now."""
        if self.member.state is not MemberState.IN:
            return Membership(self.member.group_id)
        return self.metadata

    @property
    def metadata(self) -> ConsumerGroupMetadata:
        """Who the member is or was last: refused with a transaction once it is out of the group.

        As with Kafka's consumer it goes on to name the member: without its id and epoch the
        coordinator would take offsets from anybody.
        """
        member = self.member
        return ConsumerGroupMetadata(
            member.group_id, member.member_id, member.epoch, member.instance_id
        )

    def subscribe(self, topics: Iterable[str], pattern: str | None) -> None:
        """Change what is read."""
        self._uses_pattern = self._uses_pattern or pattern is not None
        self.member.subscribe(topics, pattern)
        self._poke.set()

    def polled(self) -> None:
        """The consumer polls: it lives. Raises CodedError when the group refused it."""
        self._polled_ms = self._clock.monotonic_ms()
        if self.member.error is not None:
            raise self.member.error

    @property
    def has_news(self) -> bool:
        """Whether partitions are to be let go or taken on, or an error is to be told."""
        return (
            self.member.needs_reconciliation
            or self._was_late
            or self.member.state is MemberState.FAILED
        )

    @property
    def is_lost(self) -> bool:
        """Whether the partitions are others' already."""
        return self.member.state is MemberState.LOST or self._was_late

    def reconciled(self, owned: Partitions, followed: Partitions) -> None:
        """The consumer reads exactly these now, after it followed a target."""
        self.member.reconciled(owned, followed)
        if self._was_late:
            self._was_late = False
            self.member.rejoin()
        self._poke.set()

    async def close(self, options: CloseOptions) -> None:
        """Leave the group as the options say, without insisting on an answer."""
        self._task.cancel()
        is_static = self.member.instance_id is not None
        goodbye = self.member.leave(for_good=options.leaves(is_static=is_static))
        if goodbye is None:
            return
        try:
            async with asyncio.timeout(options.timeout_ms / 1000):
                await self._send(goodbye)
        except (TimeoutError, StreamkitError) as error:
            _log.info("leaving the group without an answer: %s", error)

    async def _run(self) -> None:
        while True:
            self._poke.clear()
            now = self._clock.monotonic_ms()
            await self._watch_polls(now)
            fields = self.member.poll(now)
            if fields is None:
                await self._wait(now)
                continue
            await self._exchange(fields)
            if self.has_news:
                self._on_news()

    async def _exchange(self, fields: Fields) -> None:
        try:
            response = await self._send(fields)
        except RetriableError as error:
            _log.info("heartbeat: %s", error)
            self.member.on_failure(self._clock.monotonic_ms())
            return
        refused = self.member.on_response(response, self._clock.monotonic_ms())
        if refused is not None:
            _log.info("heartbeat: %s", refused)
        if isinstance(refused, RefreshMetadataError):
            self._client.forget_coordinator(CoordinatorKind.GROUP, self.member.group_id)

    async def _send(self, fields: Fields) -> Any:
        version_min = PATTERNS_SINCE if self._uses_pattern else 0
        draft = Draft(ApiKey.CONSUMER_GROUP_HEARTBEAT, fields, version_min=version_min)
        group = self.member.group_id
        try:
            coordinator = await self._client.coordinator(CoordinatorKind.GROUP, group)
            return await self._client.call(coordinator.node_id, draft, channel=Channel.COORDINATOR)
        except RetriableError:
            self._client.forget_coordinator(CoordinatorKind.GROUP, group)
            raise

    async def _watch_polls(self, now_ms: float) -> None:
        """Give the partitions up when the consumer is stuck: others shall go on with them."""
        is_in = self.member.state in (MemberState.IN, MemberState.JOINING)
        if not is_in or now_ms - self._polled_ms < self._poll_interval_max_ms:
            return
        _log.error(
            "no poll for %d ms (max.poll.interval.ms): leaving group %s until the next one",
            self._poll_interval_max_ms,
            self.member.group_id,
        )
        goodbye = self.member.leave(for_good=self.member.instance_id is None)
        self._was_late = True
        self._on_news()
        if goodbye is not None:
            try:
                await self._send(goodbye)
            except RetriableError as error:
                _log.info("leaving the group without an answer: %s", error)

    async def _wait(self, now_ms: float) -> None:
        wake_ms = self.member.next_wake_ms()
        wait_ms = WATCH_INTERVAL_MS if wake_ms is None else wake_ms - now_ms
        wait_ms = max(min(wait_ms, WATCH_INTERVAL_MS), 1.0)
        try:
            async with asyncio.timeout(wait_ms / 1000):
                await self._poke.wait()
        except TimeoutError:
            return

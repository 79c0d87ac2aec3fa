"""Keeps the client's view of the cluster fresh: on error, by age, and for topics of interest only.

`refresh` waits for an answer that was asked for after the call; `request_refresh` only asks, no
more often than the retry back-off allows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any

from streamkit.client.draft import Draft
from streamkit.client.errors import ClosedError, raise_for
from streamkit.client.metadata import (
    BrokerView,
    ClusterView,
    merged,
    with_leader,
    without_topics,
)
from streamkit.client.settings import ClientSettings
from streamkit.common.errors import RetriableError, StreamkitError
from streamkit.common.model import TopicPartition
from streamkit.common.seams import Seams
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ErrorCode
from streamkit.protocol.versions import upgrade

_log = logging.getLogger(__name__)


class Metadata:
    """The view of the cluster, and the task that renews it."""

    def __init__(
        self,
        settings: ClientSettings,
        seams: Seams,
        ask: Callable[[Draft], Awaitable[Any]],
        on_rebootstrap: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._seams = seams
        self._ask = ask
        self._on_rebootstrap = on_rebootstrap
        self._interest: dict[str, int] = {}
        self._extra: dict[str, None] = {}
        self._wants_all = False
        self._asked = 0
        self._served = 0
        self._wake = asyncio.Event()
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._listeners: list[Callable[[ClusterView], None]] = []
        self._urgent = False
        self._last_ms = 0.0
        self.view = ClusterView()

    def watch(self, topics: Iterable[str]) -> None:
        """Keep these topics in the view; counted, so that each `watch` needs its `unwatch`."""
        for topic in topics:
            self._interest[topic] = self._interest.get(topic, 0) + 1
            if self._interest[topic] == 1 and topic not in self.view.topics:
                self._ask_soon(urgent=True)

    def unwatch(self, topics: Iterable[str]) -> None:
        """The counterpart of `watch`."""
        gone = []
        for topic in topics:
            count = self._interest.get(topic, 0) - 1
            if count > 0:
                self._interest[topic] = count
            elif self._interest.pop(topic, None) is not None:
                gone.append(topic)
        if gone:
            self.view = without_topics(self.view, gone)

    def on_change(self, listener: Callable[[ClusterView], None]) -> None:
        """Call `listener` after each change of the view."""
        self._listeners.append(listener)

    def request_refresh(self) -> None:
        """Ask for a refresh soon, without waiting for it."""
        if self._asked == self._served:
            self._ask_soon(urgent=False)

    async def refresh(self, topics: Iterable[str] = (), *, all_topics: bool = False) -> ClusterView:
        """Wait for fresh metadata of the topics of interest and of `topics`, or of all.

        `topics` are not created by this, those of interest may be (`allow.auto.create.topics`).
        Raises what the request met: RetriableError when no broker answered, UsageError when the
        login was refused.
        """
        self._extra.update(dict.fromkeys(topics))
        self._wants_all = self._wants_all or all_topics
        self._ask_soon(urgent=True)
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append((self._asked, waiter))
        await waiter
        return self.view

    def on_leader(
        self, tp: TopicPartition, leader: int, epoch: int, brokers: Iterable[BrokerView]
    ) -> bool:
        """A broker named a partition's leader (KIP-951); True when the view agrees with it now."""
        view = with_leader(self.view, tp, leader, epoch, brokers)
        if view is not self.view:
            self._change(view)
        partition = view.partition(tp)
        return (
            leader >= 0
            and partition is not None
            and (partition.leader, partition.leader_epoch) == (leader, epoch)
        )

    def forget_brokers(self) -> None:
        """Know no broker any more; topics stay."""
        self._change(replace(self.view, brokers={}, controller_id=-1))

    async def run(self) -> None:
        """Refresh when asked, and when the view is older than `metadata.max.age.ms`."""
        failures = 0
        try:
            while True:
                await self._wait_due(failures)
                asked, self._urgent = self._asked, False
                try:
                    await self._refresh_once()
                except StreamkitError as error:
                    failures += 1
                    is_told = self._resolve(asked, error)
                    is_final = not isinstance(error, RetriableError)
                    if is_final:
                        self._served = asked
                    # The first failures are told, then ever fewer: an absent cluster is no news.
                    is_news = failures & (failures - 1) == 0
                    if is_news and not (is_final and is_told):
                        tried = f" ({failures} times)" if failures > 1 else ""
                        _log.warning("metadata: %s%s", error, tried)
                else:
                    failures = 0
                    self._served = asked
                    self._resolve(asked, None)
        finally:
            self._resolve(self._asked, ClosedError("the client was closed"))

    def _ask_soon(self, *, urgent: bool) -> None:
        self._asked += 1
        self._urgent = self._urgent or urgent
        self._wake.set()

    async def _wait_due(self, failures: int) -> None:
        """Until a refresh is asked for or due; an unasked hurry is slowed by the back-off."""
        loop = asyncio.get_running_loop()
        age = self._settings.metadata_max_age_ms / 1000
        due = loop.time() + age
        while self._asked == self._served and loop.time() < due:
            self._wake.clear()
            try:
                async with asyncio.timeout_at(due):
                    await self._wake.wait()
            except TimeoutError:
                return
        if self._urgent and failures == 0:
            return
        pause = self._settings.retry_backoff.delay_ms(max(failures, 1), self._seams.random.random())
        passed = self._seams.clock.monotonic_ms() - self._last_ms
        if passed < pause:
            await asyncio.sleep((pause - passed) / 1000)

    async def _refresh_once(self) -> None:
        everything = self._wants_all
        topics = None if everything else [*self._interest, *self._extra]
        # To look at a topic must not create it; to produce to it or fetch from it may.
        is_look = any(topic not in self._interest for topic in self._extra)
        self._extra, self._wants_all = {}, False
        self._last_ms = self._seams.clock.monotonic_ms()
        fields = {
            "topics": None if topics is None else _named(topics),
            "allow_auto_topic_creation": self._settings.allow_auto_create_topics and not is_look,
        }
        response = upgrade(await self._ask(Draft(ApiKey.METADATA, fields)))
        if response.error_code == ErrorCode.rebootstrap_required:
            self._on_rebootstrap()
        raise_for(response.error_code, "metadata")
        self._change(merged(self.view, response, all_topics=everything))
        if any(self.view.errors.get(topic) in _PASSING for topic in self._interest):
            # Some topic of interest is still on its way.
            asyncio.get_running_loop().call_later(
                self._settings.retry_backoff_max_ms / 1000, self.request_refresh
            )

    def _change(self, view: ClusterView) -> None:
        self.view = view
        for listener in self._listeners:
            listener(view)

    def _resolve(self, served: int, error: StreamkitError | None) -> bool:
        """Tell those who waited; whether there were any."""
        left = []
        is_told = False
        for number, waiter in self._waiters:
            if number > served:
                left.append((number, waiter))
                continue
            if waiter.cancelled():
                continue
            is_told = True
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)
        self._waiters = left
        return is_told


_PASSING = (
    ErrorCode.leader_not_available,
    ErrorCode.listener_not_found,
    ErrorCode.unknown_topic_or_partition,
)


def _named(topics: list[str]) -> tuple[dict[str, str], ...]:
    return tuple({"name": topic} for topic in dict.fromkeys(topics))

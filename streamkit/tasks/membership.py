"""The shell of the group member: sends its heartbeats, passes its effects on.

`StreamsMember` decides; this sends one heartbeat at a time to the coordinator and translates the
effects into events for processing. It also watches the processing thread: one that has not
stepped for `max.poll.interval.ms` gives up its tasks, although heartbeats would go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from streamkit.client.client import Client, CoordinatorKind
from streamkit.client.connections import Channel
from streamkit.common.errors import FatalError, RetriableError, StreamkitError
from streamkit.common.sampled import Sampled
from streamkit.rebalance.effects import (
    Assign,
    Effect,
    EndpointPartitions,
    EndpointsChanged,
    FindCoordinator,
    GroupStatus,
    MemberFatal,
    MemberWarning,
)
from streamkit.rebalance.effects import TasksLost as MemberLost
from streamkit.rebalance.member import MemberState, StreamsMember
from streamkit.rebalance.report import EMPTY_REPORT, TaskReport
from streamkit.rebalance.rules import StatusCode, way_on
from streamkit.tasks.mailbox import Inbox
from streamkit.tasks.messages import Assigned, Drain, Event, Reconciled, TasksLost
from streamkit.tasks.rebalances import Reason, Rebalances, reason_of

log = logging.getLogger(__name__)

LEAVE_TIMEOUT_MS = 2_000
SHUTDOWN_TIMEOUT_MS = 10_000
"""How long a failed worker tries to have the others stop; longer than a broker hiccups."""
WATCH_INTERVAL_MS = 1_000.0
_WARNED_OF = (StatusCode.STALE_TOPOLOGY,)
FATAL_STATUSES = (StatusCode.INCORRECTLY_PARTITIONED_TOPICS,)
STATUS_PATIENCE_INTERVALS = 2
"""Heartbeat intervals that source topics may be missing before the worker gives up."""


class Membership:
    """One member of the application's group."""

    def __init__(
        self,
        client: Client,
        member: StreamsMember,
        inbox: Inbox[Event],
        stuck_since_ms: Callable[[], float],
        poll_interval_max_ms: int,
        where: Callable[[], str],
        report: Callable[[], TaskReport] = lambda: EMPTY_REPORT,
    ) -> None:
        self.member = member
        self.is_ready = False
        self.rebalances = Rebalances(client.seams.clock.monotonic_ms())
        self.heartbeats = Sampled(client.seams.clock.monotonic_ms())
        """Milliseconds that the answers took."""
        self.endpoints: tuple[EndpointPartitions, ...] = ()
        """Who answers interactive queries of what, as the coordinator last said."""
        self._client = client
        self._clock = client.seams.clock
        self._inbox = inbox
        self._stuck_since_ms = stuck_since_ms
        self._poll_interval_max_ms = poll_interval_max_ms
        self._where = where
        self._report = report
        self._poke = asyncio.Event()
        self.delay_max_ms = 0.0
        """How much later than due a heartbeat was sent at most."""
        self._missing: tuple[float, str] | None = None

    async def run(self) -> None:
        """Send heartbeats for ever. Raises FatalError when the member is refused."""
        while True:
            self._poke.clear()
            now = self._clock.monotonic_ms()
            self._watch_processing(now)
            self._watch_missing(now)
            if self.member.poll_resumed():
                log.info("processing goes on; joining the group again")
            if self.member.reports_tasks:
                self.member.note_report(self._report())
            request = self.member.poll(now)
            if request is not None:
                await self._exchange(request)
                continue
            await self._wait(now)

    def on_reconciled(self, reconciled: Reconciled) -> None:
        """Processing has the tasks that it was told to have."""
        ended = self.rebalances.end(self.now_ms())
        if ended is not None:
            reason, took_ms = ended
            log.info(
                "rebalance of member %s, epoch %d: %s, %d ms",
                self.member.member_id, self.member.member_epoch, reason.value, took_ms,
            )  # fmt: skip
        self.member.reconciled(reconciled.active, reconciled.standby, reconciled.warmup)
        self._poke.set()

    def now_ms(self) -> float:
        """The clock that its rebalances are timed with."""
        return self._clock.monotonic_ms()

    def stuck_ms(self, now_ms: float) -> float:
        """How long ago processing began its last step."""
        return now_ms - self._stuck_since_ms()

    def rejoin(self) -> None:
        """The producer was fenced: give up all tasks and join again."""
        self.rebalances.fail(Reason.PRODUCER_FENCED)
        self.member.rejoin()

    async def shut_down_application(self) -> None:
        """Have every member of the group stop; tries until a heartbeat that says so is answered.

        A heartbeat that was out when the worker failed counts as one whose answer was lost.
        """
        self.member.request_shutdown()
        try:
            async with asyncio.timeout(SHUTDOWN_TIMEOUT_MS / 1000):
                await self._insist_on_shutdown()
        except (TimeoutError, StreamkitError) as error:
            why = str(error) or f"none came in {SHUTDOWN_TIMEOUT_MS} ms"
            log.warning("asking all members to stop went without an answer: %s", why)

    async def _insist_on_shutdown(self) -> None:
        while not self.member.shutdown_heard:
            if self.member.state in (MemberState.FENCED, MemberState.STALE):
                # It is out of the group. Its tasks end with the worker, so it joins to say it.
                self.member.reconciled((), ())
                self.member.poll_resumed()
            now = self._clock.monotonic_ms()
            request = self.member.poll(now)
            if request is not None:
                await self._exchange(request)
            elif self.member.next_wake_ms() is None:
                return
            else:
                self._poke.clear()
                await self._wait(now)

    def remain(self) -> None:
        """Say no more, but stay: the tasks wait for this member until its session times out."""
        log.info(
            "member %s stays in group %s: its tasks wait for it until the session times out",
            self.member.member_id, self.member.group_id,
        )  # fmt: skip

    async def leave(self) -> None:
        """Leave the group, without insisting on an answer."""
        log.debug("heartbeats were at most %d ms late", self.delay_max_ms)
        self.member.leave(self._clock.monotonic_ms())
        request = self.member.poll(self._clock.monotonic_ms())
        if request is None:
            return
        try:
            async with asyncio.timeout(LEAVE_TIMEOUT_MS / 1000):
                await self._send(request)
        except (TimeoutError, StreamkitError) as error:
            log.info("leaving the group without an answer: %s", error)

    async def _exchange(self, request: Any) -> None:
        began_ms = self.now_ms()
        try:
            response = await self._send(request)
        except RetriableError as error:
            log.info("heartbeat: %s", error)
            effects = self.member.on_failure(None, self._clock.monotonic_ms())
        except asyncio.CancelledError:
            # The answer, should it come, goes to nobody: to the member it is a lost one.
            self.member.on_failure(None, self._clock.monotonic_ms())
            raise
        else:
            now_ms = self.now_ms()
            self.heartbeats.observe(now_ms - began_ms, now_ms)
            effects = self.member.on_response(response, now_ms)
        for effect in effects:
            self._apply(effect)

    async def _send(self, request: Any) -> Any:
        group = self.member.group_id
        coordinator = await self._client.coordinator(CoordinatorKind.GROUP, group)
        try:
            return await self._client.call(
                coordinator.node_id, request, channel=Channel.COORDINATOR
            )
        except RetriableError:
            self._client.forget_coordinator(CoordinatorKind.GROUP, group)
            raise

    def _apply(self, effect: Effect) -> None:
        match effect:
            case Assign(revoke, active, standby, warmup):
                epoch, names = self.member.member_epoch, ", ".join(map(str, sorted(active)))
                log.info("epoch %d: assigned %s", epoch, names or "nothing")
                if standby or warmup:
                    log.info("standbys %s", ", ".join(map(str, sorted(standby | warmup))))
                self.rebalances.begin(reason_of(self.member, effect), self.now_ms())
                self._inbox.put(Assigned(revoke, active, standby, warmup))
            case MemberLost():
                log.warning("member %s was fenced; it joins again", self.member.member_id)
                self.rebalances.fail(Reason.FENCED)
                self._inbox.put(TasksLost())
            case FindCoordinator():
                self._client.forget_coordinator(CoordinatorKind.GROUP, self.member.group_id)
                self._client.metadata.request_refresh()
            case GroupStatus():
                self._on_status(effect)
            case EndpointsChanged(endpoints):
                self.endpoints = endpoints
            case MemberWarning(error):
                log.warning("%s", error)
            case MemberFatal(error):
                raise error
            case _:
                log.debug("%s", effect)

    def _on_status(self, status: GroupStatus) -> None:
        self.is_ready = status.ready
        missing = None
        for code, detail in status.statuses:
            level = logging.WARNING if code in _WARNED_OF else logging.INFO
            log.log(level, "group %s: %s: %s", self.member.group_id, _name(code), detail)
            if code in FATAL_STATUSES:
                told = f"group {self.member.group_id}: {_name(code)}: {detail.rstrip('.')}"
                raise FatalError("; ".join(filter(None, (told, way_on(code, detail)))))
            if code == StatusCode.SHUTDOWN_APPLICATION:
                self._inbox.put(Drain())
            if code == StatusCode.MISSING_SOURCE_TOPICS:
                missing = detail
        if missing is None:
            self._missing = None
        elif self._missing is None:
            self._missing = (self._clock.monotonic_ms(), missing)

    def _watch_missing(self, now_ms: float) -> None:
        if self._missing is None:
            return
        since, detail = self._missing
        patience_ms = STATUS_PATIENCE_INTERVALS * self.member.heartbeat_interval_ms
        if now_ms - since >= patience_ms:
            way = way_on(StatusCode.MISSING_SOURCE_TOPICS, detail)
            raise FatalError(f"{detail.rstrip('.')}; {way}")

    def _watch_processing(self, now_ms: float) -> None:
        stuck_ms = self.stuck_ms(now_ms)
        if stuck_ms < self._poll_interval_max_ms:
            return
        for effect in self.member.poll_timeout_expired(now_ms):
            assert isinstance(effect, MemberLost), f"unexpected {effect}"
            log.error(
                "processing has been stuck for %d ms (max.poll.interval.ms=%d) in %s; "
                "leaving the group until it returns",
                stuck_ms, self._poll_interval_max_ms, self._where(),
            )  # fmt: skip
            self.rebalances.fail(Reason.STUCK)
            self._inbox.put(TasksLost("processing was stuck for too long"))

    async def _wait(self, now_ms: float) -> None:
        wake_ms = self.member.next_wake_ms()
        wait_ms = WATCH_INTERVAL_MS if wake_ms is None else wake_ms - now_ms
        wait_ms = max(min(wait_ms, WATCH_INTERVAL_MS), 1.0)
        try:
            async with asyncio.timeout(wait_ms / 1000):
                await self._poke.wait()
        except TimeoutError:
            if wake_ms is not None:
                delay_ms = self._clock.monotonic_ms() - wake_ms
                self.delay_max_ms = max(self.delay_max_ms, delay_ms)


def _name(code: StatusCode | int) -> str:
    return code.name if isinstance(code, StatusCode) else f"status {code}"

"""The network actor: fetches, sends, commits and looks up what processing asks for.

It lives in an event loop and decides nothing about tasks. Each command is carried out in the order
given; those that wait (lookups, commits) run beside the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from streamkit.client import offsets as group_offsets
from streamkit.client.client import Client
from streamkit.client.decode import Fetched
from streamkit.client.errors import (
    OffsetOutOfRangeError,
    RecordTooLargeError,
    StaleMemberEpochError,
)
from streamkit.client.fetcher import Fetcher
from streamkit.client.offsets import CommittedOffset, Offsets
from streamkit.client.sender import BatchSender
from streamkit.common.errors import (
    RejoinError,
    RetriableError,
    StreamkitError,
)
from streamkit.common.model import TopicPartition
from streamkit.rebalance.member import JOIN_EPOCH
from streamkit.tasks.lookups import Lookups
from streamkit.tasks.mailbox import Inbox, Outbox
from streamkit.tasks.membership import Membership
from streamkit.tasks.messages import (
    Acknowledged,
    Arrived,
    Batches,
    Command,
    CommitOffsets,
    Committed,
    CountPartitions,
    Event,
    Failed,
    GlobalsPrepared,
    OutOfRange,
    Pause,
    PrepareGlobals,
    PrepareTask,
    Reconciled,
    Resume,
    RollBack,
    RolledBack,
    Send,
    StartFetching,
    StopFetching,
    Stopped,
    TooLarge,
)
from streamkit.tasks.purge import Purger
from streamkit.tasks.transactional import TransactionalWriter
from streamkit.topology.offset_resets import EARLIEST

T = TypeVar("T")

log = logging.getLogger(__name__)

COMMIT_RETRY_MS = 100
COMMIT_TIMEOUT_MS = 300_000
"""Offset commits are retried so long (`task.timeout.ms`'s default) before the worker gives up."""


class Network:
    """Carries out commands, and tells processing what comes of them."""

    def __init__(
        self,
        client: Client,
        fetcher: Fetcher,
        restorer: Fetcher,
        sender: BatchSender,
        offsets: Offsets,
        membership: Membership,
        purger: Purger,
        inbox: Inbox[Event],
        outbox: Outbox[Command],
        writer: TransactionalWriter | None = None,
        default_reset: str = EARLIEST,
    ) -> None:
        self._clock = client.seams.clock
        self._fetcher = fetcher
        # Changelogs are fetched apart, so that those of standbys keep no input waiting.
        self._restorer = restorer
        self._sender = sender
        self._offsets = offsets
        self._membership = membership
        self._purger = purger
        self._writer = writer
        self._lookups = Lookups(
            client,
            offsets,
            membership.member.group_id,
            reads_committed=writer is not None,
            default_reset=default_reset,
        )
        self._inbox = inbox
        self._outbox = outbox

    async def run(self) -> None:
        """Work until processing says `Stopped`. Raises what `Failed` says, and fatal errors."""
        if self._writer is not None:
            await self._writer.start()
        async with asyncio.TaskGroup() as group:
            heartbeats = group.create_task(self._membership.run(), name="heartbeats")
            purge = group.create_task(self._purger.run(), name="purge")
            pumps = [
                group.create_task(self._pump(fetcher, group), name="pump")
                for fetcher in (self._fetcher, self._restorer)
            ]
            await self._carry_out(group)
            for task in (heartbeats, purge, *pumps):
                task.cancel()

    async def end(self) -> None:
        """Leave nothing open that others would have to wait for."""
        if self._writer is not None:
            await self._writer.end()

    async def _carry_out(self, group: asyncio.TaskGroup) -> None:
        while True:
            await self._outbox.wait()
            for command in self._outbox.take_all():
                if isinstance(command, Stopped):
                    return
                self._do(command, group)

    def _do(self, command: Command, group: asyncio.TaskGroup) -> None:
        match command:
            case Send(batches):
                self._send(batches, group)
            case StartFetching(positions, is_changelog):
                fetcher = self._restorer if is_changelog else self._fetcher
                fetcher.assign(positions)
                fetcher.resume(positions)
            case StopFetching(partitions):
                self._fetcher.unassign(partitions)
                self._restorer.unassign(partitions)
            case Pause(tp):
                self._fetcher_of(tp).pause([tp])
            case Resume(tp):
                self._fetcher_of(tp).resume([tp])
            case CommitOffsets():
                group.create_task(self._commit(command), name=f"commit {command.number}")
            case RollBack():
                self._begin_roll_back(command, group)
            case PrepareTask():
                group.create_task(self._prepare(command), name=f"prepare {command.task_id}")
            case PrepareGlobals(topics):
                group.create_task(self._prepare_globals(topics), name="prepare globals")
            case CountPartitions():
                group.create_task(self._count(command), name=f"count {command.topic}")
            case Reconciled():
                self._membership.on_reconciled(command)
            case Failed(error):
                raise error

    def _send(self, batches: Batches, group: asyncio.TaskGroup) -> None:
        submit = self._sender.submit if self._writer is None else self._writer.submit
        for tp, batch in batches:
            submit(tp, batch, self._acknowledge(batch.count, group))

    def _acknowledge(
        self, count: int, group: asyncio.TaskGroup
    ) -> Callable[[TopicPartition, int, StreamkitError | None], None]:
        def on_done(tp: TopicPartition, base_offset: int, error: StreamkitError | None) -> None:
            if isinstance(error, RecordTooLargeError):
                group.create_task(self._too_large(tp.topic, error), name=f"limit of {tp.topic}")
                return
            end = -1 if base_offset < 0 else base_offset + count
            self._inbox.put(Acknowledged(tp, end, error))

        return on_done

    async def _too_large(self, topic: str, error: RecordTooLargeError) -> None:
        try:
            limit = await self._lookups.record_bytes_max(topic)
        except StreamkitError as failure:
            log.warning("topic %s: how large a record may be is not known: %s", topic, failure)
            limit = None
        self._inbox.put(TooLarge(topic, limit, error))

    def _fetcher_of(self, tp: TopicPartition) -> Fetcher:
        return self._restorer if self._restorer.is_assigned(tp) else self._fetcher

    async def _pump(self, fetcher: Fetcher, group: asyncio.TaskGroup) -> None:
        """Hand over what was fetched, as long as processing takes it."""
        while True:
            await self._inbox.wait_room()
            for event in await fetcher.take():
                if isinstance(event, Fetched):
                    self._inbox.put(Arrived(event))
                elif isinstance(event.error, OffsetOutOfRangeError):
                    group.create_task(self._out_of_range(event.tp), name=f"reset {event.tp}")
                else:
                    raise event.error

    async def _out_of_range(self, tp: TopicPartition) -> None:
        start, end, topic_id = await self._lookups.bounds(tp)
        log.warning("%s: the position lies outside the log, %d to %d", tp, start, end)
        self._inbox.put(OutOfRange(tp, start, end, topic_id))

    async def _prepare(self, command: PrepareTask) -> None:
        what = f"task {command.task_id}"
        self._inbox.put(await self._retried(lambda: self._lookups.prepare(command), what))

    async def _prepare_globals(self, topics: tuple[str, ...]) -> None:
        found = await self._retried(lambda: self._lookups.globals(topics), "global tables")
        self._inbox.put(GlobalsPrepared(found))

    async def _retried(self, look_up: Callable[[], Awaitable[T]], what: str) -> T:
        deadline = self._clock.monotonic_ms() + COMMIT_TIMEOUT_MS
        while True:
            try:
                return await look_up()
            except RetriableError as error:
                if self._clock.monotonic_ms() >= deadline:
                    raise
                log.info("%s: waiting: %s", what, error)
            await asyncio.sleep(COMMIT_RETRY_MS / 1000)

    async def _count(self, command: CountPartitions) -> None:
        try:
            counts = await self._lookups.partition_counts([command.topic])
        except StreamkitError as error:
            command.answer.put(error)
        else:
            command.answer.put(counts[command.topic])

    def _begin_roll_back(self, command: RollBack, group: asyncio.TaskGroup) -> None:
        if self._writer is None:
            group.create_task(self._let_go(command), name="roll back")
            return
        self._writer.begin_roll_back()
        if command.is_fenced:
            self._membership.rejoin()
        group.create_task(self._roll_back(self._writer, command), name="roll back")

    async def _let_go(self, command: RollBack) -> None:
        """Without transactions: what is on its way is written, and nobody asks for it any more."""
        await self._sender.flush()
        self._inbox.put(RolledBack(command.number))

    async def _roll_back(self, writer: TransactionalWriter, command: RollBack) -> None:
        error = await writer.roll_back(is_fenced=command.is_fenced)
        if isinstance(error, RejoinError):
            self._membership.rejoin()
        self._inbox.put(RolledBack(command.number, error))

    async def _commit(self, command: CommitOffsets) -> None:
        if self._writer is not None:
            error = await self._writer.commit(command)
        else:
            error = await self._commit_offsets(command)
        self._inbox.put(Committed(command.number, error))

    async def _commit_offsets(self, command: CommitOffsets) -> StreamkitError | None:
        """Commit with the epoch of the moment; an epoch that moved meanwhile is tried again."""
        member = self._membership.member
        deadline = self._clock.monotonic_ms() + COMMIT_TIMEOUT_MS
        offsets = {
            tp: CommittedOffset(offset, metadata=metadata)
            for tp, (offset, metadata) in command.offsets.items()
        }
        while True:
            if member.member_epoch == JOIN_EPOCH:
                return RejoinError(f"member {member.member_id} is not in the group")
            try:
                owner = group_offsets.Membership(
                    member.group_id, member.member_id, member.member_epoch
                )
                await self._offsets.commit(owner, offsets)
            except (RetriableError, StaleMemberEpochError) as failure:
                if self._clock.monotonic_ms() >= deadline:
                    return failure
                log.info("commit %d: %s", command.number, failure)
            except StreamkitError as failure:
                return failure
            else:
                self._purger.on_committed((tp, each.offset) for tp, each in offsets.items())
                return None
            await asyncio.sleep(COMMIT_RETRY_MS / 1000)

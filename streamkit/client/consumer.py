"""The public consumer: partitions assigned by hand or by a group, batches or single records out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from streamkit.client.client import Client
from streamkit.client.closing import CloseOptions, GroupMembership
from streamkit.client.decode import Fetched, FetchFailed, decode_fetched
from streamkit.client.errors import LogTruncationError, OffsetOutOfRangeError
from streamkit.client.fetcher import Fetcher
from streamkit.client.offsets import (
    EARLIEST,
    LATEST,
    CommittedOffset,
    ConsumerGroupMetadata,
    Offsets,
    committed_offset,
)
from streamkit.client.records import ConsumedBatch, ConsumerRecord
from streamkit.client.settings import ConsumerSettings, settings_of
from streamkit.client.shared import NO_LISTENER, RebalanceListener, SharedPartitions
from streamkit.common.errors import StreamkitError, UsageError
from streamkit.common.model import TopicPartition
from streamkit.common.seams import Seams
from streamkit.common.system import system_seams

_log = logging.getLogger(__name__)


class Consumer:
    """Reads partitions; configured by Kafka's keys.

        async with Consumer({"bootstrap.servers": "localhost:9092",
                             "auto.offset.reset": "earliest"}) as consumer:
            consumer.assign([TopicPartition("orders", 0)])
            async for record in consumer:
                print(record.offset, record.value)

    A partition begins at the offset given, else at the one committed by `group.id`, else where
    `auto.offset.reset` says. With `subscribe` the members of `group.id` share topics among them
    (KIP-848); positions are then committed by themselves unless `enable.auto.commit` is false.
    """

    def __init__(self, config: Mapping[str, Any], *, seams: Seams | None = None) -> None:
        self.settings = settings_of(ConsumerSettings, config)
        self._seams = seams or system_seams()
        self._client = Client(self.settings, self._seams)
        self._fetcher: Fetcher | None = None
        self._offsets = Offsets(self._client)
        self._positions: dict[TopicPartition, CommittedOffset] = {}
        self._lookups: dict[TopicPartition, int | None] = {}
        self._failures: dict[TopicPartition, StreamkitError] = {}
        self._moves = 0
        self._shared: SharedPartitions | None = None

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        self._fetcher = Fetcher(self._client, self.settings)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
        await self._client.__aexit__(kind, error, trace)

    @property
    def assignment(self) -> tuple[TopicPartition, ...]:
        """The assigned partitions, sorted."""
        return tuple(sorted({*self._positions, *self._lookups}))

    def subscribe(
        self,
        topics: Iterable[str] = (),
        *,
        pattern: str | None = None,
        listener: RebalanceListener = NO_LISTENER,
    ) -> None:
        """Read a share of these topics as a member of `group.id`; again for others.

        `pattern` is a regular expression (RE2) for whole topic names that the broker looks up.
        The listener is called within `poll`, `unsubscribe` and `close`. Raises UsageError without
        `group.id`, or when partitions were assigned by hand.
        """
        if not self.settings.group_id:
            raise UsageError("subscribe needs group.id")
        names = list(topics)
        if self._shared is None:
            if self.assignment:
                raise UsageError("partitions are assigned by hand: assign none, then subscribe")
            self._shared = SharedPartitions(self, self._client, self._fetches.wake)
        self._shared.subscribe(names, pattern, listener)

    async def unsubscribe(self) -> None:
        """Let go of all partitions and leave the group."""
        await self._leave(CloseOptions(membership=GroupMembership.LEAVE))

    def assign(
        self,
        partitions: Iterable[TopicPartition] | Mapping[TopicPartition, int | CommittedOffset],
    ) -> None:
        """Read exactly these partitions; a mapping says from which offsets.

        With the leader epoch of a CommittedOffset the log is checked for truncation first.
        """
        if self._shared is not None:
            raise UsageError("partitions come from the group: unsubscribe, then assign")
        self._fetches.unassign(self._fetches.assignment)
        self._positions.clear()
        self._lookups.clear()
        self._failures.clear()
        self._moves += 1
        if isinstance(partitions, Mapping):
            self._move(partitions)
        else:
            self._lookups.update(dict.fromkeys(partitions))

    def seek(self, tp: TopicPartition, offset: int | CommittedOffset) -> None:
        """Go on at another offset; with its leader epoch the log is checked for truncation.

        Raises UsageError for a partition that is not assigned.
        """
        self._check_assigned(tp)
        self._moves += 1
        self._lookups.pop(tp, None)
        self._move({tp: offset})

    def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        """Go on at the log start; all assigned partitions when none are named."""
        self._look_up(partitions or self.assignment, EARLIEST)

    def seek_to_end(self, *partitions: TopicPartition) -> None:
        """Go on behind the last record; all assigned partitions when none are named."""
        self._look_up(partitions or self.assignment, LATEST)

    async def position(self, tp: TopicPartition) -> int:
        """The offset of the next record. Raises UsageError for one that is not assigned."""
        self._check_assigned(tp)
        await self._settle()
        return self._positions[tp].offset

    def pause(self, *partitions: TopicPartition) -> None:
        """Give nothing of these until `resume`."""
        self._fetches.pause(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        """The counterpart of `pause`."""
        self._fetches.resume(partitions)

    async def poll(self, timeout_ms: int | None = None) -> list[ConsumedBatch]:
        """The next batches; an empty list when the time is up first, waits for ever when None.

        Raises OffsetOutOfRangeError with `auto.offset.reset=none`, LogTruncationError when that
        is because the log was cut off behind this consumer's back, AuthorizationError and others
        that a retry cannot mend.
        """
        now_s = asyncio.get_running_loop().time()
        deadline_s = None if timeout_ms is None else now_s + timeout_ms / 1000
        while True:
            if self._shared is not None:
                # The time of a poll never cuts a listener off.
                await self._shared.follow()
            try:
                async with asyncio.timeout_at(deadline_s):
                    batches = await self._next_batches()
            except TimeoutError:
                return []
            if batches:
                return batches

    async def _next_batches(self) -> list[ConsumedBatch]:
        """Batches; none when the group has news."""
        self._raise_failure()
        if self._shared is not None:
            await self._shared.maybe_commit()
        await self._settle()
        while True:
            batches = self._batches(self._fetches.take_nowait())
            if batches or self._lookups or (self._shared is not None and self._shared.has_news):
                return batches
            await self._fetches.wait()

    async def __aiter__(self) -> AsyncIterator[ConsumerRecord]:
        while True:
            for batch in await self.poll():
                moves = self._moves
                for record in batch.records():
                    yield record
                    if moves != self._moves:
                        break

    async def partitions_of(self, topic: str) -> list[TopicPartition]:
        """All partitions of a topic; empty when there is none of that name."""
        view = await self._client.retrying(lambda: self._client.metadata.refresh([topic]))
        return list(view.partitions_of(topic))

    async def beginning_offsets(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Where the logs begin."""
        return await self._offsets.start_offsets(partitions)

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Where the logs end for the isolation level of this consumer."""
        return await self._offsets.end_offsets(
            partitions, read_committed=self.settings.is_read_committed
        )

    async def offsets_for_times(
        self, timestamps: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """The first offset at or after each time in milliseconds; -1 when there is none."""
        listed = await self._offsets.list_offsets(
            timestamps, read_committed=self.settings.is_read_committed
        )
        return {tp: answer.offset for tp, answer in listed.items()}

    async def commit(
        self, offsets: Mapping[TopicPartition, int | CommittedOffset] | None = None
    ) -> None:
        """Commit offsets, or the current positions, for `group.id`.

        A CommittedOffset has the leader epoch and a text of yours beside the offset. Raises
        UsageError for a negative offset or a text above the broker's `offset.metadata.max.bytes`,
        RejoinError when the group has gone on without this member.
        """
        wanted: Mapping[TopicPartition, int | CommittedOffset] = (
            self._positions if offsets is None else offsets
        )
        committed = {tp: committed_offset(offset) for tp, offset in wanted.items()}
        await self._offsets.commit(self._member(), committed)

    async def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """What `group.id` has committed; partitions without a commit are left out.

        It waits for the transactions that offsets were sent to: where to go on is decided there.
        """
        found = await self.committed_offsets(partitions)
        return {tp: committed.offset for tp, committed in found.items()}

    async def committed_offsets(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, CommittedOffset]:
        """As `committed`, with the leader epochs and the texts that were committed beside."""
        return await self._offsets.fetch(self._membership(), partitions, require_stable=True)

    def group_metadata(self) -> ConsumerGroupMetadata:
        """Who this consumer is in `group.id` now, for `Producer.send_offsets` (KIP-447).

        Ask for it before each transaction ends: the member's epoch moves on. Without `subscribe`
        it names the group only. Raises UsageError without `group.id`.
        """
        return self._membership() if self._shared is None else self._shared.metadata

    async def close(self, options: CloseOptions | None = None) -> None:
        """Stop fetching; a member of a group commits and leaves as the options say.

        By default a static member (`group.instance.id`) stays one until its session times out.
        """
        await self._leave(options or CloseOptions())
        if self._fetcher is not None:
            self._fetcher.close()

    @property
    def _fetches(self) -> Fetcher:
        if self._fetcher is None:
            raise UsageError("the consumer is not open: use `async with Consumer(...)`")
        return self._fetcher

    async def _leave(self, options: CloseOptions) -> None:
        if self._shared is not None:
            try:
                await self._shared.close(options)
            finally:
                self._shared = None

    def take_on(self, partitions: Iterable[TopicPartition]) -> None:
        """The group gave these: begin where it had committed. For `SharedPartitions`."""
        self._moves += 1
        self._lookups.update(dict.fromkeys(partitions))

    def let_go(self, partitions: Iterable[TopicPartition]) -> None:
        """The group took these. For `SharedPartitions`."""
        gone = list(partitions)
        self._moves += 1
        self._fetches.unassign([tp for tp in gone if tp in self._positions])
        for tp in gone:
            self._positions.pop(tp, None)
            self._lookups.pop(tp, None)
            self._failures.pop(tp, None)

    def _member(self) -> ConsumerGroupMetadata:
        return self._membership() if self._shared is None else self._shared.membership

    def _membership(self) -> ConsumerGroupMetadata:
        if not self.settings.group_id:
            raise UsageError("commits need group.id")
        return ConsumerGroupMetadata(self.settings.group_id)

    def _check_assigned(self, tp: TopicPartition) -> None:
        if tp not in self._positions and tp not in self._lookups:
            raise UsageError(f"{tp} is not assigned to this consumer")

    def _look_up(self, partitions: Iterable[TopicPartition], timestamp: int) -> None:
        self._moves += 1
        for tp in partitions:
            self._check_assigned(tp)
            self._failures.pop(tp, None)
            self._positions.pop(tp, None)
            self._lookups[tp] = timestamp
            self._fetches.unassign([tp])

    def _move(self, positions: Mapping[TopicPartition, int | CommittedOffset]) -> None:
        epochs: dict[TopicPartition, int] = {}
        for tp, each in positions.items():
            offset, epoch = (each, -1) if isinstance(each, int) else each[:2]
            self._positions[tp] = CommittedOffset(offset, epoch)
            self._failures.pop(tp, None)
            epochs[tp] = epoch
        offsets = {tp: self._positions[tp].offset for tp in epochs}
        self._fetches.assign(offsets, epochs)

    async def _settle(self) -> None:
        """Find the positions that are still to be looked up."""
        if not self._lookups:
            return
        unsaid = [tp for tp, timestamp in self._lookups.items() if timestamp is None]
        if unsaid and self.settings.group_id:
            found = await self.committed_offsets(unsaid)
            await self._maybe_refresh(found)
            self._found(found)
        for tp in [tp for tp, timestamp in self._lookups.items() if timestamp is None]:
            self._lookups[tp] = self._reset_timestamp(tp)
        wanted = {tp: time for tp, time in self._lookups.items() if time is not None}
        if wanted:
            # Without the epoch that is told: nothing of it was read.
            listed = await self.offsets_for_times(wanted)
            self._found({tp: CommittedOffset(offset) for tp, offset in listed.items()})

    async def _maybe_refresh(self, committed: Mapping[TopicPartition, CommittedOffset]) -> None:
        """A leader older than what was committed would take the position for a lost one."""
        view = self._client.view
        known = {tp: view.partition(tp) for tp in committed}
        stale = [
            tp.topic
            for tp, partition in known.items()
            if partition is not None and partition.leader_epoch < committed[tp].leader_epoch
        ]
        if stale:
            await self._client.retrying(lambda: self._client.metadata.refresh(stale))

    def _found(self, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        still = {tp: offset for tp, offset in offsets.items() if tp in self._lookups}
        for tp in still:
            del self._lookups[tp]
        self._move(still)

    def _reset_timestamp(self, tp: TopicPartition) -> int:
        policy = self.settings.auto_offset_reset
        if policy == "none":
            raise OffsetOutOfRangeError(
                f"{tp} has no offset to begin at; seek, or set auto.offset.reset"
            )
        return EARLIEST if policy == "earliest" else LATEST

    def _batches(self, events: Iterable[Fetched | FetchFailed]) -> list[ConsumedBatch]:
        batches: list[ConsumedBatch] = []
        for event in events:
            if event.tp not in self._positions:
                continue
            if isinstance(event, FetchFailed):
                self._on_failed(event)
                continue
            for columns in decode_fetched(event, self._positions[event.tp].offset):
                batches.append(ConsumedBatch(event.tp, columns))
            position = self._positions[event.tp]
            if event.next_offset > position.offset:
                epoch = event.batches[-1].leader_epoch
                self._positions[event.tp] = CommittedOffset(event.next_offset, epoch)
        if not batches:
            self._raise_failure()
        return batches

    def _on_failed(self, event: FetchFailed) -> None:
        """Reset the position, or keep the error: batches that came with it are given first."""
        error, has_reset = event.error, self.settings.auto_offset_reset != "none"
        if not isinstance(error, OffsetOutOfRangeError) or not has_reset:
            self._failures[event.tp] = error
        elif isinstance(error, LogTruncationError) and error.divergent_offset is not None:
            _log.warning("%s goes back: %s", event.tp, error)
            self._moves += 1
            where = CommittedOffset(error.divergent_offset, error.divergent_epoch)
            self._move({event.tp: where})
        else:
            _log.warning("%s is reset: %s", event.tp, error)
            self._look_up([event.tp], self._reset_timestamp(event.tp))

    def _raise_failure(self) -> None:
        for tp in self._failures:
            raise self._failures.pop(tp)

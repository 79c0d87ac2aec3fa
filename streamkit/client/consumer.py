"""The public consumer: partitions assigned by hand or by a group, batches or single records out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from streamkit.client.client import Client
from streamkit.client.closing import CloseOptions, GroupMembership
from streamkit.client.decode import Fetched, FetchFailed, decode_fetched
from streamkit.client.errors import OffsetOutOfRangeError
from streamkit.client.fetcher import Fetcher
from streamkit.client.offsets import EARLIEST, LATEST, CommittedOffset, Membership, Offsets
from streamkit.client.records import ConsumedBatch, ConsumerRecord
from streamkit.client.settings import ConsumerSettings, settings_of
from streamkit.client.shared import NO_LISTENER, RebalanceListener, SharedPartitions
from streamkit.common.errors import UsageError
from streamkit.common.model import TopicPartition
from streamkit.common.seams import Seams
from streamkit.common.system import system_seams


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
        self._positions: dict[TopicPartition, int] = {}
        self._lookups: dict[TopicPartition, int | None] = {}
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
        return tuple(sorted({**self._positions, **self._lookups}))

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

    def assign(self, partitions: Iterable[TopicPartition] | Mapping[TopicPartition, int]) -> None:
        """Read exactly these partitions; a mapping says from which offsets."""
        if self._shared is not None:
            raise UsageError("partitions come from the group: unsubscribe, then assign")
        self._fetches.unassign(self._fetches.assignment)
        self._positions.clear()
        self._lookups.clear()
        self._moves += 1
        if isinstance(partitions, Mapping):
            self._move(partitions)
        else:
            self._lookups.update(dict.fromkeys(partitions))

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """Go on at another offset. Raises UsageError for a partition that is not assigned."""
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
        return self._positions[tp]

    def pause(self, *partitions: TopicPartition) -> None:
        """Give nothing of these until `resume`."""
        self._fetches.pause(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        """The counterpart of `pause`."""
        self._fetches.resume(partitions)

    async def poll(self, timeout_ms: int | None = None) -> list[ConsumedBatch]:
        """The next batches; an empty list when the time is up first, waits for ever when None.

        Raises OffsetOutOfRangeError with `auto.offset.reset=none`, AuthorizationError and others
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

    async def commit(self, offsets: Mapping[TopicPartition, int] | None = None) -> None:
        """Commit offsets, or the current positions, for `group.id`."""
        wanted = self._positions if offsets is None else offsets
        committed = {tp: CommittedOffset(offset) for tp, offset in wanted.items()}
        await self._offsets.commit(self._member(), committed)

    async def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """What `group.id` has committed; partitions without a commit are left out.

        It waits for the transactions that offsets were sent to: where to go on is decided there.
        """
        member = self._membership()
        found = await self._offsets.fetch(member, partitions, require_stable=True)
        return {tp: committed.offset for tp, committed in found.items()}

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

    def _member(self) -> Membership:
        return self._membership() if self._shared is None else self._shared.membership

    def _membership(self) -> Membership:
        if not self.settings.group_id:
            raise UsageError("commits need group.id")
        return Membership(self.settings.group_id)

    def _check_assigned(self, tp: TopicPartition) -> None:
        if tp not in self._positions and tp not in self._lookups:
            raise UsageError(f"{tp} is not assigned to this consumer")

    def _look_up(self, partitions: Iterable[TopicPartition], timestamp: int) -> None:
        self._moves += 1
        for tp in partitions:
            self._check_assigned(tp)
            self._positions.pop(tp, None)
            self._lookups[tp] = timestamp
            self._fetches.unassign([tp])

    def _move(self, positions: Mapping[TopicPartition, int]) -> None:
        self._positions.update(positions)
        self._fetches.assign(positions)

    async def _settle(self) -> None:
        """Find the positions that are still to be looked up."""
        if not self._lookups:
            return
        unsaid = [tp for tp, timestamp in self._lookups.items() if timestamp is None]
        if unsaid and self.settings.group_id:
            found = await self.committed(unsaid)
            self._found(found)
        for tp in [tp for tp, timestamp in self._lookups.items() if timestamp is None]:
            self._lookups[tp] = self._reset_timestamp(tp)
        wanted = {tp: time for tp, time in self._lookups.items() if time is not None}
        if wanted:
            self._found(await self.offsets_for_times(wanted))

    def _found(self, offsets: Mapping[TopicPartition, int]) -> None:
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
            for columns in decode_fetched(event, self._positions[event.tp]):
                batches.append(ConsumedBatch(event.tp, columns))
            self._positions[event.tp] = event.next_offset
        return batches

    def _on_failed(self, event: FetchFailed) -> None:
        if not isinstance(event.error, OffsetOutOfRangeError):
            raise event.error
        if self.settings.auto_offset_reset == "none":
            raise event.error
        self._look_up([event.tp], self._reset_timestamp(event.tp))

"""Which partitions are fetched, from where, and what waits to be taken; pure.

Back-pressure: a partition that holds `partition_bytes_max` is not fetched, nor is any while the
partitions that can be taken hold `buffer_bytes_max`. Paused partitions keep what they hold, count
only against their own limit, and are not fetched. Where the partitions are many, each has an equal
share of the buffer, so that they all together hold little more when they all are paused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from streamkit.client.backoff import Backoff
from streamkit.client.decode import Fetched, FetchFailed
from streamkit.client.errors import (
    BrokerRefreshError,
    OffsetOutOfRangeError,
    error_for,
)
from streamkit.client.fetch_session import FetchTarget
from streamkit.client.metadata import ClusterView
from streamkit.client.truncation import UNKNOWN_EPOCH, Unchecked, truncation
from streamkit.common.errors import CorruptBatchError, RetriableError, StreamkitError
from streamkit.common.model import TopicPartition
from streamkit.protocol.errors import ErrorCode
from streamkit.records import scan

FetchEvent = Fetched | FetchFailed

BACKLOG_RECENT_MS: Final = 1_000
"""So long after a full partition was left out, fetches wait only briefly for new records."""

SHARE_BYTES_MIN: Final = 128 * 1024
"""A partition may hold so much, however many they are."""

NO_LEADER: Final = -1


@dataclass(slots=True)
class FetchLimits:
    """The limits of one fetcher, in bytes and milliseconds."""

    partition_fetch_bytes_max: int
    fetch_bytes_max: int
    partition_bytes_max: int
    buffer_bytes_max: int
    preferred_replica_ms: int
    retry_backoff: Backoff
    check_crc: bool = True
    checks_epochs: bool = True


@dataclass(slots=True)
class PartitionState:
    """One assigned partition; `generation` tells answers to older positions apart.

    `last_epoch` is the leader epoch of the last batch in front of the position, `checked_epoch`
    that of the leader that was last known to have it.
    """

    tp: TopicPartition
    position: int
    generation: int
    topic_id: UUID | None = None
    last_epoch: int = UNKNOWN_EPOCH
    checked_epoch: int = UNKNOWN_EPOCH
    is_paused: bool = False
    has_failed: bool = False
    events: deque[FetchEvent] = field(default_factory=deque)
    held_bytes: int = 0
    high_watermark: int = -1
    last_stable_offset: int = -1
    log_start_offset: int = -1
    preferred: int = NO_LEADER
    preferred_until_ms: float = 0.0
    failures: int = 0
    retry_at_ms: float = 0.0
    left_out_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to ask of one broker now. `retry_at_ms` is the time when more may be asked.

    The `unchecked` are not fetched before the broker has said that it has what was read.
    """

    targets: dict[TopicPartition, FetchTarget]
    unchecked: dict[TopicPartition, Unchecked]
    generations: dict[TopicPartition, int]
    bytes_max: int
    has_backlog: bool
    retry_at_ms: float | None


class FetchState:
    """All assigned partitions and what they hold."""

    def __init__(self, limits: FetchLimits) -> None:
        self._limits = limits
        self._generation = 0
        self._partitions: dict[TopicPartition, PartitionState] = {}
        self._reserved: dict[int, int] = {}

    @property
    def partitions(self) -> Mapping[TopicPartition, PartitionState]:
        """The assigned partitions."""
        return self._partitions

    @property
    def held_bytes(self) -> int:
        """Bytes that could be taken now; those of paused partitions are not counted."""
        return sum(p.held_bytes for p in self._partitions.values() if not p.is_paused)

    @property
    def kept_bytes(self) -> int:
        """Bytes of all partitions, paused or not; from any thread."""
        return sum(p.held_bytes for p in list(self._partitions.values()))

    @property
    def _share(self) -> int:
        return max(self._limits.buffer_bytes_max // len(self._partitions), SHARE_BYTES_MIN)

    def assign(
        self, positions: Mapping[TopicPartition, int], epochs: Mapping[TopicPartition, int]
    ) -> None:
        """Add partitions, or move those that are there; what they held is dropped.

        `epochs` are the leader epochs of the records in front of the positions, where known.
        """
        for tp, position in positions.items():
            self._generation += 1
            before = self._partitions.get(tp)
            self._partitions[tp] = PartitionState(
                tp,
                position,
                self._generation,
                last_epoch=epochs.get(tp, UNKNOWN_EPOCH),
                is_paused=before.is_paused if before else False,
            )

    def unassign(self, partitions: Iterable[TopicPartition]) -> None:
        """Drop partitions and what they hold."""
        for tp in partitions:
            self._partitions.pop(tp, None)

    def pause(self, partitions: Iterable[TopicPartition], *, paused: bool) -> None:
        """Pause or resume; unknown partitions are left alone."""
        for tp in partitions:
            state = self._partitions.get(tp)
            if state is not None:
                state.is_paused = paused

    def take(self) -> list[FetchEvent]:
        """All events of the partitions that are not paused; their room is free again."""
        taken: list[FetchEvent] = []
        for state in self._partitions.values():
            if state.events and not state.is_paused:
                taken.extend(state.events)
                state.events.clear()
                state.held_bytes = 0
        return taken

    def has_events(self) -> bool:
        """Whether `take` would give something."""
        return any(p.events and not p.is_paused for p in self._partitions.values())

    def position(self, tp: TopicPartition) -> int:
        """The offset behind what was taken. Raises KeyError when not assigned."""
        state = self._partitions[tp]
        for event in state.events:
            if isinstance(event, Fetched):
                return event.fetch_offset
        return state.position

    def nodes(self, view: ClusterView, now_ms: float) -> set[int]:
        """The brokers that have something to give; never iterate it where order shows."""
        return {self._node_of(p, view, now_ms) for p in self._partitions.values()} - {NO_LEADER}

    def has_leaderless(self, view: ClusterView) -> bool:
        """Whether some partition has no known leader."""
        return any(view.leader_of(tp) == NO_LEADER for tp in self._partitions)

    def wanted(self, node_id: int, view: ClusterView, now_ms: float) -> Wanted:
        """What the next fetch of a broker asks for; reserves its bytes until `on_done`."""
        targets: dict[TopicPartition, FetchTarget] = {}
        unchecked: dict[TopicPartition, Unchecked] = {}
        retry_at_ms: float | None = None
        has_backlog = False
        held_max = min(self._limits.partition_bytes_max, self._share) if self._partitions else 0
        for state in self._partitions.values():
            if state.has_failed or self._node_of(state, view, now_ms) != node_id:
                continue
            if state.retry_at_ms > now_ms:
                retry_at_ms = min(retry_at_ms or state.retry_at_ms, state.retry_at_ms)
            elif state.is_paused or state.held_bytes >= held_max:
                state.left_out_ms = state.left_out_ms or now_ms
                has_backlog = has_backlog or now_ms - state.left_out_ms < BACKLOG_RECENT_MS
            elif self._check_topic(state, view):
                state.left_out_ms = 0.0
                if _needs_check(state, view):
                    unchecked[state.tp] = _unchecked(state, view)
                else:
                    targets[state.tp] = self._target(state, view)
        bytes_max = self._bytes_for(node_id, len(targets))
        if bytes_max <= 0:
            targets.clear()
        generations = {tp: self._partitions[tp].generation for tp in targets}
        return Wanted(targets, unchecked, generations, bytes_max, has_backlog, retry_at_ms)

    def on_done(self, node_id: int) -> None:
        """The fetch of a broker is over, in whatever way."""
        self._reserved.pop(node_id, None)

    def on_partition(
        self, tp: TopicPartition, generation: int, answer: Any, node_id: int, now_ms: float
    ) -> StreamkitError | None:
        """One partition's part of an answer; gives the error that asks for fresh metadata."""
        state = self._partitions.get(tp)
        if state is None or state.generation != generation:
            return None
        if answer.error_code:
            return self._on_error(state, answer, node_id, now_ms)
        state.failures = 0
        state.high_watermark = answer.high_watermark
        state.last_stable_offset = answer.last_stable_offset
        state.log_start_offset = getattr(answer, "log_start_offset", -1)
        preferred = getattr(answer, "preferred_read_replica", NO_LEADER)
        if preferred != NO_LEADER:
            state.preferred = preferred
            state.preferred_until_ms = now_ms + self._limits.preferred_replica_ms
        if answer.records:
            self._keep(state, answer)
        return None

    def on_epoch_end(
        self, tp: TopicPartition, asked: Unchecked, answer: Any, now_ms: float
    ) -> StreamkitError | None:
        """The leader said where an epoch ends; gives the error that asks for fresh metadata."""
        state = self._partitions.get(tp)
        if state is None or (state.generation, state.position) != (
            asked.generation,
            asked.position,
        ):
            return None
        if answer.error_code:
            what = f"end of leader epoch {asked.last_epoch} of {tp}"
            return self._put_off(state, error_for(answer.error_code, what), now_ms)
        state.failures = 0
        state.checked_epoch = asked.leader_epoch
        self._on_epoch_end(state, answer.leader_epoch, answer.end_offset)
        return None

    def leave_unchecked(self, unchecked: Mapping[TopicPartition, Unchecked]) -> None:
        """The broker is too old to say where epochs end: take the positions as good."""
        for tp, each in unchecked.items():
            state = self._partitions.get(tp)
            if state is not None:
                state.checked_epoch = each.leader_epoch

    def fail(self, partitions: Iterable[TopicPartition], error: StreamkitError) -> None:
        """Give up on partitions; the error comes out of `take`."""
        for tp in partitions:
            state = self._partitions.get(tp)
            if state is not None and not state.has_failed:
                self._fail(state, error)

    def _keep(self, state: PartitionState, answer: Any) -> None:
        try:
            batches = scan(answer.records)
        except CorruptBatchError as error:
            self._fail(state, error)
            return
        if not batches:
            return
        next_offset = max(batches[-1].last_offset + 1, state.position)
        state.events.append(
            Fetched(
                tp=state.tp,
                records=answer.records,
                batches=tuple(batches),
                fetch_offset=state.position,
                next_offset=next_offset,
                high_watermark=answer.high_watermark,
                last_stable_offset=answer.last_stable_offset,
                log_start_offset=state.log_start_offset,
                aborted=tuple(
                    (aborted.producer_id, aborted.first_offset)
                    for aborted in answer.aborted_transactions or ()
                ),
                check_crc=self._limits.check_crc,
            )
        )
        state.held_bytes += len(answer.records)
        # A former leader's answer may come after the next one's: it moves nothing.
        if next_offset > state.position and self._limits.checks_epochs:
            state.last_epoch = batches[-1].leader_epoch
        state.position = next_offset
        # The one that gave goes to the back, so that all get their turn.
        self._partitions[state.tp] = self._partitions.pop(state.tp)

    def _on_error(
        self, state: PartitionState, answer: Any, node_id: int, now_ms: float
    ) -> StreamkitError | None:
        error = error_for(answer.error_code, f"fetch of {state.tp} at offset {state.position}")
        was_preferred, state.preferred = state.preferred == node_id, NO_LEADER
        if isinstance(error, OffsetOutOfRangeError) and not was_preferred:
            state.log_start_offset = getattr(answer, "log_start_offset", -1)
            self._fail(state, error)
            return None
        if isinstance(error, OffsetOutOfRangeError):
            return None
        return self._put_off(state, error, now_ms)

    def _on_epoch_end(self, state: PartitionState, epoch: int, end_offset: int) -> None:
        error = truncation(state.tp, state.position, state.last_epoch, epoch, end_offset)
        if error is not None:
            self._fail(state, error)
        else:
            # The leader knows what lies in front of the position under this epoch.
            state.last_epoch = epoch

    def _put_off(
        self, state: PartitionState, error: StreamkitError, now_ms: float
    ) -> StreamkitError | None:
        """Ask again after a back-off, if that may help."""
        if not isinstance(error, RetriableError):
            self._fail(state, error)
            return None
        state.failures += 1
        state.retry_at_ms = now_ms + self._limits.retry_backoff.delay_ms(state.failures, 0.5)
        return error

    def _fail(self, state: PartitionState, error: StreamkitError) -> None:
        state.has_failed = True
        state.events.append(FetchFailed(state.tp, state.position, error, state.log_start_offset))

    def _check_topic(self, state: PartitionState, view: ClusterView) -> bool:
        """A topic that was deleted and made anew has other records at the same offsets."""
        topic_id = view.topic_id(state.tp.topic)
        if state.topic_id is None:
            state.topic_id = topic_id
        if topic_id is None or topic_id == state.topic_id:
            return True
        error = OffsetOutOfRangeError(
            f"topic {state.tp.topic} was deleted and made anew (id {state.topic_id} is now "
            f"{topic_id}): offset {state.position} of partition {state.tp.partition} means nothing"
        )
        self._fail(state, error)
        return False

    def _target(self, state: PartitionState, view: ClusterView) -> FetchTarget:
        partition = view.partition(state.tp)
        epoch = partition.leader_epoch if partition is not None else -1
        limit = min(self._limits.partition_fetch_bytes_max, self._share)
        # Nothing was read of a position without an epoch: this leader is where that begins.
        state.checked_epoch = epoch
        return FetchTarget(view.topic_id(state.tp.topic), state.position, epoch, limit)

    def _node_of(self, state: PartitionState, view: ClusterView, now_ms: float) -> int:
        if state.preferred != NO_LEADER:
            is_good = now_ms < state.preferred_until_ms and state.preferred in view.brokers
            # Only the leader can say whether the log was cut off.
            if is_good and not _needs_check(state, view):
                return state.preferred
            state.preferred = NO_LEADER
        return view.leader_of(state.tp)

    def _bytes_for(self, node_id: int, partitions: int) -> int:
        """Bytes that the next fetch may bring; 0 while the buffer is full."""
        self._reserved.pop(node_id, None)
        if not partitions:
            return 0
        room = self._limits.buffer_bytes_max - self.held_bytes - sum(self._reserved.values())
        wish = min(
            self._limits.fetch_bytes_max, partitions * self._limits.partition_fetch_bytes_max
        )
        granted = min(wish, room)
        if granted > 0:
            self._reserved[node_id] = granted
        return granted


def _needs_check(state: PartitionState, view: ClusterView) -> bool:
    """Whether something was read, and the leader has another epoch than when that was checked."""
    if state.last_epoch == UNKNOWN_EPOCH:
        return False
    partition = view.partition(state.tp)
    return partition is not None and partition.leader_epoch not in (
        state.checked_epoch,
        UNKNOWN_EPOCH,
    )


def _unchecked(state: PartitionState, view: ClusterView) -> Unchecked:
    partition = view.partition(state.tp)
    assert partition is not None, "only a partition that is known needs a check"
    return Unchecked(state.generation, state.position, state.last_epoch, partition.leader_epoch)


def needs_refresh(error: StreamkitError) -> bool:
    """Whether an error of `on_partition` says that the leader is another one."""
    return isinstance(error, BrokerRefreshError) or (
        getattr(error, "code", None) == ErrorCode.unknown_leader_epoch
    )

"""Fetch sessions (KIP-227): what a consumer asked for last time, so that it need not repeat it.

Pure. `FetchSessions.begin` turns a request into the partitions to read; `FetchPlan.select` turns
what was read into what is worth sending. Invariants: a session's partitions are kept in the
order in which they are served (one that had records goes to the end); the epoch that the next
request must carry is `epoch`; a session was made either with topic ids or with names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from streamkit.protocol.errors import ApiError, ErrorCode

FINAL_EPOCH = -1
INITIAL_EPOCH = 0
EPOCH_MAX = 2**31 - 1
IDLE_BEFORE_EVICTION_MS = 120_000

Key = tuple[UUID | str, int]
"""A partition in a session: the topic by id or name, and the partition's number."""


@dataclass(slots=True)
class CachedPartition:
    """One partition of a fetch: what the client wants, and what it was told last."""

    topic: UUID | str
    index: int
    fetch_offset: int
    bytes_max: int
    current_leader_epoch: int = -1
    last_fetched_epoch: int = -1
    high_watermark: int = -1
    log_start_offset: int = -1

    @property
    def key(self) -> Key:
        return (self.topic, self.index)

    def update(self, asked: CachedPartition) -> None:
        """Take over what the client asks now; what it was told stays."""
        self.fetch_offset = asked.fetch_offset
        self.bytes_max = asked.bytes_max
        self.current_leader_epoch = asked.current_leader_epoch
        self.last_fetched_epoch = asked.last_fetched_epoch


class Answer(Protocol):
    """What was read of one partition, as far as a session must see it."""

    @property
    def high_watermark(self) -> int: ...

    @property
    def log_start_offset(self) -> int: ...

    @property
    def must_send(self) -> bool:
        """It has records, an error, a diverging epoch or a preferred replica."""

    @property
    def has_records(self) -> bool: ...


@dataclass(slots=True)
class FetchSession:
    """One session."""

    id: int
    uses_topic_ids: bool
    is_privileged: bool
    last_used_ms: int
    epoch: int = 1
    partitions: dict[Key, CachedPartition] = field(default_factory=dict)


@dataclass(slots=True)
class FetchPlan:
    """One request: which partitions to read, and how to answer."""

    partitions: Sequence[CachedPartition]
    session: FetchSession | None
    is_incremental: bool

    @property
    def session_id(self) -> int:
        return self.session.id if self.session else 0

    def select(self, answers: Sequence[Answer]) -> list[int]:
        """Which of `answers` (in the order of `partitions`) are sent; remembers what they say."""
        session = self.session
        if session is None:
            return list(range(len(answers)))
        chosen: list[int] = []
        for position, (partition, answer) in enumerate(zip(self.partitions, answers, strict=True)):
            told_before = (
                partition.high_watermark == answer.high_watermark
                and partition.log_start_offset == answer.log_start_offset
            )
            if answer.must_send or not told_before or not self.is_incremental:
                chosen.append(position)
                partition.high_watermark = answer.high_watermark
                partition.log_start_offset = answer.log_start_offset
            if answer.has_records:
                # Move it behind the others, so that a busy partition does not starve them.
                session.partitions[partition.key] = session.partitions.pop(partition.key)
        return chosen


class FetchSessions:
    """The cache of sessions, limited to `slots_max`."""

    def __init__(self, slots_max: int, new_id: Callable[[], int]) -> None:
        self._slots_max = slots_max
        self._new_id = new_id
        self._sessions: dict[int, FetchSession] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def partition_count(self) -> int:
        """Partitions in all sessions."""
        return sum(len(session.partitions) for session in self._sessions.values())

    def begin(
        self,
        session_id: int,
        session_epoch: int,
        asked: Sequence[CachedPartition],
        forgotten: Iterable[Key],
        *,
        uses_topic_ids: bool,
        is_privileged: bool,
        now_ms: int,
    ) -> FetchPlan:
        """What this request reads. Raises ApiError 70, 71 or 106 (top-level errors)."""
        if session_epoch == FINAL_EPOCH:
            self._sessions.pop(session_id, None)
            return FetchPlan(asked, None, is_incremental=False)
        if session_epoch == INITIAL_EPOCH:
            self._sessions.pop(session_id, None)
            return self._full(asked, uses_topic_ids, is_privileged, now_ms)
        session = self._continue(session_id, session_epoch, uses_topic_ids)
        return self._incremental(session, asked, forgotten, now_ms)

    def _full(
        self,
        asked: Sequence[CachedPartition],
        uses_topic_ids: bool,
        is_privileged: bool,
        now_ms: int,
    ) -> FetchPlan:
        if not asked or not self._make_room(len(asked), is_privileged, now_ms):
            return FetchPlan(asked, None, is_incremental=False)
        session = FetchSession(self._free_id(), uses_topic_ids, is_privileged, now_ms)
        session.partitions = {partition.key: partition for partition in asked}
        self._sessions[session.id] = session
        return FetchPlan(list(session.partitions.values()), session, is_incremental=False)

    def _continue(self, session_id: int, epoch: int, uses_topic_ids: bool) -> FetchSession:
        session = self._sessions.get(session_id)
        if session is None:
            raise ApiError(ErrorCode.fetch_session_id_not_found, f"no fetch session {session_id}")
        if session.epoch != epoch:
            raise ApiError(
                ErrorCode.invalid_fetch_session_epoch,
                f"fetch session {session_id} is at epoch {session.epoch}, not {epoch}",
            )
        if session.uses_topic_ids != uses_topic_ids:
            raise ApiError(
                ErrorCode.fetch_session_topic_id_error,
                f"fetch session {session_id} was made "
                f"{'with' if session.uses_topic_ids else 'without'} topic ids",
            )
        return session

    def _incremental(
        self,
        session: FetchSession,
        asked: Sequence[CachedPartition],
        forgotten: Iterable[Key],
        now_ms: int,
    ) -> FetchPlan:
        partitions = session.partitions
        for partition in asked:
            known = partitions.get(partition.key)
            if known is None:
                partitions[partition.key] = partition
            else:
                known.update(partition)
        for key in forgotten:
            partitions.pop(key, None)
        session.last_used_ms = now_ms
        session.epoch = 1 if session.epoch == EPOCH_MAX else session.epoch + 1
        if not partitions:
            del self._sessions[session.id]
            return FetchPlan((), None, is_incremental=False)
        return FetchPlan(list(partitions.values()), session, is_incremental=True)

    def _make_room(self, size: int, is_privileged: bool, now_ms: int) -> bool:
        """Whether there is a slot, if need be after the eviction of one session."""
        if len(self._sessions) < self._slots_max:
            return True
        victim = self._victim(size, is_privileged, now_ms)
        if victim is None:
            return False
        del self._sessions[victim.id]
        return True

    def _victim(self, size: int, is_privileged: bool, now_ms: int) -> FetchSession | None:
        """The session idle longest, if for too long; else a smaller or less privileged one."""
        if not self._sessions:
            return None
        idlest = min(self._sessions.values(), key=lambda s: (s.last_used_ms, s.id))
        if now_ms - idlest.last_used_ms > IDLE_BEFORE_EVICTION_MS:
            return idlest
        least = min(
            self._sessions.values(), key=lambda s: (s.is_privileged, len(s.partitions), s.id)
        )
        # The newcomer takes the slot only of one that is worth less (KIP-227).
        is_worth_less = (least.is_privileged, len(least.partitions)) < (is_privileged, size)
        return least if is_worth_less else None

    def _free_id(self) -> int:
        while True:
            candidate = self._new_id()
            if candidate and candidate not in self._sessions:
                return candidate

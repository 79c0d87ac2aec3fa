"""One consumer's side of KIP-848: when it sends which heartbeat, and what the answers mean.

No I/O: `poll` gives the next heartbeat, `on_response` and `on_failure` take what came of it. The
partitions are the caller's: it compares `target` with what it reads, lets go, takes on, and says
so with `reconciled`; only then does the coordinator hear of it. A heartbeat says what changed
since the last answer; the first one, and the one after a failure, say everything.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any
from uuid import UUID

from streamkit.client.errors import CodedError, error_for
from streamkit.common.errors import RejoinError, RetriableError
from streamkit.protocol.errors import ErrorCode
from streamkit.protocol.units import to_ms

JOIN_EPOCH = 0
LEAVE_EPOCH = -1
LEAVE_STATIC_EPOCH = -2
RETRY_BACKOFF_MS = 100
RETRY_BACKOFF_MAX_MS = 1000
UNCHANGED_MS = -1

Partition = tuple[UUID, int]
Partitions = frozenset[Partition]
NOTHING: Partitions = frozenset()
Fields = dict[str, Any]
"""A heartbeat by the message's field names."""


class MemberState(Enum):
    """Where the member stands."""

    OUT = "out"
    """Not in the group, and not on the way."""
    JOINING = "joining"
    IN = "in"
    LOST = "lost"
    """Fenced: it joins again when the caller has let go of its partitions."""
    FAILED = "failed"


class GroupMember:
    """One member of one consumer group."""

    def __init__(
        self,
        group_id: str,
        member_id: str,
        rebalance_timeout_ms: int,
        *,
        instance_id: str | None = None,
        rack_id: str | None = None,
        assignor: str | None = None,
    ) -> None:
        self.group_id = group_id
        self.member_id = member_id
        self.instance_id = instance_id
        self.epoch = JOIN_EPOCH
        self.state = MemberState.OUT
        self.owned = NOTHING
        self.target = NOTHING
        self.error: CodedError | None = None
        self.heartbeat_interval_ms = 0
        self._rebalance_timeout_ms = rebalance_timeout_ms
        self._rack_id = rack_id
        self._assignor = assignor
        self._topics: tuple[str, ...] | None = None
        self._pattern: str | None = None
        self._is_full = True
        self._has_new_subscription = False
        self._has_new_owned = False
        self._is_waiting = False
        self._has_asked = False
        self._has_tried = False
        self._due_ms = 0.0
        self._failures = 0

    @property
    def needs_reconciliation(self) -> bool:
        """Whether the caller has partitions to let go or to take on."""
        if self.state is MemberState.IN:
            return self.target != self.owned and not self._has_tried
        return self.state is MemberState.LOST

    def subscribe(self, topics: Iterable[str] | None, pattern: str | None) -> None:
        """Read these topics, or those that match; joins when it is not in the group."""
        self._topics = tuple(sorted(set(topics or ())))
        self._pattern = pattern or ""
        self._has_new_subscription = True
        if self.state is MemberState.OUT:
            self._join()
        self._due_ms = 0.0

    def reconciled(self, owned: Partitions, followed: Partitions = NOTHING) -> None:
        """The caller reads exactly these now: tell the coordinator at once.

        `followed` is the target that it followed. When it could not get there, it tries again
        after the next answer.
        """
        has_changed, self.owned = owned != self.owned, owned
        self._has_tried = followed == self.target
        if self.state is MemberState.LOST:
            self._join()
        elif self.state is MemberState.IN and has_changed:
            self._has_new_owned = True
            self._due_ms = 0.0

    def rejoin(self) -> None:
        """Come back after `leave`."""
        if self.state is MemberState.OUT and self._topics is not None:
            self._join()

    def _join(self) -> None:
        self.state, self.epoch = MemberState.JOINING, JOIN_EPOCH
        self.target = NOTHING
        self._is_full = True
        self._has_asked = False
        self._due_ms = 0.0

    def leave(self, *, for_good: bool) -> Fields | None:
        """The heartbeat that says good-bye; None when there is nobody to say it to."""
        # A join without an answer may have been heard.
        was_in = self._has_asked and self.state in (MemberState.IN, MemberState.JOINING)
        self.state, self.owned, self.target = MemberState.OUT, NOTHING, NOTHING
        if not was_in or (not for_good and self.instance_id is None):
            return None
        epoch = LEAVE_EPOCH if for_good else LEAVE_STATIC_EPOCH
        return {**self._identity(), "member_epoch": epoch, "topic_partitions": None}

    def poll(self, now_ms: float) -> Fields | None:
        """The heartbeat that is due, if one is; its outcome comes before the next."""
        if self.state not in (MemberState.JOINING, MemberState.IN) or self._is_waiting:
            return None
        if now_ms < self._due_ms:
            return None
        self._is_waiting = self._has_asked = True
        fields = self._heartbeat()
        self._has_new_subscription = self._has_new_owned = False
        return fields

    def next_wake_ms(self) -> float | None:
        """When `poll` is worth asking again; None: not before something happens."""
        if self.state not in (MemberState.JOINING, MemberState.IN) or self._is_waiting:
            return None
        return self._due_ms

    def _identity(self) -> Fields:
        return {
            "group_id": self.group_id,
            "member_id": self.member_id,
            "instance_id": self.instance_id,
        }

    def _heartbeat(self) -> Fields:
        full = self._is_full
        says_subscription = full or self._has_new_subscription
        # A pattern that was never set is not spoken of: old brokers know none.
        pattern = self._pattern if self._pattern or not full else None
        return {
            **self._identity(),
            "member_epoch": self.epoch,
            "rack_id": self._rack_id if full else None,
            "rebalance_timeout": self._rebalance_timeout_ms if full else UNCHANGED_MS,
            "subscribed_topic_names": self._topics if says_subscription else None,
            "subscribed_topic_regex": pattern if says_subscription else None,
            "server_assignor": self._assignor if full else None,
            "topic_partitions": _topics(self.owned) if full or self._has_new_owned else None,
        }

    def on_response(self, response: Any, now_ms: float) -> CodedError | None:
        """Take an answer; gives back the error in it, for the caller's connections."""
        self._is_waiting = False
        if self.state not in (MemberState.JOINING, MemberState.IN):
            return None
        if response.error_code:
            what = f"member {self.member_id!r} of group {self.group_id!r}"
            error = error_for(response.error_code, what, response.error_message)
            self._on_error(error, now_ms)
            return error
        self._failures = 0
        self._is_full = self._has_tried = False
        self.state = MemberState.IN
        self.epoch = response.member_epoch
        self.member_id = response.member_id or self.member_id
        self.heartbeat_interval_ms = to_ms(response.heartbeat_interval)
        if response.assignment is not None:
            self.target = _partitions(response.assignment.topic_partitions)
        is_news = self._has_new_owned or self._has_new_subscription
        self._due_ms = now_ms + (0 if is_news else self.heartbeat_interval_ms)
        return None

    def on_failure(self, now_ms: float) -> None:
        """No answer came: nobody knows what the coordinator heard, so say everything again."""
        self._is_waiting = False
        self._is_full = True
        backoff_ms = min(RETRY_BACKOFF_MS * 2**self._failures, RETRY_BACKOFF_MAX_MS)
        self._failures = min(self._failures + 1, 10)
        self._due_ms = now_ms + backoff_ms

    def _on_error(self, error: CodedError, now_ms: float) -> None:
        if isinstance(error, RetriableError):
            self.on_failure(now_ms)
        elif isinstance(error, RejoinError) and error.code is not ErrorCode.fenced_instance_id:
            self.state, self.target = MemberState.LOST, NOTHING
        else:
            self.state, self.error = MemberState.FAILED, error


def _topics(partitions: Partitions) -> list[Fields]:
    by_topic: dict[UUID, list[int]] = {}
    for topic_id, index in sorted(partitions):
        by_topic.setdefault(topic_id, []).append(index)
    return [{"topic_id": topic_id, "partitions": each} for topic_id, each in by_topic.items()]


def _partitions(topics: Iterable[Any]) -> Partitions:
    return frozenset(
        (each.topic_id, int(index))
        for each in topics
        if each.topic_id is not None
        for index in each.partitions
    )

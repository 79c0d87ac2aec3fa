"""The client's side of incremental fetch sessions (KIP-227): what to send, what to forget; pure.

A session belongs to one broker. After any doubt (an error, a lost connection, ids where names
were) the next fetch is a full one, which asks the broker to drop the old session.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from streamkit.common.model import TopicPartition
from streamkit.protocol.errors import ErrorCode

EPOCH_MAX: Final = 2**31 - 1
FULL_EPOCH: Final = 0
"""A full fetch that asks for a session."""


@dataclass(frozen=True, slots=True)
class FetchTarget:
    """What a fetch asks of one partition."""

    topic_id: UUID | None
    offset: int
    leader_epoch: int
    bytes_max: int


@dataclass(frozen=True, slots=True)
class FetchPlan:
    """One Fetch request: the session, what is new or moved in it, what leaves it."""

    session_id: int
    epoch: int
    send: Mapping[TopicPartition, FetchTarget]
    forget: tuple[tuple[TopicPartition, UUID | None], ...]


class FetchSession:
    """One broker's session as the client remembers it."""

    def __init__(self) -> None:
        self._id = 0
        self._epoch = FULL_EPOCH
        self._by_id = False
        self._targets: dict[TopicPartition, FetchTarget] = {}

    @property
    def targets(self) -> Mapping[TopicPartition, FetchTarget]:
        """What the broker is asked for, after the last plan."""
        return self._targets

    def plan(self, wanted: Mapping[TopicPartition, FetchTarget], *, by_id: bool) -> FetchPlan:
        """The next request, which makes the session hold exactly `wanted`."""
        if by_id != self._by_id:
            self._by_id = by_id
            self._epoch = FULL_EPOCH
        before = self._targets
        self._targets = dict(wanted)
        if self._epoch == FULL_EPOCH:
            return FetchPlan(self._id, FULL_EPOCH, self._targets, ())
        send = {tp: target for tp, target in wanted.items() if before.get(tp) != target}
        forget = tuple(
            (tp, target.topic_id)
            for tp, target in before.items()
            if tp not in wanted or wanted[tp].topic_id != target.topic_id
        )
        return FetchPlan(self._id, self._epoch, send, forget)

    def on_answer(self, code: int, session_id: int) -> None:
        """The answer's top-level error and session id."""
        if code == ErrorCode.fetch_session_id_not_found:
            self.reset()
        elif code:
            self._epoch = FULL_EPOCH
        elif session_id == 0:
            self.reset()
        elif self._epoch == FULL_EPOCH:
            self._id, self._epoch = session_id, 1
        else:
            self._epoch = 1 if self._epoch == EPOCH_MAX else self._epoch + 1

    def on_lost(self) -> None:
        """No answer came: the broker may have advanced or not, so begin anew."""
        self._epoch = FULL_EPOCH

    def reset(self) -> None:
        """The broker has no session for us."""
        self._id, self._epoch = 0, FULL_EPOCH

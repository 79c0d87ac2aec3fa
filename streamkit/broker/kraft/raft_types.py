"""What goes into the raft state machine and what comes out: states, requests, effects."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from streamkit.broker.kraft.voters import ReplicaKey
from streamkit.protocol.errors import ErrorCode


class Role(Enum):
    """The states of KafkaRaftClient; an observer is Unattached or Follower, and no voter."""

    UNATTACHED = "unattached"
    PROSPECTIVE = "prospective"
    CANDIDATE = "candidate"
    LEADER = "leader"
    RESIGNED = "resigned"
    FOLLOWER = "follower"


TRANSITIONS: dict[Role, frozenset[Role]] = {
    Role.UNATTACHED: frozenset({Role.UNATTACHED, Role.PROSPECTIVE, Role.FOLLOWER}),
    Role.PROSPECTIVE: frozenset({Role.CANDIDATE, Role.FOLLOWER, Role.UNATTACHED, Role.PROSPECTIVE}),
    Role.CANDIDATE: frozenset({Role.LEADER, Role.PROSPECTIVE, Role.FOLLOWER, Role.UNATTACHED}),
    Role.LEADER: frozenset({Role.RESIGNED, Role.UNATTACHED, Role.FOLLOWER}),
    # A sole voter that led before it stopped need not wait for anybody: straight to Prospective.
    Role.RESIGNED: frozenset({Role.UNATTACHED, Role.FOLLOWER, Role.PROSPECTIVE}),
    Role.FOLLOWER: frozenset({Role.PROSPECTIVE, Role.FOLLOWER, Role.UNATTACHED}),
}
"""From each state to those that may follow it (reference 4.1)."""


class LogEnd(NamedTuple):
    """The end of a log, ordered as votes compare logs: last epoch, then end offset."""

    epoch: int
    offset: int


@dataclass(frozen=True, slots=True)
class ElectionState:
    """What must be on disk before anything is said: the epoch, its leader, our vote in it."""

    epoch: int = 0
    leader_id: int | None = None
    voted: ReplicaKey | None = None


@dataclass(frozen=True, slots=True)
class RaftTimeouts:
    """The `controller.quorum.*` times in milliseconds, with Kafka's defaults."""

    election_ms: int = 1000
    fetch_ms: int = 2000
    election_backoff_max_ms: int = 1000

    @property
    def check_quorum_ms(self) -> int:
        """A leader that hears from no majority for so long resigns."""
        return self.fetch_ms * 3 // 2


@dataclass(frozen=True, slots=True)
class VoteRequest:
    """A candidate, or one that thinks of becoming one, asks for a vote."""

    candidate: ReplicaKey
    epoch: int
    log_end: LogEnd
    is_pre_vote: bool
    voter: ReplicaKey | None = None
    """Who is asked, as far as the asker knows."""


@dataclass(frozen=True, slots=True)
class EpochAnswer:
    """What every answer of the quorum carries."""

    epoch: int
    leader_id: int | None
    error: ErrorCode = ErrorCode.none


@dataclass(frozen=True, slots=True)
class VoteAnswer:
    """Granted or not, and what the answerer knows."""

    answer: EpochAnswer
    is_granted: bool


@dataclass(frozen=True, slots=True)
class BeginEpochRequest:
    """A new leader makes itself known."""

    leader_id: int
    epoch: int


@dataclass(frozen=True, slots=True)
class EndEpochRequest:
    """A leader resigns; `successors` are ordered by how far their logs reach."""

    leader_id: int
    epoch: int
    successors: tuple[ReplicaKey, ...]


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """A replica asks for what follows its log."""

    replica: ReplicaKey
    epoch: int
    offset: int
    last_fetched_epoch: int
    max_wait_ms: int = 0


@dataclass(frozen=True, slots=True)
class FetchAnswer:
    """Send records from the offset, or an error, or where the replica's log must be cut."""

    answer: EpochAnswer
    diverging: LogEnd | None = None
    needs_snapshot: bool = False

    @property
    def has_records(self) -> bool:
        """Whether records from the asked offset follow."""
        is_ok = self.answer.error is ErrorCode.none
        return is_ok and self.diverging is None and not self.needs_snapshot


@dataclass(frozen=True, slots=True)
class Persist:
    """Write the election state and sync it before any later effect."""

    state: ElectionState


@dataclass(frozen=True, slots=True)
class SendVote:
    """Ask a voter."""

    to: ReplicaKey
    request: VoteRequest


@dataclass(frozen=True, slots=True)
class SendBeginEpoch:
    """Tell a voter who leads."""

    to: ReplicaKey
    request: BeginEpochRequest


@dataclass(frozen=True, slots=True)
class SendEndEpoch:
    """Tell a voter that this leader goes."""

    to: ReplicaKey
    request: EndEpochRequest


@dataclass(frozen=True, slots=True)
class BecameLeader:
    """Append the first batch of the epoch: LeaderChange, with what the log lacks."""

    epoch: int
    granting: tuple[ReplicaKey, ...]


@dataclass(frozen=True, slots=True)
class LostLeadership:
    """Appends that are not committed yet may be lost: fail who waits for them."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Follow:
    """Fetch from this leader."""

    leader_id: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Truncate:
    """Cut the log back to an offset."""

    offset: int


@dataclass(frozen=True, slots=True)
class Commit:
    """The high watermark is now here."""

    high_watermark: int


Effect = (
    Persist
    | SendVote
    | SendBeginEpoch
    | SendEndEpoch
    | BecameLeader
    | LostLeadership
    | Follow
    | Truncate
    | Commit
)
"""What the shell does, in order."""

"""The raft state machine of the metadata quorum, without I/O (KIP-595, 853, 996).

Events and the time go in, effects come out, to be carried out in order. `chance` is a number in
[0, 1) that the shell draws for each event; it spreads election timeouts. The role changes only
in `_move`, which checks the table beside the enum. A sole voter takes the same way as any other:
Prospective, Candidate with its vote on disk, Leader.
"""

from __future__ import annotations

from streamkit.broker.kraft.raft_types import (
    TRANSITIONS,
    BecameLeader,
    BeginEpochRequest,
    Commit,
    Effect,
    ElectionState,
    EndEpochRequest,
    EpochAnswer,
    FetchAnswer,
    FetchRequest,
    Follow,
    LogEnd,
    LostLeadership,
    Persist,
    RaftTimeouts,
    Role,
    SendBeginEpoch,
    SendEndEpoch,
    SendVote,
    Truncate,
    VoteAnswer,
    VoteRequest,
)
from streamkit.broker.kraft.voters import ReplicaKey, VoterSet
from streamkit.protocol.errors import ErrorCode

BACKOFF_START_MS = 20
NEVER = float("inf")


class Raft:
    """One replica's part in the quorum."""

    def __init__(
        self,
        local: ReplicaKey,
        voters: VoterSet,
        persisted: ElectionState,
        log_end: LogEnd,
        timeouts: RaftTimeouts = RaftTimeouts(),  # noqa: B008  # frozen
    ) -> None:
        self.local = local
        self.voters = voters
        self.role = Role.UNATTACHED
        self.epoch = persisted.epoch
        self.leader_id = persisted.leader_id
        self.high_watermark: int | None = None
        self.deadline_ms = NEVER
        """When `tick` is due."""
        self._voted = persisted.voted
        self._log_end = log_end
        self._flushed = log_end.offset
        self._timeouts = timeouts
        self._votes: dict[ReplicaKey, bool] = {}
        self._epoch_start = 0
        self._progress: dict[int, int] = {}
        self._heard_ms: dict[int, float] = {}
        self._begun_ms: dict[int, float] = {}
        self._has_fetched = False
        self._failed_elections = 0
        self._is_backing_off = False

    # What a caller may ask.

    @property
    def is_leader(self) -> bool:
        """Whether this replica leads."""
        return self.role is Role.LEADER

    @property
    def is_voter(self) -> bool:
        """Whether this replica has a vote."""
        return self.voters.is_voter(self.local)

    @property
    def election_state(self) -> ElectionState:
        """What is to be on disk."""
        return ElectionState(self.epoch, self.leader_id, self._voted)

    @property
    def log_end(self) -> LogEnd:
        """Last epoch and end offset of the local log."""
        return self._log_end

    # Events of this node.

    def start(self, now_ms: float, chance: float) -> list[Effect]:
        """Take up the state that was on disk."""
        if self._log_end.epoch > self.epoch:
            # quorum-state is older than the log, or lost: nothing is known of the newer epoch.
            self.epoch, self.leader_id, self._voted = self._log_end.epoch, None, None
        if self.leader_id == self.local.id:
            # It cannot lead its old epoch again: appends of it may be lost with the memory.
            self.role = Role.RESIGNED
        elif self._voted == self.local and self.is_voter:
            self.role = Role.CANDIDATE
            self._votes = {self.local: True}
        elif self.leader_id is not None:
            self.role = Role.FOLLOWER
        self._set_election_deadline(now_ms, chance)
        if self.voters.is_only_voter(self.local) and self.role is not Role.CANDIDATE:
            return self._become_prospective(now_ms, chance)
        if self.role is Role.FOLLOWER and self.leader_id is not None:
            return [Follow(self.leader_id, self.epoch)]
        if self.role is Role.CANDIDATE:
            return [*self._ask_for_votes(), *self._count_votes(now_ms, chance)]
        return []

    def tick(self, now_ms: float, chance: float) -> list[Effect]:
        """Do what is due; nothing before `deadline_ms`."""
        if now_ms < self.deadline_ms:
            return []
        match self.role:
            case Role.UNATTACHED | Role.FOLLOWER:
                return self._become_prospective(now_ms, chance) if self.is_voter else []
            case Role.PROSPECTIVE:
                return self._give_up_pre_vote(now_ms, chance)
            case Role.CANDIDATE:
                return self._candidate_timed_out(now_ms, chance)
            case Role.RESIGNED:
                return self._become_unattached(self.epoch + 1, now_ms, chance)
            case Role.LEADER:
                return self._check_quorum(now_ms, chance) or self._begin_again(now_ms)

    def appended(self, log_end: LogEnd) -> list[Effect]:
        """The local log grew; it does not count before it is flushed."""
        assert log_end >= self._log_end, f"the log went back from {self._log_end} to {log_end}"
        self._log_end = log_end
        return []

    def flushed(self, offset: int) -> list[Effect]:
        """The local log is on disk below `offset`."""
        self._flushed = max(self._flushed, offset)
        return self._advance_high_watermark()

    def truncated(self, log_end: LogEnd) -> None:
        """The shell has cut the log."""
        self._log_end = log_end
        self._flushed = min(self._flushed, log_end.offset)

    def set_voters(self, voters: VoterSet) -> list[Effect]:
        """A voters record was appended; it counts at once, committed or not (KIP-853)."""
        self.voters = voters
        return self._advance_high_watermark()

    def resign(self, now_ms: float, chance: float) -> list[Effect]:
        """Step down, with word to the other voters; the furthest of them goes first."""
        if not self.is_leader:
            return []
        others = self.voters.others(self.local)
        by_progress = sorted(others, key=lambda each: -self._progress.get(each.id, 0))
        request = EndEpochRequest(self.local.id, self.epoch, tuple(by_progress))
        self._move(Role.RESIGNED)
        self._set_election_deadline(now_ms, chance)
        return [LostLeadership(self.epoch), *(SendEndEpoch(each, request) for each in others)]

    # Requests of others.

    def on_vote(
        self, request: VoteRequest, now_ms: float, chance: float
    ) -> tuple[VoteAnswer, list[Effect]]:
        """Answer a vote request; the effects come before the answer."""
        error = self._vote_error(request)
        if error is not ErrorCode.none:
            return VoteAnswer(self._answer(error), False), []
        effects: list[Effect] = []
        if request.epoch > self.epoch:
            effects += self._become_unattached(request.epoch, now_ms, chance)
        is_granted = self._may_grant(request)
        if is_granted and not request.is_pre_vote and self._voted is None:
            if self.role is Role.PROSPECTIVE:
                self._move(Role.UNATTACHED)
            self._voted = request.candidate
            self._set_election_deadline(now_ms, chance)
            effects.append(Persist(self.election_state))
        return VoteAnswer(self._answer(), is_granted), effects

    def on_begin_epoch(
        self, request: BeginEpochRequest, now_ms: float, chance: float
    ) -> tuple[EpochAnswer, list[Effect]]:
        """A leader says that it leads."""
        if request.epoch < self.epoch:
            return self._answer(ErrorCode.fenced_leader_epoch), []
        if not self._may_follow(request.leader_id, request.epoch):
            return self._answer(ErrorCode.invalid_request), []
        effects = self._become_follower(request.leader_id, request.epoch, now_ms)
        return self._answer(), effects

    def on_end_epoch(
        self, request: EndEpochRequest, now_ms: float, chance: float
    ) -> tuple[EpochAnswer, list[Effect]]:
        """A leader goes: the first successor stands at once, the later ones wait longer."""
        if request.epoch < self.epoch:
            return self._answer(ErrorCode.fenced_leader_epoch), []
        if not self._may_follow(request.leader_id, request.epoch):
            return self._answer(ErrorCode.invalid_request), []
        effects: list[Effect] = []
        if request.epoch > self.epoch:
            effects += self._become_follower(request.leader_id, request.epoch, now_ms)
        if self.role is Role.FOLLOWER and self.is_voter:
            ids = [each.id for each in request.successors]
            position = ids.index(self.local.id) if self.local.id in ids else len(ids)
            self.deadline_ms = now_ms + (self._backoff_ms(position, chance) if position else 0)
        return self._answer(), effects

    def on_fetch(
        self, request: FetchRequest, *, epoch_end: LogEnd, log_start: int, now_ms: float
    ) -> tuple[FetchAnswer, list[Effect]]:
        """A replica fetches: what it has below its offset counts for the high watermark.

        `epoch_end` is the largest epoch of the local log not above the replica's last fetched
        one, with the offset where it ends.
        """
        error = self._fetch_error(request)
        if error is not ErrorCode.none:
            return FetchAnswer(self._answer(error)), []
        if request.offset < log_start or (request.offset == 0 and log_start > 0):
            return FetchAnswer(self._answer(), needs_snapshot=True), []
        if epoch_end.epoch != request.last_fetched_epoch or epoch_end.offset < request.offset:
            return FetchAnswer(self._answer(), diverging=epoch_end), []
        if self.voters.is_voter(request.replica):
            self._progress[request.replica.id] = request.offset
            self._heard_ms[request.replica.id] = now_ms
            self._set_leader_deadline(now_ms)
        return FetchAnswer(self._answer()), self._advance_high_watermark()

    # Answers of others.

    def on_vote_answer(
        self,
        voter: ReplicaKey,
        answer: VoteAnswer,
        now_ms: float,
        chance: float,
        *,
        is_pre_vote: bool,
    ) -> list[Effect]:
        """A voter granted or refused; late answers of other epochs and rounds count nothing."""
        if answer.answer.error is ErrorCode.unsupported_version and is_pre_vote:
            is_asking = self.role is Role.PROSPECTIVE
            return self._become_candidate(now_ms, chance) if is_asking else []
        effects = self._learn(answer.answer, now_ms, chance)
        asked = Role.PROSPECTIVE if is_pre_vote else Role.CANDIDATE
        is_current = answer.answer.epoch == self.epoch and self.role is asked
        if answer.answer.error is not ErrorCode.none or not is_current:
            return effects
        self._votes[voter] = answer.is_granted
        return effects + self._count_votes(now_ms, chance)

    def on_begin_epoch_answer(
        self, voter: ReplicaKey, answer: EpochAnswer, now_ms: float, chance: float
    ) -> list[Effect]:
        """A voter knows now, or knows better."""
        return self._learn(answer, now_ms, chance)

    def on_fetch_answer(
        self,
        answer: FetchAnswer,
        high_watermark: int,
        now_ms: float,
        chance: float,
        *,
        epoch_end: LogEnd | None = None,
    ) -> list[Effect]:
        """The leader answered our fetch; records are appended by the shell before this.

        Where logs part, `epoch_end` is the largest epoch of the local log not above the one that
        the leader names, with the offset where it ends here.
        """
        effects = self._learn(answer.answer, now_ms, chance)
        if self.role is not Role.FOLLOWER or answer.answer.error is not ErrorCode.none:
            return effects
        self.deadline_ms = now_ms + self._timeouts.fetch_ms if self.is_voter else NEVER
        if answer.diverging is not None:
            assert epoch_end is not None, "logs part and the local epoch's end is not given"
            return [*effects, Truncate(self._parting_offset(answer.diverging, epoch_end))]
        self._has_fetched = True
        return effects + self._commit(min(high_watermark, self._log_end.offset))

    def _parting_offset(self, leader: LogEnd, local: LogEnd) -> int:
        """Up to where the logs may agree (KafkaRaftLog.truncateToEndOffset).

        When this log lacks the epoch that the leader names, its own older epoch ends earlier:
        cutting at the leader's offset would cut nothing.
        """
        same = leader.epoch == local.epoch
        offset = min(leader.offset, local.offset) if same else local.offset
        assert offset >= (self.high_watermark or 0), (
            f"the leader of epoch {self.epoch} wants records below {self.high_watermark} cut"
        )
        return offset

    # Votes.

    def _vote_error(self, request: VoteRequest) -> ErrorCode:
        if request.epoch < self.epoch:
            return ErrorCode.fenced_leader_epoch
        last = request.log_end
        is_too_new = last.epoch > request.epoch or (
            last.epoch == request.epoch and not request.is_pre_vote
        )
        if request.epoch < 0 or last.epoch < 0 or last.offset < 0 or is_too_new:
            return ErrorCode.invalid_request
        asked = request.voter
        if asked is not None and not (
            asked.id == self.local.id and asked.directory_id in (None, self.local.directory_id)
        ):
            return ErrorCode.invalid_voter_key
        return ErrorCode.none

    def _may_grant(self, request: VoteRequest) -> bool:
        is_long_enough = request.log_end >= self._log_end
        if request.is_pre_vote:
            if self.role is Role.LEADER or (self.role is Role.FOLLOWER and self._has_fetched):
                return False
            return is_long_enough
        if self.role not in (Role.UNATTACHED, Role.PROSPECTIVE) or self.leader_id is not None:
            return False
        return is_long_enough if self._voted is None else self._voted == request.candidate

    def _count_votes(self, now_ms: float, chance: float) -> list[Effect]:
        granted = sum(self._votes.get(each, False) for each in self.voters.keys)
        refused = sum(self._votes.get(each) is False for each in self.voters.keys)
        if granted >= self.voters.majority:
            if self.role is Role.PROSPECTIVE:
                return self._become_candidate(now_ms, chance)
            return self._become_leader(now_ms)
        if len(self.voters.voters) - refused < self.voters.majority:
            if self.role is Role.PROSPECTIVE:
                return self._give_up_pre_vote(now_ms, chance)
            self._back_off(now_ms, chance)
        return []

    def _ask_for_votes(self) -> list[Effect]:
        is_pre_vote = self.role is Role.PROSPECTIVE
        return [
            SendVote(
                each,
                VoteRequest(self.local, self.epoch, self._log_end, is_pre_vote, each),
            )
            for each in self.voters.others(self.local)
        ]

    def _give_up_pre_vote(self, now_ms: float, chance: float) -> list[Effect]:
        if self.leader_id is not None:
            return self._become_follower(self.leader_id, self.epoch, now_ms)
        self._move(Role.UNATTACHED)
        self._set_election_deadline(now_ms, chance)
        return []

    def _candidate_timed_out(self, now_ms: float, chance: float) -> list[Effect]:
        if self._is_backing_off:
            return self._become_prospective(now_ms, chance)
        self._back_off(now_ms, chance)
        return []

    def _back_off(self, now_ms: float, chance: float) -> None:
        self._failed_elections += 1
        self._is_backing_off = True
        self.deadline_ms = now_ms + self._backoff_ms(self._failed_elections, chance)

    def _backoff_ms(self, tries: int, chance: float) -> float:
        bound = min(self._timeouts.election_backoff_max_ms, BACKOFF_START_MS << min(tries, 16))
        return chance * bound

    # Changes of role.

    def _move(self, to: Role) -> None:
        assert to in TRANSITIONS[self.role], f"{self.role.value} cannot become {to.value}"
        self.role = to
        self._votes = {}
        self._is_backing_off = False

    def _become_unattached(self, epoch: int, now_ms: float, chance: float) -> list[Effect]:
        assert epoch > self.epoch, f"unattached in epoch {epoch} after {self.epoch}"
        effects = self._lost()
        self._move(Role.UNATTACHED)
        self.epoch, self.leader_id, self._voted = epoch, None, None
        self._set_election_deadline(now_ms, chance)
        return [*effects, Persist(self.election_state)]

    def _become_prospective(self, now_ms: float, chance: float) -> list[Effect]:
        self._move(Role.PROSPECTIVE)
        if self.leader_id == self.local.id:
            self.leader_id = None
        self._votes = {self.local: True}
        self._set_election_deadline(now_ms, chance)
        return [*self._ask_for_votes(), *self._count_votes(now_ms, chance)]

    def _become_candidate(self, now_ms: float, chance: float) -> list[Effect]:
        self._move(Role.CANDIDATE)
        self.epoch += 1
        self.leader_id, self._voted = None, self.local
        self._votes = {self.local: True}
        self._set_election_deadline(now_ms, chance)
        persist = Persist(self.election_state)
        return [persist, *self._ask_for_votes(), *self._count_votes(now_ms, chance)]

    def _become_leader(self, now_ms: float) -> list[Effect]:
        granting = tuple(each for each in self.voters.keys if self._votes.get(each))
        self._move(Role.LEADER)
        self.leader_id, self._voted = self.local.id, None
        self._failed_elections = 0
        self._epoch_start = self._log_end.offset
        self._progress = {}
        self._heard_ms = {each.id: now_ms for each in self.voters.others(self.local)}
        self._begun_ms = dict(self._heard_ms)
        self._set_leader_deadline(now_ms)
        begin = BeginEpochRequest(self.local.id, self.epoch)
        return [
            Persist(self.election_state),
            BecameLeader(self.epoch, granting),
            *(SendBeginEpoch(each, begin) for each in self.voters.others(self.local)),
        ]

    def _become_follower(self, leader_id: int, epoch: int, now_ms: float) -> list[Effect]:
        if self.role is Role.FOLLOWER and (leader_id, epoch) == (self.leader_id, self.epoch):
            return []
        effects = self._lost()
        if epoch > self.epoch:
            self._voted = None
        self._move(Role.FOLLOWER)
        self.epoch, self.leader_id = epoch, leader_id
        self._has_fetched = False
        self._failed_elections = 0
        self.deadline_ms = now_ms + self._timeouts.fetch_ms if self.is_voter else NEVER
        return [*effects, Persist(self.election_state), Follow(leader_id, epoch)]

    def _lost(self) -> list[Effect]:
        return [LostLeadership(self.epoch)] if self.is_leader else []

    def _may_follow(self, leader_id: int, epoch: int) -> bool:
        """There is one leader in an epoch, and it is never this replica by another's word."""
        if leader_id == self.local.id:
            return False
        return epoch > self.epoch or self.leader_id in (None, leader_id)

    def _learn(self, answer: EpochAnswer, now_ms: float, chance: float) -> list[Effect]:
        """A higher epoch, or a leader of this one, is news."""
        if answer.epoch < self.epoch:
            return []
        leader = answer.leader_id
        if leader is not None and self._may_follow(leader, answer.epoch):
            return self._become_follower(leader, answer.epoch, now_ms)
        if answer.epoch > self.epoch:
            return self._become_unattached(answer.epoch, now_ms, chance)
        return []

    # The leader's books.

    def _fetch_error(self, request: FetchRequest) -> ErrorCode:
        if request.epoch < self.epoch:
            return ErrorCode.fenced_leader_epoch
        if request.epoch > self.epoch:
            return ErrorCode.unknown_leader_epoch
        if not self.is_leader:
            return ErrorCode.not_leader_or_follower
        is_bad = (
            request.max_wait_ms < 0
            or request.offset < 0
            or not 0 <= request.last_fetched_epoch <= self.epoch
        )
        return ErrorCode.invalid_request if is_bad else ErrorCode.none

    def _advance_high_watermark(self) -> list[Effect]:
        """The highest offset that a majority has on disk, once it covers this epoch's start."""
        if not self.is_leader:
            return []
        ends = sorted(
            (
                self._flushed if each.id == self.local.id else self._progress.get(each.id, 0)
                for each in self.voters.keys
            ),
            reverse=True,
        )
        agreed = ends[self.voters.majority - 1]
        return self._commit(agreed) if agreed > self._epoch_start else []

    def _commit(self, offset: int) -> list[Effect]:
        if self.high_watermark is not None and offset <= self.high_watermark:
            return []
        self.high_watermark = offset
        return [Commit(offset)]

    def _check_quorum(self, now_ms: float, chance: float) -> list[Effect]:
        """Resign when no majority was heard of for too long."""
        return [] if now_ms < self._quorum_lost_ms(now_ms) else self.resign(now_ms, chance)

    def _begin_again(self, now_ms: float) -> list[Effect]:
        """Tell the voters again that have not fetched: they may not know who leads."""
        silent = [
            each
            for each in self.voters.others(self.local)
            if self._begin_due_ms(each.id, now_ms) <= now_ms
        ]
        self._begun_ms.update({each.id: now_ms for each in silent})
        self._set_leader_deadline(now_ms)
        begin = BeginEpochRequest(self.local.id, self.epoch)
        return [SendBeginEpoch(each, begin) for each in silent]

    def _begin_due_ms(self, voter: int, now_ms: float) -> float:
        heard = self._heard_ms.get(voter, now_ms)
        return max(heard, self._begun_ms.get(voter, heard)) + self._timeouts.fetch_ms / 2

    def _quorum_lost_ms(self, now_ms: float) -> float:
        """When the majority is lost if nobody is heard of again."""
        others = self.voters.others(self.local)
        heard = sorted((self._heard_ms.get(each.id, now_ms) for each in others), reverse=True)
        needed = self.voters.majority - self.is_voter
        return heard[needed - 1] + self._timeouts.check_quorum_ms if needed > 0 else NEVER

    def _set_leader_deadline(self, now_ms: float) -> None:
        due = [self._begin_due_ms(each.id, now_ms) for each in self.voters.others(self.local)]
        self.deadline_ms = min(self._quorum_lost_ms(now_ms), *due, NEVER)

    def _set_election_deadline(self, now_ms: float, chance: float) -> None:
        """Between one and two election timeouts from now; observers never stand."""
        wait = self._timeouts.election_ms * (1 + chance)
        self.deadline_ms = now_ms + wait if self.is_voter else NEVER

    def _answer(self, error: ErrorCode = ErrorCode.none) -> EpochAnswer:
        return EpochAnswer(self.epoch, self.leader_id, error)

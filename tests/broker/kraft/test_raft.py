"""The raft state machine: single steps, and a small cluster with a lossy network."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamkit.broker.kraft.quorum_state import decode_quorum_state, encode_quorum_state
from streamkit.broker.kraft.raft import Raft
from streamkit.broker.kraft.raft_types import (
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
    Role,
    SendBeginEpoch,
    SendEndEpoch,
    SendVote,
    Truncate,
    VoteAnswer,
    VoteRequest,
)
from streamkit.broker.kraft.voters import ReplicaKey, Voter, VoterSet
from streamkit.protocol.errors import ErrorCode


def key(number: int) -> ReplicaKey:
    return ReplicaKey(number, UUID(int=1000 + number))


def voters(*numbers: int) -> VoterSet:
    return VoterSet.of(*(Voter(key(each)) for each in numbers))


def raft(
    *ids: int, state: ElectionState | None = None, log_end: LogEnd | None = None, local: int = 3
) -> Raft:
    return Raft(key(local), voters(*ids), state or ElectionState(5), log_end or LogEnd(5, 40))


def vote(
    number: int, epoch: int, log_end: LogEnd | None = None, *, pre: bool = False
) -> VoteRequest:
    return VoteRequest(key(number), epoch, log_end or LogEnd(5, 40), pre)


def kinds(effects: list[Effect]) -> list[type]:
    return [type(each) for each in effects]


def grant(epoch: int, *, is_granted: bool = True) -> VoteAnswer:
    return VoteAnswer(EpochAnswer(epoch, None), is_granted)


def elected(node: Raft, now_ms: float = 2000.0) -> list[Effect]:
    """Take a member of a three-voter set to leadership, with the help of voter 4."""
    node.start(0.0, 0.5)
    node.tick(now_ms, 0.5)
    effects = node.on_vote_answer(key(4), grant(node.epoch), now_ms, 0.5, is_pre_vote=True)
    return effects + node.on_vote_answer(key(4), grant(node.epoch), now_ms, 0.5, is_pre_vote=False)


def test_sole_voter_elects_itself_with_its_vote_on_disk_first() -> None:
    node = raft(3, state=ElectionState(5, leader_id=3))
    effects = node.start(100.0, 0.5)
    assert effects == [
        Persist(ElectionState(6, None, key(3))),
        Persist(ElectionState(6, 3, None)),
        BecameLeader(6, (key(3),)),
    ]
    assert node.is_leader
    assert node.deadline_ms == float("inf")


def test_candidate_that_crashed_leads_the_epoch_it_voted_in() -> None:
    node = raft(3, state=ElectionState(6, None, key(3)))
    assert kinds(node.start(100.0, 0.5)) == [Persist, BecameLeader]
    assert node.epoch == 6


def test_high_watermark_waits_for_the_flush_and_the_epoch_start() -> None:
    node = raft(3)
    node.start(100.0, 0.5)
    assert node.flushed(40) == []
    node.appended(LogEnd(6, 43))
    assert node.high_watermark is None
    assert node.flushed(43) == [Commit(43)]
    assert node.flushed(42) == []


def test_lost_quorum_state_takes_the_epoch_of_the_log() -> None:
    node = raft(3, 4, 9, state=ElectionState())
    node.start(0.0, 0.5)
    assert (node.role, node.epoch) == (Role.UNATTACHED, 5)


def test_member_of_three_asks_before_it_raises_the_epoch() -> None:
    node = raft(3, 4, 9)
    assert node.start(0.0, 0.5) == []
    assert node.tick(1499.0, 0.5) == []
    effects = node.tick(1500.0, 0.5)
    assert kinds(effects) == [SendVote, SendVote]
    assert node.role is Role.PROSPECTIVE
    assert node.epoch == 5
    effects = node.on_vote_answer(key(9), grant(5), 1501.0, 0.5, is_pre_vote=True)
    assert effects[0] == Persist(ElectionState(6, None, key(3)))
    assert node.role is Role.CANDIDATE
    effects = node.on_vote_answer(key(4), grant(6), 1502.0, 0.5, is_pre_vote=False)
    assert kinds(effects) == [Persist, BecameLeader, SendBeginEpoch, SendBeginEpoch]


def test_peer_without_pre_vote_makes_a_candidate() -> None:
    node = raft(3, 4, 9)
    node.start(0.0, 0.5)
    node.tick(1500.0, 0.5)
    refused = VoteAnswer(EpochAnswer(-1, None, ErrorCode.unsupported_version), False)
    node.on_vote_answer(key(4), refused, 1501.0, 0.5, is_pre_vote=True)
    assert node.role is Role.CANDIDATE


def test_refused_pre_vote_leads_back_to_unattached() -> None:
    node = raft(3, 4, 9)
    node.start(0.0, 0.5)
    node.tick(1500.0, 0.5)
    for voter in (4, 9):
        node.on_vote_answer(key(voter), grant(5, is_granted=False), 1501.0, 0.5, is_pre_vote=True)
    assert (node.role, node.epoch) == (Role.UNATTACHED, 5)


def test_refused_candidate_backs_off_then_asks_again() -> None:
    node = raft(3, 4, 9)
    node.start(0.0, 0.5)
    node.tick(1500.0, 0.5)
    node.on_vote_answer(key(4), grant(5), 1501.0, 0.5, is_pre_vote=True)
    for voter in (4, 9):
        node.on_vote_answer(key(voter), grant(6, is_granted=False), 1502.0, 0.5, is_pre_vote=False)
    assert node.role is Role.CANDIDATE
    assert node.deadline_ms == 1502.0 + 20
    node.tick(1522.0, 0.5)
    assert node.role is Role.PROSPECTIVE


def test_late_vote_of_an_earlier_round_counts_nothing() -> None:
    node = raft(3, 4, 9)
    node.start(0.0, 0.5)
    node.tick(1500.0, 0.5)
    node.on_vote_answer(key(4), grant(5), 1501.0, 0.5, is_pre_vote=True)
    assert node.on_vote_answer(key(9), grant(5), 1502.0, 0.5, is_pre_vote=True) == []
    assert node.role is Role.CANDIDATE


def test_vote_is_given_once_in_an_epoch_and_persisted() -> None:
    node = raft(3, 4, 9)
    node.start(0.0, 0.5)
    answer, effects = node.on_vote(vote(4, 7), 10.0, 0.5)
    assert answer.is_granted
    assert effects[-1] == Persist(ElectionState(7, None, key(4)))
    answer, effects = node.on_vote(vote(9, 7, LogEnd(6, 99)), 11.0, 0.5)
    assert not answer.is_granted
    assert effects == []
    assert node.on_vote(vote(4, 7), 12.0, 0.5)[0].is_granted


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (vote(4, 4), "fenced_leader_epoch"),
        (vote(4, 7, LogEnd(7, 40)), "invalid_request"),
        (vote(4, 7, LogEnd(8, 40), pre=True), "invalid_request"),
        (vote(4, 7, LogEnd(-1, 40)), "invalid_request"),
        (VoteRequest(key(4), 7, LogEnd(5, 40), False, key(9)), "invalid_voter_key"),
        (
            VoteRequest(key(4), 7, LogEnd(5, 40), False, ReplicaKey(3, UUID(int=7))),
            "invalid_voter_key",
        ),
    ],
)
def test_bad_vote_request_is_refused_and_changes_nothing(request_: VoteRequest, code: str) -> None:
    node = raft(3, 4, 9)
    node.start(0.0, 0.5)
    answer, effects = node.on_vote(request_, 10.0, 0.5)
    assert answer.answer.error.name == code
    assert effects == []
    assert node.epoch == 5


def test_shorter_log_gets_no_vote_but_its_epoch_is_learnt() -> None:
    node = raft(3, 4, 9)
    node.start(0.0, 0.5)
    answer, _ = node.on_vote(vote(4, 7, LogEnd(5, 39)), 10.0, 0.5)
    assert not answer.is_granted
    assert answer.answer.epoch == 7


def test_follower_that_fetched_refuses_pre_votes() -> None:
    node = raft(3, 4, 9)
    node.start(0.0, 0.5)
    answer, effects = node.on_begin_epoch(BeginEpochRequest(4, 6), 10.0, 0.5)
    assert answer == EpochAnswer(6, 4)
    assert effects == [Persist(ElectionState(6, 4)), Follow(4, 6)]
    assert node.on_vote(vote(9, 6, pre=True), 11.0, 0.5)[0].is_granted
    node.on_fetch_answer(FetchAnswer(EpochAnswer(6, 4)), 40, 12.0, 0.5)
    assert not node.on_vote(vote(9, 6, pre=True), 13.0, 0.5)[0].is_granted


def test_second_leader_of_an_epoch_is_refused() -> None:
    node = raft(3, 4, 9)
    node.start(0.0, 0.5)
    node.on_begin_epoch(BeginEpochRequest(4, 6), 10.0, 0.5)
    answer, _ = node.on_begin_epoch(BeginEpochRequest(9, 6), 11.0, 0.5)
    assert answer.error is ErrorCode.invalid_request


def test_follower_that_hears_nothing_stands_but_keeps_its_leader_in_mind() -> None:
    node = raft(3, 4, 9)
    node.start(0.0, 0.5)
    node.on_begin_epoch(BeginEpochRequest(4, 6), 10.0, 0.5)
    node.tick(2010.0, 0.5)
    assert node.role is Role.PROSPECTIVE
    node.tick(3510.0, 0.5)
    assert (node.role, node.leader_id) == (Role.FOLLOWER, 4)


def test_first_successor_stands_at_once_and_later_ones_wait() -> None:
    node = raft(3, 4, 9)
    node.start(0.0, 0.5)
    node.on_begin_epoch(BeginEpochRequest(4, 6), 10.0, 0.5)
    node.on_end_epoch(EndEpochRequest(4, 6, (key(3), key(9))), 20.0, 0.5)
    assert node.deadline_ms == 20.0
    node.on_end_epoch(EndEpochRequest(4, 6, (key(9), key(3))), 20.0, 0.5)
    assert node.deadline_ms == 40.0


def test_leader_commits_what_a_majority_has() -> None:
    node = raft(3, 4, 9)
    elected(node)
    node.appended(LogEnd(6, 43))
    assert node.flushed(43) == []
    old = FetchRequest(key(4), 6, 40, 5)
    answer, effects = node.on_fetch(old, epoch_end=LogEnd(5, 40), log_start=0, now_ms=2001.0)
    assert answer.has_records
    assert effects == []
    new = FetchRequest(key(4), 6, 42, 6)
    _, effects = node.on_fetch(new, epoch_end=LogEnd(6, 43), log_start=0, now_ms=2002.0)
    assert effects == [Commit(42)]


def test_observer_fetches_without_counting() -> None:
    node = raft(3, 4, 9)
    elected(node)
    node.appended(LogEnd(6, 43))
    node.flushed(43)
    _, effects = node.on_fetch(
        FetchRequest(key(77), 6, 43, 6), epoch_end=LogEnd(6, 43), log_start=0, now_ms=2002.0
    )
    assert effects == []


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (FetchRequest(key(4), 5, 40, 5), "fenced_leader_epoch"),
        (FetchRequest(key(4), 7, 40, 5), "unknown_leader_epoch"),
        (FetchRequest(key(4), 6, -1, 5), "invalid_request"),
        (FetchRequest(key(4), 6, 40, 7), "invalid_request"),
        (FetchRequest(key(4), 6, 40, -1), "invalid_request"),
        (FetchRequest(key(4), 6, 40, 5, max_wait_ms=-1), "invalid_request"),
    ],
)
def test_bad_fetch_is_refused(request_: FetchRequest, code: str) -> None:
    node = raft(3, 4, 9)
    elected(node)
    answer, _ = node.on_fetch(request_, epoch_end=LogEnd(5, 40), log_start=0, now_ms=2001.0)
    assert answer.answer.error.name == code


def test_fetch_is_told_where_logs_part_or_to_take_a_snapshot() -> None:
    node = raft(3, 4, 9)
    elected(node)
    longer = FetchRequest(key(4), 6, 45, 5)
    answer, _ = node.on_fetch(longer, epoch_end=LogEnd(5, 40), log_start=10, now_ms=2001.0)
    assert answer.diverging == LogEnd(5, 40)
    older = FetchRequest(key(4), 6, 9, 2)
    answer, _ = node.on_fetch(older, epoch_end=LogEnd(2, 9), log_start=10, now_ms=2001.0)
    assert answer.needs_snapshot


def test_follower_cuts_what_the_leader_does_not_have() -> None:
    node = raft(3, 4, 9)
    node.start(0.0, 0.5)
    node.on_begin_epoch(BeginEpochRequest(4, 6), 10.0, 0.5)
    answer = FetchAnswer(EpochAnswer(6, 4), diverging=LogEnd(4, 33))
    same = node.on_fetch_answer(answer, 20, 11.0, 0.5, epoch_end=LogEnd(4, 35))
    assert same == [Truncate(33)]


def test_follower_without_the_leaders_epoch_cuts_where_its_own_ends() -> None:
    """Found by the cluster below, seed 538: cutting at the leader's offset cut nothing."""
    node = raft(3, 4, 9)
    node.start(0.0, 0.5)
    node.on_begin_epoch(BeginEpochRequest(4, 6), 10.0, 0.5)
    answer = FetchAnswer(EpochAnswer(6, 4), diverging=LogEnd(4, 41))
    older = node.on_fetch_answer(answer, 20, 11.0, 0.5, epoch_end=LogEnd(3, 31))
    assert older == [Truncate(31)]


def test_leader_that_nobody_hears_begins_again_then_resigns() -> None:
    node = raft(3, 4, 9)
    elected(node)
    assert node.tick(2999.0, 0.5) == []
    begin = BeginEpochRequest(3, 6)
    assert node.tick(3000.0, 0.5) == [SendBeginEpoch(key(4), begin), SendBeginEpoch(key(9), begin)]
    assert kinds(node.tick(4000.0, 0.5)) == [SendBeginEpoch, SendBeginEpoch]
    effects = node.tick(5000.0, 0.5)
    assert kinds(effects) == [LostLeadership, SendEndEpoch, SendEndEpoch]
    assert node.role is Role.RESIGNED
    assert node.tick(6500.0, 0.5) == [Persist(ElectionState(7))]
    assert node.role is Role.UNATTACHED


def test_fetches_of_one_of_two_others_keep_the_leader() -> None:
    node = raft(3, 4, 9)
    elected(node)
    fetch = FetchRequest(key(4), 6, 40, 5)
    node.on_fetch(fetch, epoch_end=LogEnd(5, 40), log_start=0, now_ms=4500.0)
    assert node.tick(5000.0, 0.5) == [SendBeginEpoch(key(9), BeginEpochRequest(3, 6))]
    assert node.is_leader


def test_former_leader_starts_resigned_among_others() -> None:
    node = raft(3, 4, 9, state=ElectionState(5, leader_id=3))
    node.start(0.0, 0.5)
    assert node.role is Role.RESIGNED
    assert not node.on_vote(vote(4, 5, LogEnd(4, 99)), 1.0, 0.5)[0].is_granted


def test_observer_never_stands() -> None:
    node = raft(4, 9, 11)
    node.start(0.0, 0.5)
    assert node.deadline_ms == float("inf")
    node.on_begin_epoch(BeginEpochRequest(4, 6), 10.0, 0.5)
    assert node.deadline_ms == float("inf")


@given(
    st.integers(0, 2**31 - 1),
    st.none() | st.integers(0, 1000),
    st.none() | st.tuples(st.integers(0, 1000), st.none() | st.uuids()),
)
def test_quorum_state_round_trips(
    epoch: int, leader: int | None, voted: tuple[int, UUID | None] | None
) -> None:
    state = ElectionState(epoch, leader, None if voted is None else ReplicaKey(*voted))
    decoded = decode_quorum_state(encode_quorum_state(state))
    assert decoded == state


# A cluster of pure state machines: logs are lists of epochs, the network loses and delays.


@dataclass
class Member:
    raft: Raft
    log: list[int] = field(default_factory=list)
    disk: ElectionState = field(default_factory=ElectionState)
    committed: int = 0


class Cluster:
    """Members, and what is under way between them; all chance from one seed."""

    def __init__(self, seed: int, size: int) -> None:
        self.chance = random.Random(seed)
        self.ids = range(1, size + 1)
        self.voters = voters(*self.ids)
        self.now = 0.0
        self.queue: list[Callable[[], None]] = []
        self.cut_off: set[int] = set()
        self.leaders: dict[int, int] = {}
        self.members: dict[int, Member] = {}
        for each in self.ids:
            self.members[each] = Member(self._boot(each, ElectionState(), []))
            self.carry_out(each, self.members[each].raft.start(self.now, self.draw()))

    def draw(self) -> float:
        return self.chance.random()

    def _boot(self, number: int, state: ElectionState, log: list[int]) -> Raft:
        return Raft(key(number), self.voters, state, end_of(log))

    def restart(self, number: int) -> None:
        member = self.members[number]
        member.raft = self._boot(number, member.disk, member.log)
        self.carry_out(number, member.raft.start(self.now, self.draw()))

    def carry_out(self, number: int, effects: list[Effect]) -> None:
        for effect in effects:
            self._carry_out_one(number, self.members[number], effect)

    def _carry_out_one(self, number: int, member: Member, effect: Effect) -> None:
        match effect:
            case Persist(state):
                member.disk = state
            case BecameLeader(epoch, _):
                assert self.leaders.setdefault(epoch, number) == number, f"two lead {epoch}"
                self.append(number)
            case Commit(high_watermark):
                self._check_commit(member, high_watermark)
                member.committed = max(member.committed, high_watermark)
            case Truncate(offset):
                assert offset >= member.committed, "committed records were cut"
                del member.log[offset:]
                member.raft.truncated(end_of(member.log))
            case SendVote(to, request):
                self.queue.append(lambda: self._vote(number, to.id, request))
            case SendBeginEpoch(to, request):
                self.queue.append(lambda: self._begin(number, to.id, request))
            case SendEndEpoch(to, request):
                self.queue.append(lambda: self._end(to.id, request))
            case _:
                return

    def _check_commit(self, member: Member, offset: int) -> None:
        """What one has committed, all that committed as much have the same."""
        for other in self.members.values():
            shared = min(offset, other.committed)
            assert other.log[:shared] == member.log[:shared], "two committed different records"

    def append(self, number: int) -> None:
        member = self.members[number]
        member.log.append(member.raft.epoch)
        member.raft.appended(end_of(member.log))
        self.carry_out(number, member.raft.flushed(len(member.log)))

    def _vote(self, asker: int, voter: int, request: VoteRequest) -> None:
        answer, effects = self.members[voter].raft.on_vote(request, self.now, self.draw())
        self.carry_out(voter, effects)
        self.queue.append(
            lambda: self.carry_out(
                asker,
                self.members[asker].raft.on_vote_answer(
                    key(voter), answer, self.now, self.draw(), is_pre_vote=request.is_pre_vote
                ),
            )
        )

    def _begin(self, leader: int, voter: int, request: BeginEpochRequest) -> None:
        answer, effects = self.members[voter].raft.on_begin_epoch(request, self.now, self.draw())
        self.carry_out(voter, effects)
        self.queue.append(
            lambda: self.carry_out(
                leader,
                self.members[leader].raft.on_begin_epoch_answer(
                    key(voter), answer, self.now, self.draw()
                ),
            )
        )

    def _end(self, voter: int, request: EndEpochRequest) -> None:
        _, effects = self.members[voter].raft.on_end_epoch(request, self.now, self.draw())
        self.carry_out(voter, effects)

    def fetch(self, number: int) -> None:
        """A follower fetches; the answer may be lost on its way."""
        member = self.members[number]
        leader_id = member.raft.leader_id
        if member.raft.role is not Role.FOLLOWER or leader_id is None:
            return
        leader = self.members[leader_id]
        end = end_of(member.log)
        request = FetchRequest(key(number), member.raft.epoch, end.offset, end.epoch)
        answer, effects = leader.raft.on_fetch(
            request, epoch_end=epoch_end(leader.log, end.epoch), log_start=0, now_ms=self.now
        )
        self.carry_out(leader_id, effects)
        if self.draw() < 0.3:
            return
        if answer.has_records:
            member.log += leader.log[end.offset :]
            member.raft.appended(end_of(member.log))
            member.raft.flushed(len(member.log))
        parted = answer.diverging
        effects = member.raft.on_fetch_answer(
            answer,
            leader.raft.high_watermark or 0,
            self.now,
            self.draw(),
            epoch_end=None if parted is None else epoch_end(member.log, parted.epoch),
        )
        self.carry_out(number, effects)

    def step(self) -> None:
        """One thing happens somewhere; some members are cut off for a while."""
        what, number = self.draw(), self.chance.choice(list(self.ids))
        if what < 0.45 and self.queue:
            event = self.queue.pop(self.chance.randrange(len(self.queue)))
            if self.draw() < 0.9:
                event()
        elif what < 0.6 and number not in self.cut_off:
            self.fetch(number)
        elif what < 0.7 and self.members[number].raft.is_leader:
            self.append(number)
        elif what < 0.72:
            self.restart(number)
        elif what < 0.76:
            self.cut_off = set(self.chance.sample(list(self.ids), len(self.ids) // 2))
        else:
            self.now += self.draw() * 300
            self.carry_out(number, self.members[number].raft.tick(self.now, self.draw()))

    def calm_down(self) -> Iterator[int]:
        """No loss, no restart: everything arrives. Yields the leader of each round, or 0."""
        while True:
            while self.queue:
                self.queue.pop(0)()
            for each in self.ids:
                self.fetch(each)
            self.now += 100
            for each in self.ids:
                self.carry_out(each, self.members[each].raft.tick(self.now, self.draw()))
            leaders = [each for each in self.ids if self.members[each].raft.is_leader]
            yield leaders[0] if len(leaders) == 1 else 0


def end_of(log: list[int]) -> LogEnd:
    return LogEnd(log[-1] if log else 0, len(log))


def epoch_end(log: list[int], epoch: int) -> LogEnd:
    """The largest epoch not above `epoch`, and where it ends."""
    kept = [each for each in log if each <= epoch]
    return LogEnd(kept[-1] if kept else 0, len(kept))


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32))
def test_cluster_never_has_two_leaders_in_an_epoch_nor_loses_what_is_committed(
    size: int, seed: int
) -> None:
    cluster = Cluster(seed, size)
    for _ in range(1500):
        cluster.step()
    rounds = cluster.calm_down()
    assert any(next(rounds) for _ in range(300)), f"no leader came, seed {seed}"
    before = max(each.committed for each in cluster.members.values())
    for _ in range(60):
        leader = next(rounds)
        if leader:
            cluster.append(leader)
    after = [each.committed for each in cluster.members.values()]
    assert min(after) > before, f"the cluster stands still at {after}, seed {seed}"

"""Rebalances are counted by their reasons, and shown under the Java consumer's names."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from streamkit.common.model import TaskId
from streamkit.common.sampled import Sampled
from streamkit.rebalance.assignor import Tasks
from streamkit.rebalance.effects import Assign
from streamkit.tasks.rebalance_metrics import MembershipMetrics
from streamkit.tasks.rebalances import Reason, Rebalances, reason_of

OWNED = Tasks(frozenset({("3", 7), ("3", 8)}), frozenset(), frozenset())
NOTHING = Tasks(frozenset(), frozenset(), frozenset())


def told(active, revoke=(), standby=()):
    return Assign(frozenset(revoke), frozenset(active), frozenset(standby), frozenset())


def member(owned):
    active = frozenset(TaskId(int(part), number) for part, number in owned.active)
    return SimpleNamespace(
        owned=owned, owned_active=active, member_epoch=12, member_id="m-5", group_id="shop"
    )


@pytest.mark.parametrize(
    ("owned", "assign", "reason"),
    [
        (NOTHING, told([TaskId(3, 7)]), Reason.FIRST),
        (OWNED, told([TaskId(3, 7)], revoke=[TaskId(3, 8)]), Reason.REVOKED),
        (OWNED, told([TaskId(3, 7), TaskId(3, 8), TaskId(3, 9)]), Reason.ASSIGNED),
        (OWNED, told([TaskId(3, 7), TaskId(3, 8)], standby=[TaskId(3, 9)]), Reason.STANDBYS),
    ],
)
def test_the_reason_is_what_changes(owned, assign, reason):
    assert reason_of(member(owned), assign) is reason


def test_rebalance_is_timed_from_the_first_news_to_the_end():
    seen = Rebalances(2_000.0)
    seen.begin(Reason.REVOKED, 2_500.0)
    seen.begin(Reason.ASSIGNED, 2_600.0)
    assert seen.end(2_740.0) == (Reason.REVOKED, 240.0)
    assert seen.end(2_800.0) is None
    assert seen.ended == {Reason.REVOKED: 1}
    assert seen.last_ms == 2_740.0


def test_rebalance_whose_tasks_are_lost_has_failed_and_never_ends():
    seen = Rebalances(2_000.0)
    seen.begin(Reason.ASSIGNED, 2_500.0)
    seen.fail(Reason.FENCED)
    assert seen.end(2_600.0) is None
    assert (seen.ended, seen.failed) == ({}, {Reason.FENCED: 1})


def test_metrics_have_the_consumer_names_and_the_reasons():
    seen, beats = Rebalances(2_000.0), Sampled(2_000.0)
    seen.begin(Reason.REVOKED, 2_500.0)
    seen.end(2_740.0)
    seen.fail(Reason.PRODUCER_FENCED)
    beats.observe(30.0, 2_700.0)
    stalls = Sampled(2_000.0)
    stalls.observe(1_700.0, 2_900.0)
    membership = SimpleNamespace(
        rebalances=seen, heartbeats=beats, member=member(OWNED),
        now_ms=lambda: 5_740.0, stuck_ms=lambda now_ms: now_ms - 5_240.0,
    )  # fmt: skip
    found = {
        (family.name, dict(sample.labels).get("reason")): sample.value
        for family in MembershipMetrics(membership, stalls, "shop-StreamThread-3").collect()
        for sample in family.samples
    }
    coordinator = "kafka_consumer_consumer_coordinator_metrics_"
    assert found[f"{coordinator}rebalance_total", None] == 1
    assert found[f"{coordinator}failed_rebalance_total", None] == 1
    assert found[f"{coordinator}rebalance_latency_avg", None] == 240.0
    assert found[f"{coordinator}last_rebalance_seconds_ago", None] == 3.0
    assert found[f"{coordinator}heartbeat_response_time_max", None] == 30.0
    assert found["kafka_consumer_consumer_metrics_last_poll_seconds_ago", None] == 0.5
    assert found["streamkit_worker_rebalances_total", "tasks revoked"] == 1
    assert found["streamkit_worker_failed_rebalances_total", "producer fenced"] == 1
    assert found["streamkit_worker_member_epoch", None] == 12
    assert found["streamkit_worker_stalls_total", None] == 1
    assert found["streamkit_worker_stall_ms_max", None] == 1_700.0

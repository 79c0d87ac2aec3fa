"""A worker's membership in metrics: rebalances, their reasons, heartbeats, processing that stands.

The names are those of the Java consumer's coordinator metrics behind the usual exporter; Kafka has
no reasons, so the families with them are streamkit's own.
"""

from __future__ import annotations

from collections.abc import Iterable

from streamkit.common.metrics import Family, Labels
from streamkit.common.sampled import Sampled
from streamkit.tasks.membership import Membership
from streamkit.tasks.metrics import Page
from streamkit.tasks.rebalances import LOSSES, Reason

COORDINATOR = "kafka_consumer_consumer_coordinator_metrics_"
CONSUMER = "kafka_consumer_consumer_metrics_"
OWN = "streamkit_worker_"
SECONDS_AN_HOUR = 3_600


class MembershipMetrics:
    """Reads everything off one worker's membership."""

    def __init__(self, membership: Membership, stalls: Sampled, thread_id: str) -> None:
        self._membership = membership
        self._stalls = stalls
        self._thread: Labels = (("thread_id", thread_id),)

    def collect(self) -> Iterable[Family]:
        """All families as they are now."""
        page, now_ms = Page(), self._membership.now_ms()
        self._rebalances(page, now_ms)
        self._heartbeats(page, now_ms)
        member, labels = self._membership.member, self._thread
        group = (*labels, ("group", member.group_id), ("member", member.member_id))
        page.gauge(f"{OWN}member_epoch", "The epoch of the member.", group, member.member_epoch)
        self._processing(page, now_ms)
        return page.families()

    def _processing(self, page: Page, now_ms: float) -> None:
        labels, stalls = self._thread, self._stalls
        stuck_s = self._membership.stuck_ms(now_ms) / 1000
        text = "How long ago processing began its last step."
        page.gauge(f"{CONSUMER}last_poll_seconds_ago", text, labels, stuck_s)
        text = "Steps of processing that took more than a second."
        page.total(f"{OWN}stalls_total", text, labels, stalls.total_count)
        text = "The longest of those steps in the last minute (ms)."
        page.gauge(f"{OWN}stall_ms_max", text, labels, stalls.maximum(now_ms))

    def _rebalances(self, page: Page, now_ms: float) -> None:
        seen, labels = self._membership.rebalances, self._thread
        name = f"{COORDINATOR}rebalance"
        ended, failed = sum(seen.ended.values()), sum(seen.failed.values())
        page.total(f"{name}_total", "Rebalances that ended.", labels, ended)
        text = "Times that all tasks were lost."
        page.total(f"{COORDINATOR}failed_rebalance_total", text, labels, failed)
        page.latency(f"{name}_latency", "Time of a rebalance", labels, seen.latency, now_ms)
        text = "Time of all rebalances (ms)."
        page.total(f"{name}_latency_total", text, labels, seen.latency.total)
        rate = seen.latency.count_rate(now_ms) * SECONDS_AN_HOUR
        page.gauge(f"{name}_rate_per_hour", "Rebalances in an hour.", labels, rate)
        ago_s = -1.0 if seen.last_ms is None else (now_ms - seen.last_ms) / 1000
        text = "How long ago the last rebalance ended; -1 before the first."
        page.gauge(f"{COORDINATOR}last_rebalance_seconds_ago", text, labels, ago_s)
        for reason in Reason:
            why = (*labels, ("reason", reason.value))
            if reason in LOSSES:
                text = "Times that all tasks were lost, by why."
                page.total(f"{OWN}failed_rebalances_total", text, why, seen.failed.get(reason, 0))
            else:
                text = "Rebalances that ended, by why they were."
                page.total(f"{OWN}rebalances_total", text, why, seen.ended.get(reason, 0))

    def _heartbeats(self, page: Page, now_ms: float) -> None:
        beats, labels = self._membership.heartbeats, self._thread
        name = f"{COORDINATOR}heartbeat"
        page.total(f"{name}_total", "Heartbeats answered.", labels, beats.total_count)
        page.gauge(f"{name}_rate", "In a second.", labels, beats.count_rate(now_ms))
        text = "The longest wait for an answer (ms)."
        page.gauge(f"{name}_response_time_max", text, labels, beats.maximum(now_ms))

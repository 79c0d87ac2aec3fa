"""Members and a coordinator under loss, delay, crashes and failover, seeded and without I/O.

After every event no active task has two owners that the coordinator would let commit it; after
the faults end, the group settles: every task runs once, as the target says. With warm-ups, state
grows while it runs and copies come nearer at a speed of their own; one member's never do.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from streamkit.broker.coordinators.group import records as rec
from streamkit.broker.coordinators.group.state import GroupShard
from streamkit.broker.coordinators.group.streams.config import StreamsConfig
from streamkit.broker.coordinators.group.streams.fencing import session_timer
from streamkit.broker.coordinators.group.streams.heartbeat import (
    CreateTopics,
    HeartbeatContext,
    heartbeat,
)
from streamkit.broker.coordinators.group.streams.messages import error_response
from streamkit.broker.coordinators.group.streams.model import GroupState
from streamkit.broker.coordinators.runtime import CancelTimer, StartTimer
from streamkit.common.model import TaskId
from streamkit.protocol.errors import ApiError
from streamkit.rebalance.balance import SLACK
from streamkit.rebalance.effects import Assign, MemberFatal, TasksLost
from streamkit.rebalance.member import StreamsMember
from streamkit.rebalance.report import EMPTY_REPORT, TaskReport
from streamkit.rebalance.rules import GroupSubtopology, GroupTopology, InternalTopic

GROUP = "g-sim"
TOPOLOGY = GroupTopology(
    7,
    (
        GroupSubtopology("0", ("text",), (), ("app-words-repartition",)),
        GroupSubtopology(
            "1", (), (InternalTopic("app-words-repartition"),), (), (InternalTopic("app-c"),)
        ),
    ),
)
PARTITIONS = 5
EVERY_TASK = {TaskId(number, p) for number in (0, 1) for p in range(PARTITIONS)}
STATEFUL = sorted(task for task in EVERY_TASK if task.subtopology == 1)
SESSION_MS = 45_000
REBALANCE_MS = 60_000
FAULTS_END_MS = 400_000
END_MS = 800_000


class Topics:
    def __init__(self) -> None:
        self.counts = {"text": PARTITIONS}

    def partition_count(self, topic: str) -> int | None:
        return self.counts.get(topic)

    def topic_id(self, topic: str) -> None:
        return None

    def partition_racks(self, topic: str) -> list[list[str]]:
        return []


@dataclass
class Process:
    """A member with the tasks that it really runs."""

    member: StreamsMember
    running: set[TaskId] = field(default_factory=set)
    life: int = 0
    is_alive: bool = True
    copies: set[TaskId] = field(default_factory=set)
    disk: dict[TaskId, float] = field(default_factory=dict)
    """How far the state of each task is here."""
    speed: float = 0.0
    """Offsets that a copy comes nearer in one tick."""


GROWTH = 2.0
"""Offsets that the state of each task grows in one tick."""

LAG_MAX = 400


class World:
    def __init__(self, seed: int, standby_replicas: int, **ours: Any) -> None:
        self.random = random.Random(seed)
        self.now = 1_000_000.0
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.topics = Topics()
        self.config = StreamsConfig(
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=5000,
            standby_replicas=standby_replicas,
            initial_delay_ms=3000,
            assignment_interval_ms=1000,
            size_max=100,
            **ours,
        )
        self.ends: dict[TaskId, float] = dict.fromkeys(STATEFUL, 20_000.0)
        self.shard = GroupShard()
        self.log: list[tuple[bytes, bytes | None]] = []
        self.timers: dict[Any, int] = {}
        self.timer_ids = itertools.count()
        self.processes: list[Process] = []
        self.trace: list[str] = []

    @property
    def is_faulty(self) -> bool:
        return self.now < 1_000_000 + FAULTS_END_MS

    def at(self, delay_ms: float, action: Callable[[], None]) -> None:
        heapq.heappush(self.queue, (self.now + delay_ms, next(self.order), action))

    def run(self) -> None:
        while self.queue and self.queue[0][0] < 1_000_000 + END_MS:
            self.now, _, action = heapq.heappop(self.queue)
            action()
            self.check()

    # The coordinator.

    def request(self, request: Any) -> Any:
        context = HeartbeatContext("c-1", "/h-1", int(self.now), self.config, self.topics)
        try:
            result = heartbeat(self.shard, request, context)
        except ApiError as error:
            return error_response(error)
        self.commit(result)
        return result.response

    def commit(self, result: Any) -> None:
        for record in result.records:
            key, value = rec.encode_key(record.key), rec.encode_value(record)
            self.log.append((key, value))
            decoded = rec.decode(key, value)
            assert decoded == record
            self.shard.replay(decoded, len(self.log), -1)
        for effect in result.effects:
            self.perform(effect)

    def perform(self, effect: Any) -> None:
        if isinstance(effect, StartTimer):
            timer_id = self.timers[effect.key] = next(self.timer_ids)
            self.at(effect.delay_ms, lambda: self.fire(effect, timer_id))
        elif isinstance(effect, CancelTimer):
            self.timers.pop(effect.key, None)
        else:
            assert isinstance(effect, CreateTopics)
            self.at(self.random.randrange(1, 500), lambda: self.create(effect))

    def fire(self, timer: StartTimer[GroupShard], timer_id: int) -> None:
        if self.timers.get(timer.key) == timer_id:
            del self.timers[timer.key]
            self.commit(timer.operation(self.shard))

    def create(self, effect: CreateTopics) -> None:
        for topic in effect.topics:
            self.topics.counts[topic.name] = topic.partitions
        for group in self.shard.streams.values():
            group.soft.is_metadata_stale = True

    def fail_over(self) -> None:
        """A new leader: the state comes from the log alone."""
        self.trace.append(f"{self.now:.0f} failover")
        self.timers.clear()
        self.shard = GroupShard()
        for offset, (key, value) in enumerate(self.log):
            record = rec.decode(key, value)
            assert record is not None
            self.shard.replay(record, offset, -1)
        for group in self.shard.streams.values():
            for member in group.member_list:
                self.perform(session_timer(GROUP, member.member_id, SESSION_MS))

    # The members.

    def start(self, number: int) -> None:
        process = Process(self.member(f"m-{number}", f"p-{number % 3}"))
        process.speed = 0.0 if number == 4 else self.random.uniform(20.0, 90.0)
        self.processes.append(process)
        self.at(self.random.randrange(10_000), lambda: self.tick(process, process.life))

    def member(self, member_id: str, process_id: str) -> StreamsMember:
        reports = self.config.takes_task_offsets
        return StreamsMember(
            GROUP, member_id, process_id, TOPOLOGY, REBALANCE_MS, reports_tasks=reports
        )

    def report(self, process: Process) -> TaskReport:
        """What the tasks are at, one tick later."""
        if not self.config.takes_task_offsets:
            return EMPTY_REPORT
        held = [task for task in STATEFUL if task in process.running | process.copies]
        for task in held:
            if task in process.running:
                self.ends[task] += GROWTH
                process.disk[task] = self.ends[task]
            else:
                nearer = process.disk.get(task, 0.0) + process.speed
                process.disk[task] = min(nearer, self.ends[task])
        return TaskReport(
            {(str(t.subtopology), t.partition): int(process.disk[t]) for t in held},
            {(str(t.subtopology), t.partition): int(self.ends[t]) for t in held},
        )

    def crash(self, process: Process) -> None:
        """Stop at once; come back later under the same member id."""
        if not process.is_alive:
            return
        self.trace.append(f"{self.now:.0f} crash {process.member.member_id}")
        process.is_alive = False
        process.life += 1
        process.running.clear()
        process.copies.clear()
        self.at(self.random.randrange(1_000, 90_000), lambda: self.revive(process))

    def revive(self, process: Process) -> None:
        old = process.member
        process.member = self.member(old.member_id, old.process_id)
        process.is_alive = True
        self.tick(process, process.life)

    def tick(self, process: Process, life: int) -> None:
        """Send what is due, and look again soon."""
        if life != process.life:
            return
        process.member.note_report(self.report(process))
        request = process.member.poll(self.now)
        if request is not None:
            self.send(process, life, request)
        self.at(100, lambda: self.tick(process, life))

    def send(self, process: Process, life: int, request: Any) -> None:
        there, back = self.delay(), self.delay()
        is_lost, is_answer_lost = self.is_lost(), self.is_lost()
        if is_lost:
            self.at(30_000, lambda: self.fail(process, life))
            return

        def arrive() -> None:
            response = self.request(request)
            self.trace.append(
                f"{self.now:.0f} {request.member_id} {request.member_epoch}"
                f"->{response.member_epoch} {response.error_code.name}"
            )
            if is_answer_lost:
                self.at(30_000, lambda: self.fail(process, life))
            else:
                self.at(back, lambda: self.answer(process, life, response))

        self.at(there, arrive)

    def delay(self) -> float:
        if self.is_faulty and self.random.random() < 0.1:
            return self.random.randrange(20_000)
        return 1 + self.random.random() * 20

    def is_lost(self) -> bool:
        return self.is_faulty and self.random.random() < 0.1

    def fail(self, process: Process, life: int) -> None:
        if life == process.life:
            process.member.on_failure(None, self.now)

    def answer(self, process: Process, life: int, response: Any) -> None:
        if life != process.life:
            return
        for effect in process.member.on_response(response, self.now):
            assert not isinstance(effect, MemberFatal), effect
            if isinstance(effect, TasksLost):
                process.running.clear()
                process.copies.clear()
                self.at(5, lambda: self.reconciled(process, life, set(), set(), set()))
            if isinstance(effect, Assign):
                self.assign(process, life, effect)

    def assign(self, process: Process, life: int, effect: Assign) -> None:
        """Close first, then open; closing takes its time."""

        def closed() -> None:
            if life != process.life or process.member.target.active != {
                (str(task.subtopology), task.partition) for task in effect.active
            }:
                running = process.running & effect.active
                return self.reconciled(process, life, running, set(), set())
            process.running = set(effect.active)
            process.copies = set(effect.standby | effect.warmup)
            return self.reconciled(
                process, life, set(effect.active), set(effect.standby), set(effect.warmup)
            )

        self.at(self.random.randrange(1, 4_000), closed)

    def reconciled(
        self,
        process: Process,
        life: int,
        active: set[TaskId],
        standby: set[TaskId],
        warmup: set[TaskId],
    ) -> None:
        if life == process.life:
            process.running &= active
            process.copies &= standby | warmup
            process.member.reconciled(active, standby, warmup)

    # What must hold.

    def check(self) -> None:
        group = self.shard.streams.get(GROUP)
        if group is None:
            return
        owners = Counter(
            task
            for member in group.members.values()
            for task in [*member.assigned.active, *member.revoking.active]
        )
        assert all(count == 1 for count in owners.values()), f"two owners: {owners}"
        for member in group.members.values():
            for task in member.assigned.standby | member.assigned.warmup:
                holders = [
                    other.member_id
                    for other in group.members.values()
                    if other.process_id == member.process_id and task in other.assigned.tasks.every
                ]
                assert holders == [member.member_id], f"{task} twice in a process: {holders}"

    def check_settled(self) -> None:
        group = self.shard.streams[GROUP]
        assert group.state is GroupState.STABLE
        running = Counter(task for process in self.processes for task in process.running)
        assert running == Counter(EVERY_TASK), f"lost or doubled: {running}"
        assert not any(each.member.target.warmup for each in self.processes), "a warm-up is endless"
        self.check_balance()
        for process in self.processes:
            committed = group.members[process.member.member_id]
            assert committed.epoch == process.member.member_epoch == group.epoch
            assert committed.assigned.tasks == process.member.owned

    def check_balance(self) -> None:
        if not self.config.task_weights:
            loads = [len(process.running) for process in self.processes]
            assert max(loads) - min(loads) <= 1
            return
        weights = {0: 1.0, 1: 3.0}
        costs = [sum(weights[t.subtopology] for t in each.running) for each in self.processes]
        assert max(costs) <= (sum(costs) / len(costs) * (1 + SLACK) + 3.0) * (1 + SLACK)


WARMUPS = {
    "takes_task_offsets": True,
    "warmup_replicas": 2,
    "recovery_lag_max": LAG_MAX,
    "warmup_timeout_ms": 30_000,
}


def simulate(seed: int, **ours: Any) -> World:
    world = World(seed, standby_replicas=seed % 3, **ours)
    for number in range(5):
        world.start(number)
    for _ in range(6):
        victim = world.processes[world.random.randrange(5)]
        world.at(world.random.randrange(FAULTS_END_MS), lambda victim=victim: world.crash(victim))
    for _ in range(2):
        world.at(world.random.randrange(FAULTS_END_MS), world.fail_over)
    world.run()
    world.check_settled()
    return world


@pytest.mark.parametrize("seed", [*range(101, 107), 1123])
def test_group_settles_and_no_task_ever_has_two_owners(seed: int) -> None:
    simulate(seed)


@pytest.mark.parametrize("seed", range(211, 217))
def test_group_with_warmups_settles_too(seed: int) -> None:
    simulate(seed, **WARMUPS)


@pytest.mark.parametrize("seed", range(311, 314))
def test_group_with_weights_and_warmups_settles_too(seed: int) -> None:
    simulate(seed, **WARMUPS, task_weights="1=3")


def test_same_seed_gives_the_same_trace() -> None:
    assert simulate(131).trace == simulate(131).trace


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1_000, 1_300))
def test_group_settles_for_many_seeds(seed: int) -> None:
    simulate(seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2_000, 2_300))
def test_group_with_warmups_settles_for_many_seeds(seed: int) -> None:
    simulate(seed, **WARMUPS, task_weights="1=3" if seed % 2 else "")

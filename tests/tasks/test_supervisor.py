"""The supervisor's decisions about children that end."""

from __future__ import annotations

import asyncio
import signal

import pytest

from streamkit.common.files import SystemDisk
from streamkit.common.seams import Seams
from streamkit.tasks.settings import StreamsSettings
from streamkit.tasks.supervisor import (
    BACKOFF_MAX_MS,
    BACKOFF_MS,
    FAILURES_MAX,
    STEADY_MS,
    Slot,
    Supervisor,
)
from streamkit.tasks.uncaught import STATUS_STOP_APPLICATION
from streamkit.topology.plan import Topology


def test_killed_child_is_started_again_after_the_back_off():
    slot = Slot(3, started_ms=500)
    assert slot.on_exit(-9, 900) is None
    assert slot.restart_ms == 900 + BACKOFF_MS
    assert not slot.is_done


def test_back_off_grows_to_its_limit_and_being_killed_never_ends_it():
    slot = Slot(3)
    for _ in range(30):
        assert slot.on_exit(-9, 900) is None
    assert slot.restart_ms == 900 + BACKOFF_MAX_MS


def test_steady_child_begins_anew():
    slot = Slot(3, deaths=9, failures=FAILURES_MAX - 1, started_ms=100)
    assert slot.on_exit(1, 100 + STEADY_MS) is None
    assert slot.restart_ms == 100 + STEADY_MS + BACKOFF_MS


def test_child_that_fails_again_and_again_ends_the_whole():
    slot = Slot(3)
    assert [slot.on_exit(1, 900) for _ in range(FAILURES_MAX)] == [None] * (FAILURES_MAX - 1) + [1]


def test_slot_that_had_all_workers_stop_is_not_started_again(tmp_path):
    world = World([STATUS_STOP_APPLICATION, None])
    assert supervise(world, tmp_path) == 1
    assert [child.argv[-1] for child in world.started] in (["0"], ["0", "1"])
    assert all(child.terminated for child in world.started[1:])


def test_error_of_use_ends_the_whole_at_once():
    assert Slot(3).on_exit(2, 900) == 2


class FakeChild:
    """Ends with the given status, or when it is told to."""

    def __init__(self, argv, status, last_status=0):
        self.last_status = last_status
        self.argv = argv
        self.pid = 77
        self.status = status
        self.terminated = False

    def poll(self):
        return self.status

    def terminate(self):
        self.terminated = True
        self.status = self.last_status


class World:
    """Seams in which each process started takes the next status of a list."""

    def __init__(self, statuses, last_status=0):
        self.statuses = list(statuses)
        self.last_status = last_status
        self.started = []
        self.now = 1_000.0

    def monotonic_ms(self):
        self.now += 5_000
        return self.now

    def process(self, argv, *, new_session=False):
        status = self.statuses.pop(0) if self.statuses else None
        self.started.append(FakeChild(argv, status, self.last_status))
        return self.started[-1]


def supervise(world, tmp_path, processes=2, stop_when=lambda world: False):
    seams = Seams(world, _Chance(), SystemDisk(), None, world)
    settings = StreamsSettings.from_mapping({"state.dir": str(tmp_path)})
    supervisor = Supervisor(Topology("shop", ()), settings, seams, ["worker"], processes)

    async def run():
        task = asyncio.ensure_future(supervisor.serve())
        while not task.done():
            await asyncio.sleep(0.001)
            if stop_when(world):
                supervisor.request_stop()
        return task.result()

    return asyncio.run(run())


class _Chance:
    def uuid4(self):
        from uuid import UUID

        return UUID(int=99)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("streamkit.tasks.supervisor.LOOK_MS", 0)


def test_each_slot_gets_its_number_and_the_same_process_id(tmp_path):
    world = World([0, 0])
    assert supervise(world, tmp_path) == 0
    arguments = [child.argv for child in world.started]
    assert [argv[-1] for argv in arguments] == ["0", "1"]
    assert {argv[2] for argv in arguments} == {"00000000-0000-0000-0000-000000000063"}


def test_killed_slot_is_restarted_with_its_number(tmp_path):
    world = World([-9, None, None])
    assert supervise(world, tmp_path, stop_when=lambda world: len(world.started) == 3) == 0
    assert [child.argv[-1] for child in world.started] == ["0", "1", "0"]
    assert all(child.terminated for child in world.started[1:])


def test_error_of_use_stops_the_others(tmp_path):
    world = World([None, 2])
    assert supervise(world, tmp_path) == 2
    assert world.started[0].terminated


def test_child_that_does_not_drain_is_seen_in_the_exit_status(tmp_path):
    world = World([None, None], last_status=1)
    assert supervise(world, tmp_path, stop_when=lambda world: len(world.started) == 2) == 1


def test_child_stopped_while_it_starts_has_drained(tmp_path):
    """It had no tasks yet, and SIGTERM still did what it does by itself."""
    world = World([None, None], last_status=-signal.SIGTERM)
    assert supervise(world, tmp_path, stop_when=lambda world: len(world.started) == 2) == 0

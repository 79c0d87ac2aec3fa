"""How long output pauses while workers come, crash and restart, under load.

One worker, then three more; one is killed (-9) and started again at once; then each is stopped in
order and started again, one after the other; at last two are killed, one after the other, and
nobody starts them again. Each input partition is one task and one output partition, so the longest
gap between two committed records of an output partition is the pause of its task. For every event:
gaps of partitions that stay, whose member was neither killed nor stopped nor had to give them away,
and of those that moved; for those, also when the group named another owner.

`streamkit-remaining` are workers that keep their membership when they are stopped.

    python -m benchmarks.scale_out [streamkit] [streamkit-remaining] [java-streams] [java-classic]
        [--only restarted,rolling,gone]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.machine import ORACLE, ROOT, about, broker
from streamkit.broker.child import EMBEDDED_DEFAULTS
from streamkit.client.admin import Admin
from streamkit.common.errors import StreamkitError
from streamkit.common.partitioner import partition_for

PARTITIONS = 8
WORKERS = 4
RECORDS_PER_S = 1_600
REMAINING = "-remaining"
NO_COMPILED_FILES = "PYTHONDONTWRITEBYTECODE"
SETTLE_S = 6.0
SETTLE_MAX_S = 90.0
LOOK_S = 0.25
RESTARTED, ROLLING, GONE = "restarted", "rolling", "gone"
PHASES = (RESTARTED, ROLLING, GONE)
JAVA_TOPOLOGY = [
    {"id": "s", "op": "stream", "topic": "events", "key": "string", "value": "string"},
    {"id": "g", "op": "group_by_key", "of": "s", "key": "string", "value": "string"},
    {"id": "c", "op": "count", "of": "g", "store": {"name": "counts"}},
    {"id": "o", "op": "to_stream", "of": "c"},
]
JAVA_PROTOCOL: Mapping[str, Mapping[str, str]] = {
    "java-streams": {"group.protocol": "streams"},
    "java-classic": {
        "group.protocol": "classic",
        "session.timeout.ms": EMBEDDED_DEFAULTS["group.streams.session.timeout.ms"],
        "heartbeat.interval.ms": EMBEDDED_DEFAULTS["group.streams.heartbeat.interval.ms"],
    },
}
"""The same timers for all; for the streams protocol the broker gives them."""

KINDS = ("streamkit", f"streamkit{REMAINING}", *JAVA_PROTOCOL)


class Load:
    """Writes records at a steady rate to every partition, from a thread of its own."""

    def __init__(self, bootstrap: str) -> None:
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "linger.ms": 5, "partitioner": "murmur2_random"}
        )
        self._keys = _keys_by_partition()
        self._is_ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._is_ended.set()
        self._thread.join()

    def _run(self) -> None:
        began, sent = time.monotonic(), 0
        while not self._is_ended.is_set():
            while sent < (time.monotonic() - began) * RECORDS_PER_S:
                self._producer.produce("events", b"x", self._keys[sent % PARTITIONS])
                sent += 1
            self._producer.poll(0.005)
        self._producer.flush(10)


def _keys_by_partition() -> list[str]:
    found: dict[int, str] = {}
    number = 0
    while len(found) < PARTITIONS:
        key = f"key-{number}"
        found.setdefault(partition_for(key.encode(), PARTITIONS), key)
        number += 1
    return [found[partition] for partition in range(PARTITIONS)]


class Arrivals:
    """When committed records of each output partition arrive."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.times: list[list[float]] = [[] for _ in range(PARTITIONS)]
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "none",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 20,
            }
        )
        self._consumer.assign([TopicPartition(topic, each, 0) for each in range(PARTITIONS)])
        self._is_ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._is_ended.set()
        self._thread.join()
        self._consumer.close()

    def gap_s(self, partition: int, begin: float, end: float) -> float:
        """The longest time without a record within these times."""
        inside = [at for at in self.times[partition] if begin <= at <= end]
        points = [begin, *inside, end]
        return max(later - earlier for earlier, later in pairwise(points))

    def _run(self) -> None:
        while not self._is_ended.is_set():
            for message in self._consumer.consume(5_000, 0.02):
                if message.error() is None:
                    self.times[message.partition()].append(time.monotonic())


@dataclass
class Fleet:
    """The workers of one contender, each with a state directory as on a host of its own."""

    kind: str
    bootstrap: str
    directory: Path
    running: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, number: int) -> None:
        with (self.directory / f"{number}.log").open("ab") as log:
            self.running[number] = subprocess.Popen(
                self._argv(number),
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env={
                    "ORACLE_HEAP": "160m",
                    **{key: text for key, text in os.environ.items() if key != NO_COMPILED_FILES},
                    "PYTHONPYCACHEPREFIX": str(self.directory / "compiled"),
                },
            )

    def kill(self, number: int) -> None:
        self.running[number].kill()
        self.running.pop(number).wait()

    def stop(self, number: int) -> None:
        self.running[number].send_signal(signal.SIGTERM)
        self.running.pop(number).wait(60)

    def _argv(self, number: int) -> list[str]:
        state = str(self.directory / f"state-{number}")
        if not self.kind.startswith("java"):
            argv = [sys.executable, "-m", "streamkit", "worker", "benchmarks/scale_out_program.py"]
            if self.kind.endswith(REMAINING):
                argv.append("--remain-in-group")
            argv += ["--bootstrap", self.bootstrap, "--set", f"state.dir={state}"]
            return [*argv, "--set", f"client.id={_client(number)}"]
        settings = {
            "application.id": f"scale-out-{self.kind}",
            "bootstrap.servers": self.bootstrap,
            "processing.guarantee": "exactly_once_v2",
            "state.dir": state,
            "client.id": _client(number),
            **JAVA_PROTOCOL[self.kind],
        }
        pairs = [f"{key}={value}" for key, value in settings.items()]
        return [str(ORACLE), "run", str(self.directory / "topology.json"), *pairs]


def _client(number: int) -> str:
    return f"worker{number}"


@dataclass(frozen=True, slots=True)
class Owner:
    """The member that has a task; a worker that is started again may be another member."""

    member_id: str
    client_id: str


class Owners:
    """Which member runs each partition's task, looked up again and again in a thread of its own."""

    def __init__(self, bootstrap: str, group: str, protocol: str) -> None:
        self.seen: list[tuple[float, dict[int, Owner]]] = []
        """What was found, and when."""
        self._bootstrap = bootstrap
        self._group = group
        self._ask = self._ask_classic if protocol == "classic" else self._ask_streams
        self._is_ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._is_ended.set()
        self._thread.join()

    def now(self) -> dict[int, Owner]:
        return self.seen[-1][1] if self.seen else {}

    def held(self, number: int) -> set[int]:
        """The partitions of a worker."""
        name = _client(number)
        return {each for each, owner in self.now().items() if owner.client_id.startswith(name)}

    def moved(self, begin: float, end: float) -> set[int]:
        """The partitions that had another owner, or none, at some time within these."""
        before = max((at for at, _ in self.seen if at <= begin), default=begin)
        inside = [found for at, found in self.seen if before <= at <= end]
        return {
            each for each in range(PARTITIONS) if len({found.get(each) for found in inside}) != 1
        }

    def given_s(self, partition: int, begin: float, end: float) -> float | None:
        """After how long the last owner within these times was first named."""
        inside = [(at, found.get(partition)) for at, found in self.seen if begin <= at <= end]
        if not inside:
            return None
        last = inside[-1][1]
        others = [at for at, owner in inside if owner != last]
        return max(others) - begin if others else None

    async def _run(self) -> None:
        async with Admin({"bootstrap.servers": self._bootstrap}) as admin:
            while not self._is_ended.is_set():
                try:
                    self.seen.append((time.monotonic(), await self._ask(admin)))
                except StreamkitError:  # the group is not there yet
                    self.seen.append((time.monotonic(), {}))
                await asyncio.sleep(LOOK_S)

    async def _ask_streams(self, admin: Admin) -> dict[int, Owner]:
        described = await admin.describe_streams_group(self._group)
        return {
            int(partition): Owner(member.member_id, member.client_id)
            for member in described.members
            for tasks in member.assignment.active_tasks
            for partition in tasks.partitions
        }

    async def _ask_classic(self, _admin: Admin) -> dict[int, Owner]:
        admin = AdminClient({"bootstrap.servers": self._bootstrap})
        asked = admin.describe_consumer_groups([self._group])[self._group]
        described = await asyncio.to_thread(asked.result, 10)
        return {
            tp.partition: Owner(member.member_id, member.client_id)
            for member in described.members
            for tp in member.assignment.topic_partitions
            if tp.topic == "events"
        }


def run(kind: str, phases: Sequence[str] = PHASES) -> dict[str, dict[str, str]]:
    """The events of these phases with one contender; seconds by event."""
    with broker("streamkit", EMBEDDED_DEFAULTS) as server, _directory() as directory:
        name = kind.removesuffix(REMAINING)
        topic = f"out-{name}"
        sink = {"op": "to", "of": "o", "topic": topic, "key": "string", "value": "long"}
        spec = {"topology": [*JAVA_TOPOLOGY, sink]}
        (directory / "topology.json").write_text(json.dumps(spec))
        admin = AdminClient({"bootstrap.servers": server.bootstrap})
        made = admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in ("events", topic)])
        for future in made.values():
            future.result(30)
        fleet = Fleet(kind, server.bootstrap, directory)
        load, arrivals = Load(server.bootstrap), Arrivals(server.bootstrap, topic)
        protocol = JAVA_PROTOCOL.get(kind, {}).get("group.protocol", "streams")
        owners = Owners(server.bootstrap, f"scale-out-{name}", protocol)
        try:
            return _events(fleet, arrivals, owners, phases)
        finally:
            load.end()
            arrivals.end()
            owners.end()
            for process in fleet.running.values():
                process.kill()
                process.wait()


@dataclass(slots=True)
class Gaps:
    """The longest gap of each partition."""

    stayed: list[float] = field(default_factory=list)
    of_it: list[float] = field(default_factory=list)
    """Of the worker that was killed or stopped."""
    moved: list[float] = field(default_factory=list)
    """Of others, that had no owner or another one meanwhile."""
    given: list[float] = field(default_factory=list)
    """When the group named the owner that those of it have since."""

    def add(
        self, arrivals: Arrivals, owners: Owners, taken: set[int], begin: float, end: float
    ) -> None:
        moved = owners.moved(begin, end)
        for each in range(PARTITIONS):
            gaps = self.of_it if each in taken else self.moved if each in moved else self.stayed
            gaps.append(arrivals.gap_s(each, begin, end))
        given = [owners.given_s(each, begin, end) for each in taken]
        self.given += [each for each in given if each is not None]

    def summary(self) -> dict[str, str]:
        kinds = {"stayed": self.stayed, "of it": self.of_it, "moved": self.moved}
        shown = {name: _shown(gaps) for name, gaps in kinds.items() if gaps}
        return shown | ({"given to others after": _shown(self.given)} if self.given else {})


def _shown(gaps: Sequence[float]) -> str:
    return f"{median(gaps):.2f} median, {max(gaps):.2f} max of {len(gaps)}"


def _events(
    fleet: Fleet, arrivals: Arrivals, owners: Owners, phases: Sequence[str]
) -> dict[str, dict[str, str]]:
    found: dict[str, Gaps] = {}

    def event(name: str, what: Callable[[], set[int]]) -> None:
        began = time.monotonic()
        taken = what()
        _settle(arrivals, owners, len(fleet.running))
        gaps = found.setdefault(name, Gaps())
        gaps.add(arrivals, owners, taken, began, time.monotonic())

    def start_others() -> set[int]:
        for number in range(1, WORKERS):
            fleet.start(number)
        return set()

    def kill(number: int) -> set[int]:
        held = owners.held(number)
        fleet.kill(number)
        return held

    def restart(number: int, end: Callable[[int], set[int]]) -> set[int]:
        held = end(number)
        fleet.start(number)
        return held

    def stop(number: int) -> set[int]:
        held = owners.held(number)
        fleet.stop(number)
        return held

    fleet.start(0)
    _settle(arrivals, owners, 1)
    event("quiet", set)
    event("1 to 4", start_others)
    if RESTARTED in phases:
        event("kill -9, started again", partial(restart, 1, kill))
    if ROLLING in phases:
        for number in range(WORKERS):
            event("rolling restart", partial(restart, number, stop))
    if GONE in phases:
        for number in (2, 3):
            event("kill -9, not started again", partial(kill, number))
    return {name: gaps.summary() for name, gaps in found.items()}


def _settle(arrivals: Arrivals, owners: Owners, members: int) -> None:
    """Wait for a while, then until all members have tasks and every partition gives records."""
    began = time.monotonic()
    time.sleep(SETTLE_S)
    while True:
        now = time.monotonic()
        is_steady = all(arrivals.gap_s(each, now - 1.0, now) < 1.0 for each in range(PARTITIONS))
        if is_steady and len(set(owners.now().values())) == members:
            return
        if now - began > SETTLE_MAX_S:
            return
        time.sleep(LOOK_S)


@contextmanager
def _directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="bench-scale-out-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def main() -> None:
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join(KINDS)}; all when none is named")
    parser.add_argument("--only", default=",".join(PHASES), help="phases, with commas between")
    given = parser.parse_args()
    phases = given.only.split(",")
    unknown = {*given.kinds} - {*KINDS} | {*phases} - {*PHASES}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    result = {kind: run(kind, phases) for kind in given.kinds or KINDS}
    print(json.dumps({"about": about(), "load_records_s": RECORDS_PER_S, **result}, indent=1))


if __name__ == "__main__":
    main()

"""How long output pauses while workers come, crash and restart, under load.

One worker, then three more; one is killed (-9) and started again at once; then each is stopped in
order and started again, one after the other. Each input partition is one task and one output
partition, so the longest gap between two committed records of an output partition is the pause of
its task. For every event: gaps of partitions that stay where they are, and of those that move.

    python -m benchmarks.scale_out [streamkit] [java-streams] [java-classic]
"""

from __future__ import annotations

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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.machine import ORACLE, ROOT, about, broker
from streamkit.broker.child import EMBEDDED_DEFAULTS
from streamkit.client.admin import Admin
from streamkit.common.partitioner import partition_for

PARTITIONS = 8
WORKERS = 4
RECORDS_PER_S = 1_600
SETTLE_S = 6.0
START_S = 15.0
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
                env={"ORACLE_HEAP": "160m", **os.environ},
            )

    def kill(self, number: int) -> None:
        self.running[number].kill()
        self.running.pop(number).wait()

    def stop(self, number: int) -> None:
        self.running[number].send_signal(signal.SIGTERM)
        self.running.pop(number).wait(60)

    def _argv(self, number: int) -> list[str]:
        state = str(self.directory / f"state-{number}")
        if self.kind == "streamkit":
            argv = [sys.executable, "-m", "streamkit", "worker", "benchmarks/scale_out_program.py"]
            return [*argv, "--bootstrap", self.bootstrap, "--set", f"state.dir={state}"]
        settings = {
            "application.id": f"scale-out-{self.kind}",
            "bootstrap.servers": self.bootstrap,
            "processing.guarantee": "exactly_once_v2",
            "state.dir": state,
            **JAVA_PROTOCOL[self.kind],
        }
        pairs = [f"{key}={value}" for key, value in settings.items()]
        return [str(ORACLE), "run", str(self.directory / "topology.json"), *pairs]


def owners(bootstrap: str, group: str) -> dict[int, str]:
    """The member that runs each partition's task; empty for a classic group."""

    async def ask() -> dict[int, str]:
        async with Admin({"bootstrap.servers": bootstrap}) as admin:
            listed = await admin.groups.list(types=["streams"])
            if group not in {each.group_id for each in listed}:
                return {}
            described = await admin.describe_streams_group(group)
            return {
                int(partition): member.process_id
                for member in described.members
                for tasks in member.assignment.active_tasks
                for partition in tasks.partitions
            }

    return asyncio.run(ask())


def run(kind: str) -> dict[str, dict[str, float]]:
    """All events with one contender; seconds by event."""
    with broker("streamkit", EMBEDDED_DEFAULTS) as server, _directory() as directory:
        topic = f"out-{kind}"
        sink = {"op": "to", "of": "o", "topic": topic, "key": "string", "value": "long"}
        spec = {"topology": [*JAVA_TOPOLOGY, sink]}
        (directory / "topology.json").write_text(json.dumps(spec))
        admin = AdminClient({"bootstrap.servers": server.bootstrap})
        made = admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in ("events", topic)])
        for future in made.values():
            future.result(30)
        fleet = Fleet(kind, server.bootstrap, directory)
        load, arrivals = Load(server.bootstrap), Arrivals(server.bootstrap, topic)
        try:
            return _events(fleet, arrivals, f"scale-out-{kind}")
        finally:
            load.end()
            arrivals.end()
            for process in fleet.running.values():
                process.kill()
                process.wait()


def _events(fleet: Fleet, arrivals: Arrivals, group: str) -> dict[str, dict[str, float]]:
    fleet.start(0)
    time.sleep(START_S)
    found = {}

    def event(name: str, seconds: float) -> None:
        nonlocal before
        time.sleep(seconds)
        now = owners(fleet.bootstrap, group)
        end = time.monotonic()
        gaps = {each: arrivals.gap_s(each, began, end) for each in range(PARTITIONS)}
        moved = {each for each in gaps if before.get(each) != now.get(each)}
        found[name] = _summary(gaps, moved, has_owners=bool(now))
        before = now

    before, began = owners(fleet.bootstrap, group), time.monotonic()
    event("quiet", SETTLE_S)
    began = time.monotonic()
    for number in range(1, WORKERS):
        fleet.start(number)
    event("1 to 4", START_S)
    began = time.monotonic()
    fleet.kill(1)
    fleet.start(1)
    event("kill -9, started again", START_S)
    began = time.monotonic()
    for number in range(WORKERS):
        fleet.stop(number)
        fleet.start(number)
        time.sleep(SETTLE_S)
    event("rolling restart", SETTLE_S)
    return found


def _summary(gaps: Mapping[int, float], moved: set[int], *, has_owners: bool) -> dict[str, float]:
    stayed = [gap for each, gap in gaps.items() if each not in moved]
    went = [gap for each, gap in gaps.items() if each in moved]
    if not has_owners:
        every = list(gaps.values())
        return {"gap_s_median": round(median(every), 2), "gap_s_max": round(max(every), 2)}
    shown: dict[str, float] = {"moved": len(went)}
    if stayed:
        shown["stayed_gap_s_max"] = round(max(stayed), 2)
    if went:
        shown["moved_gap_s_median"] = round(median(went), 2)
        shown["moved_gap_s_max"] = round(max(went), 2)
    return shown


@contextmanager
def _directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="bench-scale-out-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def main() -> None:
    kinds = sys.argv[1:] or ["streamkit", *JAVA_PROTOCOL]
    result = {kind: run(kind) for kind in kinds}
    print(json.dumps({"about": about(), "load_records_s": RECORDS_PER_S, **result}, indent=1))


if __name__ == "__main__":
    main()

"""A worker's memory for half an hour: within its budget, with more state than the budget.

The program (`soak_program.py`) keeps state of every kind, exactly once. A second worker comes, and
is killed, again and again, so that tasks move, are restored from their changelogs, and move back.
The resident memory of the first worker is read each second, and what it says of the parts of
`memory.max.bytes`; it may never exceed what the same worker takes before the first record, and
the budget. In the end every event must have been counted once.

    python -m benchmarks.soak --minutes 30
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.machine import ROOT, about, cpu_s, resident_mb
from streamkit.testing.broker import Broker
from tests.ports import free_ports

PARTITIONS = 4
TASKS = 2 * PARTITIONS
BUDGET_MB = 96
KEYS = 500_000
USERS = 20_000
VALUE_BYTES = 160
EVENTS_PER_S = 1_000
CLICKS_PER_S = 200
RECENT_KEYS = 2_000
"""Clicks are of keys that had one of the last so many events."""

SEED = 20_266
MB = 1e6
USED = re.compile(r'^streamkit_memory_used_bytes\{part="(\w+)"\} (\S+)$', re.MULTILINE)
RUNNING = re.compile(r"task (\d_\d): running, (\d+) records restored")


@dataclass(frozen=True, slots=True)
class Sample:
    """One second."""

    at_s: float
    worker_mb: float
    broker_mb: float
    parts_mb: dict[str, float]


@dataclass(slots=True)
class Soak:
    """What was seen."""

    minutes: float
    budget_mb: float
    base_mb: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    events: int = 0
    counted: int = 0
    state_mb: float = 0.0
    restored: int = 0
    kills: int = 0
    worker_cpu: float = 0.0
    broker_cpu: float = 0.0

    @property
    def limit_mb(self) -> float:
        """What the worker may take."""
        return self.base_mb + self.budget_mb

    def problems(self) -> list[str]:
        """What was not as promised."""
        found = []
        worst = max(self.samples, key=lambda each: each.worker_mb)
        if worst.worker_mb > self.limit_mb:
            found.append(
                f"{worst.worker_mb:.0f} MB resident after {worst.at_s:.0f} s, more than "
                f"{self.base_mb:.0f} at the start and the budget of {self.budget_mb:.0f}"
            )
        if self.counted != self.events:
            found.append(f"{self.counted} events counted of {self.events}")
        if self.minutes >= 10 and self.state_mb <= self.budget_mb:
            found.append(f"only {self.state_mb:.0f} MB of state: no more than the budget")
        if self.restored == 0:
            found.append("nothing was restored")
        return found


class Feed:
    """Events, clicks and users at a steady rate, from a thread of its own."""

    def __init__(self, bootstrap: str) -> None:
        self.events = 0
        self._chance = random.Random(SEED)
        self._noise = self._chance.randbytes(1 << 16).hex()
        self._recent = ["k000000"] * RECENT_KEYS
        self._ended = threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "linger.ms": 50,
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
            }
        )
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)

    def start(self) -> None:
        for number in range(USERS):
            self._write("users", f"k{number:06}", self._value())
        self._thread.start()

    def finish(self) -> int:
        """Stop; how many events there were."""
        self._ended.set()
        self._thread.join()
        if self._producer.flush(120):
            raise RuntimeError("not all records were acknowledged")
        return self.events

    def _run(self) -> None:
        began = time.monotonic()
        clicks = 0
        while not self._ended.wait(0.05):
            due_s = time.monotonic() - began
            while self.events < due_s * EVENTS_PER_S:
                key = f"k{self._chance.randrange(KEYS):06}"
                self._recent[self.events % RECENT_KEYS] = key
                self._write("events", key, self._value())
                self.events += 1
            while clicks < due_s * CLICKS_PER_S:
                self._write("clicks", self._chance.choice(self._recent), f"c{clicks}")
                clicks += 1
            self._producer.poll(0)

    def _value(self) -> str:
        start = self._chance.randrange(len(self._noise) - VALUE_BYTES)
        return self._noise[start : start + VALUE_BYTES]

    def _write(self, topic: str, key: str, value: str) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key)
                return
            except BufferError:
                self._producer.poll(0.05)


class Worker:
    """One worker process and its log."""

    def __init__(self, name: str, bootstrap: str, directory: Path, budget_mb: float) -> None:
        self.port = free_ports()
        self.log = directory / f"{name}.log"
        self.state = directory / name
        settings = {
            "state.dir": str(self.state),
            "memory.max.bytes": str(int(budget_mb * MB)),
            "state.cleanup.delay.ms": "20000",
            "producer.transaction.timeout.ms": "10000",
        }
        argv = [sys.executable, "-m", "streamkit", "worker", "benchmarks/soak_program.py"]
        argv += ["--bootstrap", bootstrap, "--web", str(self.port)]
        for key, value in settings.items():
            argv += ["--set", f"{key}={value}"]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(argv, cwd=ROOT, stdout=output, stderr=output)

    @property
    def pid(self) -> int:
        return self.process.pid

    def running(self) -> list[tuple[str, int]]:
        """The tasks that began to run, and how many records each had restored."""
        return [(task, int(count)) for task, count in RUNNING.findall(self.log.read_text())]

    def parts(self) -> dict[str, float]:
        """What it says of its memory, in MB; nothing while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as page:
                text = page.read().decode()
        except OSError:
            return {}
        return {part: float(value) / MB for part, value in USED.findall(text)}

    def state_mb(self) -> float:
        size = 0
        for each in self.state.rglob("*.sst"):
            with suppress(FileNotFoundError):  # merged just now
                size += each.stat().st_size
        return size / MB

    def end(self, how: signal.Signals) -> None:
        if self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(60)


def soak(minutes: float, budget_mb: float, directory: Path) -> Soak:
    """Run it all; see the module."""
    seen = Soak(minutes, budget_mb)
    with Broker(config={"transaction.abort.timed.out.transaction.cleanup.interval.ms": "500"}) as b:
        make_topics(b.bootstrap)
        worker = Worker("first", b.bootstrap, directory, budget_mb)
        try:
            wait_running(worker, TASKS)
            time.sleep(3)
            seen.base_mb = resident_mb(worker.pid)
            feed = Feed(b.bootstrap)
            feed.start()
            watch(seen, worker, b, directory)
            seen.events = feed.finish()
            wait_counted(seen, b.bootstrap)
        finally:
            worker.end(signal.SIGTERM)
        seen.restored = sum(count for _, count in worker.running()[TASKS:])
    return seen


def watch(seen: Soak, worker: Worker, broker: Broker, directory: Path) -> None:
    """Sample each second; have the second worker come and go."""
    began = time.monotonic()
    end_s = seen.minutes * 60
    turn_s = max(end_s / 8, 20.0)
    other: Worker | None = None
    turn = 1
    cpu = cpu_s(worker.pid), cpu_s(broker.pid)
    while (at_s := time.monotonic() - began) < end_s:
        seen.samples.append(
            Sample(
                round(at_s, 1),
                resident_mb(worker.pid),
                resident_mb(broker.pid),
                worker.parts(),
            )
        )
        with (directory / "samples.jsonl").open("a") as file:
            file.write(json.dumps(asdict(seen.samples[-1])) + "\n")
        seen.state_mb = max(seen.state_mb, worker.state_mb())
        if worker.process.poll() is not None:
            raise RuntimeError(f"the worker ended: {worker.log.read_text()[-2000:]}")
        if at_s >= turn * turn_s:
            turn += 1
            if other is None:
                shutil.rmtree(directory / "second", ignore_errors=True)
                other = Worker("second", broker.bootstrap, directory, seen.budget_mb)
            else:
                other.end(signal.SIGKILL)
                other = None
                seen.kills += 1
        time.sleep(max(0.0, began + len(seen.samples) - time.monotonic()))
    if other is not None:
        other.end(signal.SIGKILL)
    seen.worker_cpu = (cpu_s(worker.pid) - cpu[0]) / end_s
    seen.broker_cpu = (cpu_s(broker.pid) - cpu[1]) / end_s


def make_topics(bootstrap: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    names = ("events", "clicks", "users", "counted")
    for future in admin.create_topics([NewTopic(each, PARTITIONS, 1) for each in names]).values():
        future.result(30)


def wait_running(worker: Worker, tasks: int) -> None:
    deadline = time.monotonic() + 60
    while len(worker.running()) < tasks:
        if time.monotonic() > deadline or worker.process.poll() is not None:
            raise RuntimeError(f"the tasks do not run: {worker.log.read_text()[-2000:]}")
        time.sleep(0.1)


def wait_counted(seen: Soak, bootstrap: str) -> None:
    """Read the counts that are committed until they add up to all events, or nothing comes."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "none",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition("counted", part, 0) for part in range(PARTITIONS)])
    counts: dict[bytes, int] = {}
    silent_since = time.monotonic()
    while seen.counted < seen.events and time.monotonic() - silent_since < 60:
        for message in consumer.consume(10_000, 1.0):
            if message.error() is None:
                silent_since = time.monotonic()
                counts[message.key()] = int.from_bytes(message.value(), "big")
        seen.counted = sum(counts.values())
    consumer.close()


def table(seen: Soak, rows: int = 12) -> str:
    """The worst second of each stretch of time: what was resident, and the parts of the budget."""
    names = list(dict.fromkeys(name for each in seen.samples for name in each.parts_mb))
    lines = [
        "| minutes | worker, MB | budget used, MB | " + " | ".join(names) + " | broker, MB |",
        "|---" * (len(names) + 4) + "|",
    ]
    step = max(len(seen.samples) // rows, 1)
    for start in range(0, len(seen.samples), step):
        piece = seen.samples[start : start + step]
        worst = max(piece, key=lambda each: each.worker_mb)
        parts = [f"{max(each.parts_mb.get(name, 0) for each in piece):.0f}" for name in names]
        used = max(sum(each.parts_mb.values()) for each in piece)
        broker_mb = max(each.broker_mb for each in piece)
        stretch = f"{piece[0].at_s / 60:.0f} to {piece[-1].at_s / 60:.0f}"
        cells = [stretch, f"{worst.worker_mb:.0f}", f"{used:.0f}", *parts, f"{broker_mb:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def summary(seen: Soak) -> dict[str, object]:
    """All but the samples."""
    told = asdict(seen)
    del told["samples"]
    told["worst_mb"] = max(each.worker_mb for each in seen.samples)
    told["limit_mb"] = seen.limit_mb
    return {key: round(value, 3) for key, value in told.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--budget-mb", type=float, default=BUDGET_MB)
    parser.add_argument("--directory", type=Path, help="keep state, logs and samples here")
    options = parser.parse_args()
    directory = options.directory or Path(tempfile.mkdtemp(prefix="bench-soak-"))
    directory.mkdir(parents=True, exist_ok=True)
    try:
        seen = soak(options.minutes, options.budget_mb, directory)
    finally:
        if options.directory is None:
            shutil.rmtree(directory, ignore_errors=True)
    problems = seen.problems()
    print(json.dumps({"about": about(), **summary(seen), "problems": problems}, indent=1))
    print(table(seen))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()

"""Restoring a table from its changelog: one streamkit worker beside Kafka Streams with one thread.

Each contender has a changelog of its own with the same records, and an empty disk. Time runs from
the first changelog to be restored to the last one's end, as each of them reports it; CPU is the
whole process's in that time, and again until it is idle: merging what was loaded may come later.
The number of records restored is checked. Broker and application have a core each.

    python -m benchmarks.restore --megabytes 1000 --record-bytes 1000
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.machine import (
    CLIENT_CORE,
    ORACLE,
    ROOT,
    about,
    broker,
    cpu_s,
    peak_resident_mb,
    pinned,
)
from benchmarks.streams import TIMERS

PARTITIONS = 2
KEY_BYTES = 16
RECORD_BYTES = 100
IDLE_CPU = 0.05
IDLE_S = 2.0
"""A process is idle when it takes less than that share of a core for so long."""

IDLE_WITHIN_S = 120.0
CONTENDERS = ("streamkit", "kafka-streams")
BEGUN = re.compile(r"task 0_\d+: restoring (\d+) offsets")
RUNNING = re.compile(r"task (0_\d+): running, (\d+) records restored")


@dataclass(frozen=True)
class Outcome:
    """One contender's restore."""

    contender: str
    records: int
    seconds: float
    megabytes_per_s: float
    records_per_s: int
    cpu_us_per_record: float
    cpu_us_per_record_until_idle: float
    peak_resident_mb: float
    complete: bool


def load(bootstrap: str, records: int, record_bytes: int = RECORD_BYTES) -> None:
    """Make inputs without records, and changelogs with the same records for each contender."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    compacted = {"cleanup.policy": "compact", "min.compaction.lag.ms": "86400000"}
    topics = [NewTopic(f"in-{each}", PARTITIONS, 1) for each in CONTENDERS]
    topics += [NewTopic(changelog(each), PARTITIONS, 1, config=compacted) for each in CONTENDERS]
    for future in admin.create_topics(topics).values():
        future.result(30)
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "linger.ms": 50,
            "batch.size": 262144,
            "queue.buffering.max.messages": 200000,
        }
    )
    chance = random.Random(20_264)
    value = bytes(chance.randrange(97, 123) for _ in range(record_bytes - KEY_BYTES))
    for number in range(records):
        key = b"%0*d" % (KEY_BYTES, chance.randrange(records // 2))
        for contender in CONTENDERS:
            while True:
                try:
                    producer.produce(changelog(contender), value, key, number % PARTITIONS)
                    break
                except BufferError:
                    producer.poll(0.05)
    producer.flush()


def changelog(contender: str) -> str:
    return f"restore-{contender}-rows-changelog"


def restore(
    contender: str, bootstrap: str, records: int, record_bytes: int = RECORD_BYTES
) -> Outcome:
    state = tempfile.mkdtemp(prefix=f"bench-restore-{contender}-")
    process = start(contender, bootstrap, state)
    try:
        watch = watch_streamkit if contender == "streamkit" else watch_kafka_streams
        restored, seconds, cpu = watch(process)
        cpu_after = cpu_until_idle(process.pid)
        peak = peak_resident_mb(process.pid)
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(state, ignore_errors=True)
    size_mb = restored * record_bytes / 1e6
    return Outcome(
        contender,
        restored,
        round(seconds, 2),
        round(size_mb / seconds, 1),
        round(restored / seconds),
        round(cpu / restored * 1e6, 3),
        round((cpu + cpu_after) / restored * 1e6, 3),
        round(peak),
        restored == records,
    )


def start(contender: str, bootstrap: str, state: str) -> subprocess.Popen[str]:
    application, source = f"restore-{contender}", f"in-{contender}"
    if contender == "streamkit":
        argv = [sys.executable, "-m", "streamkit", "worker", "benchmarks/restore_program.py"]
        argv += ["--bootstrap", bootstrap, "--set", f"state.dir={state}"]
    else:
        spec = Path(state, "spec.json")
        spec.write_text(json.dumps({"topology": kafka_streams_topology(source)}))
        argv = [str(ORACLE), "run", str(spec), f"bootstrap.servers={bootstrap}"]
        argv += [f"application.id={application}", "group.protocol=streams", "num.stream.threads=1"]
        argv += [f"state.dir={state}"]
    return subprocess.Popen(
        pinned(CLIENT_CORE, argv),
        cwd=ROOT,
        env=dict(os.environ, BENCH_APPLICATION=application, BENCH_INPUT=source),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if contender == "streamkit" else subprocess.DEVNULL,
        text=True,
    )


def kafka_streams_topology(source: str) -> list[dict[str, object]]:
    store = {"name": "rows", "key": "string", "value": "string"}
    return [
        {"id": "lines", "op": "stream", "topic": source, "key": "string", "value": "string"},
        {"id": "rows", "op": "to_table", "of": "lines", "store": store},
    ]


def watch_streamkit(process: subprocess.Popen[str]) -> tuple[int, float, float]:
    """Records restored, seconds, and CPU seconds meanwhile, from the worker's log."""
    begun = cpu_begun = 0.0
    restored: dict[str, int] = {}
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        said.append(line)
        if not begun and BEGUN.search(line):
            begun, cpu_begun = time.monotonic(), cpu_s(process.pid)
        running = RUNNING.search(line)
        if running is not None:
            restored[running[1]] = int(running[2])
        if len(restored) == PARTITIONS:
            seconds = time.monotonic() - begun
            return sum(restored.values()), seconds, cpu_s(process.pid) - cpu_begun
    raise RuntimeError(f"the worker ended before it had restored: {''.join(said[-5:])}")


def watch_kafka_streams(process: subprocess.Popen[str]) -> tuple[int, float, float]:
    """The same, from the events of its restore listener."""
    begun_ms = cpu_begun = 0.0
    totals: list[int] = []
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "restore_start" and not begun_ms:
            begun_ms, cpu_begun = event["time_ms"], cpu_s(process.pid)
        elif event["event"] == "restore_end":
            totals.append(event["total"])
        if len(totals) == PARTITIONS:
            seconds = (event["time_ms"] - begun_ms) / 1000
            return sum(totals), seconds, cpu_s(process.pid) - cpu_begun
    raise RuntimeError("Kafka Streams ended before it had restored")


def cpu_until_idle(pid: int) -> float:
    """The CPU seconds that it takes from now on, until it is idle."""
    began = cpu_s(pid)
    deadline = time.monotonic() + IDLE_WITHIN_S
    while time.monotonic() < deadline:
        before = cpu_s(pid)
        time.sleep(IDLE_S)
        if cpu_s(pid) - before < IDLE_CPU * IDLE_S:
            break
    return cpu_s(pid) - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=1000)
    parser.add_argument("--record-bytes", type=int, default=RECORD_BYTES)
    parser.add_argument("--broker", choices=["kafka", "streamkit"], default="kafka")
    parser.add_argument("--only", choices=CONTENDERS)
    options = parser.parse_args()
    records = int(options.megabytes * 1e6) // options.record_bytes
    contenders = [options.only] if options.only else list(CONTENDERS)
    with broker(options.broker, TIMERS) as server:
        load(server.bootstrap, records, options.record_bytes)
        outcomes = [
            restore(each, server.bootstrap, records, options.record_bytes) for each in contenders
        ]
    print(json.dumps({"about": about(), **vars(options), "outcomes": [asdict(o) for o in outcomes]},
                     indent=1))  # fmt: skip
    if len(outcomes) == 2:
        ours, theirs = outcomes
        print(
            f"restore of {options.megabytes:g} MB: streamkit does "
            f"{ours.records_per_s / theirs.records_per_s:.2f} x Kafka Streams, "
            f"{theirs.cpu_us_per_record / ours.cpu_us_per_record:.2f} x for each second of CPU, "
            f"{theirs.cpu_us_per_record_until_idle / ours.cpu_us_per_record_until_idle:.2f} x "
            "with what follows"
        )
    sys.exit(not all(each.complete for each in outcomes))


if __name__ == "__main__":
    main()

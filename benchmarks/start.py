"""How soon a worker works: from the start of its process to the first output, and where time goes.

The broker is ready, its initial rebalance delay 0, and the input is there. Cold: a new
application, whose internal topics and state have to be made. Warm: the same again after an
orderly stop. For each stage the least and the median of the starts, in seconds since the start
of the process; on a busy machine the least is the better guide. Python's compiled files are there,
as after an installation.

    python -m benchmarks.start [--kafka] [--at-least-once]
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.machine import ROOT, about, broker
from streamkit.broker.child import EMBEDDED_DEFAULTS

STARTS = 7
PARTITIONS = 2
KAFKA_TIMERS = {"group.streams.initial.rebalance.delay.ms": "0"}
"""Everything else as Apache Kafka has it."""
COMMIT_INTERVAL_MS = 100
"""That of exactly once; without it a cache would keep the counts for 30 s."""
PROGRAM = "benchmarks/start_program.py"
STAGES = {
    "connected": r"INFO worker .*: member ",
    "assigned": r"INFO .*assigned .*0_0",
    "running": r"INFO task \d_\d: running",
}
TIMEOUT_S = 60.0
NO_COMPILED_FILES = "PYTHONDONTWRITEBYTECODE"


def prepare(bootstrap: str) -> None:
    """The input, a few lines."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic("lines", PARTITIONS, 1)])["lines"].result(30)
    producer = Producer({"bootstrap.servers": bootstrap})
    for number in range(20):
        producer.produce("lines", b"some words and others", partition=number % PARTITIONS)
    producer.flush(30)


def start_once(
    bootstrap: str, application: str, state: str, guarantee: str, compiled: str
) -> dict[str, float]:
    """Start a worker, wait for its first output, stop it."""
    output = f"{application}-out-{time.monotonic_ns()}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(output, PARTITIONS, 1)])[output].result(30)
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "none",
            "isolation.level": "read_uncommitted",
            "fetch.wait.max.ms": 20,
        }
    )
    consumer.assign([TopicPartition(output, part, 0) for part in range(PARTITIONS)])
    consumer.poll(0.5)
    producer = Producer({"bootstrap.servers": bootstrap})
    for part in range(PARTITIONS):
        producer.produce("lines", b"one more line", partition=part)
    producer.flush(30)
    log = Path(state, "worker.log")
    command = [sys.executable, "-m", "streamkit", "worker", PROGRAM, "--bootstrap", bootstrap]
    command += ["--set", f"commit.interval.ms={COMMIT_INTERVAL_MS}"]
    began = time.time()
    with log.open("w") as stderr:
        worker = subprocess.Popen(
            [*command, "--set", f"state.dir={state}", "--set", f"processing.guarantee={guarantee}"],
            cwd=ROOT,
            stderr=stderr,
            env={
                **{key: text for key, text in os.environ.items() if key != NO_COMPILED_FILES},
                "PYTHONPYCACHEPREFIX": compiled,
                "START_APPLICATION": application,
                "START_OUTPUT": output,
            },
        )
    try:
        if consumer.poll(TIMEOUT_S) is None:
            raise TimeoutError(f"no output after {TIMEOUT_S} s, see {log}")
        first_output = time.time() - began
    finally:
        consumer.close()
        worker.terminate()
        worker.wait(30)
    return {**_stages(log.read_text(), began), "first_output": first_output}


def _stages(log: str, began: float) -> dict[str, float]:
    found: dict[str, float] = {}
    for line in log.splitlines():
        for stage, pattern in STAGES.items():
            if stage not in found and re.search(pattern, line):
                stamp, millis = line[:19], line[20:23]
                when = time.mktime(time.strptime(stamp, "%Y-%m-%d %H:%M:%S")) + int(millis) / 1000
                found[stage] = when - began
    return found


def summary(runs: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Least and median of each stage."""
    return {
        stage: {
            "least_s": round(min(run[stage] for run in runs), 3),
            "median_s": round(median(run[stage] for run in runs), 3),
        }
        for stage in (*STAGES, "first_output")
    }


def main() -> None:
    kind = "kafka" if "--kafka" in sys.argv else "streamkit"
    guarantee = "at_least_once" if "--at-least-once" in sys.argv else "exactly_once_v2"
    config = EMBEDDED_DEFAULTS if kind == "streamkit" else KAFKA_TIMERS
    cold, warm = [], []
    compiled = tempfile.mkdtemp(prefix="bench-start-compiled-")
    with broker(kind, config) as server:
        prepare(server.bootstrap)
        for number in range(STARTS + 1):
            state = tempfile.mkdtemp(prefix="bench-start-")
            where = (server.bootstrap, f"start-{number}", state, guarantee, compiled)
            cold.append(start_once(*where))
            warm.append(start_once(*where))
            shutil.rmtree(state)
    shutil.rmtree(compiled)
    del cold[0], warm[0]  # they wrote the compiled files
    result = {"about": about(), "broker": kind, "guarantee": guarantee}
    print(json.dumps({**result, "cold": summary(cold), "warm": summary(warm)}, indent=1))


if __name__ == "__main__":
    main()

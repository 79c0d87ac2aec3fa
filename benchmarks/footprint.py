"""What a broker and a worker cost, and how soon they are there.

The broker: seconds from its start to its ready file, memory, CPU when nobody asks for anything.
The worker: seconds from its start to its first output in the topic, and memory after a word count
of 20 MB, on a broker with the group timers of `streamkit run`.

    python -m benchmarks.footprint
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from statistics import median

from confluent_kafka import Consumer, TopicPartition

from benchmarks import streams
from benchmarks.contest import PARTITIONS, PROGRAMS
from benchmarks.machine import RunningBroker, about, broker, live_cpu_s, resident_mb
from streamkit.broker.child import EMBEDDED_DEFAULTS

STARTS = 5
SETTLE_S = 3.0
IDLE_S = 20.0
WORKER_STARTS = 3
WORKER_MEGABYTES = 20
CONTEST = streams.Contest(PROGRAMS["word-count"], WORKER_MEGABYTES, "exactly_once_v2", 100, 0)


def measure_broker() -> dict[str, float]:
    """The broker alone."""
    ready, resident, idle = [], [], []
    for _ in range(STARTS):
        with broker("streamkit") as server:
            ready.append(server.ready_s)
            time.sleep(SETTLE_S)
            before = live_cpu_s(server.pid)
            time.sleep(IDLE_S / STARTS)
            idle.append(live_cpu_s(server.pid) - before)
            resident.append(resident_mb(server.pid))
    return {
        "ready_s_median": round(median(ready), 3),
        "ready_s_max": round(max(ready), 3),
        "resident_mb_max": round(max(resident), 1),
        "idle_cpu_percent": round(sum(idle) / IDLE_S * 100, 3),
    }


def measure_worker() -> dict[str, float]:
    """A worker that is started on a topic with text."""
    first, resident = [], []
    for _ in range(WORKER_STARTS):
        with broker("streamkit", EMBEDDED_DEFAULTS) as server:
            streams.load(server.bootstrap, CONTEST)
            seconds, megabytes = _start_worker(server)
            first.append(seconds)
            resident.append(megabytes)
    return {
        "first_output_s_median": round(median(first), 2),
        "first_output_s_max": round(max(first), 2),
        "resident_mb_max": round(max(resident), 1),
    }


def _start_worker(server: RunningBroker) -> tuple[float, float]:
    """Seconds to the first output, megabytes after the last."""
    state = tempfile.mkdtemp(prefix="bench-state-")
    consumer = Consumer({"bootstrap.servers": server.bootstrap, "group.id": "none"})
    parts = range(PARTITIONS)
    consumer.assign([TopicPartition("out-streamkit", part, 0) for part in parts])
    consumer.poll(0.5)
    started = time.monotonic()
    worker = streams.start_contender("streamkit", server.bootstrap, state, CONTEST)
    try:
        if consumer.poll(30) is None:
            raise TimeoutError("no output after 30 s")
        seconds = time.monotonic() - started
        while consumer.consume(10_000, 1.0):
            pass
        return seconds, resident_mb(worker.pid)
    finally:
        consumer.close()
        worker.terminate()
        worker.wait(30)
        shutil.rmtree(state, ignore_errors=True)


def main() -> None:
    result = {"about": about(), "broker": measure_broker(), "worker": measure_worker()}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

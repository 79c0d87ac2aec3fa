"""The longest time for which the broker's event loop did not look at its timers, under load.

The broker runs in this process, librdkafka produces and fetches in another. A timer of 5 ms notes
how late it comes; late by the clock counts what else the machine did, late in CPU time does not.

    python -m benchmarks.stall --megabytes 100
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import sys
import time
from dataclasses import dataclass, field

from confluent_kafka.admin import AdminClient

from benchmarks.machine import BROKER_CORE, CLIENT_CORE, RunningBroker, about, pinned
from benchmarks.produce_fetch import CASES, create_topic, fetch, produce
from streamkit.broker.embedded import Broker
from streamkit.common.system import run_loop

TICK_S = 0.005


@dataclass
class Watch:
    """How late each tick came, in milliseconds: by the clock, and in this thread's CPU time."""

    late: list[float] = field(default_factory=list)
    late_cpu: list[float] = field(default_factory=list)

    async def run(self) -> None:
        """Tick for ever."""
        while True:
            clock, cpu = time.monotonic(), time.thread_time()
            await asyncio.sleep(TICK_S)
            self.late.append((time.monotonic() - clock - TICK_S) * 1000)
            self.late_cpu.append((time.thread_time() - cpu - TICK_S) * 1000)

    def summary(self) -> dict[str, float]:
        """The worst, and what one tick in a thousand exceeds."""
        ordered, cpu = sorted(self.late), sorted(self.late_cpu)
        nearly = int(len(ordered) * 0.999)
        return {
            "ticks": len(ordered),
            "late_ms_max": round(ordered[-1], 1),
            "late_ms_999": round(ordered[nearly], 1),
            "late_cpu_ms_max": round(cpu[-1], 1),
            "late_cpu_ms_999": round(cpu[nearly], 1),
        }


async def measure(megabytes: float) -> dict[str, float]:
    """The loop's lateness while another process produces and fetches."""
    watch = Watch()
    async with Broker() as broker:
        gc.collect()
        gc.freeze()  # as `streamkit broker start` does
        ticking = asyncio.create_task(watch.run())
        argv = [sys.executable, "-m", "benchmarks.stall", "--load", broker.bootstrap]
        argv += ["--megabytes", str(megabytes)]
        load = await asyncio.create_subprocess_exec(*pinned(CLIENT_CORE, argv))
        await load.wait()
        ticking.cancel()
    return watch.summary()


def make_load(bootstrap: str, megabytes: float) -> None:
    """Produce and fetch all cases."""
    server = RunningBroker("streamkit", bootstrap, os.getpid(), 0.0, "")
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for size, batch in CASES:
        topic = create_topic(admin, f"stall-{size}-{batch}")
        records = int(megabytes * 1e6 / size)
        produce(server, topic, size, batch, records)
        fetch(server, topic, records)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--load", metavar="BOOTSTRAP", help="be the other process")
    options = parser.parse_args()
    if options.load:
        make_load(options.load, options.megabytes)
        return
    os.sched_setaffinity(0, {BROKER_CORE})
    stall = run_loop(measure(options.megabytes))
    print(json.dumps({"about": about(), "stall": stall}, indent=1))


if __name__ == "__main__":
    main()

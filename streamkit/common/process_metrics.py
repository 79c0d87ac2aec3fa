"""Metrics of the process itself, by the names that Prometheus' own clients use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from streamkit.common.metrics import Family, Kind, Sample
from streamkit.common.seams import Disk

STATUS = "/proc/self/status"
FILES = "/proc/self/fd"


def process_families(disk: Disk) -> Callable[[], Iterator[Family]]:
    """A collector of CPU time, and on Linux of memory and open files."""

    def collect() -> Iterator[Family]:
        times = os.times()
        yield _family(
            "process_cpu_seconds_total", Kind.COUNTER, "CPU time.", times.user + times.system
        )
        if disk.exists(STATUS):
            yield from _linux(disk)

    return collect


def _linux(disk: Disk) -> Iterator[Family]:
    values = dict(
        line.split(":", 1) for line in disk.read(STATUS).decode().splitlines() if ":" in line
    )
    for name, text, key in (
        ("process_resident_memory_bytes", "Memory in use.", "VmRSS"),
        ("process_virtual_memory_bytes", "Addresses in use.", "VmSize"),
    ):
        yield _family(name, Kind.GAUGE, text, int(values[key].split()[0]) * 1024)
    yield _family("process_open_fds", Kind.GAUGE, "Open files.", len(disk.list(FILES)))


def _family(name: str, kind: Kind, text: str, value: float) -> Family:
    return Family(name, kind, text, [Sample((), value)])

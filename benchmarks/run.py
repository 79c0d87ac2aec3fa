"""All benchmarks, one after the other: `make bench`."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.contest import PROGRAMS

ALL = [
    ["benchmarks.assignor"],
    ["benchmarks.footprint"],
    ["benchmarks.produce_fetch"],
    ["benchmarks.restore"],
    ["benchmarks.streams", "--broker", "streamkit"],
    *(
        ["benchmarks.streams", "--program", program, "--guarantee", guarantee]
        for program in PROGRAMS
        for guarantee in ("at_least_once", "exactly_once_v2")
    ),
]


def main() -> None:
    for command in ALL:
        print(f"== {' '.join(command)}", flush=True)
        subprocess.run([sys.executable, "-m", *command], check=True)


if __name__ == "__main__":
    main()

"""All benchmarks, one after the other: `make bench`."""

from __future__ import annotations

import subprocess
import sys

ALL = [
    ["benchmarks.footprint"],
    ["benchmarks.produce_fetch"],
    ["benchmarks.word_count", "--broker", "kafka"],
    ["benchmarks.word_count", "--broker", "streamkit"],
]


def main() -> None:
    for command in ALL:
        print(f"== {' '.join(command)}", flush=True)
        subprocess.run([sys.executable, "-m", *command], check=True)


if __name__ == "__main__":
    main()

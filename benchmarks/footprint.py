"""What an idle broker costs, and how soon it is there.

python -m benchmarks.footprint
"""

from __future__ import annotations

import json
import time
from statistics import median

from benchmarks.machine import about, broker, cpu_s, resident_mb

STARTS = 5
IDLE_S = 10.0


def main() -> None:
    ready, resident, idle = [], [], []
    for _ in range(STARTS):
        with broker("streamkit") as server:
            ready.append(server.ready_s)
            time.sleep(1)
            before = cpu_s(server.pid)
            time.sleep(IDLE_S)
            idle.append((cpu_s(server.pid) - before) / IDLE_S * 100)
            resident.append(resident_mb(server.pid))
    result = {
        "about": about(),
        "ready_s": {"median": round(median(ready), 3), "max": round(max(ready), 3)},
        "resident_mb": round(max(resident), 1),
        "idle_cpu_percent": round(max(idle), 2),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

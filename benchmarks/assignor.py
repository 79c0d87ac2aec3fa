"""How long the coordinator's assignor takes for a large group.

5,000 stateful tasks with a standby each on 100 members in 25 processes: the first assignment, and
the one after seven members left. CPU seconds, the median of the rounds.

    python -m benchmarks.assignor
"""

from __future__ import annotations

import json
from dataclasses import replace
from statistics import median
from time import process_time

from benchmarks.machine import about
from streamkit.rebalance.assignor import AssignmentMember, Tasks, assign
from streamkit.rebalance.rules import ConfiguredSubtopology, InternalTopic

SUBTOPOLOGIES, PARTITIONS = 5, 1_000
MEMBERS, PROCESSES, LEAVING = 100, 25, 7
ROUNDS = 5


def main() -> None:
    """Measure, and print JSON."""
    plan = [
        ConfiguredSubtopology(
            str(n), PARTITIONS, (f"t{n}",), (), (), (InternalTopic(f"c{n}", PARTITIONS),)
        )
        for n in range(SUBTOPOLOGIES)
    ]
    members = [AssignmentMember(f"m{n}", f"p{n % PROCESSES}") for n in range(MEMBERS)]
    first, again = [], []
    for _ in range(ROUNDS):
        started = process_time()
        target = assign(members, plan, 1)
        first.append(process_time() - started)
        remaining = [
            replace(member, previous=target.get(member.member_id, Tasks()))
            for member in members[LEAVING:]
        ]
        started = process_time()
        assign(remaining, plan, 1)
        again.append(process_time() - started)
    found = {"first_s": round(median(first), 3), "members_left_s": round(median(again), 3)}
    print(json.dumps(about() | found, indent=2))


if __name__ == "__main__":
    main()

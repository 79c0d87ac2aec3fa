"""`python -m tests.differential.hunt FAMILY FROM TO`: generated cases, ours beside Kafka Streams'.

Prints each case that differs, as JSON to try again, and what differs. A FILE of cases, one a line
or one in all, may stand in place of the family and seeds.
"""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from pathlib import Path

from tests.differential.answers import answer
from tests.differential.compare import differences
from tests.differential.generator import FAMILIES, generate
from tests.differential.oracle import kafka_answers
from tests.topology.oracle_cases import Case

BATCH = 200


def cases_of(arguments: list[str]) -> list[Case]:
    if arguments and arguments[0] in FAMILIES:
        family, start, stop = arguments[0], int(arguments[1]), int(arguments[2])
        return [generate(family, seed) for seed in range(start, stop)]
    cases: list[Case] = []
    for name in arguments:
        text = Path(name).read_text()
        try:
            cases.append(json.loads(text))
        except ValueError:
            cases += [json.loads(line) for line in text.splitlines()]
    return cases


def main(arguments: list[str]) -> int:
    logging.disable()
    cases = cases_of(arguments)
    counts: Counter[str] = Counter()
    for start in range(0, len(cases), BATCH):
        some = cases[start : start + BATCH]
        for case, theirs in zip(some, kafka_answers(some), strict=True):
            ours = answer(case)
            found = differences(ours, theirs)
            failure = theirs.get("error") or ours.get("error")
            counts["differ" if found else f"same, {failure['class']}" if failure else "same"] += 1
            if found:
                print(json.dumps(case))
                print("    " + "\n    ".join(found))
    print(dict(counts))
    return 1 if counts["differ"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

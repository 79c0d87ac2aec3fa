"""Our operators beside Kafka Streams itself, live: the same cases, record for record.

`python -m tests.judges.test_semantics` records the vectors that `make test` uses.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.topology.oracle_cases import Case, generate
from tests.topology.oracle_run import (
    Outcome,
    asks_for_bytes,
    kafka_dropped,
    kafka_wrote,
    we_write,
)

HERE = Path(__file__).parent
VECTORS = HERE.parent / "topology" / "run_vectors.jsonl"


def runnable(seeds: range) -> list[Case]:
    """Generated cases without pattern sources, which a task learns of only from metadata."""
    cases = [generate(seed) for seed in seeds]
    return [case for case in cases if not any("pattern" in op for op in case["topology"])]


def kafka_answers(cases: list[Case]) -> list[dict[str, Any]]:
    """The oracle's answers; those of cases that it cannot finish have an `error`."""
    done = subprocess.run(
        [HERE / "oracle" / "oracle", "test"],
        input="\n".join(json.dumps(asks_for_bytes(case)) for case in cases),
        capture_output=True,
        text=True,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(cases), done.stderr
    return answers


def by_content(outcome: Outcome) -> dict[str, list[str]]:
    return {topic: sorted(map(json.dumps, rows)) for topic, rows in outcome.items()}


@pytest.mark.judge
def test_generated_topologies_write_what_kafka_streams_writes() -> None:
    cases = runnable(range(2000, 2300))
    in_order = compared = 0
    for case, answer in zip(cases, kafka_answers(cases), strict=True):
        # Kafka's test driver stops at a store that no processor uses.
        if "error" in answer:
            continue
        compared += 1
        written, dropped = we_write(case)
        theirs = kafka_wrote(answer)
        assert by_content(written) == by_content(theirs), json.dumps(case)
        assert dropped == kafka_dropped(answer), json.dumps(case)
        in_order += written == theirs
    # Which of two topics with the same oldest time goes first is open in Kafka too.
    assert in_order >= compared * 0.98 >= 200


def record() -> None:
    """Write the vectors."""
    cases = runnable(range(60))
    with VECTORS.open("w") as out:
        for case, answer in zip(cases, kafka_answers(cases), strict=True):
            if "error" not in answer:
                row = {
                    "case": case,
                    "written": kafka_wrote(answer),
                    "dropped": kafka_dropped(answer),
                }
                out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    record()

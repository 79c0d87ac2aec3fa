"""`python -m tests.differential.record`: Kafka Streams' answers, kept as text for `make test`.

Each difference ever found stays as a named case in `vectors/regressions.jsonl`, which this
leaves alone.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.differential.generator import FAMILIES, generate
from tests.differential.oracle import kafka_answers

VECTORS = Path(__file__).parent / "vectors"
EACH = 20


def record() -> None:
    """Write one file for each family."""
    VECTORS.mkdir(exist_ok=True)
    for family in FAMILIES:
        cases = [generate(family, seed) for seed in range(EACH)]
        rows = zip(cases, kafka_answers(cases), strict=True)
        lines = [json.dumps({"case": case, "answer": answer}) for case, answer in rows]
        (VECTORS / f"{family}.jsonl").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    record()

"""Our descriptions beside those of Kafka Streams itself, live.

`python -m tests.judges.test_describe` records the vectors that `make test` uses.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.topology.handwritten_cases import CASES
from tests.topology.oracle_cases import NotInScopeError, describe, generate

HERE = Path(__file__).parent
VECTORS = HERE.parent / "topology" / "describe_vectors.jsonl"
EXAMPLES_IN_SCOPE = {
    "aggregate", "caching", "failure", "poison", "processors", "routing", "stateless", "stores",
    "timestamps", "types", "word_count",
}  # fmt: skip


def kafka_describes(cases: list[dict[str, Any]]) -> list[str]:
    """What Kafka Streams prints for each case, or `error`."""
    done = subprocess.run(
        [HERE / "oracle" / "oracle", "describe"],
        input="\n".join(json.dumps(case) for case in cases),
        capture_output=True,
        text=True,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(cases), done.stderr
    wrong = [a for a in answers if a.get("error", {}).get("class") == "SpecError"]
    assert wrong == []
    return [answer.get("describe", "error") for answer in answers]


def examples() -> list[dict[str, Any]]:
    """The oracle's own examples."""
    paths = sorted((HERE / "oracle" / "examples").glob("*.json"))
    return [
        json.loads(path.read_text()) for path in paths if not path.name.endswith(".expected.json")
    ]


def assert_same(cases: list[dict[str, Any]]) -> None:
    theirs = kafka_describes(cases)
    for case, kafka in zip(cases, theirs, strict=True):
        assert describe(case) == kafka, json.dumps(case)


@pytest.mark.judge
def test_generated_topologies_print_as_kafka_prints_them() -> None:
    assert_same([generate(seed) for seed in range(1000, 1200)])


@pytest.mark.judge
def test_handwritten_topologies_print_as_kafka_prints_them() -> None:
    assert_same(CASES)


@pytest.mark.judge
def test_examples_in_scope_print_as_kafka_prints_them() -> None:
    in_scope = []
    for case in examples():
        try:
            describe(case)
        except NotInScopeError:
            continue
        in_scope.append(case)
    assert {case["name"] for case in in_scope} >= EXAMPLES_IN_SCOPE
    assert_same(in_scope)


def record() -> None:
    """Write the vectors: handwritten cases, examples in scope, and generated ones."""
    cases = CASES + [case for case in examples() if case["name"] in EXAMPLES_IN_SCOPE]
    cases += [generate(seed) for seed in range(30)]
    with VECTORS.open("w") as out:
        for case, text in zip(cases, kafka_describes(cases), strict=True):
            kept = {key: case[key] for key in case if key not in {"input", "read"}}
            out.write(json.dumps({"case": kept, "describe": text}) + "\n")


if __name__ == "__main__":
    record()

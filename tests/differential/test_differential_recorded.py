"""Our answers beside those that Kafka Streams 4.3.1 gave when the vectors were recorded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.differential.answers import answer
from tests.differential.compare import differences

HERE = Path(__file__).parent
VECTORS = [
    json.loads(line)
    for path in sorted((HERE / "vectors").glob("*.jsonl"))
    for line in path.read_text().splitlines()
]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["case"]["name"])
def test_answer_is_that_of_kafka_streams(vector: dict[str, Any]) -> None:
    assert differences(answer(vector["case"]), vector["answer"]) == []


def test_harness_answers_on_standard_output() -> None:
    vector = VECTORS[0]
    done = subprocess.run(
        [sys.executable, "-m", "tests.differential"],
        input=json.dumps(vector["case"]) + "\n",
        cwd=HERE.parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    shown = json.loads(done.stdout)
    assert shown == vector["answer"]
    assert list(shown) == list(vector["answer"])

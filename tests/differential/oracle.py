"""Kafka Streams' own answers, through the oracle."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.differential.answers import Answer
from tests.topology.oracle_cases import Case

ORACLE = Path(__file__).parent.parent / "judges" / "oracle" / "oracle"


def kafka_answers(cases: Sequence[Case]) -> list[Answer]:
    """The oracle's answer to each case."""
    done = subprocess.run(
        [ORACLE, "test"],
        input="\n".join(json.dumps(case) for case in cases),
        capture_output=True,
        text=True,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(cases), done.stderr
    return answers

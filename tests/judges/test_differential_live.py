"""Generated cases through our driver and through Kafka Streams itself, live."""

from __future__ import annotations

import pytest

from tests.differential.answers import answer
from tests.differential.compare import differences
from tests.differential.generator import FAMILIES, generate
from tests.differential.oracle import kafka_answers

CASES = 300
FIRST = 5_000


@pytest.mark.judge
@pytest.mark.parametrize("family", FAMILIES)
def test_generated_cases_have_the_same_answer(family: str) -> None:
    count = CASES // len(FAMILIES) + 1
    cases = [generate(family, seed) for seed in range(FIRST, FIRST + count)]
    wrong = {
        case["name"]: found
        for case, theirs in zip(cases, kafka_answers(cases), strict=True)
        if (found := differences(answer(case), theirs))
    }
    assert wrong == {}

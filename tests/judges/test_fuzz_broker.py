"""Tens of thousands of requests gone wrong, from the frames of foreign clients.

python -m tests.broker.fuzzing.attack SEED COUNT      one attack
"""

from __future__ import annotations

import pytest

from tests.broker.fuzzing.attack import run_attack

pytestmark = pytest.mark.judge


def test_ten_thousand_mutated_requests() -> None:
    print(f"\n{run_attack(31, 10_000)}")


@pytest.mark.long
@pytest.mark.parametrize("seed", range(300, 310))
def test_mutated_requests_of_many_seeds(seed: int) -> None:
    print(f"\n{run_attack(seed, 20_000)}")

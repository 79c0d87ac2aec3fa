"""Simulated runs of transactions, crash and restart; see `transaction_crash`."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.harness import ROOT
from tests.simulation.transaction_crash import CRASHES, Outcome, World


def check(outcome: Outcome) -> None:
    assert outcome.crashes == CRASHES + 2
    committed, aborted = set(outcome.committed), set(outcome.aborted)
    for tokens in outcome.read:
        assert len(tokens) == len(set(tokens)), "a token came twice"
        assert committed <= set(tokens), "a committed token is lost"
        assert not aborted & set(tokens), "an aborted token was read"
        for number in range(3):
            own = [token for token in tokens if token.startswith(b"%d-" % number)]
            assert own == sorted(own), "a producer's transactions changed places"
    first, *others = [set(tokens) for tokens in outcome.read]
    assert all(tokens == first for tokens in others), "a transaction is torn"
    assert committed, "nothing was committed"


@pytest.mark.parametrize("seed", range(201, 207))
def test_transactions_are_whole_through_crashes(seed: int) -> None:
    check(World(seed).run())


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2000, 2200))
def test_transactions_are_whole_through_crashes_of_many_seeds(seed: int) -> None:
    check(World(seed).run())


def test_same_transactions_under_two_hash_seeds() -> None:
    digests = [
        subprocess.check_output(
            [sys.executable, "-m", "tests.simulation.transaction_crash", "4712"],
            cwd=ROOT,
            env=dict(os.environ, PYTHONHASHSEED=hash_seed),
            text=True,
        )
        for hash_seed in ("1", "2")
    ]
    assert digests[0] == digests[1]

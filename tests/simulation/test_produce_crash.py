"""Simulated runs of produce, crash and restart; see `produce_crash`."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.harness import ROOT
from tests.simulation.produce_crash import CRASHES, RECORDS, Outcome, World


def check(outcome: Outcome) -> None:
    assert outcome.crashes == CRASHES + 2
    assert len(outcome.acknowledged) == RECORDS
    lost = {v: place for v, place in outcome.acknowledged.items() if v not in outcome.stored}
    assert lost == {}
    moved = {
        value: (place, outcome.stored[value])
        for value, place in outcome.acknowledged.items()
        if outcome.stored[value] != [place]
    }
    assert moved == {}


@pytest.mark.parametrize("seed", range(101, 111))
def test_acknowledged_records_survive_crashes(seed: int) -> None:
    check(World(seed).run())


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1000, 1300))
def test_acknowledged_records_survive_crashes_of_many_seeds(seed: int) -> None:
    check(World(seed).run())


def test_create_topics_looks_again_when_the_connection_is_reset() -> None:
    check(World(1052).run())


def test_same_seed_gives_the_same_trace_under_two_hash_seeds() -> None:
    digests = [
        subprocess.check_output(
            [sys.executable, "-m", "tests.simulation.produce_crash", "4711"],
            cwd=ROOT,
            env=dict(os.environ, PYTHONHASHSEED=hash_seed),
            text=True,
        )
        for hash_seed in ("1", "2")
    ]
    assert digests[0] == digests[1]


def test_other_seeds_give_other_traces() -> None:
    assert World(5001).run().digest != World(5002).run().digest

"""Simulated runs of consume, transform and produce, crash and restart; see `chain_crash`."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from streamkit.client import TopicPartition
from tests.harness import ROOT
from tests.simulation.chain_crash import CRASHES, PARTITIONS, RECORDS, Outcome, World


def check(outcome: Outcome) -> None:
    assert outcome.crashes == CRASHES + 2
    for partition in range(PARTITIONS):
        copied = [value for value in outcome.read if value.startswith(b"%d-" % partition)]
        assert copied == [b"%d-%03d" % (partition, number) for number in range(RECORDS)]
    assert len(outcome.read) == PARTITIONS * RECORDS
    assert outcome.committed == {
        TopicPartition("input", partition): RECORDS for partition in range(PARTITIONS)
    }


@pytest.mark.parametrize("seed", range(301, 307))
def test_each_record_is_copied_once_through_crashes(seed: int) -> None:
    check(World(seed).run())


def test_some_copiers_are_lost_and_some_become_zombies() -> None:
    outcomes = [World(seed).run() for seed in (311, 312, 313)]
    assert sum(outcome.lost for outcome in outcomes) > 0
    assert sum(outcome.zombies for outcome in outcomes) > 0
    assert sum(outcome.fenced for outcome in outcomes) > 0


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3000, 3150))
def test_each_record_is_copied_once_through_crashes_of_many_seeds(seed: int) -> None:
    check(World(seed).run())


def test_same_chain_under_two_hash_seeds() -> None:
    digests = [
        subprocess.check_output(
            [sys.executable, "-m", "tests.simulation.chain_crash", "4713"],
            cwd=ROOT,
            env=dict(os.environ, PYTHONHASHSEED=hash_seed),
            text=True,
        )
        for hash_seed in ("1", "2")
    ]
    assert digests[0] == digests[1]

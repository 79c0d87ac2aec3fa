"""Foreign clients under kills, zombies and crashes of the broker: what they saw is checked.

python -m tests.history.load --seed 7 --seconds 30 --keep DIR     one run, its history in DIR
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.history.load import judge

pytestmark = pytest.mark.judge

OK_MIN_PER_S = 10
"""So many operations succeed at least, or the load was none."""


def run(seed: int, seconds: float, directory: Path) -> None:
    verdict, load = judge(seed, seconds, directory)
    story = f"seed {seed}, {dict(load.faults)}, history in {directory}:\n{verdict}"
    print(f"\n{story}")
    assert not verdict.anomalies, story
    assert verdict.figures["ok"] > OK_MIN_PER_S * seconds, story
    for kind in ("chain", "commit", "committed", "ends", "final", "poll", "send", "txn"):
        assert verdict.figures.get(f"ok {kind}", 0) > 0, f"no {kind} succeeded: {story}"


@pytest.mark.parametrize("seed", [41, 42, 43])
def test_clients_see_no_anomaly_through_kills(seed: int, tmp_path: Path) -> None:
    run(seed, 30, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(400, 420))
def test_clients_see_no_anomaly_through_kills_of_many_seeds(seed: int, tmp_path: Path) -> None:
    run(seed, 60, tmp_path)

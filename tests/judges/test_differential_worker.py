"""Final tables of generated cases on a worker that is killed twice: those of Kafka Streams."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.judges.settled_run import run

pytestmark = pytest.mark.judge

BATCH = 15
CASES = 300


def check(seeds: Sequence[int], directory: Path) -> None:
    wrong, batch = run(seeds, directory)
    print(f"\n{len(seeds)} cases, {sum(batch.restored)} records restored")
    assert sum(batch.restored) > 0, "the kills came before anything was kept"
    assert wrong == {}


def test_final_tables_after_two_kills_are_those_of_kafka_streams(tmp_path: Path) -> None:
    check(range(1_000, 1_008), tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("first", range(0, CASES, BATCH))
def test_final_tables_of_many_cases_after_two_kills(first: int, tmp_path: Path) -> None:
    check(range(first, first + BATCH), tmp_path)

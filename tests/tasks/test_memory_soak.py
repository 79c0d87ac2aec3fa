"""The memory of a worker over half an hour of work, tasks that move, and restores."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.soak import BUDGET_MB, soak, table

MINUTES = 30


@pytest.mark.long
def test_worker_stays_inside_its_memory_budget(tmp_path: Path) -> None:
    """Resident: what the worker takes before its first record, and `memory.max.bytes`."""
    seen = soak(MINUTES, BUDGET_MB, tmp_path)
    print("\n" + table(seen))
    assert seen.problems() == []

"""`docs/broker-metrics.md` says what a broker shows."""

from __future__ import annotations

import sys

import pytest

from tests.metrics_table import PATH, families, table


@pytest.mark.skipif(sys.platform != "linux", reason="memory and files are read from /proc")
def test_the_table_of_metrics_is_current() -> None:
    assert PATH.read_text() == table(), "run `python -m tests.metrics_table`"


def test_every_metric_says_what_it_means() -> None:
    assert [each.name for each in families() if len(each.help) < 5] == []

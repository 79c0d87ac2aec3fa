"""Our operators beside what Kafka Streams 4.3.1 wrote when the vectors were recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.topology.oracle_run import we_write

VECTORS = [
    json.loads(line)
    for line in (Path(__file__).parent / "run_vectors.jsonl").read_text().splitlines()
]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["case"]["name"])
def test_operators_write_what_kafka_streams_writes(vector: dict[str, Any]) -> None:
    assert we_write(vector["case"]) == (vector["written"], vector["dropped"])

"""Cases that are said to settle do so: other interleavings and caches, the same final tables."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from streamkit.common.partitioner import partition_for
from tests.differential.answers import answer
from tests.differential.generator import generate
from tests.differential.settled_cases import PARTITIONS
from tests.topology.oracle_cases import Case

SEEDS = 60


def tables(case: Case) -> dict[str, dict[str, Any]]:
    """The final rows of each topic."""
    answered = answer(case)
    assert "error" not in answered
    found: dict[str, dict[str, Any]] = {topic: {} for topic in case["settles"]["topics"]}
    for row in answered["outputs"]:
        found[row["topic"]][json.dumps(row["key"])] = row["value"]
    return {
        topic: {key: value for key, value in rows.items() if value is not None}
        for topic, rows in found.items()
    }


def interleaved(case: Case, seed: int) -> Case:
    """The same events in another order, but within each of three partitions."""
    chance = random.Random(seed)
    queues: dict[tuple[str, int], list[Any]] = {}
    start = case["settles"]["from"]
    for event in case["input"][:start]:
        partition = chance.randrange(PARTITIONS)
        if event["key"] is not None:
            partition = partition_for(event["key"].encode(), PARTITIONS)
        queues.setdefault((event["topic"], partition), []).append(event)
    events = []
    while waiting := [queue for queue in queues.values() if queue]:
        events.append(chance.choice(waiting).pop(0))
    return case | {"input": events + case["input"][start:]}


@pytest.mark.parametrize("seed", range(SEEDS))
def test_final_tables_are_the_same_in_any_order(seed: int) -> None:
    case = generate("settled", seed)
    expected = tables(case)
    assert tables(interleaved(case, seed)) == expected
    cached = {"config": {"statestore.cache.max.bytes": "1000000"}}
    assert tables(interleaved(case, seed + SEEDS) | cached) == expected

"""Cases of the other families with stores of another make: bounded ones, and header-aware ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from tests.topology.oracle_cases import Case, Op

Maker = Callable[[int], Case]


def bounded(makers: Sequence[Maker]) -> Maker:
    """Tables that keep few rows: beyond these the one that was used least recently goes.

    Changelogs are not compared: Kafka Streams does not log what goes (docs/differences.md).
    """

    def make(seed: int) -> Case:
        chance = random.Random(seed)
        case = chance.choice(makers)(seed)
        windowed = {op["id"] for op in case["topology"] if op["op"] == "windowed_by"}
        ops = [op if op.get("of") in windowed else _bounded(op, chance) for op in case["topology"]]
        return case | {"topology": ops, "read": {}}

    return make


def _bounded(op: Op, chance: random.Random) -> Op:
    """A store of rows by key holds a few of them now, more often than not."""
    store = op.get("store", {})
    is_plain = store.get("kind", "memory") in {"memory", "persistent"}
    is_plain = is_plain and store.get("form", "key_value") in {"key_value", "timestamped"}
    if "name" not in store or not is_plain or chance.random() < 0.3:
        return op
    return op | {"store": store | {"kind": "lru", "size": chance.choice([1, 2, 3])}}


def with_headers(makers: Sequence[Maker]) -> Maker:
    """Tables in the format that keeps headers, of records of which more have some."""

    def make(seed: int) -> Case:
        chance = random.Random(seed)
        case = chance.choice(makers)(seed)
        for event in case["input"]:
            if chance.random() < 0.4:
                names = [chance.choice(["h", "i"]) for _ in range(chance.choice([1, 1, 2]))]
                event["headers"] = [[name, chance.choice(["x", "y", "", None])] for name in names]
        return case | {"config": case.get("config", {}) | {"dsl.store.format": "HEADERS"}}

    return make

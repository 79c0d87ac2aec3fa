"""Cases from a seed, by family of operators."""

from __future__ import annotations

from collections.abc import Callable

from tests.topology.oracle_cases import Case, Op
from tests.topology.oracle_cases import generate as generate_mixed


def mixed(seed: int) -> Case:
    """Streams, grouping, aggregates; without patterns, which a task learns of from metadata."""
    while True:
        case = generate_mixed(seed)
        if not any("pattern" in op for op in case["topology"]):
            return case | {"topology": _without_idle_stores(case["topology"])}
        seed += 1_000_000


def _without_idle_stores(ops: list[Op]) -> list[Op]:
    """Kafka Streams' test driver fails at a store that no processor uses."""
    used = {store for op in ops for store in op.get("stores", [])}
    return [op for op in ops if op["op"] != "add_state_store" or op["store"]["name"] in used]


FAMILIES: dict[str, Callable[[int], Case]] = {"mixed": mixed}


def generate(family: str, seed: int) -> Case:
    """The case of a family and a seed."""
    return FAMILIES[family](seed) | {"name": f"{family}-{seed}"}

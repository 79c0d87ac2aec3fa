"""What generated cases are built of: their keys, values and functions, and a case op by op."""

from __future__ import annotations

import random
from typing import Any

from tests.topology.oracle_cases import Case, Op

KEYS = ["a", "b", "c", "d", None]
NUMBERS = [-7, 0, 1, 2, 3, 4, 10, 11, None]
PREDICATES = ["is_even", "is_odd", "gt:2", "always", "never"]
MAPPERS = ["mul:10", "add:1", "mod:3", "null_on:4", "neg"]
GROUPS = ["value | mod:3 | text", "key", "value | is_even | text", "key | null_on:c"]
FOLDS = [("sum", "subtract"), ("count", "uncount"), ("sum | null_on:0", "subtract | null_on:0")]


class Builder:
    """A case whose keys are texts and whose values are numbers, op by op."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.ops: list[Op] = []
        self.streams: list[str] = []
        self.tables: list[str] = []
        self.topics: list[str] = []

    def add(self, op: str, **fields: Any) -> str:
        id_ = f"n{len(self.ops)}"
        self.ops.append({"id": id_, "op": op, **fields})
        return id_

    def named(self, often: float = 0.15) -> dict[str, Any]:
        named = self.chance.random() < often
        return {"name": f"given-{len(self.ops)}"} if named else {}

    def store(self, often: float = 0.5, **more: Any) -> dict[str, Any]:
        """Options of a store: none, unnamed, or named."""
        kind = self.chance.random()
        if kind > often:
            return {"store": more} if more else {}
        if kind < often / 4:
            return {"store": {"kind": self.kind(), **more}}
        return {"store": {"name": f"store-{len(self.ops)}", "kind": self.kind(), **more}}

    def kind(self) -> str:
        return self.chance.choice(["memory", "persistent"])

    def source_stream(self) -> str:
        self.topics.append(f"in-{len(self.topics)}")
        self.streams.append(self.add("stream", topic=self.topics[-1]))
        return self.streams[-1]

    def source_table(self) -> str:
        self.topics.append(f"in-{len(self.topics)}")
        self.tables.append(self.add("table", topic=self.topics[-1], **self.store(), **self.named()))
        return self.tables[-1]

    def write_table(self, of: str) -> None:
        stream = self.add("to_stream", of=of, **self.named())
        self.add("to", of=stream, topic=f"out-{of}")

    def table_operator(self) -> None:
        """Filter, map or regroup one of the tables."""
        of = self.chance.choice(self.tables)
        kind = self.chance.choice(
            ["filter", "filter_not", "map_values", "transform_values", "group"]
        )
        if kind == "group":
            self.tables.append(self.grouped(of))
            return
        fn = self.chance.choice(PREDICATES if "filter" in kind else MAPPERS)
        self.tables.append(self.add(kind, of=of, fn=fn, **self.store(0.4), **self.named()))

    def grouped(self, of: str) -> str:
        group = self.add("group_by", of=of, key_fn=self.chance.choice(GROUPS), **self.named(0.3))
        kind = self.chance.choice(["count", "reduce", "aggregate"])
        fold, unfold = self.chance.choice(FOLDS)
        fields: dict[str, dict[str, Any]] = {
            "count": {},
            "reduce": {"fn": "sum", "sub_fn": "subtract"},
            "aggregate": {"init": self.chance.choice([0, 100]), "fn": fold, "sub_fn": unfold},
        }
        extra = {"value": "long"} if kind == "aggregate" else {}
        return self.add(kind, of=group, **fields[kind], **self.store(**extra), **self.named())

    def case(self, count: int = 25, ts_max: int = 60) -> Case:
        self.chance.shuffle(self.topics)
        return {
            "default_key": "string",
            "default_value": "long",
            "topology": self.ops,
            "input": [self.event(ts_max) for _ in range(count)],
        }

    def event(self, ts_max: int) -> dict[str, Any]:
        event: dict[str, Any] = {
            "topic": self.chance.choice(self.topics),
            "key": self.chance.choice(KEYS),
            "value": self.chance.choice(NUMBERS),
            "ts": self.chance.randint(0, ts_max),
        }
        if self.chance.random() < 0.1:
            event["headers"] = [["h", self.chance.choice(["x", "y", None])]]
        return event

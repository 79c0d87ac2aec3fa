"""Topologies written by hand: the corners that the generator rarely reaches."""

from __future__ import annotations

from typing import Any

S = {"op": "stream", "id": "s", "topic": "in"}
T = {"op": "stream", "id": "t", "topic": "other"}

_OPS: dict[str, list[dict[str, Any]]] = {
    "word-count": [
        S,
        {"op": "flat_map_values", "id": "w", "of": "s", "fn": "split_words"},
        {"op": "group_by", "id": "g", "of": "w", "fn": "value"},
        {"op": "count", "id": "c", "of": "g", "store": {"name": "word-counts"}},
        {"op": "to_stream", "id": "o", "of": "c"},
        {"op": "to", "of": "o", "topic": "counts", "value": "long"},
    ],
    "flights": [
        S,
        {"op": "filter", "id": "f", "of": "s", "fn": "always"},
        {"op": "group_by_key", "id": "g", "of": "f"},
        {
            "op": "aggregate", "id": "a", "of": "g", "fn": "last", "init": "x",
            "store": {"name": "delays", "value": "string"},
        },
        {"op": "to_stream", "id": "o", "of": "a"},
        {"op": "map_values", "id": "m", "of": "o", "fn": "value"},
        {"op": "to", "of": "m", "topic": "average-delays"},
    ],
    "merge-with-itself": [
        S,
        {"op": "merge", "id": "m", "of": "s", "with": "s"},
        {"op": "to", "of": "m", "topic": "out"},
    ],
    "one-store-in-two-streams": [
        {"op": "add_state_store", "store": {"name": "kept", "key": "string", "value": "string"}},
        S,
        T,
        {"op": "process", "of": "s", "processor": "forward", "stores": ["kept"], "id": "p"},
        {"op": "process", "of": "t", "processor": "forward", "stores": ["kept"], "id": "q"},
        {"op": "to", "of": "q", "topic": "out"},
    ],
    "many-stores": [
        *(
            {"op": "add_state_store", "store": {"name": name, "key": "string", "value": "long"}}
            for name in ("apple", "pear", "plum", "fig", "quince")
        ),
        S,
        {
            "op": "process_values", "of": "s", "processor": "forward", "id": "p",
            "stores": ["pear", "apple", "quince", "plum", "fig"],
        },
    ],
    "same-topic-twice": [
        S,
        {**S, "id": "again"},
        {"op": "merge", "id": "m", "of": "s", "with": "again"},
        {"op": "to", "of": "m", "topic": "out"},
        {"op": "to", "of": "again", "topic": "out-2"},
    ],
    "same-topics-in-another-order": [
        {"op": "stream", "id": "s", "topics": ["a", "b"]},
        {"op": "stream", "id": "t", "topics": ["b", "a"]},
        {"op": "to", "of": "s", "topic": "one"},
        {"op": "to", "of": "t", "topic": "two"},
    ],
    "overlapping-topics": [
        {"op": "stream", "id": "s", "topics": ["a", "b"]},
        {"op": "stream", "id": "t", "topics": ["b", "c"]},
        {"op": "to", "of": "s", "topic": "one"},
        {"op": "to", "of": "t", "topic": "two"},
    ],
    "stream-and-table-of-one-topic": [
        S,
        {"op": "table", "id": "t", "topic": "in"},
        {"op": "to", "of": "s", "topic": "one"},
        {"op": "to_stream", "id": "o", "of": "t"},
    ],
    "same-pattern-twice": [
        {"op": "stream", "id": "s", "pattern": "in-[0-9]+"},
        {"op": "stream", "id": "t", "pattern": "in-[0-9]+"},
        {"op": "to", "of": "s", "topic": "one"},
        {"op": "to", "of": "t", "topic": "two"},
    ],
    "different-resets": [
        {**S, "reset": "latest"},
        {**S, "id": "t", "reset": "earliest"},
        {"op": "to", "of": "s", "topic": "one"},
        {"op": "to", "of": "t", "topic": "two"},
    ],
    "one-name-twice": [
        S,
        {"op": "filter", "id": "f", "of": "s", "fn": "always", "name": "same"},
        {"op": "filter", "id": "g", "of": "s", "fn": "always", "name": "same"},
    ],
    "named-group-shares-its-topic": [
        S,
        {"op": "group_by", "id": "g", "of": "s", "fn": "value", "name": "by-value"},
        {"op": "count", "id": "c", "of": "g", "store": {"name": "counts"}},
        {"op": "reduce", "id": "r", "of": "g", "fn": "last", "store": {"name": "latest"}},
        {"op": "to_stream", "id": "o", "of": "c"},
        {"op": "to", "of": "o", "topic": "out", "value": "long"},
    ],
    "unnamed-group-makes-two-topics": [
        S,
        {"op": "group_by", "id": "g", "of": "s", "fn": "value"},
        {"op": "count", "id": "c", "of": "g", "store": {"name": "counts"}},
        {"op": "reduce", "id": "r", "of": "g", "fn": "last"},
    ],
    "repartition-suffix-is-not-doubled": [
        S,
        {"op": "repartition", "id": "r", "of": "s", "name": "again-repartition"},
        {"op": "to", "of": "r", "topic": "out"},
    ],
    "topic-function": [
        S,
        {"op": "to", "of": "s", "topic_fn": "key", "partitioner": "value | length"},
    ],
    "to-table-after-key-change": [
        S,
        {"op": "select_key", "id": "k", "of": "s", "fn": "value"},
        {"op": "to_table", "id": "t", "of": "k", "name": "latest"},
        {"op": "to_table", "id": "u", "of": "k", "store": {"name": "kept"}},
        {"op": "to_stream", "id": "o", "of": "u", "key_fn": "value"},
        {"op": "to", "of": "o", "topic": "out"},
    ],
    "illegal-name": [
        S,
        {"op": "filter", "id": "f", "of": "s", "fn": "always", "name": "not legal"},
    ],
    "two-stores-of-one-name": [
        S,
        {"op": "group_by_key", "id": "g", "of": "s"},
        {"op": "count", "id": "c", "of": "g", "store": {"name": "same"}},
        {"op": "reduce", "id": "r", "of": "g", "fn": "last", "store": {"name": "same"}},
    ],
}  # fmt: skip

CASES: list[dict[str, Any]] = [
    {"name": name, "default_key": "string", "default_value": "string", "topology": ops}
    for name, ops in _OPS.items()
]

"""Our descriptions beside what Kafka Streams 4.3.1 printed when the vectors were recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import streamkit as sk
from streamkit.topology.graph.java_order import TreeSet, hash_order, string_hash
from tests.topology.oracle_cases import describe

VECTORS = [
    json.loads(line)
    for line in (Path(__file__).parent / "describe_vectors.jsonl").read_text().splitlines()
]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["case"]["name"])
def test_description_is_what_kafka_streams_prints(vector: dict[str, Any]) -> None:
    assert describe(vector["case"]) == vector["describe"]


def test_describing_twice_and_declaring_in_between_works() -> None:
    app = sk.App("shop")
    one = app.stream("in", key=str, value=str)
    one.to("out")
    first = app.topology.describe()
    assert app.topology.describe() == first
    app.stream("in", key=str, value=str).to("more")
    assert "KSTREAM-SINK-0000000003 (topic: more)" in app.topology.describe()


def test_string_hash_is_javas() -> None:
    assert string_hash("hello") == 99162322
    assert string_hash("polygenelubricants") == 2**31
    assert string_hash("Aa") == string_hash("BB") == 2112
    assert string_hash("") == 0


def test_hash_order_keeps_insertion_order_inside_a_bucket() -> None:
    assert hash_order(["BB", "Aa"]) == ["BB", "Aa"]
    assert hash_order(["Aa", "BB"]) == ["Aa", "BB"]


def test_tree_set_keeps_its_shape_when_keys_change() -> None:
    keys = {name: index for index, name in enumerate("abcdefghij")}
    tree = TreeSet[str](lambda one, two: keys[one] - keys[two])
    for name in "jcaebdihgf":
        tree.add(name)
        tree.add(name)
    assert list(tree) == list("abcdefghij")
    keys["a"] = 100
    assert next(iter(tree)) == "a"

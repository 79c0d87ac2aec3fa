"""Several cases as one: a program of many topologies, each with names of its own."""

from __future__ import annotations

from typing import Any

from tests.topology.oracle_cases import Case

_ONE = ("id", "of", "with", "topic", "name", "store_name")
_MANY = ("topics", "stores")


def together(cases: list[Case], application: str) -> Case:
    """One case with the operators of all; its topics are `topic_of` each case's."""
    ops = [_own(op, number) for number, case in enumerate(cases) for op in case["topology"]]
    return {
        "default_key": "string",
        "default_value": "long",
        "config": {"application.id": application},
        "topology": ops,
    }


def topic_of(number: int, topic: str) -> str:
    """What a topic of the case with this number is called; so are ids, names and stores."""
    return f"c{number}-{topic}"


def _own(op: dict[str, Any], number: int) -> dict[str, Any]:
    shown = dict(op)
    for field in _ONE:
        if field in op:
            shown[field] = topic_of(number, op[field])
    for field in _MANY:
        if field in op:
            shown[field] = [topic_of(number, each) for each in op[field]]
    if op.get("op") == "split":
        shown["branches"] = [_own(each, number) for each in op["branches"]]
        shown |= {"default": _own(op["default"], number)} if "default" in op else {}
    if "name" in op.get("store", {}):
        shown["store"] = {**op["store"], "name": topic_of(number, op["store"]["name"])}
    return shown

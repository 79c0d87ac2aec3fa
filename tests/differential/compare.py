"""Two answers to one case: equal, or how they differ."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

from tests.differential.answers import Answer

_FIELDS = ("describe", "outputs", "stores", "metrics", "seen", "internal")


def differences(ours: Answer, theirs: Answer) -> list[str]:
    """What differs, in words; empty when the answers are equal."""
    found = []
    if _failure(ours) != _failure(theirs):
        return [f"error: {ours.get('error')} against {theirs.get('error')}"]
    for field in _FIELDS:
        one, two = _comparable(ours, field), _comparable(theirs, field)
        if field == "stores" and one and two:
            two = _without_headers(one, two)
        if field == "outputs":
            one, two = _letters(one or [], two or []), _letters(two or [], two or [])
        if one != two:
            found.append(f"{field}: {_first(one, two)}")
    return found


def _comparable(answer: Answer, field: str) -> Any:
    """A field; of changelogs not what is lost in them: headers, and the times of deletes."""
    found = answer.get(field)
    if field != "internal" or found is None:
        return found
    return [
        row
        if not row["topic"].endswith("-changelog")
        else row | {"headers": [], "ts": 0 if row["value_bytes"] is None else row["ts"]}
        for row in found
    ]


def _without_headers(ours: Answer, theirs: Answer) -> Answer:
    """Their rows without the empty headers that some stores keep; ours are not shown."""
    return {
        name: [
            two[:-1] if one is not None and two == [*one, []] else two
            for one, two in zip_longest(ours.get(name, [])[: len(rows)], rows)
        ]
        for name, rows in theirs.items()
    }


def _letters(records: list[Answer], theirs: list[Answer]) -> list[Answer]:
    """Without what is the JVM's own in dead letters: a serde's message, and bytes it has lost."""
    return [_letter(one, two) for one, two in zip_longest(records, theirs) if one is not None]


def _letter(record: Answer, theirs: Answer | None) -> Answer:
    kind = dict(record["headers"]).get("__streams.errors.exception")
    if theirs is None or kind is None:
        return record
    shown = dict(record)
    if theirs["key"] is None and theirs["value"] is None:
        shown |= {"key": None, "value": None}
    if kind.endswith("SerializationException"):
        masked = "__streams.errors.message"
        shown["headers"] = [
            [name, "<message>" if name == masked else text] for name, text in record["headers"]
        ]
    return shown


def _failure(answer: Answer) -> tuple[Any, Any] | None:
    """The class and the place of an error; classes at start-up are one."""
    error = answer.get("error")
    if error is None:
        return None
    at = error.get("at", -1)
    return ("build" if at < 0 else error["class"]), at


def _first(one: Any, two: Any) -> str:
    if isinstance(one, list) and isinstance(two, list):
        for index, (a, b) in enumerate(zip(one, two, strict=False)):
            if a != b:
                return f"[{index}] {a} against {b}"
        longer = one[len(two) :] or two[len(one) :]
        return f"{len(one)} against {len(two)} rows, from {longer[0]} on"
    if isinstance(one, dict) and isinstance(two, dict):
        for key in {**one, **two}:
            if one.get(key) != two.get(key):
                return f"{key}: {_first(one.get(key), two.get(key))}"
    return f"{one} against {two}"

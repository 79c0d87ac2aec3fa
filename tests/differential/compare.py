"""Two answers to one case: equal, or how they differ."""

from __future__ import annotations

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

"""The oracle's functions: expressions over (key, value) and combiners over (key, a, b)."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable
from typing import Any

Step = Callable[[Any, Any, Any], Any]
_WRAP = 1 << 64


def wrap(number: Any) -> Any:
    """Integers are 64 bits and wrap."""
    if isinstance(number, int) and not isinstance(number, bool):
        return (number + _WRAP // 2) % _WRAP - _WRAP // 2
    return number


def text(value: Any) -> str:
    """text(v) of the oracle."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list | dict):
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if isinstance(value, float):
        return {math.inf: "inf", -math.inf: "-inf"}.get(value, repr(value))
    return str(value)


def expression(source: str) -> Callable[[Any, Any], Any]:
    """`value | append:!` as a function of key and value."""
    steps = [_step(part) for part in source.split(" | ")]

    def run(key: Any, value: Any) -> Any:
        subject = value
        for step in steps:
            subject = step(subject, key, value)
        return subject

    return run


def predicate(source: str) -> Callable[[Any, Any], bool]:
    """Null is false."""
    run = expression(source)
    return lambda key, value: run(key, value) is True


def splitter(source: str) -> Callable[[Any, Any], list[Any]]:
    """Null is no items."""
    run = expression(source)
    return lambda key, value: run(key, value) or []


def combiner(source: str) -> Callable[[Any, Any, Any], Any]:
    """`sum | null_on:0` as a function of key, a and b."""
    head, *rest = source.split(" | ")
    name, _, argument = head.partition(":")
    combine = COMBINERS[name]
    steps = [_step(part) for part in rest]

    def run(key: Any, a: Any, b: Any) -> Any:
        subject = wrap(combine(key, a, b, argument))
        for step in steps:
            subject = step(subject, key, subject)
        return subject

    return run


def _step(part: str) -> Step:
    name, _, argument = part.partition(":")
    if name == "key":
        return lambda subject, key, value: key
    if name == "value":
        return lambda subject, key, value: value
    if name == "key_value":
        return lambda subject, key, value: f"{text(key)}={text(value)}"
    if name in LENIENT:
        lenient = LENIENT[name]
        return lambda subject, key, value: lenient(subject, argument)
    strict = STRICT[name]
    return lambda subject, key, value: None if subject is None else wrap(strict(subject, argument))


def _to_long(subject: Any, _: str) -> int:
    return int(subject)


def _fail_on(subject: Any, argument: str) -> Any:
    if text(subject) == argument:
        raise ValueError(f"fail_on:{argument}")
    return subject


def _number(argument: str) -> Any:
    return int(argument) if re.fullmatch(r"-?[0-9]+", argument) else float(argument)


STRICT: dict[str, Callable[[Any, str], Any]] = {
    "upper": lambda s, a: text(s).translate({low: low - 32 for low in range(97, 123)}),
    "lower": lambda s, a: text(s).translate({high: high + 32 for high in range(65, 91)}),
    "length": lambda s, a: len(s),
    "prefix": lambda s, a: s[: int(a)],
    "append": lambda s, a: s + a,
    "prepend": lambda s, a: a + s,
    "reverse": lambda s, a: s[::-1],
    "to_long": _to_long,
    "add": lambda s, a: s + _number(a),
    "sub": lambda s, a: s - _number(a),
    "mul": lambda s, a: s * _number(a),
    "mod": lambda s, a: s % int(a),
    "neg": lambda s, a: -s,
    "field": lambda s, a: s.get(a) if isinstance(s, dict) else None,
    "encode": lambda s, a: s.encode(),
    "decode": lambda s, a: s.decode(),
}
LENIENT: dict[str, Callable[[Any, str], Any]] = {
    "const": lambda s, a: a,
    "int": lambda s, a: int(a),
    "null": lambda s, a: None,
    "text": lambda s, a: text(s),
    "or": lambda s, a: a if s is None else s,
    "null_on": lambda s, a: None if text(s) == a else s,
    "fail_on": _fail_on,
    "object": lambda s, a: {a: s},
    "always": lambda s, a: True,
    "never": lambda s, a: False,
    "is_null": lambda s, a: s is None,
    "not_null": lambda s, a: s is not None,
    "is_even": lambda s, a: s is not None and s % 2 == 0,
    "is_odd": lambda s, a: s is not None and s % 2 == 1,
    "equals": lambda s, a: text(s) == a,
    "contains": lambda s, a: s is not None and a in text(s),
    "starts_with": lambda s, a: s is not None and text(s).startswith(a),
    "gt": lambda s, a: s is not None and s > _number(a),
    "lt": lambda s, a: s is not None and s < _number(a),
    "split_words": lambda s, a: [] if s is None else [w for w in s.split(" ") if w],
    "chars": lambda s, a: [] if s is None else list(s),
    "repeat": lambda s, a: [] if s is None else [s] * int(a),
    "one": lambda s, a: [s],
    "none": lambda s, a: [],
}
COMBINERS: dict[str, Callable[[Any, Any, Any, str], Any]] = {
    "first": lambda k, a, b, x: a,
    "last": lambda k, a, b, x: b,
    "null": lambda k, a, b, x: None,
    "pair": lambda k, a, b, x: f"{text(a)}|{text(b)}",
    "key_pair": lambda k, a, b, x: f"{text(k)}:{text(a)}|{text(b)}",
    "concat": lambda k, a, b, x: text(b) if a in {None, ""} else text(a) + x + text(b),
    "sum": lambda k, a, b, x: (a or 0) + (b or 0),
    "count": lambda k, a, b, x: (a or 0) + 1,
    "fail_on": lambda k, a, b, x: _fail_on(b, x),
    "max": lambda k, a, b, x: b if a is None else a if b is None or a >= b else b,
    "min": lambda k, a, b, x: b if a is None else a if b is None or a <= b else b,
}

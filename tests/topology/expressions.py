"""The oracle's functions: expressions over (key, value) and combiners over (key, a, b)."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable
from typing import Any

from streamkit.common.model import Windowed

Step = Callable[[Any, Any, Any], Any]
_WRAP = 1 << 64
_INTEGER = re.compile(r"-?[0-9]+")
_NUMBER = re.compile(r"-?[0-9]+([.][0-9]+)?([eE][-+]?[0-9]+)?")


class FunctionError(Exception):
    """What a function throws: a wrong argument, or `fail_on`."""


def wrap(number: Any) -> Any:
    """Integers are 64 bits and wrap."""
    if type(number) is int:
        return (number + _WRAP // 2) % _WRAP - _WRAP // 2
    return number


def text(value: Any) -> str:
    """text(v) of the oracle."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Windowed):
        return f"{text(value.key)}@{value.start}/{value.end}"
    if isinstance(value, list | dict):
        return json_text(value)
    if isinstance(value, float):
        return {math.inf: "inf", -math.inf: "-inf"}.get(value, repr(value))
    return str(value)


def plain(value: Any) -> Any:
    """A value as the oracle's JSON shows it."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Windowed):
        return {"key": plain(value.key), "start": value.start, "end": value.end}
    if isinstance(value, float) and not math.isfinite(value):
        return text(value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def json_text(value: Any) -> str:
    """Canonical JSON."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


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
    """Null is false; anything but a boolean fails."""
    run = expression(source)
    return lambda key, value: _truth(run(key, value))


def splitter(source: str) -> Callable[[Any, Any], list[Any]]:
    """Null is no items; anything but a list fails."""
    run = expression(source)

    def items(key: Any, value: Any) -> list[Any]:
        result = run(key, value)
        if result is None:
            return []
        if not isinstance(result, list):
            raise FunctionError(f"a splitter gave {text(result)}")
        return result

    return items


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
    if name == "pair_list":
        return lambda subject, key, value: [key, value]
    if name in LENIENT:
        lenient = LENIENT[name]
        return lambda subject, key, value: wrap(lenient(subject, argument))
    strict = STRICT[name]
    return lambda subject, key, value: None if subject is None else wrap(strict(subject, argument))


def _truth(result: Any) -> bool:
    if result is None or isinstance(result, bool):
        return bool(result)
    raise FunctionError(f"a predicate gave {text(result)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _to_long(subject: Any, _: str) -> int:
    if type(subject) is int:
        return subject
    shown = text(subject)
    if _INTEGER.fullmatch(shown) and wrap(int(shown)) == int(shown):
        return int(shown)
    raise FunctionError(f"to_long: {shown}")


def _to_double(subject: Any, _: str) -> float:
    if _is_number(subject):
        return float(subject)
    if _NUMBER.fullmatch(text(subject)):
        return float(text(subject))
    raise FunctionError(f"to_double: {text(subject)}")


def _fail_on(subject: Any, argument: str) -> Any:
    if text(subject) == argument:
        raise FunctionError(f"fail_on:{argument}")
    return subject


def _number(argument: str) -> Any:
    return int(argument) if _INTEGER.fullmatch(argument) else float(argument)


def _arithmetic(
    name: str, compute: Callable[[Any, Any], Any], *, whole: bool = False
) -> Callable[[Any, str], Any]:
    def run(subject: Any, argument: str) -> Any:
        number = _number(argument)
        if type(subject) is int and type(number) is int:
            return compute(subject, number)
        if _is_number(subject) and not whole:
            return compute(float(subject), float(number))
        raise FunctionError(f"{name}: not a fitting number: {text(subject)}")

    return run


def _integer(subject: Any, name: str) -> int:
    if type(subject) is int:
        return subject
    raise FunctionError(f"{name}: not an integer: {text(subject)}")


def _compared(name: str, wanted: Callable[[int], bool]) -> Callable[[Any, str], Any]:
    def run(subject: Any, argument: str) -> bool:
        if subject is None:
            return False
        if not _is_number(subject):
            raise FunctionError(f"{name}: not a number: {text(subject)}")
        return wanted(compare(subject, _number(argument)))

    return run


def compare(a: Any, b: Any) -> int:
    """Below, at or above zero, as Java's comparators."""
    if not (_is_number(a) and _is_number(b)):
        a, b = text(a), text(b)
    elif type(a) is not int or type(b) is not int:
        a, b = (_double_order(float(a)), _double_order(float(b)))
    return (a > b) - (a < b)


def _double_order(number: float) -> tuple[bool, float, bool]:
    """`Double.compare`: NaN above all, -0.0 below 0.0."""
    is_nan = math.isnan(number)
    return is_nan, 0.0 if is_nan else number, math.copysign(1, number) > 0


def _to_json(subject: Any, _: str) -> Any:
    try:
        return json.loads(text(subject))
    except ValueError:
        raise FunctionError(f"to_json: {text(subject)}") from None


def _decode(subject: Any, _: str) -> str:
    if isinstance(subject, bytes):
        return subject.decode("utf-8", "replace")
    raise FunctionError(f"decode: not bytes: {text(subject)}")


def _window(subject: Any, name: str) -> Windowed[Any]:
    if isinstance(subject, Windowed):
        return subject
    raise FunctionError(f"{name}: not a windowed key: {text(subject)}")


def _suffix(subject: Any, argument: str) -> str:
    shown = text(subject)
    return shown[max(len(shown) - max(int(argument), 0), 0) :]


def _after(subject: Any, argument: str) -> str | None:
    _, found, rest = text(subject).partition(argument)
    return rest if found else None


def _item(subject: Any, argument: str) -> Any:
    index = int(argument)
    return subject[index] if isinstance(subject, list) and 0 <= index < len(subject) else None


def _plus(a: Any, b: Any, sign: int, name: str) -> Any:
    a, b = 0 if a is None else a, 0 if b is None else b
    if type(a) is int and type(b) is int:
        return a + sign * b
    if _is_number(a) and _is_number(b):
        return float(a) + sign * float(b)
    raise FunctionError(f"{name}: not numbers: {text(a)}, {text(b)}")


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _remove(a: Any, b: Any) -> list[Any]:
    items = _list(a)
    for index, item in enumerate(items):
        if text(item) == text(b):
            return items[:index] + items[index + 1 :]
    return items


def _best(a: Any, b: Any, sign: int) -> Any:
    if a is None or b is None:
        return b if a is None else a
    return a if sign * compare(a, b) >= 0 else b


STRICT: dict[str, Callable[[Any, str], Any]] = {
    "upper": lambda s, a: text(s).translate({low: low - 32 for low in range(97, 123)}),
    "lower": lambda s, a: text(s).translate({high: high + 32 for high in range(65, 91)}),
    "length": lambda s, a: len(text(s)),
    "prefix": lambda s, a: text(s)[: max(int(a), 0)],
    "suffix": _suffix,
    "append": lambda s, a: text(s) + a,
    "prepend": lambda s, a: a + text(s),
    "reverse": lambda s, a: text(s)[::-1],
    "before": lambda s, a: text(s).partition(a)[0],
    "after": _after,
    "to_long": _to_long,
    "to_double": _to_double,
    "add": _arithmetic("add", lambda s, n: s + n),
    "sub": _arithmetic("sub", lambda s, n: s - n),
    "mul": _arithmetic("mul", lambda s, n: s * n),
    "div": _arithmetic("div", lambda s, n: s // n, whole=True),
    "mod": _arithmetic("mod", lambda s, n: s % n, whole=True),
    "neg": lambda s, a: -s if isinstance(s, float) else -_integer(s, "neg"),
    "to_json": _to_json,
    "encode": lambda s, a: text(s).encode(),
    "decode": _decode,
    "window_key": lambda s, a: _window(s, "window_key").key,
    "window_start": lambda s, a: _window(s, "window_start").start,
    "window_end": lambda s, a: _window(s, "window_end").end,
}
LENIENT: dict[str, Callable[[Any, str], Any]] = {
    "const": lambda s, a: a,
    "int": lambda s, a: int(a),
    "null": lambda s, a: None,
    "text": lambda s, a: text(s),
    "or": lambda s, a: a if s is None else s,
    "or_int": lambda s, a: int(a) if s is None else s,
    "null_on": lambda s, a: None if s is not None and text(s) == a else s,
    "fail_on": _fail_on,
    "object": lambda s, a: {a: s},
    "field": lambda s, a: s.get(a) if isinstance(s, dict) else None,
    "item": _item,
    "json_text": lambda s, a: json_text(s),
    "always": lambda s, a: True,
    "never": lambda s, a: False,
    "not": lambda s, a: not _truth(s),
    "is_null": lambda s, a: s is None,
    "not_null": lambda s, a: s is not None,
    "is_even": lambda s, a: s is not None and _integer(s, "is_even") & 1 == 0,
    "is_odd": lambda s, a: s is not None and _integer(s, "is_odd") & 1 == 1,
    "equals": lambda s, a: text(s) == a,
    "contains": lambda s, a: s is not None and a in text(s),
    "starts_with": lambda s, a: s is not None and text(s).startswith(a),
    "gt": _compared("gt", lambda sign: sign > 0),
    "ge": _compared("ge", lambda sign: sign >= 0),
    "lt": _compared("lt", lambda sign: sign < 0),
    "le": _compared("le", lambda sign: sign <= 0),
    "split_words": lambda s, a: [] if s is None else [w for w in text(s).split(" ") if w],
    "split": lambda s, a: [] if s is None else text(s).split(a),
    "chars": lambda s, a: [] if s is None else list(text(s)),
    "repeat": lambda s, a: [] if s is None else [s] * max(int(a), 0),
    "one": lambda s, a: [s],
    "none": lambda s, a: [],
}
COMBINERS: dict[str, Callable[[Any, Any, Any, str], Any]] = {
    "first": lambda k, a, b, x: a,
    "last": lambda k, a, b, x: b,
    "null": lambda k, a, b, x: None,
    "pair": lambda k, a, b, x: f"{text(a)}|{text(b)}",
    "key_pair": lambda k, a, b, x: f"{text(k)}:{text(a)}|{text(b)}",
    "concat": lambda k, a, b, x: (
        text(b) if a is None or a == "" else text(a) + x + text(b)  # not 0 or []
    ),
    "sum": lambda k, a, b, x: _plus(a, b, 1, "sum"),
    "subtract": lambda k, a, b, x: _plus(a, b, -1, "subtract"),
    "count": lambda k, a, b, x: _plus(a, 1, 1, "count"),
    "uncount": lambda k, a, b, x: _plus(a, 1, -1, "uncount"),
    "max": lambda k, a, b, x: _best(a, b, 1),
    "min": lambda k, a, b, x: _best(a, b, -1),
    "collect": lambda k, a, b, x: [*_list(a), b],
    "collect_sorted": lambda k, a, b, x: sorted([*_list(a), b], key=text),
    "remove": lambda k, a, b, x: _remove(a, b),
    "extend": lambda k, a, b, x: _list(a) + _list(b),
    "fail_on": lambda k, a, b, x: _fail_on(b, x),
}

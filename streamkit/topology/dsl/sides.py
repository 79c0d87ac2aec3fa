"""What is known of the keys or the values of a stream, and what follows from it.

A serde is said on the operator, read from a function's annotations, taken unchanged from
upstream, or configured as default, in this order; else the topology does not build.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from streamkit.common.errors import TopologyError
from streamkit.common.model import Windowed
from streamkit.serdes.lookup import find_serde, serde_for
from streamkit.serdes.serde import Serde
from streamkit.topology.dsl.annotations import call_site, hints_of
from streamkit.topology.dsl.fitting import may_take, type_name


@dataclass(frozen=True, slots=True)
class Side:
    """The serde of all keys or all values, and the type that it came from, where known."""

    serde: Serde[Any] | None = None
    declared: object = None


UNKNOWN = Side()


def said(choice: object) -> Side:
    """What `key=` or `value=` says: a type, a serde, or nothing."""
    if choice is None:
        return UNKNOWN
    serde = serde_for(choice)
    return Side(serde, None if serde is choice else choice)


def annotated(annotation: object) -> Side:
    """What an annotation says; of a class without a serde no more than that it is that class."""
    serde = None if annotation is None else find_serde(annotation)
    if serde is not None:
        return Side(serde, annotation)
    # `Any` is a class since Python 3.11, and says nothing.
    is_class = isinstance(annotation, type) and annotation not in {Any, object, type(None)}
    if not is_class or getattr(annotation, "_is_protocol", False):
        return UNKNOWN
    return Side(None, annotation)


def chosen(choice: object, function: Callable[..., object] | None, pick: Pick) -> Side:
    """What the operator says, else what its function's return annotation says.

    Raises TopologyError when both speak of types, and contradict each other.
    """
    if function is None:
        return said(choice)
    by_function = annotated(pick(hints_of(function).get("return")))
    if choice is None:
        return by_function
    name = getattr(function, "__name__", "a function")
    refuse_mismatch(by_function, said(choice), f"{name} at {call_site()}: the operator says")
    return said(choice)


def unless_said(choice: object, upstream: Side) -> Side:
    """What the operator says, else what comes from upstream unchanged."""
    return upstream if choice is None else said_over(choice, upstream)


def said_over(choice: object, upstream: Side) -> Side:
    """What the operator says. Raises TopologyError when that contradicts what comes."""
    want = said(choice)
    # What comes may have been filtered: the operator may say less, or more.
    if may_take(upstream.declared, want.declared) or may_take(want.declared, upstream.declared):
        return want
    raise TopologyError(
        f"{call_site()}: the operator says {type_name(want.declared)}, but "
        f"{type_name(upstream.declared)} comes: change one of the types"
    )


Pick = Callable[[object], object]
"""Picks the part of a return annotation that an operator turns into keys or values."""


def whole(annotation: object) -> object:
    """`-> R`: the value itself."""
    return annotation


def item(annotation: object) -> object:
    """`-> list[R]`, `-> Iterator[R]`: one of the values."""
    arguments = get_args(annotation)
    return arguments[0] if arguments else None


def first(annotation: object) -> object:
    """`-> tuple[K, R]`: the key."""
    arguments = get_args(annotation)
    return arguments[0] if len(arguments) == 2 else None


def second(annotation: object) -> object:
    """`-> tuple[K, R]`: the value."""
    arguments = get_args(annotation)
    return arguments[1] if len(arguments) == 2 else None


def refuse_mismatch(have: Side, want: Side, what: str) -> None:
    """Raise TopologyError when declared types contradict each other; `what` begins the message."""
    if have.declared is None or want.declared is None or have.serde == want.serde:
        return
    if _fits(have.declared, want.declared):
        return
    raise TopologyError(
        f"{what} {type_name(want.declared)}, but {type_name(have.declared)} comes: "
        "change one of the types"
    )


def _fits(have: object, want: object) -> bool:
    if have == want or (want is Windowed and get_origin(have) is Windowed):
        return True
    if have is int and want is float:
        return True
    if have is bool or not isinstance(have, type) or not isinstance(want, type):
        return False
    # A class without a serde may stand for more than one type: a number, a sequence.
    return issubclass(have, want)


def windowed_keys(serde: Serde[Any], key: Side) -> Side:
    """The keys of windows, by their serde, over such keys."""
    generic: Any = Windowed
    return Side(serde, generic if key.declared is None else generic[key.declared])

"""Random messages: one generator for every class that kio has."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import Field, fields
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from streamkit.protocol.errors import ErrorCode
from streamkit.protocol.messages import nested_types
from streamkit.protocol.units import from_timestamp
from streamkit.protocol.versions import is_nullable

MakeMessage = Callable[[type[Any], random.Random], Any]

_CODES = list(ErrorCode)


def _bits(size: int, signed: bool) -> Callable[[random.Random], int]:
    low = -(1 << (size - 1)) if signed else 0
    high = (1 << (size - signed)) - 1
    return lambda rng: rng.choice((low, high, 0, 1, rng.randint(low, high)))


def _text(rng: random.Random) -> str:
    return "".join(rng.choices("aZ0.-_ é\u20ac\U0001f600\0", k=rng.randrange(6)))


_MAKERS: dict[str, Callable[[random.Random], Any]] = {
    "bool": lambda rng: rng.random() < 0.5,
    "bytes": lambda rng: rng.randbytes(rng.randrange(200)),
    "records": lambda rng: rng.randbytes(rng.choice((0, 1, 127, 5000))),
    "string": _text,
    "uuid": lambda rng: rng.choice((None, UUID(int=rng.getrandbits(128) | 1))),
    "error_code": lambda rng: rng.choice(_CODES),
    "float64": lambda rng: rng.choice((0.0, -1.5, rng.random())),
    "datetime_i64": lambda rng: from_timestamp(rng.randrange(1 << 41)),
    "timedelta_i32": lambda rng: timedelta(milliseconds=rng.randint(-(1 << 31), (1 << 31) - 1)),
    "timedelta_i64": lambda rng: timedelta(milliseconds=rng.randint(-(1 << 44), 1 << 44)),
    **{f"int{size}": _bits(size, True) for size in (8, 16, 32, 64)},
    **{f"uint{size}": _bits(size, False) for size in (8, 16, 32, 64)},
}


def _make_field(field: Field[Any], nested: type[Any] | None, rng: random.Random) -> Any:
    if is_nullable(field) and "tag" not in field.metadata and rng.random() < 0.3:
        return None
    make = (lambda: make_message(nested, rng)) if nested else None
    if make is None:
        maker = _MAKERS[field.metadata["kafka_type"]]
        make = lambda: maker(rng)  # noqa: E731  # two lines of it would hide the table
    if str(field.type).startswith("tuple["):
        return tuple(make() for _ in range(rng.randrange(3)))
    return make()


def make_message(entity: type[Any], rng: random.Random) -> Any:
    """An instance with random fields."""
    nested = nested_types(entity)
    return entity(
        **{field.name: _make_field(field, nested.get(field.name), rng) for field in fields(entity)}
    )


@pytest.fixture(name="make_message")
def make_message_fixture() -> MakeMessage:
    """The generator of random messages."""
    return make_message

"""The shapes of kio's entities: what `walk` has to know to check a message's lengths."""

from __future__ import annotations

from dataclasses import Field, fields
from types import NoneType
from typing import Any, Final, get_args

from streamkit.protocol import kio_import as _kio_import  # noqa: F401  # before any of kio

# isort: split
from kio.serial._introspect import (
    EntityField,
    EntityTupleField,
    PrimitiveTupleField,
    classify_field,
    get_field_tag,
)

from streamkit.protocol.caching import cached
from streamkit.protocol.walk import (
    ARRAY,
    COMPACT_ARRAY,
    COMPACT_BYTES,
    ENTITY,
    FIXED,
    LONG_BYTES,
    SHORT_TEXT,
    TAGS,
    Shape,
    Step,
)

_SIZES: Final = {
    **dict.fromkeys(("int8", "uint8", "bool"), 1),
    **dict.fromkeys(("int16", "uint16", "error_code"), 2),
    **dict.fromkeys(("int32", "uint32", "timedelta_i32"), 4),
    **dict.fromkeys(("int64", "uint64", "float64", "timedelta_i64", "datetime_i64"), 8),
    "uuid": 16,
}


@cached
def shape_of(entity: type[Any]) -> Shape:
    """The shape of an entity's class."""
    flexible = entity.__flexible__
    steps: list[Step] = []
    tags: dict[int, Shape] = {}
    for field in fields(entity):
        name = f"{entity.__name__}.{field.name}"
        tag = get_field_tag(field)
        if tag is None:
            _add(steps, _step(field, name, flexible, _is_nullable(field)))
        else:
            tags[int(tag)] = Shape([_step(field, name, flexible, _is_nullable(field))])
    if flexible:
        steps.append(Step(TAGS, f"{entity.__name__}'s tags", tags=tags))
    return Shape(steps)


def _add(steps: list[Step], step: Step) -> None:
    if steps and step.op == FIXED and steps[-1].op == FIXED:
        steps[-1] = Step(FIXED, steps[-1].name, size=steps[-1].size + step.size)
    else:
        steps.append(step)


def _step(field: Field[Any], name: str, flexible: bool, nullable: bool) -> Step:
    kind = classify_field(field)
    if isinstance(kind, EntityField):
        return Step(ENTITY, name, nullable=nullable, shape=shape_of(kind.type_))
    if isinstance(kind, EntityTupleField):
        return Step(_array(flexible), name, nullable=nullable, shape=shape_of(kind.type_))
    if isinstance(kind, PrimitiveTupleField):
        items = Shape([_primitive(field, name, flexible, nullable=False)])
        return Step(_array(flexible), name, nullable=nullable, shape=items)
    return _primitive(field, name, flexible, nullable)


def _primitive(field: Field[Any], name: str, flexible: bool, nullable: bool) -> Step:
    kafka_type = field.metadata["kafka_type"]
    if kafka_type in _SIZES:
        return Step(FIXED, name, size=_SIZES[kafka_type])
    if flexible:
        return Step(COMPACT_BYTES, name, nullable=nullable)
    return Step(SHORT_TEXT if kafka_type == "string" else LONG_BYTES, name, nullable=nullable)


def _array(flexible: bool) -> int:
    return COMPACT_ARRAY if flexible else ARRAY


def _is_nullable(field: Field[Any]) -> bool:
    return NoneType in get_args(field.type)

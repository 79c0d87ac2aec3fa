"""Canonical messages: handlers see the newest version only; this module translates the others.

`upgrade` and `downgrade` copy what both versions have, fill what is new with the schema's
defaults and drop what is gone. Fields that only old versions have (a topic's name where the
canonical message has its id) are the handler's business: it builds such messages with `fill`.
Converters are made once for each pair of classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from datetime import timedelta
from operator import attrgetter
from types import NoneType
from typing import Any, get_args

from streamkit.protocol import kio_import as _kio_import  # noqa: F401  # before any of kio

# isort: split
from kio.static.constants import EntityType

from streamkit.protocol.apis import VERSIONS, ApiKey, newest_version
from streamkit.protocol.caching import cached
from streamkit.protocol.errors import error_code
from streamkit.protocol.messages import Message, nested_types, request_type, response_type
from streamkit.protocol.units import from_ms, from_timestamp

Convert = Callable[[Any], Any]


def canonical_request(api: int) -> type[Any]:
    """The class of the request as handlers see it."""
    return request_type(api, newest_version(api))


def canonical_response(api: int) -> type[Any]:
    """The class of the response as handlers make it."""
    return response_type(api, newest_version(api))


def upgrade(message: Message) -> Message:
    """The same message in its newest stable version."""
    return downgrade(message, newest_version(int(message.__api_key__)))


def downgrade(message: Message, version: int) -> Message:
    """The same message in another version; what that version lacks is dropped."""
    source = type(message)
    if source.__version__ == version:
        return message
    return _converter(source, _sibling(source, version))(message)


def fill(entity: type[Any], values: Mapping[str, Any]) -> Message:
    """An entity from plain values by field name; nested entities are mappings or entities.

    What is not given gets the schema's default. Milliseconds do for durations and times, and
    numbers for error codes. A name that only other versions of the message have is dropped; one
    that no version has raises TypeError.
    """
    coercers = _coercers(entity)
    given = {}
    for name, value in values.items():
        coerce = coercers.get(name)
        if coerce is not None:
            given[name] = coerce(value)
        elif not _is_known_elsewhere(entity, name):
            raise TypeError(f"{entity.__name__} has no field {name!r} in any version")
    return entity(**{**_defaults(entity), **given})


@cached
def _sibling(source: type[Any], version: int) -> type[Any]:
    load = request_type if source.__type__ is EntityType.request else response_type
    return load(int(source.__api_key__), version)


@cached
def _converter(source: type[Any], target: type[Any]) -> Convert:
    if source is target:
        return _identity
    have = {field.name for field in fields(source)}
    shared = [field.name for field in fields(target) if field.name in have]
    added = {field.name: default_of(field) for field in fields(target) if field.name not in have}
    nested = [*_nested_converters(source, target), *_null_converters(source, target)]
    read = _reader_of(shared)

    def convert(message: Any) -> Any:
        values = dict(zip(shared, read(message), strict=True))
        for name, convert_nested in nested:
            values[name] = convert_nested(values[name])
        return target(**values, **added)

    return convert


def _reader_of(names: list[str]) -> Convert:
    if len(names) > 1:
        return attrgetter(*names)
    if not names:
        return lambda _: ()
    read = attrgetter(names[0])
    return lambda message: (read(message),)


def _nested_converters(source: type[Any], target: type[Any]) -> list[tuple[str, Convert]]:
    sources = nested_types(source)
    return [
        (name, _convert_nested(_converter(sources[name], entity)))
        for name, entity in nested_types(target).items()
        if name in sources
    ]


def _null_converters(source: type[Any], target: type[Any]) -> list[tuple[str, Convert]]:
    # A null that the version cannot say becomes its type's zero, as Kafka does for the protocol
    # name of JoinGroup before version 7 and for the topics of Metadata version 0.
    nullable = {field.name for field in fields(source) if is_nullable(field)}
    return [
        (field.name, _replace_null(default_of(field)))
        for field in fields(target)
        if field.name in nullable and not is_nullable(field)
    ]


def _replace_null(zero: Any) -> Convert:
    return lambda value: zero if value is None else value


def _convert_nested(convert: Convert) -> Convert:
    def convert_value(value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, tuple | list):
            return tuple(map(convert, value))
        return convert(value)

    return convert_value


def default_of(field: Field[Any]) -> Any:
    """The schema's default of a field: its own, or the zero of its type."""
    if field.default is not MISSING:
        return field.default
    if is_nullable(field):
        return None
    kind: Any = field.type
    if str(kind).startswith("tuple["):
        return ()
    if "kafka_type" not in field.metadata:
        return fill(kind, {})
    return _ZEROS[field.metadata["kafka_type"]]


def is_nullable(field: Field[Any]) -> bool:
    """Whether the field itself may be null (not: its items)."""
    return NoneType in get_args(field.type)


_ZEROS: dict[str, Any] = {
    **dict.fromkeys(("int8", "int16", "int32", "int64", "uint16", "uint32"), 0),
    "bool": False,
    "bytes": b"",
    "datetime_i64": from_timestamp(0),
    "error_code": error_code(0),
    "float64": 0.0,
    "records": b"",
    "string": "",
    "timedelta_i32": from_ms(0),
    "timedelta_i64": from_ms(0),
}


@cached
def _defaults(entity: type[Any]) -> dict[str, Any]:
    return {field.name: default_of(field) for field in fields(entity)}


@cached
def _coercers(entity: type[Any]) -> dict[str, Convert]:
    nested = nested_types(entity)
    return {
        field.name: _coerce_entities(nested[field.name])
        if field.name in nested
        else _COERCERS.get(field.metadata["kafka_type"], _identity)
        if not str(field.type).startswith("tuple[")
        else _coerce_tuple
        for field in fields(entity)
    }


def _coerce_entities(entity: type[Any]) -> Convert:
    def coerce_one(value: Any) -> Any:
        if isinstance(value, Mapping):
            return fill(entity, value)
        return _converter(type(value), entity)(value)

    def coerce(value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, tuple | list):
            return tuple(map(coerce_one, value))
        return coerce_one(value)

    return coerce


def _coerce_tuple(value: Any) -> Any:
    return None if value is None else tuple(value)


def _coerce_duration(value: Any) -> Any:
    return value if isinstance(value, timedelta) else from_ms(value)


def _coerce_time(value: Any) -> Any:
    return from_timestamp(value) if isinstance(value, int) else value


def _identity(value: Any) -> Any:
    return value


_COERCERS: dict[str, Convert] = {
    "datetime_i64": _coerce_time,
    "error_code": error_code,
    "timedelta_i32": _coerce_duration,
    "timedelta_i64": _coerce_duration,
}


@cached
def _is_known_elsewhere(entity: type[Any], name: str) -> bool:
    # A version is loaded for this only when those before it do not have the name: first the one
    # that is spoken, then the newest, which has nearly all, and the oldest, which has what went.
    api = int(entity.__api_key__)
    low, high = VERSIONS[ApiKey(api)]
    versions = dict.fromkeys((int(entity.__version__), high, *range(low, high)))
    return any(name in _names_of(api, version) for version in versions)


@cached
def _names_of(api: int, version: int) -> frozenset[str]:
    names: set[str] = set()
    for entity in (request_type(api, version), response_type(api, version)):
        _collect_names(entity, names)
    return frozenset(names)


def _collect_names(entity: type[Any], names: set[str]) -> None:
    names.update(field.name for field in fields(entity))
    for nested in nested_types(entity).values():
        _collect_names(nested, names)

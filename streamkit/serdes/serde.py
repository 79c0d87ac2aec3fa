"""The serde protocol: one type's way to bytes and back.

A serde never sees null: callers pass null through as null bytes. A serde that fails raises
SerializationError, or any ValueError or TypeError, which the caller reports with the record; with
RetriableSerializationError the record is read again. A serde may have two things more: `for_keys()`
gives what it is for keys, and with `writes_headers` it is given headers that it may change, as a
list, where they are written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from streamkit.common.model import Headers

T = TypeVar("T")


@runtime_checkable
class Serde(Protocol[T]):
    """Turns values of type T into bytes and back."""

    def serialize(self, topic: str, value: T, headers: Headers, /) -> bytes | None: ...

    def deserialize(self, topic: str, data: bytes, headers: Headers, /) -> T: ...


def for_keys(serde: Serde[T]) -> Serde[T]:
    """The serde as keys have it; most make no difference between keys and values."""
    change = getattr(serde, "for_keys", None)
    return serde if change is None else change()


def writes_headers(serde: object) -> bool:
    """Whether a serde changes the headers of what it writes."""
    return bool(getattr(serde, "writes_headers", False))


def serialize_with_headers(
    serde: Serde[T], topic: str, value: T, headers: Headers
) -> tuple[bytes | None, Headers]:
    """A value's bytes and the headers to write them with."""
    if not writes_headers(serde):
        return serde.serialize(topic, value, headers), headers
    changed: Any = list(headers)
    data = serde.serialize(topic, value, changed)
    return data, tuple(changed)


@dataclass(frozen=True, slots=True)
class FunctionSerde(Generic[T]):
    """A serde of two plain functions, as `from_functions` makes it."""

    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]

    def serialize(self, topic: str, value: T, headers: Headers, /) -> bytes | None:
        return self.encode(value)

    def deserialize(self, topic: str, data: bytes, headers: Headers, /) -> T:
        return self.decode(data)


def from_functions(encode: Callable[[T], bytes], decode: Callable[[bytes], T]) -> Serde[T]:
    """A serde of two functions that need neither topic nor headers.

    >>> from_functions(str.encode, bytes.decode).serialize("words", "a", ())
    b'a'
    """
    return FunctionSerde(encode, decode)

"""The serde protocol: one type's way to bytes and back.

A serde never sees null: callers pass null through as null bytes. A serde that fails raises
SerializationError, or any ValueError or TypeError, which the caller reports with the record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, runtime_checkable

from streamkit.common.model import Headers

T = TypeVar("T")


@runtime_checkable
class Serde(Protocol[T]):
    """Turns values of type T into bytes and back."""

    def serialize(self, topic: str, value: T, headers: Headers, /) -> bytes | None: ...

    def deserialize(self, topic: str, data: bytes, headers: Headers, /) -> T: ...


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

"""Lists of any serde's values, byte for byte as Java's ListSerializer writes them.

One byte says how: 0, entries of one size, with the places of nulls in front (how many, each one in
four bytes), or 1, each entry behind its size in four bytes, -1 for null. The number of entries
follows it, or follows the nulls.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from streamkit.common.errors import SerializationError
from streamkit.common.model import Headers
from streamkit.serdes import builtin
from streamkit.serdes.lookup import serde_for
from streamkit.serdes.serde import Serde, for_keys

T = TypeVar("T")

_CONSTANT_SIZE, _VARIABLE_SIZE = 0, 1
_NULL = -1
_INT = struct.Struct(">i")
_SIZES = (
    (builtin.short, 2),
    (builtin.integer, 4),
    (builtin.float32, 4),
    (builtin.long, 8),
    (builtin.double, 8),
    (builtin.uuid, 36),
)
"""The serdes whose values all have one size, as in Java; bool is not among them there."""


@dataclass(frozen=True, slots=True)
class ListSerde:
    """See the module; an entry may be None."""

    inner: Serde[Any]

    def for_keys(self) -> ListSerde:
        """With keys inside."""
        return ListSerde(for_keys(self.inner))

    def serialize(self, topic: str, value: list[Any], headers: Headers, /) -> bytes:
        if not isinstance(value, list | tuple):
            raise SerializationError(f"topic {topic}: the serde takes a list, not {value!r:.80}")
        items = [None if each is None else self._bytes(topic, each) for each in value]
        if self._size is None:
            return _pack(_VARIABLE_SIZE, [len(items)], (_with_size(item) for item in items))
        nulls = [place for place, item in enumerate(items) if item is None]
        return _pack(
            _CONSTANT_SIZE, [len(nulls), *nulls, len(items)], (item for item in items if item)
        )

    def deserialize(self, topic: str, data: bytes, headers: Headers, /) -> list[Any]:
        try:
            return [
                None if item is None else self.inner.deserialize(topic, item, ())
                for item in self._items(data)
            ]
        except (IndexError, struct.error) as error:
            raise SerializationError(f"topic {topic}: {data[:40]!r} is no list") from error

    @property
    def _size(self) -> int | None:
        return next((size for serde, size in _SIZES if serde is self.inner), None)

    def _bytes(self, topic: str, item: Any) -> bytes:
        return self.inner.serialize(topic, item, ()) or b""

    def _items(self, data: bytes) -> Iterator[bytes | None]:
        """The entries' bytes. Raises IndexError or struct.error when there are too few."""
        how, at = data[0], 1
        nulls: set[int] = set()
        if how == _CONSTANT_SIZE:
            (count,) = _INT.unpack_from(data, at)
            nulls = {_INT.unpack_from(data, at + 4 * n)[0] for n in range(1, count + 1)}
            at += 4 * (max(count, 0) + 1)
        elif how != _VARIABLE_SIZE:
            raise IndexError(how)
        (count,) = _INT.unpack_from(data, at)
        at += 4
        fixed = self._size
        for place in range(count):
            if place in nulls:
                yield None
                continue
            size = fixed
            if how == _VARIABLE_SIZE:
                (size,) = _INT.unpack_from(data, at)
                at += 4
            if size == _NULL:
                yield None
                continue
            if size is None or not 0 <= size <= len(data) - at:
                raise IndexError(place)
            yield data[at : at + size]
            at += size


def list_of(inner: type[T] | Serde[T]) -> Serde[list[T]]:
    """Lists as Java's `Serdes.ListSerde(ArrayList.class, inner)` has them; `list[T]` is JSON.

    >>> list_of(str).serialize("words", ["a"], ())
    b'\\x01\\x00\\x00\\x00\\x01\\x00\\x00\\x00\\x01a'
    """
    return ListSerde(serde_for(inner))


def _pack(how: int, numbers: Iterable[int], items: Iterable[bytes]) -> bytes:
    return bytes([how]) + b"".join(map(_INT.pack, numbers)) + b"".join(items)


def _with_size(item: bytes | None) -> bytes:
    return _INT.pack(_NULL) if item is None else _INT.pack(len(item)) + item

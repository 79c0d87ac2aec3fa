"""The consumers' embedded protocol: subscriptions and assignments inside JoinGroup and SyncGroup.

Type "consumer", not flexible, an int16 version in front of each. Newer versions only add fields
at the end, so that a reader takes what it knows (ConsumerProtocol).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

CONSUMER = "consumer"
"""The protocol type of consumers."""
NEWEST = 3
OWNED_SINCE = 1
GENERATION_SINCE = 2
RACK_SINCE = 3


class MalformedSubscriptionError(ValueError):
    """The metadata of a member is not a consumer's: take the group for one of another type."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a consumer says when it joins."""

    version: int
    topics: tuple[str, ...]
    user_data: bytes | None = None
    owned: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    generation: int = -1
    rack: str | None = None


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def int16(self) -> int:
        return int.from_bytes(self._take(2), "big", signed=True)

    def int32(self) -> int:
        return int.from_bytes(self._take(4), "big", signed=True)

    def count(self) -> int:
        """An array's length; an element takes at least two bytes."""
        count = self.int32()
        if not 0 <= count <= len(self._data):
            raise MalformedSubscriptionError(f"an array of {count}")
        return count

    def string(self) -> str:
        text = self.nullable_string()
        if text is None:
            raise MalformedSubscriptionError("a null string")
        return text

    def nullable_string(self) -> str | None:
        length = self.int16()
        if length < 0:
            return None
        try:
            return self._take(length).decode()
        except UnicodeDecodeError as error:
            raise MalformedSubscriptionError("a string that is not UTF-8") from error

    def nullable_bytes(self) -> bytes | None:
        length = self.int32()
        return None if length < 0 else self._take(length)

    def partitions(self) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        for _ in range(self.count()):
            topic = self.string()
            found[topic] = tuple(self.int32() for _ in range(self.count()))
        return found

    def _take(self, length: int) -> bytes:
        taken = self._data[self._position : self._position + length]
        if len(taken) != length:
            raise MalformedSubscriptionError("it ends too early")
        self._position += length
        return taken


def read_subscription(data: bytes) -> Subscription:
    """Raises MalformedSubscriptionError."""
    reader = _Reader(data)
    version = reader.int16()
    if version < 0:
        raise MalformedSubscriptionError(f"version {version}")
    topics = tuple(reader.string() for _ in range(reader.count()))
    user_data = reader.nullable_bytes()
    owned = reader.partitions() if version >= OWNED_SINCE else {}
    generation = reader.int32() if version >= GENERATION_SINCE else -1
    rack = reader.nullable_string() if version >= RACK_SINCE else None
    return Subscription(version, topics, user_data, owned, generation, rack)


def read_assignment(data: bytes) -> tuple[dict[str, tuple[int, ...]], bytes]:
    """Partitions by topic, and the assignor's user data. Raises MalformedSubscriptionError."""
    reader = _Reader(data)
    version = reader.int16()
    if version < 0:
        raise MalformedSubscriptionError(f"version {version}")
    return reader.partitions(), reader.nullable_bytes() or b""


def write_assignment(version: int, partitions: Mapping[str, Iterable[int]]) -> bytes:
    """An assignment as the members' leader writes it, without user data."""
    parts = [struct.pack(">hi", min(max(version, 0), NEWEST), len(partitions))]
    for topic, indexes in sorted(partitions.items()):
        name, numbers = topic.encode(), sorted(indexes)
        parts.append(struct.pack(">h", len(name)) + name)
        parts.append(struct.pack(f">i{len(numbers)}i", len(numbers), *numbers))
    return b"".join(parts) + struct.pack(">i", -1)

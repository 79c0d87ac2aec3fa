"""Values of either side of a stream-stream join, as Kafka Streams' LeftOrRightValueSerde.

One byte, 1 for the left side, then the value's own bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from streamkit.common.model import Headers
from streamkit.serdes.serde import Serde


@dataclass(frozen=True, slots=True)
class SidedSerde:
    """Pairs (is left, value), each side with a serde of its own."""

    left: Serde[Any]
    right: Serde[Any]

    def serialize(self, topic: str, value: tuple[bool, Any], headers: Headers, /) -> bytes:
        is_left, inner = value
        data = (self.left if is_left else self.right).serialize(topic, inner, ())
        return bytes([is_left]) + (data or b"")

    def deserialize(self, topic: str, data: bytes, headers: Headers, /) -> tuple[bool, Any]:
        is_left = data[0] == 1
        serde = self.left if is_left else self.right
        return is_left, serde.deserialize(topic, data[1:], ())

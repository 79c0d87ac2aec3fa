"""The messages of foreign-key joins, byte for byte as Kafka Streams writes them.

A subscription goes from the left table's row to the partition of the foreign key; the response
brings back the right table's row. Both carry the hash of the left row, so that a response to an
older row is recognised. The first byte has the version, and in its top bit that there is no hash.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from streamkit.common.errors import SerializationError
from streamkit.common.model import Headers
from streamkit.serdes.serde import Serde

SUBSCRIPTION_VERSION = 1
RESPONSE_VERSION = 0
_NO_HASH = 0x80
_HASH_SIZE = 16
_INT = struct.Struct(">i")


class Instruction(IntEnum):
    """What the receiver of a subscription does, and what it answers."""

    DELETE_KEY_NO_PROPAGATE = 0
    DELETE_KEY_AND_PROPAGATE = 1
    PROPAGATE_NULL_IF_NO_FK_VAL_AVAILABLE = 2
    PROPAGATE_ONLY_IF_FK_VAL_AVAILABLE = 3


@dataclass(frozen=True, slots=True)
class Subscription:
    """A left row's interest in a foreign key; `partition` is where its response must go."""

    hash: bytes | None
    instruction: Instruction
    primary_key: Any
    partition: int | None


@dataclass(frozen=True, slots=True)
class Response:
    """The right row for a subscription; its `partition` is not written."""

    hash: bytes | None
    value: Any
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class SubscriptionSerde:
    """Subscriptions over the serde of the left table's keys, which sees `key_topic` for a topic."""

    key: Serde[Any]
    key_topic: str

    def serialize(self, topic: str, value: Subscription, headers: Headers, /) -> bytes:
        key = self.key.serialize(self.key_topic, value.primary_key, ()) or b""
        flag = SUBSCRIPTION_VERSION | (_NO_HASH if value.hash is None else 0)
        start = bytes([flag, value.instruction]) + (value.hash or b"")
        return start + key + _INT.pack(value.partition or 0)

    def deserialize(self, topic: str, data: bytes, headers: Headers, /) -> Subscription:
        version = data[0] & ~_NO_HASH
        if version > SUBSCRIPTION_VERSION:
            raise SerializationError(f"topic {topic}: a subscription of version {version}")
        at = 2 if data[0] & _NO_HASH else 2 + _HASH_SIZE
        end = len(data) if version == 0 else len(data) - _INT.size
        return Subscription(
            data[2:at] or None,
            Instruction(data[1]),
            self.key.deserialize(self.key_topic, data[at:end], ()),
            None if version == 0 else _INT.unpack(data[end:])[0],
        )


@dataclass(frozen=True, slots=True)
class ResponseSerde:
    """Responses over the serde of the right table's rows."""

    value: Serde[Any]

    def serialize(self, topic: str, value: Response, headers: Headers, /) -> bytes:
        row = b""
        if value.value is not None:
            row = self.value.serialize(topic, value.value, ()) or b""
        flag = RESPONSE_VERSION | (_NO_HASH if value.hash is None else 0)
        return bytes([flag]) + (value.hash or b"") + row

    def deserialize(self, topic: str, data: bytes, headers: Headers, /) -> Response:
        version = data[0] & ~_NO_HASH
        if version != RESPONSE_VERSION:
            raise SerializationError(f"topic {topic}: a response of version {version}")
        at = 1 if data[0] & _NO_HASH else 1 + _HASH_SIZE
        row = data[at:]
        value = self.value.deserialize(topic, row, ()) if row else None
        return Response(data[1:at] or None, value)

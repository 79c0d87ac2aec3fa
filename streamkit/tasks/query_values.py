"""Keys of queries from text, and rows to JSON; pure.

A key is written as its type reads: text as it is, numbers in digits, bytes in base64, anything
else as the JSON that its serde reads.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import BaseModel

from streamkit import serdes
from streamkit.common.model import TopicPartition
from streamkit.serdes import Serde
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.state.queries import Row
from streamkit.tasks.asks import Failure, PartitionAnswer

_INTEGERS = (serdes.long, serdes.integer, serdes.short)
_DECIMALS = (serdes.double, serdes.float32)


def key_bytes(serde: Serde[Any], topic: str, text: str) -> bytes:
    """The serialized key that a text stands for. Raises ValueError with what was expected."""
    try:
        if serde is serdes.raw:
            return base64.b64decode(text, validate=True)
        if serde in _INTEGERS:
            return serde.serialize(topic, int(text), ()) or b""
        if serde in _DECIMALS:
            return serde.serialize(topic, float(text), ()) or b""
        key = text if serde is serdes.string else serde.deserialize(topic, text.encode(), ())
        return serde.serialize(topic, key, ()) or b""
    except Exception as error:  # whatever a user's serde raises for a text that is no key
        raise ValueError(f"{text!r} is no key of this store: {error}") from error


def answer_json(
    answer: PartitionAnswer, builder: StoreBuilder | None, topic: str
) -> dict[str, Any]:
    """One partition's answer, ready for `dumps`."""
    told: dict[str, Any] = {
        "partition": answer.partition,
        "active": answer.is_active,
        "lag": answer.lag,
        "position": {str(tp): offset for tp, offset in sorted(answer.position.items())},
    }
    if answer.failure is not None:
        return told | {"failure": answer.failure.name}
    assert builder is not None, "a page comes of a store"
    assert answer.page is not None, "there is a page or a failure"
    after = answer.page.after
    rows = [_row_json(row, builder, topic) for row in answer.page.rows]
    return told | {"rows": rows, "after": None if after is None else after.hex()}


def failed_json(partition: int, failure: Failure, why: str) -> dict[str, Any]:
    """A partition that nobody answered for."""
    return {"partition": partition, "failure": failure.name, "why": why, "position": {}}


def _row_json(row: Row, builder: StoreBuilder, topic: str) -> dict[str, Any]:
    told = {
        "key": builder.key_serde.deserialize(topic, row.key, ()),
        "value": builder.value_serde.deserialize(topic, row.value, ()),
        "timestamp": row.timestamp,
    }
    if row.headers is not None:
        told["headers"] = [
            [name, None if data is None else data.decode("utf-8", "backslashreplace")]
            for name, data in row.headers
        ]
    if builder.kind is StoreKind.VERSIONED:
        told["valid_to"] = row.end
    elif row.start is not None:
        told["window"] = {"start": row.start, "end": row.end}
    return told


def dumps(told: Any) -> str:
    """JSON text; what JSON has no word for is written as text."""
    return orjson.dumps(told, default=_plain, option=orjson.OPT_NON_STR_KEYS).decode()


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    return str(value)


def parse_position(text: str) -> dict[TopicPartition, int]:
    """A position bound such as `orders-0:120,orders-1:98`. Raises ValueError."""
    bound = {}
    for part in filter(None, text.split(",")):
        name, _, offset = part.rpartition(":")
        topic, _, partition = name.rpartition("-")
        if not topic or not partition.isdigit() or not offset.isdigit():
            raise ValueError(f"a position is written TOPIC-PARTITION:OFFSET, not {part!r}")
        bound[TopicPartition(topic, int(partition))] = int(offset)
    return bound


def write_position(bound: Mapping[TopicPartition, int]) -> str:
    """What `parse_position` reads."""
    return ",".join(f"{tp}:{offset}" for tp, offset in bound.items())


def parse_after(text: str) -> dict[int, bytes]:
    """Where pages go on, such as `0:6162,2:` and hex. Raises ValueError."""
    after = {}
    for part in filter(None, text.split(",")):
        partition, colon, key = part.partition(":")
        if not colon or not partition.isdigit():
            raise ValueError(f"next is what the last page gave, not {text!r}")
        after[int(partition)] = bytes.fromhex(key)
    return after


def write_after(after: Mapping[int, bytes]) -> str:
    """What `parse_after` reads."""
    return ",".join(f"{partition}:{key.hex()}" for partition, key in after.items())

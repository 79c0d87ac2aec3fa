"""JSON by orjson: dicts, lists and what they hold.

Keys of objects are sorted, so that equal values have equal bytes and can be record keys.
"""

from __future__ import annotations

from typing import Any

import orjson

from streamkit.common.errors import SerializationError
from streamkit.common.model import Headers


class JsonSerde:
    """UTF-8 JSON text of any value that JSON can hold."""

    __slots__ = ()

    def serialize(self, topic: str, value: Any, headers: Headers, /) -> bytes | None:
        try:
            return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        except orjson.JSONEncodeError as error:
            raise SerializationError(f"topic {topic}: {value!r:.80}: {error}") from error

    def deserialize(self, topic: str, data: bytes, headers: Headers, /) -> Any:
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise SerializationError(f"topic {topic}: {data[:80]!r}: {error}") from error


json = JsonSerde()

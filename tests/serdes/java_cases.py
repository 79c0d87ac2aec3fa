"""The cases of `tests/judges/SerdeVectors.java`, as this side says them, and what Java wrote."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from uuid import UUID

from streamkit import serdes
from streamkit.common.model import Windowed

RECORDED = Path(__file__).parent / "java_vectors.tsv"

AN_ID = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
FLOAT_MIN, FLOAT_MAX = 2.0**-149, (2 - 2.0**-23) * 2.0**127
DOUBLE_MIN, DOUBLE_MAX = 5e-324, 1.7976931348623157e308


def _several(name: str, serde: Any, *values: Any) -> dict[str, tuple[Any, Any]]:
    return {f"{name} {number}": (serde, value) for number, value in enumerate(values)}


CASES: dict[str, tuple[Any, Any]] = {
    **_several("string", serdes.string, "", "a", "é 日本", "a\0b", "😀"),
    **_several("long", serdes.long, 0, -2, 2**63 - 1, -(2**63)),
    **_several("integer", serdes.integer, 0, -2, 2**31 - 1, -(2**31)),
    **_several("short", serdes.short, 0, -2, 2**15 - 1, -(2**15)),
    **_several("float", serdes.float32, 1.5, -0.0, math.nan, -math.inf, FLOAT_MIN, FLOAT_MAX),
    **_several("double", serdes.double, 1.5, -0.0, math.nan, -math.inf, DOUBLE_MIN, DOUBLE_MAX),
    **_several("boolean", serdes.boolean, True, False),
    "uuid": (serdes.uuid, AN_ID),
    "bytes": (serdes.raw, b"\x00\xff\x07"),
    "Bytes": (serdes.raw, b"\x00\xff\x07"),
    "ByteBuffer": (serdes.raw, b"xyz"),
    "list of long": (serdes.list_of(int), [7, None, -2, None]),
    "list of integer": (serdes.list_of(serdes.integer), [7, -2]),
    "list of short": (serdes.list_of(serdes.short), [7, None]),
    "list of float": (serdes.list_of(serdes.float32), [1.5]),
    "list of double": (serdes.list_of(float), [1.5, None]),
    "list of uuid": (serdes.list_of(UUID), [AN_ID, None]),
    "list of boolean": (serdes.list_of(bool), [True, None, False]),
    "list of string": (serdes.list_of(str), ["a", None, "", "é"]),
    "list of nothing": (serdes.list_of(str), []),
    "list of no long": (serdes.list_of(int), []),
    "list of lists": (serdes.list_of(serdes.list_of(serdes.integer)), [[7], [8, 9]]),
    "time windowed": (serdes.time_windowed(str, 3_600_000), Windowed("k", 3_600_000, 7_200_000)),
    "time windowed long": (serdes.time_windowed(int, 60_000), Windowed(7, 60_000, 120_000)),
    "session windowed": (serdes.session_windowed(str), Windowed("k", 1_000, 61_000)),
    "session of one": (serdes.session_windowed(str), Windowed("", 77, 77)),
}

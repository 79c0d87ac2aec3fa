"""The record codec: nanoseconds a record to encode and to decode, compiled and interpreted.

A batch of 100-byte records, one of short words with their keys, and one of records with two
headers; the best of several rounds in CPU time. Decoding finds where keys and values lie, and
`columns` makes objects of them all. The interpreted codec is the same source files, loaded beside
the compiled ones.

    python -m benchmarks.codec
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import streamkit.records.codec as compiled
from benchmarks.machine import about
from tests.interpreted import interpreted_codec

RECORDS = 10_000
ROUNDS = 15
TIMESTAMP = 1_700_000_000_000
HEADERS = (("trace", b"0af7651916cd43dd"), ("source", b"benchmark"))

CASES: dict[str, tuple[bytes | None, bytes, tuple[tuple[str, bytes], ...]]] = {
    "value of 100 bytes": (None, b"x" * 100, ()),
    "word with key": (b"streams", b"streams", ()),
    "100 bytes and 2 headers": (b"key", b"x" * 100, HEADERS),
}


def columns(codec: Any, data: bytes, header: Any) -> object:
    """Every key, value, time and header of a batch."""
    batch = codec.decode(data, header)
    return batch.keys, batch.values, batch.timestamps, batch.headers


def best_ns(rounds: int, work: Callable[..., object], *arguments: object) -> float:
    """Nanoseconds a record of the quickest round."""
    seconds = []
    for _ in range(rounds):
        started = time.thread_time()
        work(*arguments)
        seconds.append(time.thread_time() - started)
    return round(min(seconds) / RECORDS * 1e9, 1)


def measure(codec: Any, rounds: int) -> dict[str, dict[str, float]]:
    """Encode, decode and check (what a broker does before it appends) for each case."""
    results = {}
    for name, (key, value, headers) in CASES.items():
        records = [(key, value, TIMESTAMP + number // 100, headers) for number in range(RECORDS)]
        data = codec.encode(records)
        header = codec.read_header(data)
        results[name] = {
            "encode_ns": best_ns(rounds, codec.encode, records),
            "decode_ns": best_ns(rounds, codec.decode, data, header),
            "columns_ns": best_ns(rounds, columns, codec, data, header),
            "check_ns": best_ns(rounds, codec.check_records, data, header),
        }
    return results


def main() -> None:
    result: dict[str, Any] = {"about": about()}
    if compiled.COMPILED:
        result["compiled"] = measure(compiled, ROUNDS)
    result["interpreted"] = measure(interpreted_codec(), 3)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

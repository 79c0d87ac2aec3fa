"""Keys go where the Java producer's default partitioner sends them, compiled and interpreted."""

from __future__ import annotations

from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2 as foreign_murmur2

from streamkit.common import partitioner
from tests.interpreted import interpreted

INTERPRETED = interpreted("common.partitioner")
assert not INTERPRETED.COMPILED


# The vectors of Kafka's own UtilsTest.
@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
@pytest.mark.parametrize("module", [partitioner, INTERPRETED])
def test_murmur2_is_the_java_producers(module: ModuleType, key: bytes, expected: int) -> None:
    assert module.murmur2(key) == expected


@given(st.binary(max_size=70), st.integers(1, 2**31 - 1))
def test_both_forms_agree_with_a_foreign_client(key: bytes, partitions: int) -> None:
    foreign = foreign_murmur2(key) & 0xFFFFFFFF
    for module in (partitioner, INTERPRETED):
        assert module.murmur2(key) & 0xFFFFFFFF == foreign
        assert module.partition_for(key, partitions) == (foreign & 0x7FFFFFFF) % partitions


@pytest.mark.parametrize("module", [partitioner, INTERPRETED])
def test_ascii_text_goes_where_its_bytes_go(module):
    for text in ("", "a", "foobar", "a-little-bit-longer-string"):
        assert module.partition_for(text, 7) == module.partition_for(text.encode(), 7)

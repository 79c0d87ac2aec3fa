"""Bytes as Java's serdes wrote them (`tests/judges/test_serde_vectors.py` asks Java anew)."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkit import serdes
from streamkit.common.errors import SerializationError
from tests.serdes.java_cases import CASES, RECORDED

LINES = [line.split("\t") for line in RECORDED.read_text().splitlines()]


@pytest.mark.parametrize(("name", "data"), [line for line in LINES if line[1] != "null"])
def test_value_has_java_s_bytes_and_comes_back(name: str, data: str) -> None:
    serde, value = CASES[name]
    assert serde.serialize("topic", value, ()).hex() == data
    back = serde.deserialize("topic", bytes.fromhex(data), ())
    assert back == value or (math.isnan(back) and math.isnan(value))


def test_every_case_of_java_is_tried_here_and_void_is_null() -> None:
    assert {name for name, data in LINES if data != "null"} == set(CASES)
    assert [name for name, data in LINES if data == "null"] == ["void"]


def test_void_takes_and_gives_nothing() -> None:
    with pytest.raises(SerializationError, match="topic t: the serde takes only null, not int"):
        serdes.void.serialize("t", 7, ())  # type: ignore[arg-type]  # what is refused
    with pytest.raises(SerializationError, match="topic t: 3 bytes where only null is due"):
        serdes.void.deserialize("t", b"abc", ())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x02\0\0\0\0",
        b"\x01\0\0\0\x05",
        b"\x01\0\0\0\x01\0\0\0\x09abc",
        b"\x01\0\0\0\x01\xff\xff\xff\xfeabc",
        b"\x00\0\0\0\x01\0\0\0\x00",
        b"\x00\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x07",
    ],
)
def test_bytes_that_are_no_list_are_refused(data: bytes) -> None:
    with pytest.raises(SerializationError, match=r"topic t: .* is no list"):
        serdes.list_of(int).deserialize("t", data, ())


def test_value_that_is_no_list_is_refused() -> None:
    with pytest.raises(SerializationError, match="topic t: the serde takes a list, not 'abc'"):
        serdes.list_of(str).serialize("t", "abc", ())  # type: ignore[arg-type]  # what is refused


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)))
def test_lists_of_one_size_round_trip(value: list[Any]) -> None:
    serde = serdes.list_of(int)
    assert serde.deserialize("t", serde.serialize("t", value, ()) or b"", ()) == value


@given(st.lists(st.none() | st.lists(st.none() | st.binary(max_size=5))))
def test_lists_of_many_sizes_round_trip(value: list[Any]) -> None:
    serde = serdes.list_of(serdes.list_of(bytes))
    assert serde.deserialize("t", serde.serialize("t", value, ()) or b"", ()) == value

"""Serdes: bytes as Java writes them, typed JSON, and which serde a type has."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType, TypeVar
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from streamkit import serdes
from streamkit.common.errors import SerializationError, TopologyError
from streamkit.common.model import Headers, Windowed

UserId = NewType("UserId", int)
T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"


@dataclass(frozen=True)
class Item:
    name: str
    amount: int = 5


class Order(BaseModel):
    number: int = Field(alias="no")
    items: list[Item]


@dataclass
class Parcel:
    """What JSON has no types for, one inside another."""

    items: list[Item]
    by_color: dict[Color, tuple[int, ...]]
    sent: datetime
    weight: Decimal | None = None
    tags: frozenset[str] = frozenset()
    inner: Parcel | None = None
    parts: list[Parcel] = field(default_factory=list)


def roundtrip(declared: Any, value: Any) -> bytes:
    serde = serdes.serde_for(declared)
    data = serde.serialize("orders", value, ())
    assert data is not None
    assert serde.deserialize("orders", data, ()) == value
    return data


@pytest.mark.parametrize(
    ("declared", "value", "data"),
    [
        (str, "é", b"\xc3\xa9"),
        (bytes, b"\x00x", b"\x00x"),
        (int, -2, b"\xff\xff\xff\xff\xff\xff\xff\xfe"),
        (float, 1.5, b"\x3f\xf8\x00\x00\x00\x00\x00\x00"),
        (bool, True, b"\x01"),
        (UUID, UUID(int=7), b"00000000-0000-0000-0000-000000000007"),
        (dict, {"b": 2, "a": [None]}, b'{"a":[null],"b":2}'),
        (list, [3, "x"], b'[3,"x"]'),
        (dict[str, list[int | None]], {"a": [3]}, b'{"a":[3]}'),
        (Item, Item("pen", 7), b'{"name":"pen","amount":7}'),
        (list[Item], [Item("pen")], b'[{"name":"pen","amount":5}]'),
        (Order, Order(no=7, items=[Item("pen")]), b'{"no":7,"items":[{"name":"pen","amount":5}]}'),
        (Color, Color.RED, b'"red"'),
        (tuple[str, int], ("a", 7), b'["a",7]'),
        (int | str, "x", b'"x"'),
        (int | None, 7, b"\x00\x00\x00\x00\x00\x00\x00\x07"),
        (UserId, UserId(7), b"\x00\x00\x00\x00\x00\x00\x00\x07"),
        (Annotated[int, serdes.integer], 7, b"\x00\x00\x00\x07"),
        (Literal["a", "b"], "b", b"b"),
        (serdes.short, -3, b"\xff\xfd"),
        (serdes.float32, 0.5, b"\x3f\x00\x00\x00"),
    ],
)
def test_type_has_its_serde(declared: Any, value: Any, data: bytes) -> None:
    assert roundtrip(declared, value) == data


def test_nested_dataclasses_keep_their_types() -> None:
    sent = datetime(2026, 11, 21, 10, 30, tzinfo=UTC)
    inner = Parcel([], {}, sent)
    parcel = Parcel(
        [Item("pen", 7)],
        {Color.RED: (3, 5)},
        sent,
        Decimal("1.50"),
        frozenset({"a"}),
        inner,
        [inner],
    )
    data = roundtrip(Parcel, parcel)
    assert data.startswith(
        b'{"items":[{"name":"pen","amount":7}],"by_color":{"red":[3,5]},'
        b'"sent":"2026-11-21T10:30:00Z","weight":"1.50","tags":["a"],"inner":{"items":[],'
    )
    assert roundtrip(list[Parcel], [parcel, inner]).startswith(b'[{"items":[{"name":"pen"')


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63)])
def test_edges_of_64_bits_fit(number: int) -> None:
    roundtrip(int, number)


@pytest.mark.parametrize(
    ("serde", "number"),
    [
        (serdes.long, 2**63),
        (serdes.integer, 2**31),
        (serdes.short, -(2**15) - 1),
        (serdes.float32, 1e300),
    ],
)
def test_number_outside_the_range_is_refused(serde: serdes.Serde[Any], number: Any) -> None:
    with pytest.raises(SerializationError, match=r"topic orders: .* does not fit in \d+ bits"):
        serde.serialize("orders", number, ())


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        (str, 7),
        (int, True),
        (int, "7"),
        (float, "7"),
        (bool, 1),
        (bytes, "x"),
        (UUID, "x"),
        (dict, {1: object()}),
        (Item, {"name": "pen"}),
        (list[Item], [7]),
        (str, "\ud800"),
    ],
)
def test_value_of_another_type_is_refused_with_the_topic(declared: Any, value: Any) -> None:
    with pytest.raises(SerializationError, match="topic orders"):
        serdes.serde_for(declared).serialize("orders", value, ())


@pytest.mark.parametrize(
    ("declared", "data"),
    [
        (int, b"1234567"),
        (float, b""),
        (bool, b"\x02"),
        (bool, b"ab"),
        (UUID, b"nonsense"),
        (dict, b"{"),
        (Item, b'{"amount":7}'),
    ],
)
def test_bytes_that_do_not_fit_are_refused_with_the_topic(declared: Any, data: bytes) -> None:
    with pytest.raises(SerializationError, match="topic orders"):
        serdes.serde_for(declared).deserialize("orders", data, ())


def test_malformed_text_reads_as_java_reads_it() -> None:
    assert serdes.string.deserialize("orders", b"a\xff", ()) == "a�"


def test_model_error_names_field_and_reason_in_one_line() -> None:
    with pytest.raises(SerializationError) as caught:
        serdes.serde_for(Order).deserialize("orders", b'{"no":"x","items":[]}', ())
    assert "is no Order: no: Input should be a valid integer" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("declared", [object, Any, complex, T, 7, "str"])
def test_type_without_a_serde_is_refused(declared: Any) -> None:
    with pytest.raises(TopologyError, match="no serde for type"):
        serdes.serde_for(declared)


def test_same_type_has_the_same_serde() -> None:
    assert serdes.serde_for(Item) is serdes.serde_for(Item)
    assert serdes.serde_for(int) is serdes.long
    assert serdes.as_serde(None) is None


def test_functions_make_a_serde() -> None:
    serde = serdes.from_functions(str.encode, bytes.decode)
    assert serdes.serde_for(serde) is serde
    assert serde.deserialize("orders", b"x", ()) == "x"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_round_trips(text: str) -> None:
    roundtrip(str, text)


@given(st.integers(-(2**63), 2**63 - 1))
def test_longs_round_trip(number: int) -> None:
    assert int.from_bytes(roundtrip(int, number), "big", signed=True) == number


@given(st.floats(allow_nan=False))
def test_doubles_round_trip(number: float) -> None:
    roundtrip(float, number)


def test_windowed_keys_are_key_then_times() -> None:
    # As WindowedSerdes writes them: the start alone; for sessions the end, then the start.
    window = Windowed("k", 1000, 61_000)
    by_time = serdes.time_windowed(str, 60_000)
    assert by_time.serialize("t", window, ()) == b"k" + (1000).to_bytes(8, "big")
    assert by_time.deserialize("t", by_time.serialize("t", window, ()) or b"", ()) == window
    by_session = serdes.session_windowed(serdes.string)
    data = by_session.serialize("t", window, ()) or b""
    assert data == b"k" + (61_000).to_bytes(8, "big") + (1000).to_bytes(8, "big")
    assert by_session.deserialize("t", data, ()) == window


class Short:
    """A serde whose author left the headers out."""

    def serialize(self, topic: str, value: str) -> bytes:
        return value.encode()

    def deserialize(self, topic: str, data: bytes, headers: Headers) -> str:
        return data.decode()


def test_a_serde_that_cannot_be_called_is_refused_where_it_is_declared() -> None:
    wanted = r"serde Short: it is called as serialize\(topic, value, headers\), and takes \(topic"
    with pytest.raises(TopologyError, match=wanted):
        serdes.serde_for(Short())


def test_a_class_of_serdes_is_none() -> None:
    with pytest.raises(TopologyError, match=r"Short is a class: pass a serde, as in Short\(\)"):
        serdes.serde_for(Short)

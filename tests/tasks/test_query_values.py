"""Keys from text, rows to JSON, positions and page marks as text."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from pydantic import BaseModel

from streamkit import serdes
from streamkit.common.model import TopicPartition
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.state.queries import Page, Row
from streamkit.tasks.asks import Failure, PartitionAnswer
from streamkit.tasks.query_values import (
    answer_json,
    dumps,
    key_bytes,
    parse_after,
    parse_position,
    write_after,
    write_position,
)


class Order(BaseModel):
    id: int
    items: list[str]


@dataclass
class Point:
    x: int
    y: int


@pytest.mark.parametrize(
    ("serde", "text", "expected"),
    [
        (serdes.string, "a b/c", b"a b/c"),
        (serdes.long, "-7", b"\xff" * 7 + b"\xf9"),
        (serdes.integer, "258", b"\x00\x00\x01\x02"),
        (serdes.double, "0.5", b"\x3f\xe0" + b"\x00" * 6),
        (serdes.raw, "AAH/", b"\x00\x01\xff"),
        (serdes.serde_for(Point), '{"y": 2, "x": 1}', b'{"x":1,"y":2}'),
    ],
)
def test_key_of_a_text(serde, text, expected):
    assert key_bytes(serde, "topic", text) == expected


@pytest.mark.parametrize(
    ("serde", "text"), [(serdes.long, "seven"), (serdes.raw, "?"), (serdes.serde_for(Point), "1")]
)
def test_text_that_is_no_key_is_refused_by_name(serde, text):
    with pytest.raises(ValueError, match="no key of this store"):
        key_bytes(serde, "topic", text)


def test_rows_are_written_as_the_user_knows_them():
    serde = serdes.serde_for(Order)
    builder = StoreBuilder("orders", StoreKind.WINDOW, serdes.string, serde)
    value = serde.serialize("t", Order(id=7, items=["x"]), ())
    answer = PartitionAnswer(
        5,
        Page([Row(b"k", value, 4_000, 3_000, 8_000)], b"\x01k"),
        position={TopicPartition("in-put", 5): 44},
        lag=9,
    )
    assert json.loads(dumps(answer_json(answer, builder, "t"))) == {
        "partition": 5,
        "active": True,
        "lag": 9,
        "position": {"in-put-5": 44},
        "rows": [
            {
                "key": "k",
                "value": {"id": 7, "items": ["x"]},
                "timestamp": 4_000,
                "window": {"start": 3_000, "end": 8_000},
            }
        ],
        "after": "016b",
    }


def test_failures_have_their_name():
    told = answer_json(PartitionAnswer(3, failure=Failure.NOT_ACTIVE), None, "t")
    assert told["failure"] == "NOT_ACTIVE"


def test_what_json_has_no_word_for_is_written_somehow():
    told = json.loads(dumps({"b": b"\x00\xff", "s": {3}, "p": Point(1, 2), "c": 1 + 2j}))
    assert told == {"b": "AP8=", "s": [3], "p": {"x": 1, "y": 2}, "c": "(1+2j)"}


def test_positions_and_page_marks_are_read_as_they_are_written():
    bound = {TopicPartition("or-ders", 3): 120, TopicPartition("b", 0): 7}
    assert parse_position(write_position(bound)) == bound
    after = {3: b"\x00k", 12: b""}
    assert parse_after(write_after(after)) == after
    assert parse_position("") == parse_after("") == {}


@pytest.mark.parametrize("text", ["orders:5", "orders-0", "orders-x:5", "orders-0:-1"])
def test_malformed_position_is_refused(text):
    with pytest.raises(ValueError, match="TOPIC-PARTITION:OFFSET"):
        parse_position(text)


@pytest.mark.parametrize("text", ["5", "x:00", "5:zz"])
def test_malformed_page_mark_is_refused(text):
    with pytest.raises(ValueError, match=r"next is what|hexadecimal"):
        parse_after(text)

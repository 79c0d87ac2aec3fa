"""Foreign-key joins: over several partitions, with partitioners, and their messages."""

from __future__ import annotations

import pytest

import streamkit as sk
from streamkit.common.errors import FatalError, SerializationError
from streamkit.common.murmur3 import hash128
from streamkit.serdes import long, string
from streamkit.serdes.subscriptions import (
    Instruction,
    Response,
    ResponseSerde,
    Subscription,
    SubscriptionSerde,
)

HASH = bytes(range(100, 116))


def program(**options: object) -> sk.App:
    """Orders (number to customer) with the names of the customers."""
    app = sk.App("bought")
    orders = app.table("orders", key=int, value=str)
    names = app.table("names", key=str, value=str)
    joined = orders.join(
        names,
        lambda order, name: f"{order}={name}",
        on=lambda _, c: c,
        value=str,
        name="joined",
        **options,
    )  # type: ignore[call-overload]  # options of every kind
    joined.to_stream().to("out")
    return app


@pytest.mark.parametrize("partitions", [1, 7])
def test_rows_find_each_other_over_all_partitions(partitions: int) -> None:
    with program().test(partitions=partitions) as t:
        for number in range(20):
            t.pipe("orders", number, f"c{number % 3}", at=30)
        t.pipe("names", "c1", "Ann", at=20)
        t.pipe("names", "c2", "Bob", at=40)
        t.pipe("orders", 4, "c2", at=50)
        t.pipe("orders", 5, None, at=60)
        rows = {}
        for record in t.read("out"):
            rows[record.key] = record.value
        rows_of = {n: r for p in range(partitions) for n, r in t.store("joined", p).all()}
    expected = dict.fromkeys(range(1, 20, 3), "c1=Ann") | dict.fromkeys(range(2, 20, 3), "c2=Bob")
    expected |= {4: "c2=Bob"}
    assert rows == expected | {5: None}
    del expected[5]
    assert rows_of == expected


def test_left_join_gives_rows_without_partner() -> None:
    app = sk.App("bought")
    orders = app.table("orders", key=int, value=str)
    names = app.table("names", key=str, value=str)
    named = orders.left_join(names, lambda order, name: name or "?", on=lambda _, c: c, value=str)
    named.to_stream().to("out")
    with app.test(partitions=5) as t:
        t.pipe("orders", 7, "c1")
        t.pipe("names", "c1", "Ann")
        t.pipe("names", "c1", None)
        assert [(r.key, r.value) for r in t.read("out")] == [(7, "?"), (7, "Ann"), (7, "?")]


def test_partitioners_say_where_the_tables_rows_are() -> None:
    app = program(
        partitioner=lambda topic, key, value, count: 3,
        other_partitioner=lambda topic, key, value, count: [2],
    )
    with app.test(partitions=5) as t:
        t.pipe("orders", 7, "c1", partition=3)
        t.pipe("names", "c1", "Ann", partition=2)
        assert [r.value for r in t.read("out")] == ["c1=Ann"]


def test_partitioner_of_several_partitions_is_refused() -> None:
    app = program(other_partitioner=lambda topic, key, value, count: [2, 3])
    with app.test(partitions=5) as t, pytest.raises(FatalError, match="one partition only"):
        t.pipe("orders", 7, "c1")


def test_topics_of_the_join_are_partitioned_like_the_tables() -> None:
    parts = program().topology.subtopologies
    groups = {
        topic: group for part in parts for group in part.copartition_groups for topic in group
    }
    assert set(groups["orders"]) == {
        "orders", "bought-KTABLE-FK-JOIN-SUBSCRIPTION-RESPONSE-0000000014-topic",
    }  # fmt: skip
    assert len(groups["names"]) == 2


def test_subscription_is_written_as_kafka_does() -> None:
    serde = SubscriptionSerde(string, "s-pk")
    message = Subscription(HASH, Instruction.PROPAGATE_ONLY_IF_FK_VAL_AVAILABLE, "pk", 5)
    data = serde.serialize("t", message, ())
    assert data == b"\x01\x03" + HASH + b"pk" + b"\0\0\0\x05"
    assert serde.deserialize("t", data, ()) == message
    without = Subscription(None, Instruction.DELETE_KEY_AND_PROPAGATE, "pk", 5)
    assert serde.serialize("t", without, ()) == b"\x81\x01pk\0\0\0\x05"
    assert serde.deserialize("t", b"\x81\x01pk\0\0\0\x05", ()) == without
    assert serde.deserialize("t", b"\x00\x02" + HASH + b"pk", ()) == Subscription(
        HASH, Instruction.PROPAGATE_NULL_IF_NO_FK_VAL_AVAILABLE, "pk", None
    )
    with pytest.raises(SerializationError, match="version 2"):
        serde.deserialize("t", b"\x02\x01pk\0\0\0\x05", ())


def test_response_is_written_as_kafka_does() -> None:
    serde = ResponseSerde(long)
    assert serde.serialize("t", Response(HASH, 7, 5), ()) == b"\0" + HASH + (7).to_bytes(8, "big")
    assert serde.serialize("t", Response(None, None, 5), ()) == b"\x80"
    assert serde.deserialize("t", b"\0" + HASH, ()) == Response(HASH, None)
    with pytest.raises(SerializationError, match="version 3"):
        serde.deserialize("t", b"\x03" + HASH, ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", "3361634e7e0f5188e9c7dda24eae326b"),
        ("hello", "30bfb4f39919e764566aea857401d1c6"),
        ("0123456789abcdef", "1a6e941ec6a76967d7d82808f505d6b1"),
        ("0123456789abcdefg", "a93635c3ece7b605aeed6784d1b08b32"),
        ("the quick brown fox jumps over the lazy dog", "02c400fed0da43bedf6165624053a941"),
    ],
)
def test_hash_is_kafkas(text: str, expected: str) -> None:
    """Recorded from org.apache.kafka.streams.state.internals.Murmur3 of 4.3.1."""
    assert hash128(text.encode()).hex() == expected

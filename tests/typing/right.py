"""A program whose types fit: mypy strict and pyright find nothing to say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, assert_type

import streamkit as sk


@dataclass
class Order:
    item: str
    amount: int


app = sk.App("right", config={"commit.interval.ms": 100})

lines = app.topic("lines", key=str, value=str)
counts = app.topic("counts", key=str, value=int)
orders = app.topic("orders", key=str, value=Order)
amounts = app.topic("amounts", key=str, value=int)
items = app.topic("items", key=int, value=str)

assert_type(lines, sk.Topic[str, str])
assert_type(app.stream(orders), sk.Stream[str, Order])

table = (
    app.stream(lines)
    .flat_map_values(str.split, value=str)
    .group_by(lambda _, word: word, key=str)
    .count(name="counts")
)
assert_type(table, sk.Table[str, int])
table.to_stream().to(counts)


def amount_of(order: Order) -> int:
    return order.amount


def total(_key: str, order: Order, so_far: int) -> int:
    return so_far + order.amount


stream = app.stream(orders)
stream.map_values(amount_of).to(amounts)
stream.map_values(lambda key, order: f"{key}{order.item}", with_key=True, value=str).to(lines)
stream.map(lambda key, order: (order.amount, order.item), key=int, value=str).to(items)
stream.group_by_key().aggregate(0, total, name="totals").to_stream().to(amounts)
stream.group_by_key().aggregate(list[str], lambda k, o, all_: [*all_, o.item], value=list[str])
stream.filter(lambda key, order: order.amount > 5).process(amount_of).to(amounts)
stream.to(lambda record: f"orders-{record.key}")


def with_price(order: Order, price: int) -> int:
    return order.amount * price


prices = app.table("prices", key=str, value=int)
stream.join(prices, with_price).to(amounts)
stream.left_join(prices, lambda order, price: price or order.amount, value=int).to(amounts)
cheap = prices.filter(lambda item, price: price < 5).map_values(lambda price: price * 2, value=int)
cheap.join(prices, lambda a, b: a + b, value=int).to_stream().to(amounts)
cheap.group_by(lambda item, price: (price, item), key=int, value=str).count()
windowed = stream.group_by_key().windowed_by(sk.tumbling("1m", grace="5s")).count()
assert_type(windowed, "sk.Table[sk.Windowed[str], int]")
windowed.to_stream().map(lambda w, n: (w.key, n), key=str, value=int).to(amounts)

clicks = app.topic("clicks", key=str, value=int)
people = app.global_table("people", key=int, value=str)
assert_type(people, sk.GlobalTable[int, str])
both = stream.join(app.stream(clicks), with_price, within="5m", grace="1m")
assert_type(both, sk.Stream[str, int])
stream.left_join(app.stream(clicks), lambda order, n: n or order.amount, within="5m", value=int)
stream.outer_join(app.stream(clicks), lambda o, n: str(o) + str(n), within="5m", value=str)
named = stream.join(people, lambda order, name: name, on=lambda k, order: order.amount, value=str)
named.to(lines)
stream.left_join(people, lambda order, name: name or "?", on=lambda k, o: o.amount, value=str)
versions = sk.Materialized("versions", kind="versioned", history="1h")
history = app.table("history", key=str, value=int, store=versions)
stream.join(history, with_price, grace="1m").to(amounts)
owners = app.table("owners", key=int, value=str)
owned = prices.join(owners, lambda price, owner: owner, on=lambda item, price: price, value=str)
assert_type(owned, sk.Table[str, str])
prices.left_join(owners, lambda p, o: o or "?", on=lambda item, price: price, value=str)
windowed.suppress("window_closes", max_records=1000, when_full="shut_down").to_stream()
cheap.suppress("5m").to_stream().to(amounts)


@app.processor(lines, to=counts)
def count(word: str, seen: sk.KeyValue[str, int]) -> int:
    seen[word] = seen.get(word, 0) + 1
    return seen[word]


@app.processor(orders, to=amounts)
def large(order: Order) -> int | None:
    return order.amount if order.amount > 5 else None


@app.processor(orders, to=lines)
def letters(order: Order) -> Iterator[str]:
    yield from order.item


@app.processor(orders, to=items)
def by_amount(order: sk.Record[str, Order], ctx: sk.Context) -> sk.Record[int, str]:
    return sk.Record(order.value.amount, order.value.item, ctx.timestamp)


@app.processor(orders)
def note(order: Order, ctx: sk.Context, log: sk.KeyValueStore[str, Order]) -> None:
    log.put(ctx.topic, order)
    for _, old in log.range("a", "b"):
        print(old.amount)


assert_type(count("a", {}), int)
assert_type(large(Order("pen", 7)), "int | None")

registry = sk.serdes.SchemaRegistry("http://localhost:8081", config={"timeout": 5})
assert_type(sk.serdes.avro("{}", registry=registry), sk.serdes.Serde[dict[str, Any]])
assert_type(sk.serdes.avro(registry=registry, use_latest=True), sk.serdes.Serde[dict[str, Any]])
assert_type(sk.serdes.avro({}, registry="mock://x", model=Order), sk.serdes.Serde[Order])
assert_type(sk.serdes.json_schema(Order, registry=registry), sk.serdes.Serde[Order])
assert_type(sk.serdes.json_schema("{}", registry=registry, model=Order), sk.serdes.Serde[Order])
assert_type(sk.serdes.protobuf(Order, registry=registry), sk.serdes.Serde[Order])
assert_type(sk.serdes.list_of(int), sk.serdes.Serde[list[int]])
assert_type(sk.serdes.list_of(sk.serdes.string), sk.serdes.Serde[list[str]])

bought = app.topic("bought", key=str, value=sk.serdes.avro("{}", registry=registry, model=Order))
assert_type(bought, sk.Topic[str, Order])
app.stream(bought).map_values(amount_of).to(amounts)

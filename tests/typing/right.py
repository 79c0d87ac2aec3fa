"""A program whose types fit: mypy strict and pyright find nothing to say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
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


# Aggregations of every kind.
@dataclass(frozen=True)
class Months:
    size_ms: int = 31 * 86_400_000
    grace_ms: int = 0

    def starts(self, timestamp: int) -> Iterator[int]:
        yield timestamp

    def end(self, start: int) -> int:
        return start + self.size_ms


def longest(one: str, two: str) -> str:
    return max(one, two, key=len)


def both_totals(_key: str, one: int, two: int) -> int:
    return one + two


grouped = app.stream(lines).group_by_key()
of_orders = stream.group_by_key()
assert_type(grouped, sk.GroupedStream[str, str])
assert_type(grouped.count(), sk.Table[str, int])
assert_type(grouped.reduce(longest), sk.Table[str, str])
assert_type(of_orders.aggregate(0, total), sk.Table[str, int])
assert_type(of_orders.aggregate(lambda: 0, total), sk.Table[str, int])
assert_type(of_orders.windowed_by(sk.tumbling("1m")), sk.WindowedStream[str, Order])
assert_type(grouped.windowed_by(sk.hopping("1m", "5s")).count(), "sk.Table[sk.Windowed[str], int]")
assert_type(
    grouped.windowed_by(sk.sliding("1m")).reduce(longest), "sk.Table[sk.Windowed[str], str]"
)
assert_type(grouped.windowed_by(Months()).reduce(longest), "sk.Table[sk.Windowed[str], str]")
assert_type(
    of_orders.windowed_by(sk.session("1m"), emit="on_close").aggregate(0, total, both_totals),
    "sk.Table[sk.Windowed[str], int]",
)
assert_type(
    of_orders.windowed_by(sk.unlimited()).aggregate(0, total), "sk.Table[sk.Windowed[str], int]"
)


def add_length(_key: str, line: str, so_far: int) -> int:
    return so_far + len(line)


cogrouped = of_orders.cogroup(total).cogroup(grouped, add_length)
assert_type(cogrouped, sk.CogroupedStream[str, int])
assert_type(cogrouped.aggregate(0), sk.Table[str, int])
assert_type(
    cogrouped.windowed_by(sk.tumbling("1m")).aggregate(0), "sk.Table[sk.Windowed[str], int]"
)
assert_type(
    cogrouped.windowed_by(sk.session("1m")).aggregate(0, both_totals),
    "sk.Table[sk.Windowed[str], int]",
)

by_price = prices.group_by(lambda item, price: (price, item), key=int, value=str)
assert_type(by_price, sk.GroupedTable[int, str])
assert_type(by_price.count(name="by-price"), sk.Table[int, int])
assert_type(by_price.reduce(longest, lambda all_, gone: all_), sk.Table[int, str])
assert_type(
    by_price.aggregate(0, lambda k, item, n: n + 1, lambda k, item, n: n - 1, value=int),
    sk.Table[int, int],
)

# Joins of every kind.
assert_type(stream.join(prices, with_price), sk.Stream[str, int])
assert_type(
    stream.join(prices, lambda key, order, price: key, with_key=True, value=str),
    sk.Stream[str, str],
)
assert_type(
    stream.left_join(prices, lambda key, order, price: price, with_key=True),
    "sk.Stream[str, int | None]",
)
assert_type(
    stream.left_join(app.stream(clicks), lambda o, n: n or 0, within="1m", value=int),
    sk.Stream[str, int],
)
assert_type(
    stream.outer_join(
        app.stream(clicks), lambda k, o, n: k, before="1m", after="5s", with_key=True, value=str
    ),
    sk.Stream[str, str],
)
assert_type(
    stream.join(people, lambda k, o, name: name, on=lambda k, o: o.amount, with_key=True),
    sk.Stream[str, str],
)
assert_type(prices.join(cheap, lambda a, b: a + b, value=int, name="sums"), sk.Table[str, int])
assert_type(prices.left_join(cheap, lambda a, b: b or a, value=int), sk.Table[str, int])
assert_type(prices.outer_join(cheap, lambda a, b: a or b or 0, value=int), sk.Table[str, int])
assert_type(windowed.join(windowed, lambda a, b: a + b), "sk.Table[sk.Windowed[str], int]")

# What else makes streams and tables of others.
assert_type(app.stream(lines).to_table(name="latest"), sk.Table[str, str])
assert_type(app.stream(lines).repartition(partitions=7), sk.Stream[str, str])
assert_type(app.stream(lines).merge(app.stream(lines)), sk.Stream[str, str])
assert_type(app.stream(lines).deduplicate(within="1h"), sk.Stream[str, str])
branches = app.stream(lines).split()
assert_type(branches.branch(lambda key, line: line == "a"), sk.Stream[str, str])
assert_type(branches.default_branch(), sk.Stream[str, str])
assert_type(prices.transform_values(lambda key, price: price or 0, value=int), sk.Table[str, int])
assert_type(table.view(), sk.View[str, int])
assert_type(table.to_stream(), sk.Stream[str, int])
assert_type(table.to_stream(lambda key, count: count, key=int), sk.Stream[int, int])
assert_type(app.table(lines, on_error="skip"), sk.Table[str, str])


# Stores of every form, async functions, resources, classes.
class Tags:
    def __init__(self, rows: sk.KeyValueStore[str, str]) -> None:
        self.rows = rows

    def tagged(self, word: str) -> bool:
        return word in self.rows


seen_windows = sk.store("w", key=str, value=int, form="window", retention="1h", window="1m")
own_store = sk.store("tags", key=str, value=str, interface=Tags)


known_prices = prices.view()


@app.processor(lines, to=counts, stores={"windows": seen_windows, "tags": own_store})
def in_windows(
    record: sk.Record[str, str],
    windows: sk.WindowStore[str, int],
    tags: Tags,
    times: sk.TimestampedStore[str, int],
    known: sk.View[str, int] = known_prices,
) -> int | None:
    window = sk.Windowed(record.key, 0, 60_000)
    windows.put(window, known.get(record.value, 0), record.timestamp)
    row = windows.get(window)
    times.put(record.key, 1, record.timestamp)
    return None if row is None or not tags.tagged(record.value) else row.value


class Service:
    async def length(self, word: str) -> int:
        return len(word)


@app.resource
async def service() -> AsyncIterator[Service]:
    yield Service()


@app.processor(lines, to=counts, concurrency=7, on_error=sk.dead_letter("dead", attempts=3))
async def looked_up(word: str, remote: Service = service) -> int:
    return await remote.length(word)


@app.processor(lines, to=lines)
async def each_letter(word: str) -> AsyncIterator[str]:
    for letter in word:
        yield letter


@app.processor(lines, to=items)
async def by_length(record: sk.Record[str, str]) -> sk.Record[int, str] | None:
    return record.with_key(len(record.value)) if record.value else None


async def measured(word: str, remote: Service = service) -> int:
    return await remote.length(word)


async def maybe_measured(record: sk.Record[str, str]) -> int | None:
    return len(record.value) or None


async def rekeyed(word: str) -> sk.Record[int, str]:
    return sk.Record(len(word), word, 5)


assert_type(app.stream(lines).process(measured), sk.Stream[str, int])
assert_type(app.stream(lines).process(maybe_measured, concurrency=7), sk.Stream[str, int])
assert_type(app.stream(lines).process(each_letter), sk.Stream[str, str])
assert_type(app.stream(lines).process(rekeyed, key=int, value=str), sk.Stream[int, str])


class Doubles(sk.Processor[str, str, int, str]):
    def process(self, record: sk.Record[str, str]) -> None:
        self.context.forward(record.with_key(len(record.value)))


class Upper(sk.FixedKeyProcessor[str, str, str]):
    def process(self, record: sk.Record[str, str]) -> None:
        self.context.forward(record.with_value(record.value.upper()))


assert_type(app.stream(lines).process(Doubles), sk.Stream[int, str])
assert_type(app.stream(lines).process(Upper), sk.Stream[str, str])
app.stream(lines).process(Doubles, key=int, value=str).to(items)


def around(
    name: str, process: Callable[[sk.Record[Any, Any]], object], context: sk.Context
) -> Callable[[sk.Record[Any, Any]], object]:
    return process


sk.App("wrapped", config={"processor.wrapper.class": around})
by_amount(sk.Record("k", Order("pen", 7), 5), sk.testing.MockContext())

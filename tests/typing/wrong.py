"""A program whose types do not fit: each marked line is refused by mypy strict and by pyright."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import streamkit as sk

app = sk.App("wrong")

lines = app.topic("lines", key=str, value=str)
counts = app.topic("counts", key=str, value=int)
by_number = app.topic("by-number", key=int, value=str)


def length(text: str) -> int:
    return len(text)


def double(number: int) -> int:
    return number * 2


# A sink of another value type, of another key type.
app.stream(lines).map_values(length).to(lines)  # error
app.stream(lines).to(by_number)  # error
app.stream(lines).group_by_key().count().to_stream().to(lines)  # error

# A function of another value type.
app.stream(lines).map_values(double)  # error
app.stream(lines).process(double)  # error

# Streams of different types do not merge.
app.stream(lines).merge(app.stream(counts))  # error


# A decorated function of another value, another result, another key.
@app.processor(lines, to=counts)  # error
def takes_numbers(number: int) -> int:
    return number


@app.processor(lines, to=counts)  # error
def gives_text(text: str) -> str:
    return text


@app.processor(lines, to=counts)  # error
def gives_texts(text: str) -> Iterator[str]:
    yield text


@app.processor(lines, to=by_number)  # error
def keeps_the_key(text: str) -> str:
    return text


@app.processor(lines, to=counts)
def count(word: str, seen: sk.KeyValue[str, int]) -> int:
    seen[word] = "one"  # error
    return seen.get(word, 0)


# A store of another type.
count("a", {"a": "one"})  # error

# A join of another row, a windowed key where a plain one is due.
prices = app.table("prices", key=str, value=int)
app.stream(lines).join(prices, lambda line, price: line + price, value=str)  # error
sessions = app.stream(lines).group_by_key().windowed_by(sk.session("1m")).count()
sessions.to_stream().to(counts)  # error

# A global row of another type, a foreign key of another type, windows that are no text.
clicks = app.stream("clicks", key=str, value=int)
people = app.global_table("people", key=int, value=str)
clicks.join(people, lambda n, name: n + name, on=lambda k, n: n, value=int)  # error
clicks.join(people, lambda n, name: name, on=lambda k, n: k, value=str)  # error
owners = app.table("owners", key=int, value=str)
prices.join(owners, lambda price, owner: owner, on=lambda item, price: item, value=str)  # error
app.stream(lines).join(clicks, lambda line, n: line, within=5, value=str)  # error
app.stream(lines).join(clicks, double, within="5m", value=int)  # error
prices.suppress("5m", when_full="explode")  # error

# Values that are not the schema's, a registry that is none, a subject that does not exist.
sold = app.topic("sold", key=str, value=sk.serdes.avro("{}", registry="mock://x"))
app.stream(sold).map_values(length).to(lines)  # error
app.stream(lines).to(sold)  # error
sk.serdes.avro("{}", registry=7)  # error
sk.serdes.json_schema(int, registry="mock://x", subject="topics")  # error
sk.serdes.list_of(int).serialize("t", ["a"], ())  # error

# Aggregations: another value, another aggregate, a merger of another type, windows that are none.
grouped = app.stream(lines).group_by_key()


def add(key: str, number: int, so_far: int) -> int:
    return so_far + number


def add_line(key: str, line: str, so_far: int) -> int:
    return so_far + len(line)


grouped.reduce(double)  # error
grouped.aggregate(0, add)  # error
grouped.aggregate("none", add_line)  # error
grouped.windowed_by("1m")  # error
grouped.windowed_by(sk.tumbling("1m")).reduce(double)  # error
grouped.windowed_by(sk.tumbling("1m"), emit="at_once")  # error
grouped.windowed_by(sk.session("1m")).aggregate(0, add_line, double)  # error
grouped.windowed_by(sk.session("1m")).aggregate(0, add)  # error
clicks.group_by_key().cogroup(add).cogroup(grouped, add)  # error
by_keys = app.stream(by_number).group_by_key()
clicks.group_by_key().cogroup(add).cogroup(by_keys, add_line)  # error
clicks.group_by_key().cogroup(add).aggregate("none")  # error
prices.group_by(lambda item, price: price, key=int, value=str)  # error
by_price = prices.group_by(lambda item, price: (price, item), key=int, value=str)
by_price.reduce(double, double)  # error
by_price.aggregate(0, add_line, add_line)  # error
grouped.count().to_stream().to(lines)  # error
grouped.count().to_stream(lambda key, count: count, key=int).to(counts)  # error


# Joins: keys of another type, a joiner of another value, windows where there are none.
def priced(line: str, price: int) -> int:
    return len(line) * price


app.stream(lines).join(owners, lambda line, owner: owner, value=str)  # error
app.stream(lines).join(app.stream(by_number), lambda a, b: a, within="1m", value=str)  # error
app.stream(lines).join(prices, priced).to(lines)  # error
app.stream(lines).left_join(prices, priced)  # error
app.stream(lines).outer_join(clicks, priced, within="1m")  # error
app.stream(lines).outer_join(prices, lambda a, b: 1, within="1m", value=int)  # error
prices.join(owners, lambda price, owner: owner, value=str)  # error
prices.join(people, lambda price, name: name, value=str)  # error
prices.left_join(prices, lambda a, b: a + b, value=int)  # error
prices.outer_join(prices, lambda a, b: a + 1, value=int)  # error
prices.join(app.stream(lines), lambda a, b: a, value=int)  # error
app.stream(lines).join(app.topic("t", key=str, value=int), priced)  # error
app.stream(lines).merge(prices)  # error


# A store of another form, a view of other rows, a class of other records.
@app.processor(lines, to=counts)
def in_windows(word: str, windows: sk.WindowStore[str, int]) -> int:
    windows.put(word, 1, 5)  # error
    for _, row in windows.fetch(word, 0, None):
        return row.value.upper()  # error
    return 0


price_view = prices.view()


@app.processor(lines)
def viewing(word: str, known: sk.View[str, str] = price_view) -> None:  # error
    return None


class Numbers(sk.Processor[str, int, str, int]):
    def process(self, record: sk.Record[str, int]) -> None:
        self.context.forward(record)


app.stream(lines).process(Numbers)  # error


# Async functions of another value, another result, another key.
async def length_of(text: str) -> int:
    return len(text)


@app.processor(lines, to=counts)  # error
async def takes_numbers_late(number: int) -> int:
    return number


@app.processor(lines, to=counts)  # error
async def gives_text_late(text: str) -> str:
    return text


@app.processor(lines, to=counts)  # error
async def gives_texts_late(text: str) -> AsyncIterator[str]:
    yield text


@app.processor(lines, to=by_number)  # error
async def keeps_the_key_late(text: str) -> str:
    return text


app.stream(counts).process(length_of)  # error
app.stream(lines).process(length_of).to(lines)  # error

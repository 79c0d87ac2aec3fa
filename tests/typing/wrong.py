"""A program whose types do not fit: each marked line is refused by mypy strict and by pyright."""

from __future__ import annotations

from collections.abc import Iterator

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

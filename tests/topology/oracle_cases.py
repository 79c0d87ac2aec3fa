"""Topologies as JSON, as the oracle reads them, into our DSL; and a generator of such topologies.

The functions are real, so that a case can be run too. Operators that streamkit does not have yet
raise NotInScopeError.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import streamkit as sk
from streamkit.common.errors import SerializationError, TopologyError
from streamkit.serdes import Serde, from_functions, serde_for
from streamkit.topology.dsl.branches import Branches
from streamkit.topology.dsl.cogrouped import WindowedCogroup
from streamkit.topology.dsl.grouped import GroupedStream
from streamkit.topology.dsl.grouped_table import GroupedTable
from streamkit.topology.dsl.sides import UNKNOWN, Side
from tests.topology.expressions import (
    combiner,
    expression,
    json_text,
    plain,
    predicate,
    splitter,
    text,
)
from tests.topology.oracle_processors import processor_of

Case = dict[str, Any]
Op = dict[str, Any]


def _low_bits(size: int) -> Serde[Any]:
    return from_functions(
        lambda number: (int(number) & ((1 << size * 8) - 1)).to_bytes(size, "big"),
        lambda data: int.from_bytes(_sized(data, size), "big", signed=True),
    )


def _sized(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise SerializationError(f"{len(data)} bytes where {size} are due")
    return data


TYPES: dict[str, Any] = {
    "string": str,
    "long": int,
    "double": float,
    "boolean": bool,
    "bytes": bytes,
    "json": from_functions(lambda value: json_text(value).encode(), json.loads),
    "integer": _low_bits(4),
    "short": _low_bits(2),
    "float": sk.serdes.float32,
}
RESULTS = (sk.Stream, sk.Table, GroupedStream)


class NotInScopeError(Exception):
    """The case asks for something that streamkit does not have yet."""


def anything(*_: object) -> Any:
    """Stands for every function of a case."""


@dataclass(slots=True)
class Program:
    """A case as an app, and what its `peek` and `foreach` saw."""

    app: sk.App
    seen: list[list[Any]] = field(default_factory=list)
    sinks: dict[str | None, tuple[Any, Any]] = field(default_factory=dict)
    """By topic, the serdes of the first sink that names it; None for those with a function."""


PROGRAM_SETTINGS = (
    "topology.optimization", "ensure.explicit.internal.resource.naming",
    "default.timestamp.extractor", "windowstore.changelog.additional.retention.ms",
    "dsl.store.format",
)  # fmt: skip
"""Settings that say what a program is."""


def app_of(case: Case) -> sk.App:
    """The case's program. Raises TopologyError where Kafka Streams refuses, NotInScopeError."""
    return program_of(case).app


def program_of(case: Case) -> Program:
    """The case's program. Raises TopologyError where Kafka Streams refuses, NotInScopeError."""
    config = {
        "default.key.serde": type_of(case.get("default_key")),
        "default.value.serde": type_of(case.get("default_value")),
    }
    settings = case.get("config", {})
    config |= {key: settings.get(key) for key in PROGRAM_SETTINGS}
    given = {key: value for key, value in config.items() if value is not None}
    is_low = any(op["op"] in LOW_LEVEL for op in case["topology"])
    low = sk.Topology() if is_low else None
    app = sk.App(settings.get("application.id", "app"), config=given, topology=low)
    program = Program(app)
    results: dict[str, Any] = {"seen": program.seen, "sinks": program.sinks}
    if low is not None:
        results["low"] = low
    for index, op in enumerate(case["topology"]):
        build = OPS.get(op["op"])
        if build is None:
            raise NotInScopeError(op["op"])
        of = results.get(op["of"]) if "of" in op else app
        id_ = op.get("id", f"#{index}")
        results[id_] = build(of, {**op, "id": id_}, results)
    return program


def describe(case: Case) -> str:
    """What we print for the case, or `error`."""
    try:
        return app_of(case).topology.describe()
    except TopologyError:
        return "error"


def type_of(name: str | None) -> Any:
    if name is None:
        return None
    if name not in TYPES:
        raise NotInScopeError(f"type {name}")
    return TYPES[name]


def serde_of(name: str) -> Serde[Any]:
    """The serde of a type."""
    return serde_for(type_of(name))


def sides(op: Op) -> dict[str, Any]:
    return {side: type_of(op[side]) for side in ("key", "value") if side in op}


def named(op: Op) -> dict[str, Any]:
    return {"name": op["name"]} if "name" in op else {}


def stored(op: Op) -> dict[str, Any]:
    """`store` and `name` of an op that makes a table."""
    options: dict[str, Any] = {"node": op["name"]} if "name" in op else {}
    if "store" not in op:
        return options
    store = op["store"]
    if store.get("kind", "memory") not in {"memory", "persistent", "versioned", "lru"}:
        raise NotInScopeError(store["kind"])
    logging = store.get("logging", True)
    options["store"] = sk.Materialized(
        name=store.get("name"),
        kind=store.get("kind", "memory"),
        caching=store.get("caching", True),
        logging=logging is not False,
        changelog=logging if isinstance(logging, dict) else {},
        retention=milliseconds(store.get("retention_ms")),
        history=milliseconds(store.get("history_retention_ms")),
        segment=milliseconds(store.get("segment_ms")),
        entries=store.get("size") if store.get("kind") == "lru" else None,
    )
    return options


def milliseconds(number: int | None) -> str | None:
    return None if number is None else f"{number}ms"


def row_value(op: Op) -> dict[str, Any]:
    value = op.get("store", {}).get("value")
    return {"value": type_of(value)} if value is not None else {}


def stream(app: sk.App, op: Op, _: dict[str, Any]) -> object:
    topics = [re.compile(op["pattern"])] if "pattern" in op else op.get("topics", [op.get("topic")])
    return app.stream(*topics, **sides(op), **named(op), **reading(op))


def reading(op: Op) -> dict[str, Any]:
    options = {"offset_reset": op["reset"]} if "reset" in op else {}
    known = {"record", "log_and_skip", "use_partition_time", "wall"}
    if "timestamp" in op:
        options["timestamp"] = op["timestamp"] if op["timestamp"] in known else time_of(op)
    return options


def time_of(op: Op) -> Callable[[Any], int]:
    read = expression(op["timestamp"])

    def extract(record: Any) -> int:
        time = read(record.key, record.value)
        return -1 if time is None else time

    return extract


def table(app: sk.App, op: Op, _: dict[str, Any]) -> object:
    return app.table(op["topic"], **sides(op), **stored(op), **reading(op))


def global_table(app: sk.App, op: Op, _: dict[str, Any]) -> object:
    options = {key: value for key, value in reading(op).items() if key == "timestamp"}
    return app.global_table(op["topic"], **sides(op), **stored(op), **options)


def add_state_store(app: sk.App, op: Op, results: dict[str, Any]) -> object:
    if "low" in results:
        results["low"].add_state_store(store_builder(op), *op.get("processors", []))
    else:
        app.add_state_store(store_builder(op))
    return None


def map_(of: Any, op: Op, _: dict[str, Any]) -> object:
    key, value = expression(op.get("key_fn", "key")), expression(op.get("value_fn", "value"))
    return of.map(lambda k, v: (key(k, v), value(k, v)), **named(op))


def flat_map(of: Any, op: Op, _: dict[str, Any]) -> object:
    items = splitter(op["fn"])
    key, value = expression(op.get("key_fn", "key")), expression(op.get("value_fn", "value"))
    return of.flat_map(
        lambda k, v: [(key(k, item), value(k, item)) for item in items(k, v)], **named(op)
    )


def aggregate(of: Any, op: Op, _: dict[str, Any]) -> object:
    if isinstance(of, sk.CogroupedStream | WindowedCogroup):
        start = op.get("init")
        merge = (combiner(op["merge_fn"]),) if "merge_fn" in op else ()
        return of.aggregate(lambda: start, *merge, **row_value(op), **stored(op))
    combine, initial = combiner(op["fn"]), op.get("init")

    def add(key: Any, value: Any, aggregate: Any) -> Any:
        return combine(key, aggregate, value)

    options = {**row_value(op), **stored(op)}
    if isinstance(of, GroupedTable):
        remove = combiner(op["sub_fn"])
        return of.aggregate(lambda: initial, add, lambda k, v, a: remove(k, a, v), **options)
    if isinstance(of, sk.WindowedStream) and "merge_fn" in op:
        merger = combiner(op["merge_fn"])
        return of.aggregate(lambda: initial, add, merger, **options)
    return only(of, GROUPS).aggregate(lambda: initial, add, **options)


def reduce(of: Any, op: Op, _: dict[str, Any]) -> object:
    combine = combiner(op["fn"])

    def add(old: Any, new: Any) -> Any:
        return combine(None, old, new)

    options = {**row_value(op), **stored(op)}
    if isinstance(of, GroupedTable):
        remove = combiner(op["sub_fn"])
        return of.reduce(add, lambda old, gone: remove(None, old, gone), **options)
    return only(of, GROUPS).reduce(add, **options)


def split(of: Any, op: Op, results: dict[str, Any]) -> object:
    branches: Branches[Any, Any] = of.split(**named(op))
    for branch in op["branches"]:
        results[branch["id"]] = branches.branch(predicate(branch["fn"]), **named(branch))
    if "default" in op:
        results[op["default"]["id"]] = branches.default_branch(**named(op["default"]))
    return None


def repartition(of: sk.Stream[Any, Any], op: Op, _: dict[str, Any]) -> object:
    return of.repartition(
        partitions=op.get("partitions"),
        partitioner=partitioner_of(op),
        **sides(op),
        **named(op),
    )


def to(of: sk.Stream[Any, Any], op: Op, results: dict[str, Any]) -> object:
    name_of = expression(op.get("topic_fn", "const:out"))

    def topic_fn(record: sk.Record[Any, Any]) -> str:
        return text(name_of(record.key, record.value))

    partitioner = partitioner_of(op)
    scope = only(of, sk.Stream)._scope
    inherited = (
        of._key.serde or scope.default_key.serde,
        of._value.serde or scope.default_value.serde,
    )
    given = tuple(
        serde_of(op[side]) if side in op else serde
        for side, serde in zip(("key", "value"), inherited, strict=True)
    )
    results["sinks"].setdefault(op.get("topic"), given)
    of.to(op.get("topic", topic_fn), partitioner=partitioner, **sides(op), **named(op))
    return None


def partitioner_of(op: Op, field: str = "partitioner") -> Callable[..., Any] | None:
    if field not in op:
        return None
    choose = expression(op[field])

    def partition(topic: str, key: Any, value: Any, count: int) -> Any:
        chosen = choose(key, value)
        if isinstance(chosen, list):
            return [each % count for each in chosen]
        return None if chosen is None else chosen % count

    return partition


def process(of: sk.Stream[Any, Any], op: Op, results: dict[str, Any]) -> object:
    supplier = processor_of(op, fixes_key=op["op"] == "process_values")
    if supplier is None:
        raise NotInScopeError(f"processor {op['processor']}")
    return of.process(supplier, **named(op), stores=op.get("stores", []))


def store_builder(op: Op) -> Any:
    """A store of the Processor API."""
    store = op["store"]
    form, logging = store.get("form", "key_value"), store.get("logging", True)
    kind = "persistent" if form == "versioned" else store.get("kind", "memory")
    if form == "timestamped_window" or store.get("duplicates"):
        raise NotInScopeError(f"store form {form} {kind}")
    retention = store.get("retention_ms", store.get("history_retention_ms"))
    forgetting = {} if retention is None else {"retention": f"{retention}ms"}
    if "window_ms" in store:
        forgetting["window"] = f"{store['window_ms']}ms"
    return sk.store(
        store["name"],
        key=type_of(store["key"]),
        value=type_of(store["value"]),
        form=form,
        kind=kind,
        caching=store.get("caching", False),
        logging=logging is not False,
        changelog=logging if isinstance(logging, dict) else {},
        entries=store.get("size") if kind == "lru" else None,
        **forgetting,
    )


def add_global_store(app: sk.App, op: Op, results: dict[str, Any]) -> object:
    processor = processor_of({"processor": "store_put", **op})
    assert processor is not None, "it puts"
    if "low" in results:
        names = {each: op[each] for each in ("source_name", "processor_name") if each in op}
        results["low"].add_global_store(
            store_builder(op), op["topic"], processor, **sides(op), **names, **time_only(op)
        )
    else:
        app.add_global_store(
            store_builder(op), op["topic"], processor, **sides(op), **time_only(op)
        )
    return None


def add_source(_: object, op: Op, results: dict[str, Any]) -> object:
    topics = [re.compile(op["pattern"])] if "pattern" in op else op.get("topics", [op.get("topic")])
    results["low"].add_source(op["name"], *topics, **sides(op), **reading(op))
    return None


def add_processor(_: object, op: Op, results: dict[str, Any]) -> object:
    supplier = processor_of(op)
    if supplier is None:
        raise NotInScopeError(f"processor {op['processor']}")
    stores = op.get("stores", []) if op.get("connect") else []
    results["low"].add_processor(op["name"], supplier, *op.get("parents", []), stores=stores)
    return None


def add_sink(app: sk.App, op: Op, results: dict[str, Any]) -> object:
    name_of = expression(op.get("topic_fn", "const:out"))

    def topic_fn(record: sk.Record[Any, Any]) -> str:
        return text(name_of(record.key, record.value))

    scope = app._scope
    defaults = {"key": scope.default_key.serde, "value": scope.default_value.serde}
    types = tuple(serde_of(op[side]) if side in op else defaults[side] for side in defaults)
    results["sinks"].setdefault(op.get("topic"), types)
    results["low"].add_sink(
        op["name"],
        op.get("topic", topic_fn),
        *op.get("parents", []),
        partitioner=partitioner_of(op),
        **sides(op),
    )
    return None


def connect(_: object, op: Op, results: dict[str, Any]) -> object:
    results["low"].connect_processor_and_state_stores(op["processor"], *op["stores"])
    return None


def time_only(op: Op) -> dict[str, Any]:
    return {key: value for key, value in reading(op).items() if key == "timestamp"}


LOW_LEVEL = {"add_source", "add_processor", "add_sink"}


GROUPS = (GroupedStream, sk.WindowedStream)


def only(of: Any, kind: type | tuple[type, ...]) -> Any:
    """Tables have some operators of streams in Kafka; not yet here."""
    if not isinstance(of, kind):
        raise NotInScopeError(f"of a {type(of).__name__}")
    return of


def count(of: Any, op: Op, _: dict[str, Any]) -> object:
    """The oracle always calls the overload with Materialized, which uses up one more number."""
    options = {"store": sk.Materialized(), **stored(op)}
    if isinstance(of, GroupedTable):
        return of.count(**stored(op))
    return only(of, GROUPS).count(**options)


def join(of: Any, op: Op, results: dict[str, Any]) -> object:
    other, combine = results[op["with"]], combiner(op["fn"])
    if isinstance(of, sk.Stream) and isinstance(other, sk.Stream):
        return join_streams(of, op, other)
    if isinstance(other, sk.GlobalTable):
        options = {"on": expression(op["key_fn"]), "with_key": True, **named(op)}
        return getattr(of, op["op"])(other, combine, **options)
    if "foreign_key" in op:
        return join_by_foreign_key(of, op, other)
    if not isinstance(other, sk.Table):
        raise NotInScopeError("join of this kind")
    if isinstance(of, sk.Table):
        method = getattr(of, op["op"])
        options = {**row_value(op), **stored(op)}
        return method(other, lambda a, b: combine(None, a, b), **options)
    if op["op"] == "outer_join":
        raise TopologyError("a stream has no outer join with a table")
    given = with_sides(of, op.get("key"), op.get("value"))
    options = {"grace": milliseconds(op.get("grace_ms")), **named(op)}
    return getattr(given, op["op"])(other, combine, with_key=True, **options)


def join_by_foreign_key(of: sk.Table[Any, Any], op: Op, other: sk.Table[Any, Any]) -> object:
    combine = combiner(op["fn"])
    return getattr(of, op["op"])(
        other,
        lambda a, b: combine(None, a, b),
        on=expression(op["foreign_key"]),
        partitioner=partitioner_of(op),
        other_partitioner=partitioner_of(op, "other_partitioner"),
        **row_value(op),
        **stored(op),
    )


def join_streams(of: Any, op: Op, other: Any) -> object:
    """Both sides with the serdes that the op says."""
    left = with_sides(of, op.get("key"), op.get("value"))
    right = with_sides(other, op.get("key"), op.get("other_value"))
    window = op["window"]

    def bound(field: str) -> timedelta:
        return timedelta(milliseconds=window.get(field, window.get("difference_ms", 0)))

    logging = op.get("logging", True)
    store = sk.Materialized(
        name=op.get("store_name"),
        kind=op.get("kind", "memory"),
        logging=logging is not False,
        changelog=logging if isinstance(logging, dict) else {},
    )
    return getattr(left, op["op"])(
        right,
        combiner(op["fn"]),
        with_key=True,
        before=bound("before_ms"),
        after=bound("after_ms"),
        grace=timedelta(milliseconds=window.get("grace_ms", 0)),
        store=store,
        **named(op),
    )


def with_sides(of: sk.Stream[Any, Any], key: str | None, value: str | None) -> sk.Stream[Any, Any]:
    """A stream with other serdes, which keeps what it shares with other joins."""
    if key is None and value is None:
        return of
    copied: sk.Stream[Any, Any] = copy(of)
    if key is not None:
        copied._key = Side(serde_of(key))
    if value is not None:
        copied._value = Side(serde_of(value))
    return copied


def windowed_by(of: Any, op: Op, _: dict[str, Any]) -> object:
    shape = op["window"]

    def ms(field: str) -> str:
        return f"{shape.get(field, 0)}ms"

    grace = ms("grace_ms")
    windows: dict[str, Callable[[], Any]] = {
        "tumbling": lambda: sk.tumbling(ms("size_ms"), grace=grace),
        "hopping": lambda: sk.hopping(ms("size_ms"), ms("advance_ms"), grace=grace),
        "sliding": lambda: sk.sliding(ms("difference_ms"), grace=grace),
        "session": lambda: sk.session(ms("gap_ms"), grace=grace),
        "unlimited": lambda: sk.unlimited(shape.get("start_ms", 0)),
    }
    emit = "on_close" if op.get("emit") == "close" else "on_update"
    if isinstance(of, sk.CogroupedStream):
        return of.windowed_by(windows[shape["type"]]())
    return only(of, GroupedStream).windowed_by(windows[shape["type"]](), emit=emit)


def cogroup(of: Any, op: Op, results: dict[str, Any]) -> object:
    combine = combiner(op["fn"])

    def add(key: Any, value: Any, aggregate: Any) -> Any:
        return combine(key, aggregate, value)

    if isinstance(of, sk.CogroupedStream):
        return of.cogroup(results[op["with"]], add)
    return only(of, GroupedStream).cogroup(add)


def on_both(
    method: str, compile_: Callable[[str], Callable[..., Any]], **extra: Any
) -> Callable[[Any, Op, dict[str, Any]], object]:
    """An operator of streams, and of tables, where it takes a store."""
    of_stream = on_stream(method, compile_, **extra)

    def build(of: Any, op: Op, results: dict[str, Any]) -> object:
        if not isinstance(of, sk.Table):
            return of_stream(of, op, results)
        value = row_value(op) if method == "map_values" else {}
        return getattr(of, method)(compile_(op["fn"]), **value, **stored(op), **extra)

    return build


def group_by(of: Any, op: Op, _: dict[str, Any]) -> object:
    if not isinstance(of, sk.Table):
        return only(of, sk.Stream).group_by(expression(op["fn"]), **sides(op), **named(op))
    key, value = expression(op.get("key_fn", "key")), expression(op.get("value_fn", "value"))
    return of.group_by(lambda k, v: (key(k, v), value(k, v)), **sides(op), **named(op))


def suppress(of: Any, op: Op, _: dict[str, Any]) -> object:
    buffer = op.get("buffer", {})
    is_final = op["until"] == "window_closes"
    return only(of, sk.Table).suppress(
        "window_closes" if is_final else f"{op['wait_ms']}ms",
        max_records=buffer.get("records"),
        max_bytes=buffer.get("bytes"),
        when_full=buffer.get("full"),
        logging=buffer.get("logging", True),
        **named(op),
    )


def transform_values(of: Any, op: Op, _: dict[str, Any]) -> object:
    return only(of, sk.Table).transform_values(expression(op["fn"]), **row_value(op), **stored(op))


def on_stream(
    method: str, compile_: Callable[[str], Callable[..., Any]], **extra: Any
) -> Callable[[Any, Op, dict[str, Any]], object]:
    """An operator of streams with one function of key and value."""

    def build(of: Any, op: Op, _: dict[str, Any]) -> object:
        function = compile_(op.get("fn", "value"))
        return getattr(only(of, sk.Stream), method)(function, **named(op), **extra)

    return build


def merge(of: Any, op: Op, results: dict[str, Any]) -> object:
    """Kafka's forgets the serdes, ours keeps those that agree (docs/differences.md)."""
    made = only(of, sk.Stream).merge(results[op["with"]], **named(op))
    return sk.Stream(made._scope, made._node, UNKNOWN, UNKNOWN, is_rekeyed=made._is_rekeyed)


def seeing(of: Any, op: Op, results: dict[str, Any]) -> object:
    def see(key: Any, value: Any) -> None:
        results["seen"].append([op["id"], plain(key), plain(value)])

    return getattr(only(of, sk.Stream), op["op"])(see, **named(op))


def to_stream(of: Any, op: Op, _: dict[str, Any]) -> object:
    made = only(of, sk.Table).to_stream(**named(op))
    return made.select_key(expression(op["key_fn"])) if "key_fn" in op else made


OPS: dict[str, Callable[[Any, Op, dict[str, Any]], object]] = {
    "stream": stream,
    "table": table,
    "global_table": global_table,
    "add_state_store": add_state_store,
    "filter": on_both("filter", predicate),
    "filter_not": on_both("filter_not", predicate),
    "transform_values": transform_values,
    "map": map_,
    "map_values": on_both("map_values", expression, with_key=True),
    "flat_map": flat_map,
    "flat_map_values": on_stream("flat_map_values", splitter, with_key=True),
    "select_key": on_stream("select_key", expression),
    "peek": seeing,
    "foreach": seeing,
    "merge": merge,
    "split": split,
    "repartition": repartition,
    "to": to,
    "to_table": lambda of, op, _: of.to_table(**row_value(op), **stored(op)),
    "to_stream": to_stream,
    "group_by_key": lambda of, op, _: of.group_by_key(**sides(op), **named(op)),
    "group_by": group_by,
    "count": count,
    "reduce": reduce,
    "aggregate": aggregate,
    "windowed_by": windowed_by,
    "cogroup": cogroup,
    "suppress": suppress,
    "join": join,
    "left_join": join,
    "outer_join": join,
    "process": process,
    "process_values": process,
    "add_global_store": add_global_store,
    "add_source": add_source,
    "add_processor": add_processor,
    "add_sink": add_sink,
    "connect_processor_and_state_stores": connect,
}


def generate(seed: int) -> Case:
    """A topology in scope, from a seed: sources, then operators on what there is."""
    return _Generator(random.Random(seed), f"generated-{seed}").case()


KEYS = ["key", "value", "value | prefix:1", "text | append:!", "key_value", "null_on:b"]
TEXTS = ["value", "upper", "key_value", "text | prepend:-", "null_on:a", "text | length | text"]
LISTS = ["text | chars", "one", "repeat:2", "none", "split_words"]
PREDICATES = ["always", "not_null", "contains:a", "text | starts_with:b", "never"]


class _Generator:
    def __init__(self, chance: random.Random, name: str) -> None:
        self.chance = chance
        self.name = name
        self.ops: list[Op] = []
        self.streams: list[str] = []
        self.tables: list[str] = []
        self.groups: list[str] = []
        self.topics = 0

    def case(self) -> Case:
        for _ in range(self.chance.randint(1, 3)):
            self.source()
        for _ in range(self.chance.randint(2, 14)):
            self.operator()
        for of in self.streams:
            if self.chance.random() < 0.4:
                self.add("to", of=of, topic=f"out-{self.chance.randint(1, 4)}")
        return {
            "name": self.name,
            "default_key": "string",
            "default_value": "string",
            "topology": self.ops,
            "input": self.input(),
        }

    def input(self) -> list[dict[str, Any]]:
        topics = [
            topic
            for op in self.ops
            if op["op"] in {"stream", "table"} and "pattern" not in op
            for topic in op.get("topics", [op.get("topic")])
        ]
        return [
            {
                "topic": self.chance.choice(topics),
                "key": self.chance.choice(["a", "b", "c", None]),
                "value": self.chance.choice(["a", "b", "a b", "", "é", None]),
                "ts": self.chance.randint(0, 50),
            }
            for _ in range(12 if topics else 0)
        ]

    def add(self, op: str, **fields: Any) -> str:
        id_ = f"n{len(self.ops)}"
        self.ops.append({"id": id_, "op": op, **fields})
        return id_

    def source(self) -> None:
        kind = self.chance.random()
        self.topics += 1
        topic = f"in-{self.topics}"
        if kind < 0.15 and self.ops:
            # The same topic again becomes the same source.
            again = [op for op in self.ops if op["op"] == "stream" and "topic" in op]
            topic = again[0]["topic"] if again else topic
        if kind < 0.65:
            self.streams.append(self.add("stream", topic=topic))
        elif kind < 0.8:
            topics = [f"{topic}-{letter}" for letter in "abcdefg"[: self.chance.randint(2, 7)]]
            self.streams.append(self.add("stream", topics=topics))
        elif kind < 0.85:
            self.streams.append(self.add("stream", pattern=f"{topic}-[0-9]+"))
        else:
            self.tables.append(self.add("table", topic=topic, **self.store()))

    def name_(self, often: float = 0.2) -> dict[str, Any]:
        if self.chance.random() < often:
            return {"name": f"given-{len(self.ops)}"}
        return {}

    def store(self) -> dict[str, Any]:
        kind = self.chance.random()
        if kind < 0.4:
            return {}
        if kind < 0.55:
            return {"store": {"kind": "memory"}}
        return {"store": {"name": f"store-{len(self.ops)}"}}

    def operator(self) -> None:
        choices = [self.stateless] * 4 + [self.group] * 2 + [self.processor, self.split]
        choices += [self.merge, self.repartition, self.to_table]
        if self.groups:
            choices += [self.aggregate] * 5
        if self.tables:
            choices += [self.to_stream] * 3
        if not self.streams:
            choices = [self.to_stream] if self.tables else [self.source]
        self.chance.choice(choices)()

    def stateless(self) -> None:
        kinds = ["filter", "filter_not", "map", "map_values", "flat_map", "flat_map_values"]
        kind = self.chance.choice([*kinds, "select_key", "peek"])
        functions: dict[str, dict[str, list[str]]] = {
            "map": {"key_fn": KEYS, "value_fn": TEXTS},
            "map_values": {"fn": TEXTS},
            "select_key": {"fn": KEYS},
            "peek": {},
            "flat_map": {"fn": LISTS, "key_fn": KEYS, "value_fn": TEXTS},
            "flat_map_values": {"fn": LISTS},
        }
        picked = functions.get(kind, {"fn": PREDICATES})
        fields = {field: self.chance.choice(picked[field]) for field in picked} | self.name_()
        self.streams.append(self.add(kind, of=self.chance.choice(self.streams), **fields))

    def merge(self) -> None:
        one, two = self.chance.choice(self.streams), self.chance.choice(self.streams)
        self.streams.append(self.add("merge", of=one, **{"with": two}, **self.name_()))

    def split(self) -> None:
        base = len(self.ops)
        branches = [
            {"id": f"b{base}-{index}", "fn": self.chance.choice(PREDICATES), **self.name_(0.3)}
            for index in range(self.chance.randint(1, 3))
        ]
        for index, branch in enumerate(branches):
            if "name" in branch:
                branch["name"] += f"-{index}"
        fields: dict[str, Any] = {"branches": branches, **self.name_(0.3)}
        if self.chance.random() < 0.5:
            fields["default"] = {"id": f"d{base}"}
            self.streams.append(f"d{base}")
        self.add("split", of=self.chance.choice(self.streams[:1]), **fields)
        self.streams += [branch["id"] for branch in branches]

    def repartition(self) -> None:
        fields = {"partitions": 3} if self.chance.random() < 0.3 else {}
        of = self.chance.choice(self.streams)
        self.streams.append(self.add("repartition", of=of, **fields, **self.name_(0.4)))

    def group(self) -> None:
        of = self.chance.choice(self.streams)
        if self.chance.random() < 0.5:
            self.groups.append(self.add("group_by_key", of=of, **self.name_(0.3)))
        else:
            self.groups.append(
                self.add("group_by", of=of, fn=self.chance.choice(KEYS), **self.name_(0.3))
            )

    def aggregate(self) -> None:
        of = self.chance.choice(self.groups)
        kind = self.chance.choice(["count", "reduce", "aggregate"])
        fields: dict[str, Any] = {
            "count": {},
            "reduce": {"fn": self.chance.choice(["last", "pair", "concat:,", "max"])},
            "aggregate": {"fn": self.chance.choice(["pair", "key_pair", "last"]), "init": "x"},
        }[kind]
        self.tables.append(self.add(kind, of=of, **fields, **self.store(), **self.name_()))

    def to_stream(self) -> None:
        of = self.chance.choice(self.tables)
        self.streams.append(self.add("to_stream", of=of, **self.name_()))

    def to_table(self) -> None:
        of = self.chance.choice(self.streams)
        self.tables.append(self.add("to_table", of=of, **self.store(), **self.name_()))

    def processor(self) -> None:
        stores = [op["store"]["name"] for op in self.ops if op["op"] == "add_state_store"]
        if self.chance.random() < 0.5:
            stores.append(f"kept-{len(self.ops)}")
            store = {"name": stores[-1], "key": "string", "value": "string"}
            self.add("add_state_store", store=store)
        kind = self.chance.choice(["process", "process_values"])
        some = self.chance.sample(stores, min(len(stores), self.chance.randint(0, 2)))
        of = self.chance.choice(self.streams)
        fields = {"stores": some, "processor": "forward"}
        self.streams.append(self.add(kind, of=of, **fields, **self.name_(0.4)))

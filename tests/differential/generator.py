"""Cases from a seed, by family of operators."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from tests.differential import processor_cases, settled_cases, store_cases
from tests.differential.builder import MAPPERS, PREDICATES, Builder
from tests.topology.oracle_cases import Case, Op
from tests.topology.oracle_cases import generate as generate_mixed


def mixed(seed: int) -> Case:
    """Streams, grouping, aggregates; without patterns, which a task learns of from metadata."""
    while True:
        case = generate_mixed(seed)
        if not any("pattern" in op for op in case["topology"]):
            return case | {"topology": _without_idle_stores(case["topology"])}
        seed += 1_000_000


def _without_idle_stores(ops: list[Op]) -> list[Op]:
    """Kafka Streams' test driver fails at a store that no processor uses."""
    used = {store for op in ops for store in op.get("stores", [])}
    return [op for op in ops if op["op"] != "add_state_store" or op["store"]["name"] in used]


def tables(seed: int) -> Case:
    """Tables filtered, mapped, regrouped; tables of streams."""
    builder = Builder(seed)
    for _ in range(builder.chance.randint(1, 2)):
        builder.source_table()
    if builder.chance.random() < 0.3:
        of = builder.source_stream()
        builder.tables.append(builder.add("to_table", of=of, **builder.store(), **builder.named()))
    for _ in range(builder.chance.randint(1, 6)):
        builder.table_operator()
    for of in builder.tables:
        if builder.chance.random() < 0.6:
            builder.write_table(of)
    return builder.case()


def windows(seed: int) -> Case:
    """Windowed aggregates of every kind, on update and on close, and tables made of them."""
    builder = Builder(seed)
    chance = builder.chance
    for _ in range(chance.randint(1, 3)):
        stream = builder.source_stream()
        if chance.random() < 0.2:
            stream = builder.add("select_key", of=stream, fn="key | null_on:d")
        windowed_aggregate(builder, stream)
    for of in list(builder.tables):
        if chance.random() < 0.3:
            fields = {"op": "filter", "fn": "is_even"}
            if chance.random() < 0.5:
                fields = {"op": "map_values", "fn": "mul:10"}
            builder.tables.append(builder.add(of=of, **fields))
    for of in builder.tables:
        write_windowed(builder, of)
    return builder.case(30, 120)


def windowed_aggregate(builder: Builder, stream: str) -> None:
    chance = builder.chance
    group = builder.add("group_by_key", of=stream, key="string", value="long", **builder.named(0.2))
    window = a_window(chance)
    emit: dict[str, Any] = {}
    retention: dict[str, Any] = {"retention_ms": chance.choice([300, 700, 100_000])}
    if window["type"] == "unlimited":
        retention = {}
    elif chance.random() < 0.3:
        emit = {"emit": "close"}
    elif chance.random() < 0.7:
        retention = {}
    of = builder.add("windowed_by", of=group, window=window, **emit)
    kind = chance.choice(["count", "reduce", "aggregate"])
    fields: dict[str, Any] = {}
    if kind == "reduce":
        fields["fn"] = chance.choice(["sum", "max", "last"])
    elif kind == "aggregate":
        fields |= {"fn": chance.choice(["sum", "max", "count"]), "init": chance.choice([0, 5])}
        if window["type"] == "session":
            fields["merge_fn"] = "sum"
    value = {} if kind == "count" else {"value": "long"}
    store = builder.store(0.6, key="string", **value, **retention)
    if emit or kind != "reduce":
        store.setdefault("store", {"key": "string", **value, **retention})
    builder.tables.append(builder.add(kind, of=of, **fields, **store, **builder.named()))


def a_window(chance: random.Random) -> dict[str, Any]:
    kind = chance.choice(["tumbling", "hopping", "sliding", "session", "unlimited"])
    size = chance.choice([5, 10, 20])
    grace = {"grace_ms": chance.choice([0, 5, 30])}
    shapes: dict[str, dict[str, Any]] = {
        "tumbling": {"size_ms": size, **grace},
        "hopping": {"size_ms": size, "advance_ms": chance.choice([2, 5]), **grace},
        "sliding": {"difference_ms": size, **grace},
        "session": {"gap_ms": size, **grace},
        "unlimited": {"start_ms": size},
    }
    return {"type": kind, **shapes[kind]}


def write_windowed(builder: Builder, of: str) -> None:
    chance = builder.chance
    key = {"key_fn": "key | window_key"} if chance.random() < 0.2 else {}
    stream = builder.add("to_stream", of=of, **key)
    extra = {"key": "string"} if key else {}
    builder.add("to", of=stream, topic=f"out-{of}", value="long", **extra)


def table_joins(seed: int) -> Case:
    """Tables joined with tables, with what was made of them, and with themselves."""
    builder = Builder(seed)
    chance = builder.chance
    for _ in range(chance.randint(1, 3)):
        builder.source_table()
    for _ in range(chance.randint(0, 2)):
        builder.table_operator()
    for _ in range(chance.randint(1, 3)):
        join_tables(builder)
        if chance.random() < 0.3:
            builder.table_operator()
    for of in builder.tables:
        if chance.random() < 0.6:
            builder.write_table(of)
    return builder.case()


def join_tables(builder: Builder) -> None:
    chance = builder.chance
    kind = chance.choice(["join", "left_join", "outer_join"])
    pair = {"of": chance.choice(builder.tables), "with": chance.choice(builder.tables)}
    fn = chance.choice(["sum", "subtract", "max", "first", "last", "sum | null_on:4"])
    store = builder.store(0.4, value="long") if chance.random() < 0.5 else {}
    builder.tables.append(builder.add(kind, **pair, fn=fn, **store, **builder.named()))


def stream_table_joins(seed: int) -> Case:
    """Streams, some of them with new keys, that look rows up in tables."""
    builder = Builder(seed)
    chance = builder.chance
    for _ in range(chance.randint(1, 2)):
        builder.source_table()
    for _ in range(chance.randint(0, 2)):
        builder.table_operator()
    for _ in range(chance.randint(1, 2)):
        builder.source_stream()
    for _ in range(chance.randint(1, 4)):
        of = chance.choice(builder.streams)
        if chance.random() < 0.3:
            fn = chance.choice(["key | null_on:c", "value | mod:3 | text", "key"])
            of = builder.add("select_key", of=of, fn=fn, **builder.named())
        named = builder.named(0.3)
        fields = {"of": of, "with": chance.choice(builder.tables), **named}
        fn = chance.choice(["sum", "subtract", "first", "last", "max"])
        kind = chance.choice(["join", "left_join"])
        builder.streams.append(builder.add(kind, **fields, fn=fn))
    if chance.random() < 0.3:
        group = builder.add("group_by_key", of=builder.streams[-1])
        builder.tables.append(builder.add("count", of=group, **builder.store()))
    for of in builder.streams:
        if chance.random() < 0.7:
            builder.add("to", of=of, topic=f"out-{of}")
    return builder.case()


def stream_joins(seed: int) -> Case:
    """Streams joined with streams, with what came of joins, and with themselves."""
    builder = Builder(seed)
    chance = builder.chance
    for _ in range(chance.randint(1, 3)):
        builder.source_stream()
    for _ in range(chance.randint(1, 3)):
        sides = {side: rekeyed(builder, chance.choice(builder.streams)) for side in ("of", "with")}
        join_streams(builder, sides)
    if chance.random() < 0.3:
        group = builder.add("group_by_key", of=builder.streams[-1])
        builder.tables.append(builder.add("count", of=group, **builder.store()))
    for of in builder.streams:
        if chance.random() < 0.7:
            builder.add("to", of=of, topic=f"out-{of}")
    return builder.case(chance.choice([25, 40]), chance.choice([40, 100, 300]))


def rekeyed(builder: Builder, of: str) -> str:
    """The stream, now and then with other keys."""
    chance = builder.chance
    if chance.random() < 0.75:
        return of
    fn = chance.choice(["key | null_on:c", "value | mod:3 | text", "key"])
    again = builder.add("select_key", of=of, fn=fn, **builder.named())
    builder.streams.append(again)
    return again


def join_streams(builder: Builder, sides: dict[str, str]) -> None:
    chance = builder.chance
    span = chance.choice([0, 3, 10, 25])
    window: dict[str, Any] = {"difference_ms": span}
    if chance.random() < 0.5:
        before = chance.choice([0, 5, 20, -3])
        window = {"before_ms": before, "after_ms": max(chance.choice([0, 8, 30]), -before)}
    if chance.random() < 0.6:
        window["grace_ms"] = chance.choice([0, 5, 40])
    fields: dict[str, Any] = {"window": window, **builder.named(0.3)}
    if chance.random() < 0.5:
        fields["kind"] = builder.kind()
    if chance.random() < 0.3:
        fields["store_name"] = f"kept-{len(builder.ops)}"
    if chance.random() < 0.1:
        fields["logging"] = False
    fn = chance.choice(["sum", "subtract", "max", "first", "last", "sum | null_on:4"])
    kind = chance.choice(["join", "left_join", "outer_join"])
    builder.streams.append(builder.add(kind, **sides, fn=fn, **fields))


def global_joins(seed: int) -> Case:
    """Streams that look rows up in global tables, which topics of the program may fill, too."""
    builder = Builder(seed)
    chance = builder.chance
    globals_ = []
    for _ in range(chance.randint(1, 2)):
        builder.topics.append(f"in-{len(builder.topics)}")
        fields: dict[str, Any] = {"topic": builder.topics[-1], **builder.named()}
        if chance.random() < 0.4:
            fields["store"] = {"name": f"all-{len(globals_)}", "kind": builder.kind()}
        globals_.append(builder.add("global_table", **fields))
    builder.source_stream()
    if chance.random() < 0.4:
        builder.source_table()
    for _ in range(chance.randint(1, 4)):
        of = rekeyed(builder, chance.choice(builder.streams))
        selector = chance.choice(["key", "value | mod:3 | text", "key | null_on:c", "const:a"])
        fields = {"of": of, "with": chance.choice(globals_), "key_fn": selector}
        fn = chance.choice(["sum", "subtract", "first", "last", "key_pair | length"])
        kind = chance.choice(["join", "left_join"])
        builder.streams.append(builder.add(kind, **fields, fn=fn, **builder.named(0.3)))
    if chance.random() < 0.4:
        group = builder.add("group_by_key", of=builder.streams[-1], **builder.named())
        builder.tables.append(builder.add("count", of=group, **builder.store()))
    for of in builder.streams:
        if chance.random() < 0.7:
            topic_ = chance.choice([f"out-{of}"] * 4 + builder.topics[: len(globals_)])
            builder.add("to", of=of, topic=topic_)
    return builder.case()


def foreign_key_joins(seed: int) -> Case:
    """Tables joined by a foreign key in their rows, with other tables and with what came of it."""
    builder = Builder(seed)
    chance = builder.chance
    for _ in range(chance.randint(1, 3)):
        builder.source_table()
    for _ in range(chance.randint(0, 2)):
        builder.table_operator()
    for _ in range(chance.randint(1, 3)):
        key = ["value | mod:3 | text", "key", "key | null_on:c", "value | mod:2 | text | null_on:1"]
        pair = {"of": chance.choice(builder.tables), "with": chance.choice(builder.tables)}
        fields = {**pair, "foreign_key": chance.choice([*key, "const:a"]), **builder.named()}
        if chance.random() < 0.2:
            fields |= {"partitioner": "int:0", "other_partitioner": "int:0"}
        fn = chance.choice(["sum", "subtract", "max", "first", "last", "sum | null_on:4"])
        store = builder.store(0.4, value="long") if chance.random() < 0.5 else {}
        kind = chance.choice(["join", "left_join"])
        builder.tables.append(builder.add(kind, **fields, fn=fn, **store))
        if chance.random() < 0.3:
            builder.table_operator()
    for of in builder.tables:
        if chance.random() < 0.6:
            builder.write_table(of)
    case = builder.case()
    for event in case["input"]:
        if chance.random() < 0.5:
            event["key"] = chance.choice(["0", "1", "2"])
    return case | {"read": {"internal": chance.random() < 0.3}}


def aggregates(seed: int) -> Case:
    """Grouped streams made tables, and what is made of these: filters, groups, joins."""
    builder = Builder(seed)
    chance = builder.chance
    of = builder.source_stream()
    for _ in range(chance.randint(1, 2)):
        again = rekeyed(builder, of)
        group = builder.add("group_by_key", of=again, key="string", value="long", **builder.named())
        kind = chance.choice(["count", "reduce", "aggregate"])
        fields: dict[str, dict[str, Any]] = {
            "count": {},
            "reduce": {"fn": chance.choice(["sum", "max", "last"])},
            "aggregate": {
                "fn": chance.choice(["sum", "max", "sum | null_on:4"]),
                "init": chance.choice([0, 5]),
            },
        }
        extra = {"value": "long"} if kind == "aggregate" else {}
        aggregate = builder.add(kind, of=group, **fields[kind], **builder.store(**extra))
        builder.tables.append(aggregate)
    for _ in range(chance.randint(1, 4)):
        builder.table_operator()
    if chance.random() < 0.4:
        join_tables(builder)
    for of in builder.tables:
        if chance.random() < 0.7:
            builder.write_table(of)
    return builder.case()


def versioned(seed: int) -> Case:
    """Tables that keep their history: joined with streams, with grace, and with tables."""
    builder = Builder(seed)
    chance = builder.chance
    history = chance.choice([50, 2_500, 7_000])
    for _ in range(chance.randint(1, 2)):
        builder.topics.append(f"in-{len(builder.topics)}")
        store = versioned_store(builder, history)
        builder.tables.append(builder.add("table", topic=builder.topics[-1], **store))
    if chance.random() < 0.4:
        builder.source_table()
    builder.source_stream()
    for _ in range(chance.randint(1, 4)):
        use_versions(builder, history)
    for of in builder.tables:
        if chance.random() < 0.6:
            builder.write_table(of)
    case = builder.case(30, chance.choice([60, 6_000, 20_000]))
    for event in case["input"]:
        if event["key"] is None:
            event["key"] = chance.choice(["0", "1", "2"])
    return case


def use_versions(builder: Builder, history: int) -> None:
    chance = builder.chance
    kind = chance.choice(["operator", "kept", "join", "foreign", "stream", "stream", "fold"])
    if kind == "operator":
        builder.table_operator()
    elif kind == "kept":
        fields = {"of": chance.choice(builder.tables), "fn": chance.choice(MAPPERS)}
        store = versioned_store(builder, history)
        builder.tables.append(builder.add("map_values", **fields, **store))
    elif kind == "join":
        join_tables(builder)
    elif kind == "foreign":
        pair = {"of": chance.choice(builder.tables), "with": chance.choice(builder.tables)}
        fields = {"foreign_key": "value | mod:3 | text", "fn": "sum", **pair}
        builder.tables.append(builder.add(chance.choice(["join", "left_join"]), **fields))
    elif kind == "fold":
        group = builder.add("group_by_key", of=builder.streams[0])
        store = versioned_store(builder, history)
        builder.tables.append(builder.add("count", of=group, **store))
    else:
        join_versions(builder, history)


def versioned_store(builder: Builder, history: int) -> dict[str, Any]:
    store: dict[str, Any] = {"name": f"versions-{len(builder.ops)}", "kind": "versioned"}
    store |= {"history_retention_ms": history, "value": "long"}
    if builder.chance.random() < 0.4:
        store["segment_ms"] = builder.chance.choice([20, 1_000])
    return {"store": store}


def join_versions(builder: Builder, history: int) -> None:
    chance = builder.chance
    fields: dict[str, Any] = {"of": chance.choice(builder.streams), **builder.named(0.3)}
    fields["with"] = chance.choice(builder.tables)
    fn = chance.choice(["sum", "subtract", "first", "last"])
    if chance.random() < 0.5:
        fields["grace_ms"] = chance.choice([0, 10, history, history, 100_000])
        fields["with"] = builder.tables[0]
    kind = chance.choice(["join", "left_join"])
    joined = builder.add(kind, **fields, fn=fn)
    builder.add("to", of=joined, topic=f"out-{joined}")


def suppressions(seed: int) -> Case:
    """Tables, windowed and not, whose changes are held back."""
    builder = Builder(seed)
    chance = builder.chance
    for _ in range(chance.randint(1, 2)):
        if chance.random() < 0.5:
            stream = builder.source_stream()
            for _ in range(chance.randint(1, 2)):
                windowed_aggregate(builder, stream)
                if chance.random() < 0.2:
                    fields = {"fn": chance.choice(PREDICATES), **builder.named()}
                    builder.tables.append(builder.add("filter", of=builder.tables[-1], **fields))
                suppress_windowed(builder, builder.tables[-1])
            continue
        of = builder.source_table()
        for _ in range(chance.randint(1, 3)):
            again = chance.choice([of, builder.add("map_values", of=of, fn="add:1")])
            of = suppress_for(builder, again)
            kind = chance.random()
            if kind < 0.3:
                of = builder.grouped(of)
            elif kind < 0.5:
                with_ = chance.choice([*builder.tables, of])
                of = builder.add("join", of=of, **{"with": with_}, fn="sum")
            builder.write_table(of)
    return builder.case(25, chance.choice([60, 120]))


def suppress_windowed(builder: Builder, of: str) -> None:
    chance = builder.chance
    fields: dict[str, Any] = {"until": "window_closes", **builder.named()}
    if chance.random() < 0.2:
        fields["buffer"] = {"records": chance.choice([3, 100]), "full": "shut_down"}
    elif chance.random() < 0.3:
        fields["buffer"] = {"logging": False}
    if chance.random() < 0.3:
        fields = {"until": "time_limit", "wait_ms": chance.choice([0, 5, 30]), **builder.named()}
    write_windowed(builder, builder.add("suppress", of=of, **fields))


def suppress_for(builder: Builder, of: str) -> str:
    chance = builder.chance
    fields: dict[str, Any] = {"until": "time_limit", "wait_ms": chance.choice([0, 4, 12, 50])}
    if chance.random() < 0.6:
        limit: dict[str, Any] = {"records": chance.choice([0, 1, 2, 5])}
        if chance.random() < 0.5:
            limit = {"bytes": chance.choice([40, 100, 150])}
        limit["full"] = "shut_down" if chance.random() < 0.15 else "emit"
        fields["buffer"] = limit
    return builder.add("suppress", of=of, **fields, **builder.named())


def cogroups(seed: int) -> Case:
    """Several grouped streams in one aggregate, windowed or not."""
    builder = Builder(seed)
    chance = builder.chance
    groups = []
    for _ in range(chance.randint(1, 3)):
        of = builder.source_stream()
        if chance.random() < 0.4:
            of = builder.add("select_key", of=of, fn=chance.choice(["key", "key | null_on:c"]))
        named = builder.named(0.3)
        groups.append(builder.add("group_by_key", of=of, key="string", value="long", **named))
    folds = ["sum", "max", "count", "subtract"]
    cogroup = builder.add("cogroup", of=groups[0], fn=chance.choice(folds))
    for group in groups[1:]:
        fn = chance.choice(folds)
        cogroup = builder.add("cogroup", of=cogroup, **{"with": group}, fn=fn)
    for _ in range(chance.randint(1, 2)):
        aggregate_cogroup(builder, cogroup)
    for of in builder.tables:
        builder.write_table(of)
    return builder.case(25, 80)


def aggregate_cogroup(builder: Builder, cogroup: str) -> None:
    chance = builder.chance
    fields: dict[str, Any] = {"init": chance.choice([0, 3])}
    of = cogroup
    if chance.random() < 0.6:
        window = a_window(chance)
        of = builder.add("windowed_by", of=cogroup, window=window)
        if window["type"] == "session":
            fields["merge_fn"] = "sum"
    store = builder.store(0.7, key="string", value="long")
    store["store"].setdefault("value", "long")
    builder.tables.append(builder.add("aggregate", of=of, **fields, **store, **builder.named()))


def optimized(seed: int) -> Case:
    """Programs of the other families, more of them with new keys, optimized."""
    chance = random.Random(seed)
    makers = [rekeyed_groups, rekeyed_groups, stream_joins, stream_table_joins, cogroups, tables]
    case = chance.choice([*makers, aggregates, table_joins])(seed)
    names = ["reuse.ktable.source.topics", "merge.repartition.topics", "single.store.self.join"]
    some = chance.choice(["all", "all", "all", *names, ",".join(names[:2])])
    return case | {"config": {"topology.optimization": some}}


def rekeyed_groups(seed: int) -> Case:
    """Streams with new keys in several groups and joins, before and behind other operators."""
    builder = Builder(seed)
    chance = builder.chance
    for _ in range(chance.randint(1, 2)):
        builder.source_stream()
    if chance.random() < 0.4:
        builder.source_table()
    for _ in range(chance.randint(3, 9)):
        regroup(builder)
    for of in builder.streams:
        if chance.random() < 0.3:
            builder.add("to", of=of, topic=f"out-{of}")
    for of in builder.tables:
        if chance.random() < 0.5:
            builder.write_table(of)
    return builder.case()


def regroup(builder: Builder) -> None:
    chance = builder.chance
    of, named = chance.choice(builder.streams[-3:]), builder.named(0.2)
    kind = chance.choice(["key", "key", "values", "filter", "merge", "group", "group", "join"])
    if kind == "key":
        fn = chance.choice(["value | mod:3 | text", "key", "key | null_on:c"])
        builder.streams.append(builder.add("select_key", of=of, fn=fn, **named))
    elif kind == "values":
        builder.streams.append(builder.add("map_values", of=of, fn="add:1", **named))
    elif kind == "filter":
        builder.streams.append(builder.add("filter", of=of, fn=chance.choice(PREDICATES), **named))
    elif kind == "merge":
        other = {"with": chance.choice(builder.streams)}
        builder.streams.append(builder.add("merge", of=of, **other, **named))
    elif kind == "join":
        joined_of_rekeyed(builder, of)
    else:
        group = builder.add("group_by_key", of=of, **named)
        for _ in range(chance.choice([1, 1, 2])):
            count = builder.add("count", of=group, **builder.store(), **builder.named())
            builder.tables.append(count)


def joined_of_rekeyed(builder: Builder, of: str) -> None:
    chance = builder.chance
    if builder.tables and chance.random() < 0.5:
        fields = {"of": of, "with": chance.choice(builder.tables), "fn": "sum"}
        builder.streams.append(builder.add(chance.choice(["join", "left_join"]), **fields))
    else:
        join_streams(builder, {"of": of, "with": chance.choice([of, *builder.streams])})


FAMILIES: dict[str, Callable[[int], Case]] = {
    "processors": processor_cases.processors,
    "low_level": processor_cases.low_level,
    "failures": processor_cases.failures,
    "kept": processor_cases.kept,
    "mixed": mixed,
    "tables": tables,
    "windows": windows,
    "table_joins": table_joins,
    "stream_table_joins": stream_table_joins,
    "cogroups": cogroups,
    "stream_joins": stream_joins,
    "suppressions": suppressions,
    "aggregates": aggregates,
    "versioned": versioned,
    "optimized": optimized,
    "global_joins": global_joins,
    "foreign_key_joins": foreign_key_joins,
    "settled": settled_cases.settled,
    "bounded": store_cases.bounded(
        [
            tables, aggregates, table_joins, stream_table_joins, foreign_key_joins, global_joins,
            processor_cases.processors, processor_cases.low_level,
        ]
    ),
    "headers": store_cases.with_headers(
        [
            tables, windows, table_joins, stream_table_joins, cogroups, stream_joins, suppressions,
            aggregates, versioned, global_joins, foreign_key_joins, processor_cases.processors,
        ]
    ),
}  # fmt: skip


def generate(family: str, seed: int) -> Case:
    """The case of a family and a seed."""
    return FAMILIES[family](seed) | {"name": f"{family}-{seed}"}

"""Cases whose final tables do not depend on how partitions interleave.

They may run on one partition or on three, with or without caches, through restarts: the last row
of each key in each table is the same. So nothing is late (grace is longer than the input), no
stream looks rows up in a table, and what is folded over records of several partitions commutes.
Regrouped tables drop a group that became empty, since a cache may hide that it ever was there.
Windows and unmatched joins close when the closing events, one for each of three partitions, move
every partition's time on.

`settles` marks them: where the closing events begin, and the topics that the final tables go to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from streamkit.common.partitioner import partition_for
from tests.differential.builder import Builder
from tests.topology.oracle_cases import Case

PARTITIONS = 3
KEYS = ["a", "b", "c", "d", "e", "f", "0", "1", "2"]
NUMBERS = [1, 2, 3, 4, 5, 10, 11]
"""None below 1: a sum of 0 is a group without rows."""
EVENTS = 60
TS_MAX = 120
GRACE_MS = 500
CLOSING_TS = (5_000, 5_001)
"""Closing comes twice: in an application what closes is looked for once a second."""
RETENTION_MS = 100_000
PREDICATES = ["is_even", "is_odd", "gt:2", "lt:10", "always"]
MAPPERS = ["mul:10", "add:1", "mod:3", "null_on:4"]
FULL_MAPPERS = ["mul:10", "add:1"]
"""Those that lose no record."""
GROUPS = ["value | mod:3 | text", "key", "value | is_even | text", "key | null_on:c"]
JOINERS = ["sum", "max", "first", "last", "sum | null_on:4"]


def _closing_keys() -> list[str]:
    """One key for each partition."""
    found: dict[int, str] = {}
    number = 0
    while len(found) < PARTITIONS:
        key = f"end-{number}"
        found.setdefault(partition_for(key.encode(), PARTITIONS), key)
        number += 1
    return [found[partition] for partition in range(PARTITIONS)]


@dataclass(frozen=True, slots=True)
class Flow:
    """A stream, and what is known of its records."""

    id: str
    is_ordered: bool = True
    """Records of a key come in one order."""
    is_closing: bool = True
    """Closing events reach every partition."""
    is_timely: bool = True
    """No record is older than others by more than the grace."""
    has_nulls: bool = False


@dataclass(frozen=True, slots=True)
class Rows:
    """A table, and what is known of its rows."""

    id: str
    is_groupable: bool = True
    """Its rows are positive, and it tells no old row that never was: an aggregate of a stream
    without a cache tells the initial value as what was there before the first, a suppressed
    table what it held back."""
    is_windowed: bool = False
    is_shown: bool = True
    held: frozenset[str] = frozenset()
    """The suppressed tables that it shows the rows of, without a sub-topology in between."""


class Draft(Builder):
    """A case whose tables settle."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.flows: list[Flow] = []
        self.rows: list[Rows] = []
        self.with_nulls: set[str] = set()

    def topic(self, *, with_nulls: bool) -> str:
        self.topics.append(f"in-{len(self.topics)}")
        if with_nulls:
            self.with_nulls.add(self.topics[-1])
        return self.topics[-1]

    def flow(self, *, with_nulls: bool = False) -> Flow:
        """A new stream; now and then filtered, changed, re-keyed, merged."""
        source = self.add("stream", topic=self.topic(with_nulls=with_nulls))
        flow = Flow(source, has_nulls=with_nulls)
        for _ in range(self.chance.choice([0, 0, 1, 1, 2])):
            flow = self.changed(flow)
        return flow

    def changed(self, of: Flow) -> Flow:
        chance = self.chance
        kind = chance.choice(["filter", "map_values", "flat", "key", "value", "merge", "again"])
        if kind == "filter":
            op = chance.choice(["filter", "filter_not"])
            id_ = self.add(op, of=of.id, fn=chance.choice(PREDICATES), **self.named())
        elif kind == "map_values":
            id_ = self.add("map_values", of=of.id, fn=chance.choice(FULL_MAPPERS), **self.named())
        elif kind == "flat":
            id_ = self.add("flat_map_values", of=of.id, fn="repeat:2", **self.named())
        elif kind == "merge":
            return self.merged(of)
        elif kind == "again":
            id_ = self.add("repartition", of=of.id, **self.named(0.5))
        else:
            return self.rekeyed(of, keeps=kind == "key")
        return replace(of, id=id_)

    def merged(self, of: Flow) -> Flow:
        topic = self.topic(with_nulls=of.has_nulls)
        other = self.add("stream", topic=topic)
        id_ = self.add("merge", of=of.id, **{"with": other}, **self.named())
        return replace(of, id=id_, is_ordered=False)

    def rekeyed(self, of: Flow, *, keeps: bool) -> Flow:
        """With other keys, which several partitions share; or with the same ones, or none."""
        fn = self.chance.choice(["key", "key | null_on:c"]) if keeps else "value | mod:5 | text"
        id_ = self.add("select_key", of=of.id, fn=fn, **self.named())
        if keeps:
            return replace(of, id=id_)
        return replace(of, id=id_, is_ordered=False, is_closing=False)

    def keep(self, id_: str, **known: Any) -> Rows:
        rows = Rows(id_, **known)
        self.rows.append(rows)
        return rows

    def a_table(self) -> Rows:
        """Any table of plain keys; a new one when there is none."""
        plain = [rows for rows in self.rows if not rows.is_windowed and rows.is_shown]
        if plain and self.chance.random() < 0.6:
            return self.chance.choice(plain)
        return tables(self)

    def group(self, of: Flow, often: float = 0.3) -> str:
        named = self.named(often)
        return self.add("group_by_key", of=of.id, key="string", value="long", **named)


def tables(draft: Draft) -> Rows:
    """A table of a topic, of a stream, or one that keeps its history."""
    chance = draft.chance
    kind = chance.choice(["table", "table", "versioned", "to_table"])
    topic = draft.topic(with_nulls=True)
    if kind == "to_table":
        stream = draft.add("stream", topic=topic)
        return draft.keep(draft.add("to_table", of=stream, **draft.store(), **draft.named()))
    if kind == "versioned":
        store: dict[str, Any] = {"name": f"versions-{len(draft.ops)}", "kind": "versioned"}
        store |= {"value": "long", "history_retention_ms": RETENTION_MS}
        return draft.keep(draft.add("table", topic=topic, store=store))
    return draft.keep(draft.add("table", topic=topic, **draft.store(), **draft.named()))


def derived(draft: Draft) -> Rows:
    """A table filtered or mapped."""
    chance = draft.chance
    of = draft.a_table()
    kind = chance.choice(["filter", "filter_not", "map_values", "transform_values"])
    fn = chance.choice(PREDICATES if "filter" in kind else MAPPERS)
    id_ = draft.add(kind, of=of.id, fn=fn, **draft.store(0.4), **draft.named())
    return draft.keep(id_, is_groupable=of.is_groupable, held=of.held)


def regrouped(draft: Draft) -> Rows:
    """A table grouped anew; a group without rows is none."""
    chance = draft.chance
    of = draft.a_table()
    while not of.is_groupable:
        of = tables(draft)
    group = draft.add("group_by", of=of.id, key_fn=chance.choice(GROUPS), **draft.named(0.3))
    kind = chance.choice(["count", "reduce", "aggregate", "aggregate"])
    if kind == "aggregate":
        fields: dict[str, Any] = {"init": 0, "fn": "sum | null_on:0"}
        fields["sub_fn"] = "subtract | null_on:0"
        store = draft.store(value="long")
        return draft.keep(draft.add(kind, of=group, **fields, **store, **draft.named()))
    fields = {"fn": "sum", "sub_fn": "subtract"} if kind == "reduce" else {}
    all_ = draft.add(kind, of=group, **fields, **draft.store(), **draft.named())
    return draft.keep(draft.add("filter", of=all_, fn="gt:0", **draft.store(0.4)))


def table_joined(draft: Draft) -> Rows:
    """Two tables by their keys.

    A row that a suppressed table lets go finds there the row before it, which a cache may skip.
    """
    chance = draft.chance
    one, two = draft.a_table(), draft.a_table()
    if one.held & two.held:
        two = tables(draft)
    kind = chance.choice(["join", "left_join", "outer_join"])
    store = draft.store(0.4, value="long") if chance.random() < 0.5 else {}
    pair = {"of": one.id, "with": two.id}
    id_ = draft.add(kind, **pair, fn=chance.choice(JOINERS), **store, **draft.named())
    is_groupable = one.is_groupable and two.is_groupable
    return draft.keep(id_, is_groupable=is_groupable, held=one.held | two.held)


def foreign_joined(draft: Draft) -> Rows:
    """Two tables by a key in the rows of one."""
    chance = draft.chance
    one, two = draft.a_table(), draft.a_table()
    keys = ["value | mod:3 | text", "key", "key | null_on:c", "value | mod:2 | text | null_on:1"]
    fields = {"of": one.id, "with": two.id, "foreign_key": chance.choice(keys)}
    store = draft.store(0.4, value="long") if chance.random() < 0.5 else {}
    kind = chance.choice(["join", "left_join"])
    id_ = draft.add(kind, **fields, fn=chance.choice(JOINERS), **store, **draft.named())
    return draft.keep(id_, is_groupable=one.is_groupable and two.is_groupable)


def aggregated(draft: Draft) -> Rows:
    """A stream in groups; by any function when each group has one order."""
    return fold(draft, draft.flow(with_nulls=True))


def fold(draft: Draft, flow: Flow) -> Rows:
    chance = draft.chance
    own = ["last", "subtract"] if flow.is_ordered else []
    kind = chance.choice(["count", "reduce", "aggregate"])
    fields: dict[str, Any] = {}
    if kind == "reduce":
        fields["fn"] = chance.choice(["sum", "max", "min", *own])
    elif kind == "aggregate":
        own = [*own, "sum | null_on:4"] if own else own
        fields = {"fn": chance.choice(["sum", "max", "count", *own]), "init": chance.choice([0, 5])}
    extra = {"value": "long"} if kind == "aggregate" else {}
    store = draft.store(**extra)
    id_ = draft.add(kind, of=draft.group(flow), **fields, **store, **draft.named())
    return draft.keep(id_, is_groupable=kind == "reduce" and fields["fn"] != "subtract")


def windowed(draft: Draft) -> Rows:
    """A stream in windows; some of them shown when they close."""
    flow = draft.flow()
    of = window_fold(draft, flow, draft.group(flow))
    return shown_at_close(draft, of, flow)


def window_fold(draft: Draft, flow: Flow, group: str) -> Rows:
    chance = draft.chance
    window = a_window(draft)
    is_final = flow.is_closing and window["type"] != "unlimited" and chance.random() < 0.3
    emit = {"emit": "close"} if is_final else {}
    of = draft.add("windowed_by", of=group, window=window, **emit)
    kind = chance.choice(["count", "reduce", "aggregate"])
    fields: dict[str, Any] = {}
    if kind == "reduce":
        fields["fn"] = chance.choice(["sum", "max"])
    elif kind == "aggregate":
        fields |= {"fn": chance.choice(["sum", "max", "count"]), "init": 0}
        if window["type"] == "session":
            fields["merge_fn"] = "max" if fields["fn"] == "max" else "sum"
    id_ = draft.add(kind, of=of, **fields, **window_store(draft, kind, window), **draft.named())
    return draft.keep(id_, is_windowed=True)


def window_store(draft: Draft, kind: str, window: dict[str, Any]) -> dict[str, Any]:
    value = {} if kind == "count" else {"value": "long"}
    kept = {} if window["type"] == "unlimited" else {"retention_ms": RETENTION_MS}
    store = draft.store(0.8, key="string", **value, **kept)
    return {"store": {"key": "string", **value, **kept, **store["store"]}}


def a_window(draft: Draft) -> dict[str, Any]:
    chance = draft.chance
    kind = chance.choice(["tumbling", "hopping", "sliding", "session", "unlimited"])
    size = chance.choice([5, 10, 20])
    shapes: dict[str, dict[str, Any]] = {
        "tumbling": {"size_ms": size},
        "hopping": {"size_ms": size, "advance_ms": chance.choice([2, 5])},
        "sliding": {"difference_ms": size},
        "session": {"gap_ms": size},
        "unlimited": {"start_ms": size},
    }
    grace = {} if kind == "unlimited" else {"grace_ms": GRACE_MS}
    return {"type": kind, **shapes[kind], **grace}


def shown_at_close(draft: Draft, of: Rows, flow: Flow) -> Rows:
    """Now and then the same windows, suppressed until they close."""
    made = next(op for op in draft.ops if op["id"] == of.id)
    windows = next(op for op in draft.ops if op["id"] == made["of"])
    if not flow.is_closing or "emit" in windows or windows["window"]["type"] == "unlimited":
        return of
    if draft.chance.random() < 0.5:
        return of
    id_ = draft.add("suppress", of=of.id, until="window_closes", **draft.named())
    return draft.keep(id_, is_windowed=True)


def suppressed(draft: Draft) -> Rows:
    """A table whose changes are held back for a while; closing events let them go."""
    of = draft.add("table", topic=draft.topic(with_nulls=True), **draft.store(), **draft.named())
    if draft.chance.random() < 0.5:
        of = draft.add("map_values", of=of, fn=draft.chance.choice(FULL_MAPPERS))
    wait = {"wait_ms": draft.chance.choice([0, 5, 30])}
    id_ = draft.add("suppress", of=of, until="time_limit", **wait, **draft.named())
    return draft.keep(id_, is_groupable=False, held=frozenset({id_}))


def cogrouped(draft: Draft) -> Rows:
    """Several streams in one aggregate, windowed or not."""
    chance = draft.chance
    folds = chance.choice([["sum", "count", "subtract"], ["max"]])
    flows = [draft.flow() for _ in range(chance.randint(1, 3))]
    groups = [draft.group(flow, often=1.0) for flow in flows]
    of = draft.add("cogroup", of=groups[0], fn=chance.choice(folds))
    for group in groups[1:]:
        of = draft.add("cogroup", of=of, **{"with": group}, fn=chance.choice(folds))
    fields: dict[str, Any] = {"init": 0}
    store = draft.store(0.7, key="string", value="long")
    if chance.random() < 0.5:
        window = a_window(draft)
        of = draft.add("windowed_by", of=of, window=window)
        if window["type"] == "session":
            fields["merge_fn"] = "max" if folds == ["max"] else "sum"
        store = window_store(draft, "aggregate", window)
        id_ = draft.add("aggregate", of=of, **fields, **store, **draft.named())
        return draft.keep(id_, is_windowed=True)
    store["store"].setdefault("value", "long")
    id_ = draft.add("aggregate", of=of, **fields, **store, **draft.named())
    return draft.keep(id_, is_groupable=False)


def stream_joined(draft: Draft) -> Rows:
    """Streams joined with streams, counted: the pairs are the same in any order.

    What is alone is known at the closing events only if the window is as long as the input: Kafka
    Streams takes a record whose window stream time has passed for unmatched, whatever the grace.
    """
    chance = draft.chance
    one = draft.flow()
    two = one if chance.random() < 0.2 else draft.flow()
    is_closing = one.is_closing and two.is_closing
    kind = chance.choice(["join", "left_join", "outer_join"]) if is_closing else "join"
    window: dict[str, Any] = {"difference_ms": chance.choice([0, 3, 10, 25])}
    if kind != "join":
        window = {"difference_ms": TS_MAX + chance.choice([0, 30])}
    elif chance.random() < 0.4:
        window = {"before_ms": chance.choice([0, 5, 20]), "after_ms": chance.choice([0, 8, 30])}
    fields: dict[str, Any] = {"window": window | {"grace_ms": GRACE_MS}, **draft.named(0.3)}
    if chance.random() < 0.5:
        fields["kind"] = draft.kind()
    if chance.random() < 0.3:
        fields["store_name"] = f"kept-{len(draft.ops)}"
    pair = {"of": one.id, "with": two.id}
    id_ = draft.add(kind, **pair, fn=chance.choice(["sum", "max", "first", "last"]), **fields)
    joined = Flow(id_, is_ordered=False, is_closing=is_closing, is_timely=kind == "join")
    if kind == "join" and chance.random() < 0.4:
        return window_fold(draft, joined, draft.group(joined))
    return fold(draft, joined)


def processed(draft: Draft) -> Rows:
    """A processor with a store of its own, behind a re-partitioned stream or not."""
    chance = draft.chance
    flow = draft.flow()
    if not flow.is_ordered:
        flow = replace(flow, id=draft.add("repartition", of=flow.id))
    store = {"name": f"own-{len(draft.ops)}", "key": "string", "value": "long"}
    form = {"form": chance.choice(["key_value", "timestamped"]), "kind": draft.kind()}
    draft.add("add_state_store", store=store | form | {"caching": chance.random() < 0.3})
    args = {"fn": chance.choice(["sum", "max", "count"])}
    used: dict[str, Any] = {"processor": "fold", "args": args, "stores": [store["name"]]}
    op = chance.choice(["process", "process_values"])
    id_ = draft.add(op, of=flow.id, **used, **draft.named())
    draft.add("to", of=id_, topic=f"out-{id_}", key="string", value="long")
    return draft.keep(id_, is_windowed=True, is_shown=False)


PLANS: list[Callable[[Draft], Rows]] = [
    tables, derived, derived, regrouped, regrouped, table_joined, table_joined, foreign_joined,
    foreign_joined, aggregated, aggregated, windowed, windowed, windowed, suppressed, cogrouped,
    stream_joined, stream_joined, processed,
]  # fmt: skip


def settled(seed: int) -> Case:
    """Tables of every kind that end the same however their input interleaves."""
    draft = Draft(seed)
    for _ in range(draft.chance.randint(1, 4)):
        draft.chance.choice(PLANS)(draft)
    for rows in draft.rows:
        if rows.is_shown:
            stream = draft.add("to_stream", of=rows.id, **draft.named())
            draft.add("to", of=stream, topic=f"out-{rows.id}", value="long")
    topics = sorted(draft.topics)
    events = [_event(draft, topics) for _ in range(EVENTS)]
    closing = [
        {"topic": topic, "key": key, "value": 1, "ts": ts}
        for ts in CLOSING_TS
        for topic in topics
        for key in _closing_keys()
    ]
    return {
        "default_key": "string",
        "default_value": "long",
        "topology": draft.ops,
        "input": events + closing,
        "settles": {"from": EVENTS, "topics": [f"out-{rows.id}" for rows in draft.rows]},
    }


def _event(draft: Draft, topics: list[str]) -> dict[str, Any]:
    chance = draft.chance
    topic = chance.choice(topics)
    is_null = topic in draft.with_nulls and chance.random() < 0.15
    return {
        "topic": topic,
        "key": None if chance.random() < 0.04 else chance.choice(KEYS),
        "value": None if is_null else chance.choice(NUMBERS),
        "ts": chance.randint(1, TS_MAX),
    }

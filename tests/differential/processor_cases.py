"""Cases of the Processor API from a seed: processors, punctuations, nodes by name, failures."""

from __future__ import annotations

import random
from typing import Any

from tests.topology.oracle_cases import Case, Op

KEYS = ["a", "b", "c", "d", None]
NUMBERS = [-7, 0, 1, 2, 3, 4, 5, 10, None]
SINGLE = ["key", "key | append:x", "value | mod:3 | text", "const:k"]
VALUES = ["value", "mul:10", "add:1", "null_on:4", "neg"]
FOLDS = ["sum", "max", "min", "count", "last", "first", "subtract"]
HANDLERS = "org.apache.kafka.streams.errors."


class Draft:
    """A case whose keys are texts and whose values are numbers."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.ops: list[Op] = []
        self.topics: list[str] = []
        self.config: dict[str, Any] = {}
        self.has_wall = False

    def add(self, op: str, **fields: Any) -> str:
        id_ = f"n{len(self.ops)}"
        self.ops.append({"id": id_, "op": op, **fields})
        return id_

    def topic(self) -> str:
        self.topics.append(f"in-{len(self.topics)}")
        return self.topics[-1]

    def store(self, value: str = "long") -> dict[str, Any]:
        chance = self.chance
        return {
            "name": f"store-{len(self.ops)}",
            "key": "string",
            "value": value,
            "form": chance.choice(["key_value", "key_value", "timestamped"]),
            "kind": chance.choice(["memory", "persistent"]),
            "logging": chance.random() < 0.8,
        }

    def named(self) -> dict[str, Any]:
        return {"name": f"given-{len(self.ops)}"} if self.chance.random() < 0.3 else {}

    def transform(self) -> tuple[str, dict[str, Any]]:
        """A processor without a store, and its arguments."""
        chance = self.chance
        kind = chance.choice(["forward", "drop", "transform", "transform", "headers", "context"])
        args: dict[str, Any] = {}
        if kind == "transform":
            args = {"key_fn": chance.choice(SINGLE), "value_fn": chance.choice(VALUES)}
            if chance.random() < 0.4:
                args["ts_fn"] = chance.choice(["int:7", "value | or_int:3 | mul:0 | add:11"])
            args["times"] = chance.choice([0, 1, 1, 2])
        if kind == "headers":
            args = {"add": [["n", "x"]], "remove": ["h"], "metadata": chance.random() < 0.5}
        return kind, args

    def keeper(self) -> tuple[str, dict[str, Any]]:
        """A processor with a store, and its arguments."""
        chance = self.chance
        kind = chance.choice(["fold", "previous", "put_if_absent", "lookup", "dedupe", "scan"])
        args: dict[str, Any] = {}
        if kind in {"fold", "previous", "lookup"}:
            args["fn"] = chance.choice(FOLDS)
        if kind == "fold" and chance.random() < 0.4:
            args["init"] = 100
        if kind == "lookup" and chance.random() < 0.5:
            args["key_fn"] = "const:a"
        if kind == "dedupe" and chance.random() < 0.7:
            args["window_ms"] = chance.choice([1, 5, 20])
        if kind == "scan":
            args["scan"] = chance.choice(["all", "reverse_all", "range", "reverse_range", "prefix"])
            args |= {"from_fn": chance.choice(["const:a", "null"]), "to_fn": "const:c"}
            if args["scan"] == "prefix":
                args["from_fn"] = "const:a"
        return kind, args

    def punctuated(self, clock: str) -> dict[str, Any]:
        chance = self.chance
        args: dict[str, Any] = {"interval_ms": chance.choice([1, 3, 10, 25]), "type": clock}
        if chance.random() < 0.4:
            args["start_ms"] = chance.choice([0, 4, 7, 30])
        return args

    def case(self, count: int = 25, ts_max: int = 80) -> Case:
        """The whole case: one sub-topology, since the JVM's driver has one time for all of them."""
        used = {
            name for op in self.ops if op["op"] != "add_state_store"
            for name in op.get("stores", [])
        }  # fmt: skip
        idle = [
            op for op in self.ops
            if op["op"] == "add_state_store" and op["store"]["name"] not in used
            and not op.get("processors")
        ]  # fmt: skip
        self.ops = [op for op in self.ops if op not in idle]
        events = [self.event(ts_max) for _ in range(count)]
        wall = {"initial_wall_ms": self.chance.choice([0, 100])} if self.has_wall else {}
        return {
            "default_key": "string",
            "default_value": "long",
            "config": self.config,
            "topology": self.ops,
            "input": events,
            **wall,
        }

    def event(self, ts_max: int) -> dict[str, Any]:
        chance = self.chance
        if self.has_wall and chance.random() < 0.3:
            return {"advance_wall_ms": chance.choice([1, 4, 9, 10, 35])}
        event: dict[str, Any] = {
            "topic": chance.choice(self.topics),
            "key": chance.choice(KEYS),
            "value": chance.choice(NUMBERS),
            "ts": chance.randint(0, ts_max),
        }
        if chance.random() < 0.2:
            event["headers"] = [["h", chance.choice(["x", None])], ["g", "y"]]
        return event


def processors(seed: int) -> Case:
    """`process` and `process_values` with stores, some shared, and punctuations by both clocks."""
    draft = Draft(seed)
    chance = draft.chance
    streams = [draft.add("stream", topic=draft.topic())]
    stores: list[str] = []
    for _ in range(chance.randint(1, 4)):
        of = chance.choice(streams)
        made, kind = _processed(draft, of, stores)
        value = "json" if kind in {"context", "scan"} else "long"
        if chance.random() < 0.8:
            key = {} if chance.random() < 0.5 else {"key": "string"}
            draft.add("to", of=made, topic=f"out-{made}", value=value, **key)
        if value == "long":
            streams.append(made)
    return draft.case()


def _processed(draft: Draft, of: str, stores: list[str]) -> tuple[str, str]:
    chance = draft.chance
    what = chance.random()
    if what < 0.3:
        kind, args = draft.transform()
        op = chance.choice(["process", "process_values"])
        return draft.add(op, of=of, processor=kind, args=args, **draft.named()), kind
    if what < 0.75:
        kind, args = draft.keeper()
        if not stores or chance.random() < 0.7:
            store = draft.store()
            draft.add("add_state_store", store=store)
            stores.append(store["name"])
        op = chance.choice(["process", "process_values"])
        used = [chance.choice(stores)]
        return draft.add(op, of=of, processor=kind, args=args, stores=used, **draft.named()), kind
    clock = chance.choice(["stream", "wall"])
    draft.has_wall = draft.has_wall or clock == "wall"
    args = draft.punctuated(clock)
    if chance.random() < 0.5:
        return draft.add("process", of=of, processor="count_punctuate", args=args), "count"
    store = draft.store()
    draft.add("add_state_store", store=store)
    made = draft.add(
        "process", of=of, processor="flush_punctuate", args=args, stores=[store["name"]]
    )
    return made, "flush"


def low_level(seed: int) -> Case:
    """Sources, processors, sinks and stores by name; routes to children by name."""
    draft = Draft(seed)
    chance = draft.chance
    nodes = []
    names = [draft.topic() for _ in range(chance.randint(1, 2))]
    fields = {"timestamp": "use_partition_time"} if chance.random() < 0.2 else {}
    draft.add("add_source", name="source", topics=names, **fields)
    nodes.append("source")
    if chance.random() < 0.4:
        store = {"name": "everywhere", "key": "string", "value": "long"}
        own = {"source_name": "g-source", "processor_name": "g-processor"}
        draft.add("add_global_store", store=store, topic=draft.topic(), **own)
    for number in range(chance.randint(1, 4)):
        nodes.append(_node(draft, f"node-{number}", nodes))
    for node in nodes[1:]:
        if chance.random() < 0.6:
            _sink(draft, node)
    _sink(draft, nodes[-1])
    return draft.case()


def _node(draft: Draft, name: str, nodes: list[str]) -> str:
    chance = draft.chance
    parents = chance.sample(nodes, min(len(nodes), chance.randint(1, 2)))
    what = chance.random()
    if what < 0.3:
        kind = chance.choice(["forward", "transform"])
        args = {} if kind == "forward" else {"value_fn": chance.choice(VALUES)}
        draft.add("add_processor", name=name, processor=kind, args=args, parents=parents)
    elif what < 0.5:
        args = draft.punctuated(chance.choice(["stream", "wall"]))
        draft.has_wall = True
        draft.add(
            "add_processor", name=name, processor="count_punctuate", args=args, parents=parents
        )
    elif what < 0.65 and any(op["op"] == "add_global_store" for op in draft.ops):
        args = {"store": "everywhere", "fn": chance.choice(FOLDS)}
        draft.add("add_processor", name=name, processor="lookup", args=args, parents=parents)
    else:
        store = draft.store()
        args = {"fn": chance.choice(FOLDS)}
        kind = chance.choice(["fold", "previous"])
        stores = {"stores": [store["name"]]}
        draft.add("add_processor", name=name, processor=kind, args=args, parents=parents, **stores)
        if chance.random() < 0.5:
            draft.add("add_state_store", store=store, processors=[name])
        else:
            draft.add("add_state_store", store=store)
            connect = "connect_processor_and_state_stores"
            draft.add(connect, processor=name, stores=[store["name"]])
    return name


def _sink(draft: Draft, node: str) -> None:
    name = f"sink-{len(draft.ops)}"
    topic = {"topic": f"out-{len(draft.ops)}"}
    if draft.chance.random() < 0.2:
        topic = {"topic_fn": "key | or:none | prepend:to-"}
    draft.add("add_sink", name=name, parents=[node], **topic)


def failures(seed: int) -> Case:
    """Functions and bytes that fail, under every handler; the same records go on or stop."""
    draft = Draft(seed)
    chance = draft.chance
    continues = "LogAndContinueProcessingExceptionHandler"
    if chance.random() < 0.8:
        name = continues if chance.random() < 0.8 else "LogAndFailProcessingExceptionHandler"
        draft.config["processing.exception.handler"] = HANDLERS + name
    if chance.random() < 0.7:
        name = "LogAndContinueExceptionHandler"
        draft.config["deserialization.exception.handler"] = HANDLERS + name
    if chance.random() < 0.5:
        draft.config["errors.dead.letter.queue.topic.name"] = "dlq"
    streams = [draft.add("stream", topic=draft.topic())]
    for _ in range(chance.randint(2, 5)):
        of = chance.choice(streams)
        streams.append(_failing(draft, of))
    for of in streams[1:]:
        if chance.random() < 0.6:
            draft.add("to", of=of, topic=f"out-{of}")
    case = draft.case()
    for event in case["input"]:
        if chance.random() < 0.06:
            event.pop("value", None)
            event["value_bytes"] = chance.choice(["AQI=", "eHh4eHh4eHh4"])
    return case


def _failing(draft: Draft, of: str) -> str:
    chance = draft.chance
    fails = f"fail_on:{chance.choice([0, 2, 3, 10, 'null'])}"
    kind = chance.choice(["map_values", "filter", "flat_map_values", "count", "process", "peek"])
    if kind == "map_values":
        return draft.add("map_values", of=of, fn=f"value | {fails} | add:1")
    if kind == "filter":
        return draft.add("filter", of=of, fn=f"value | {fails} | gt:-100")
    if kind == "flat_map_values":
        return draft.add("flat_map_values", of=of, fn=f"value | {fails} | repeat:2")
    if kind == "peek":
        return draft.add("select_key", of=of, fn=f"value | {fails} | text")
    if kind == "count":
        group = draft.add("group_by_key", of=of, key="string", value="long")
        fold = {"fn": f"sum | {fails}", "init": 0}
        store = {"name": f"sums-{len(draft.ops)}", "key": "string", "value": "long"}
        table = draft.add("aggregate", of=group, store=store, **fold)
        return draft.add("to_stream", of=table)
    store = draft.store()
    draft.add("add_state_store", store=store)
    args = {"fn": f"sum | {fails}"}
    if chance.random() < 0.5:
        draft.has_wall = True
        clock = chance.choice(["stream", "wall"])
        if any(op["op"] == "aggregate" for op in draft.ops):
            # There may be a sub-topology behind it, whose time the JVM's driver shares.
            clock = "wall"
        punctuation = draft.punctuated(clock)
        return draft.add(
            "process", of=of, processor="flush_punctuate", args=punctuation, stores=[store["name"]]
        )
    return draft.add("process", of=of, processor="previous", args=args, stores=[store["name"]])


def kept(seed: int) -> Case:
    """Processors with window, session and versioned stores; records with times of all kinds."""
    draft = Draft(seed)
    chance = draft.chance
    times = ["record", "log_and_skip", "use_partition_time", "value | mod:7 | mul:10"]
    timestamp = {"timestamp": chance.choice(times)} if chance.random() < 0.3 else {}
    of = draft.add("stream", topic=draft.topic(), **timestamp)
    for _ in range(chance.randint(1, 3)):
        store = draft.store() | {"form": chance.choice(["window", "session", "versioned"])}
        used = {"stores": [store["name"]]}
        if store["form"] == "versioned":
            store.pop("kind")
            store["history_retention_ms"] = chance.choice([20, 50, 1_000])
        else:
            store["retention_ms"] = chance.choice([30, 100, 100_000])
        if store["form"] == "window":
            store["window_ms"] = chance.choice([1, 10])
        draft.add("add_state_store", store=store)
        for kind, args, value in _steps(draft, store["form"]):
            op = chance.choice(["process", "process_values"])
            id_ = draft.add(op, of=of, processor=kind, args=args, **used, **draft.named())
            draft.add("to", of=id_, topic=f"out-{id_}", key="string", value=value)
    if chance.random() < 0.2:
        draft.add("foreach", of=of)
    return draft.case()


def _steps(draft: Draft, form: str) -> list[tuple[str, dict[str, Any], str]]:
    """Processors for a store of a form, with their arguments and what they forward."""
    chance = draft.chance
    if form == "versioned":
        return [("versioned_put", {}, "long"), ("versioned_get", {}, "json")][
            : chance.choice([1, 2])
        ]
    bounds = {"before_ms": chance.choice([0, 5, 50]), "after_ms": chance.choice([0, 10])}
    if form == "window":
        return [("window_put", {**bounds, "reverse": chance.random() < 0.3}, "json")]
    return [("session_put", {**bounds, "length_ms": chance.choice([0, 3, 20])}, "json")]

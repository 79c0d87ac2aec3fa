"""The processors of the oracle's language, written with our Processor API (SPEC.md, section 6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamkit as sk
from streamkit.state.cache import CachedStore, TimestampedStore
from tests.topology.expressions import combiner, expression, predicate, text

Make = Callable[[dict[str, Any], str | None, bool], "type[Body]"]


class Body:
    """What every processor of the language can do; `fixes_key` when keys cannot change."""

    context: sk.Context
    args: dict[str, Any]
    store_name: str | None

    def init(self, context: sk.Context) -> None:
        self.context = context
        self.start()

    def start(self) -> None:
        """Look up stores, schedule punctuations."""

    def process(self, record: sk.Record[Any, Any]) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is open."""

    def out(self, record: sk.Record[Any, Any], child: str | None = None) -> None:
        self.context.forward(record, child)

    def every(self, callback: Callable[[int], object]) -> None:
        self.context.schedule(
            f"{self.args['interval_ms']}ms",
            callback,
            clock="wall" if self.args.get("type") == "wall" else "stream",
            start=self.args.get("start_ms"),
        )

    @property
    def store(self) -> Any:
        assert self.store_name is not None, "the processor needs a store"
        return self.context.store(self.store_name)

    @property
    def is_timestamped(self) -> bool:
        return isinstance(self.store, TimestampedStore | CachedStore)

    def get(self, key: Any) -> Any:
        found = self.store.get(key)
        return found[0] if found is not None and self.is_timestamped else found

    def put(self, key: Any, value: Any, timestamp: int) -> None:
        if self.is_timestamped:
            self.store.put(key, value, timestamp)
        else:
            self.store.put(key, value)

    def rows(self, found: Any) -> list[list[Any]]:
        return [[key, row[0] if self.is_timestamped else row] for key, row in found]


class Forward(Body):
    def process(self, record: sk.Record[Any, Any]) -> None:
        self.out(record, self.args.get("child"))


class Drop(Body):
    def process(self, record: sk.Record[Any, Any]) -> None:
        """Nothing comes of it."""


class Transform(Body):
    fixes_key = False

    def start(self) -> None:
        self.key = expression(self.args.get("key_fn", "key"))
        self.value = expression(self.args.get("value_fn", "value"))
        self.time = expression(self.args["ts_fn"]) if "ts_fn" in self.args else None

    def process(self, record: sk.Record[Any, Any]) -> None:
        key, value = record.key, record.value
        timestamp = record.timestamp if self.time is None else self.time(key, value)
        new_key = key if isinstance(self, sk.FixedKeyProcessor) else self.key(key, value)
        made = sk.Record(new_key, self.value(key, value), timestamp, record.headers)
        for _ in range(self.args.get("times", 1)):
            self.out(made)


class Headers(Body):
    def process(self, record: sk.Record[Any, Any]) -> None:
        removed = self.args.get("remove", [])
        headers = [each for each in record.headers if each[0] not in removed]
        for name, value in self.args.get("add", []):
            headers.append((name, None if value is None else value.encode()))
        if self.args.get("metadata"):
            context = self.context
            for name in ("topic", "partition", "offset"):
                given = getattr(context, name)
                headers.append((name, None if given == "" else str(given).encode()))
        self.out(sk.Record(record.key, record.value, record.timestamp, tuple(headers)))


class Route(Body):
    def start(self) -> None:
        self.routes = [(predicate(fn), child) for fn, child in self.args.get("routes", [])]

    def process(self, record: sk.Record[Any, Any]) -> None:
        for fits, child in self.routes:
            if fits(record.key, record.value):
                self.out(record, child)
                return
        if self.args.get("default") is not None:
            self.out(record, self.args["default"])


class Metadata(Body):
    def process(self, record: sk.Record[Any, Any]) -> None:
        context = self.context
        shown = {
            "topic": context.topic or None,
            "partition": context.partition,
            "offset": context.offset,
            "timestamp": record.timestamp,
            "stream_time": context.stream_time,
            "wall_time": context.wall_time_ms(),
            "task": str(context.task_id),
        }
        self.out(record.with_value(shown))


class CountPunctuate(Body):
    def start(self) -> None:
        self.seen = 0
        self.every(self.report)

    def process(self, record: sk.Record[Any, Any]) -> None:
        self.seen += 1

    def report(self, time: int) -> None:
        self.out(sk.Record(self.args.get("key", "punctuate"), self.seen, time))
        self.seen = 0


class FlushPunctuate(Body):
    def start(self) -> None:
        self.every(self.flush)

    def process(self, record: sk.Record[Any, Any]) -> None:
        if record.key is not None:
            self.put(record.key, record.value, record.timestamp)

    def flush(self, time: int) -> None:
        for key, value in self.rows(self.store.all()):
            self.out(sk.Record(key, value, time))
            self.put(key, None, time)


class Fold(Body):
    def start(self) -> None:
        self.fn = combiner(self.args["fn"])

    def process(self, record: sk.Record[Any, Any]) -> None:
        if record.key is None:
            return
        old = self.get(record.key)
        new = self.fn(record.key, self.args.get("init") if old is None else old, record.value)
        self.put(record.key, new, record.timestamp)
        self.out(record.with_value(new))


class Previous(Body):
    def start(self) -> None:
        self.fn = combiner(self.args["fn"])

    def process(self, record: sk.Record[Any, Any]) -> None:
        if record.key is None:
            return
        old = self.get(record.key)
        self.put(record.key, record.value, record.timestamp)
        self.out(record.with_value(self.fn(record.key, old, record.value)))


class PutIfAbsent(Body):
    def process(self, record: sk.Record[Any, Any]) -> None:
        if record.key is None:
            return
        old = self.get(record.key)
        if old is None:
            self.put(record.key, record.value, record.timestamp)
        self.out(record.with_value(old))


class StorePut(Body):
    def process(self, record: sk.Record[Any, Any]) -> None:
        if record.key is not None:
            self.put(record.key, record.value, record.timestamp)


class Lookup(Body):
    def start(self) -> None:
        self.key = expression(self.args.get("key_fn", "key"))
        self.fn = combiner(self.args["fn"])

    def process(self, record: sk.Record[Any, Any]) -> None:
        at = self.key(record.key, record.value)
        row = None if at is None else self.get(at)
        self.out(record.with_value(self.fn(record.key, record.value, row)))


class Dedupe(Body):
    def process(self, record: sk.Record[Any, Any]) -> None:
        if record.key is None:
            return
        seen, window = self.get(record.key), self.args.get("window_ms")
        if seen is not None and (window is None or record.timestamp - seen < window):
            return
        self.put(record.key, record.timestamp, record.timestamp)
        self.out(record)


class Scan(Body):
    def start(self) -> None:
        self.low = expression(self.args.get("from_fn", "null"))
        self.high = expression(self.args.get("to_fn", "null"))

    def process(self, record: sk.Record[Any, Any]) -> None:
        low, high = self.low(record.key, record.value), self.high(record.key, record.value)
        scan = self.args.get("scan", "all")
        reverse = scan.startswith("reverse")
        if scan == "prefix":
            found = self.store.prefix(text(low))
        elif scan.endswith("all"):
            found = self.store.range(None, None, reverse=reverse)
        else:
            found = self.store.range(low, high, reverse=reverse)
        self.out(record.with_value(self.rows(found)))


class WindowPut(Body):
    def process(self, record: sk.Record[Any, Any]) -> None:
        if record.key is None:
            return
        time, args = record.timestamp, self.args
        self.store.put(sk.Windowed(record.key, time, time), record.value, time)
        found = self.store.fetch(
            record.key,
            max(0, time - args.get("before_ms", 0)),
            time + args.get("after_ms", 0),
            reverse=args.get("reverse", False),
        )
        self.out(record.with_value([[key.start, row[0]] for key, row in found]))


class VersionedPut(Body):
    def process(self, record: sk.Record[Any, Any]) -> None:
        if record.key is not None:
            valid_to = self.store.put(record.key, record.value, record.timestamp)
            self.out(record.with_value(valid_to))


class VersionedGet(Body):
    def process(self, record: sk.Record[Any, Any]) -> None:
        if record.key is None:
            return
        ago = self.args.get("ago_ms")
        as_of = () if ago is None else (record.timestamp - ago,)
        found = self.store.get(record.key, *as_of)
        # Kafka Streams' store leaves out until when a row was valid.
        self.out(record.with_value(None if found is None else [found[0], found[1], None]))


class SessionPut(Body):
    def process(self, record: sk.Record[Any, Any]) -> None:
        if record.key is None:
            return
        time, args = record.timestamp, self.args
        session = sk.Windowed(record.key, time, time + args.get("length_ms", 0))
        self.store.put(session, record.value, time)
        found = self.store.fetch(record.key, time - args.get("before_ms", 0), None)
        latest = time + args.get("after_ms", 0)
        rows = [[key.start, key.end, row[0]] for key, row in found if key.start <= latest]
        self.out(record.with_value(rows))


BODIES: dict[str, type[Body]] = {
    "forward": Forward,
    "drop": Drop,
    "transform": Transform,
    "headers": Headers,
    "route": Route,
    "context": Metadata,
    "count_punctuate": CountPunctuate,
    "flush_punctuate": FlushPunctuate,
    "fold": Fold,
    "previous": Previous,
    "put_if_absent": PutIfAbsent,
    "store_put": StorePut,
    "lookup": Lookup,
    "dedupe": Dedupe,
    "scan": Scan,
    "window_put": WindowPut,
    "session_put": SessionPut,
    "versioned_put": VersionedPut,
    "versioned_get": VersionedGet,
}


def processor_of(op: dict[str, Any], *, fixes_key: bool = False) -> type[Any] | None:
    """The class of an op's processor; None for those that streamkit does not have yet."""
    body = BODIES.get(op.get("processor", "store_put"))
    if body is None:
        return None
    args = op.get("args", {})
    stores = op.get("stores", [])
    store = args.get("store", stores[0] if stores else None)
    if store is None and "store" in op:
        store = op["store"]["name"]
    base = sk.FixedKeyProcessor if fixes_key else sk.Processor
    return type(body.__name__, (body, base), {"args": args, "store_name": store})

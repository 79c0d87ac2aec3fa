"""A case of the oracle's language through our driver: the same answer as `oracle test` gives."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import re
from collections.abc import Callable
from typing import Any

import streamkit as sk
from streamkit.common.errors import FatalError, StreamkitError, TopologyError
from streamkit.state.builders import StoreKind
from streamkit.state.cache import CachedStore, TimestampedStore
from streamkit.state.headers_store import HeadersStore
from streamkit.state.join_stores import JoinWindowStore
from streamkit.state.plain import PlainStore
from streamkit.state.versioned import VersionedStore
from streamkit.state.windows import WindowStore
from streamkit.testing import TopologyTestDriver
from streamkit.testing.driver import Written
from tests.topology.expressions import FunctionError, json_text, plain
from tests.topology.oracle_cases import (
    PROGRAM_SETTINGS,
    Case,
    NotInScopeError,
    Op,
    Program,
    program_of,
    serde_of,
)

Answer = dict[str, Any]
_HIDDEN_STORES = re.compile(
    r".*-(left|outer)-shared-join-store|KSTREAM-OUTERSHARED-[0-9]{10}-store"
    r"|.*-subscription-store|KTABLE-FK-JOIN-SUBSCRIPTION-STATE-STORE-[0-9]{10}"
)
_INTERNAL = re.compile(r".*-(changelog|repartition|topic)")
_SETTINGS = {
    "statestore.cache.max.bytes", "max.task.idle.ms", "errors.dead.letter.queue.topic.name",
    "deserialization.exception.handler", "processing.exception.handler",
    "production.exception.handler",
}  # fmt: skip
_ERRORS = {
    "tests.topology.expressions.FunctionError": "oracle.FunctionError",
    "streamkit.common.errors.SerializationError": (
        "org.apache.kafka.common.errors.SerializationException"
    ),
}
"""What Kafka Streams' exceptions in dead-letter headers are called here."""

_IGNORED_SETTINGS = {"application.id", "commit.interval.ms", *PROGRAM_SETTINGS}
_SOURCES = {"stream", "table", "global_table", "add_source", "add_global_store"}


def answer(case: Case) -> Answer:
    """The answer; an `error` of class NotInScopeError where streamkit lacks something."""
    result: Answer = {"name": case["name"]} if "name" in case else {}
    try:
        _check_settings(case)
        program = program_of(case)
        topology = program.app.topology
    except TopologyError as error:
        return result | {"error": _error("TopologyException", error, -1)}
    except NotInScopeError as error:
        return result | {"error": _error("NotInScopeError", error, -1)}
    result["describe"] = topology.describe()
    config = {key: value for key, value in case.get("config", {}).items() if key in _SETTINGS}
    try:
        driver = TopologyTestDriver(topology, config, now_ms=case.get("initial_wall_ms", 0))
    except FatalError as error:
        return result | {"outputs": [], "error": _error("StreamsException", error, -1)}
    with driver:
        _Run(case, program, driver, result).run()
    return result


class _Run:
    def __init__(
        self, case: Case, program: Program, driver: TopologyTestDriver, result: Answer
    ) -> None:
        self.case = case
        self.program = program
        self.driver = driver
        self.result = result
        self.starts: list[int] = []

    def run(self) -> None:
        result, at, error = self.result, -1, None
        try:
            for event in self.case.get("input", []):
                at += 1
                self.starts.append(len(self.driver.written))
                self.feed(event)
        except (FatalError, FunctionError) as caught:
            error = _error("StreamsException", caught, at)
        result["outputs"] = self.outputs()
        if error is None:
            result["stores"] = self.stores()
            result["metrics"] = {"dropped-records-total": self.driver.dropped}
        else:
            result["error"] = error
        if self.program.seen:
            result["seen"] = self.program.seen
        if self.case.get("read", {}).get("internal"):
            result["internal"] = self.internal()

    def feed(self, event: dict[str, Any]) -> None:
        if "advance_wall_ms" in event:
            self.driver.advance(ms=event["advance_wall_ms"])
            return
        topic = event["topic"]
        op = _reader(self.case, topic)
        headers = tuple(
            (name, None if text is None else text.encode())
            for name, text in event.get("headers", [])
        )
        key, value = (self.bytes_of(event, side, op) for side in ("key", "value"))
        self.driver.pipe_bytes(
            topic, key, value, at=event.get("ts", 0), headers=headers, partition=0
        )

    def bytes_of(self, event: dict[str, Any], side: str, op: Op) -> bytes | None:
        raw, shown = event.get(f"{side}_bytes"), event.get(side)
        if raw is not None:
            return base64.b64decode(raw)
        kind = op.get(side, self.case.get(f"default_{side}"))
        if shown is None or kind is None:
            return None
        if kind == "bytes":
            shown = base64.b64decode(shown)
        if kind in {"double", "float"}:
            shown = float(shown)
        return serde_of(kind).serialize(event["topic"], shown, ())

    def numbered(self) -> list[tuple[int, Written]]:
        """What was written, with the number of its event."""
        starts = [*self.starts, len(self.driver.written)]
        numbered = [(-1, record) for record in self.driver.written[: starts[0]]]
        for at, (start, stop) in enumerate(itertools.pairwise(starts)):
            numbered += [(at, record) for record in self.driver.written[start:stop]]
        return numbered

    def outputs(self) -> list[Answer]:
        wanted = self.case.get("read", {}).get("topics")
        types: dict[str, tuple[Any, Any]] = {}
        for each in wanted or []:
            if isinstance(each, dict):
                types[each["topic"]] = serde_of(each["key"]), serde_of(each["value"])
        names = None
        if wanted is not None:
            names = {each if isinstance(each, str) else each["topic"] for each in wanted}
        shown = []
        for at, record in self.numbered():
            topic = record.tp.topic
            if self.is_internal(topic) or (names is not None and topic not in names):
                continue
            sinks = self.program.sinks
            key, value = types.get(topic) or sinks.get(topic) or sinks.get(None, (None, None))
            shown.append(
                {
                    "topic": topic,
                    "key": _shown(key, topic, record.key),
                    "value": _shown(value, topic, record.value),
                    "ts": record.timestamp,
                    "headers": _headers(record),
                    "at": at,
                }
            )
        return shown

    def internal(self) -> list[Answer]:
        return [
            {
                "topic": record.tp.topic,
                "key_bytes": _base64(record.key),
                "value_bytes": _base64(record.value),
                "ts": record.timestamp,
                "headers": _headers(record),
                "at": at,
            }
            for at, record in self.numbered()
            if self.is_internal(record.tp.topic)
        ]

    def is_internal(self, topic: str) -> bool:
        prefix = f"{self.program.app.id}-"
        return topic.startswith(prefix) and _INTERNAL.fullmatch(topic) is not None

    def plain_windows(self) -> set[str]:
        """The window stores that keep no times."""
        stores = [op["store"] for op in self.case["topology"] if op["op"] == "add_state_store"]
        return {store["name"] for store in stores if store.get("form") == "window"}

    def stores(self) -> dict[str, list[Any]]:
        names = self.driver.store_names
        wanted = self.case.get("read", {}).get("stores")
        shown = {}
        for name in names if wanted is None else wanted:
            rows = _rows(self.driver.state_store(name))
            if rows is not None and name in self.plain_windows():
                rows = [row[:3] for row in rows]
            if rows is not None and (wanted is not None or not _HIDDEN_STORES.fullmatch(name)):
                shown[name] = rows
        return shown


def _rows(store: Any) -> list[Any] | None:
    """A store's rows; None for stores that are not shown."""
    if isinstance(store, TimestampedStore | CachedStore):
        rows = [(key, [plain(key), plain(row.value), row.timestamp]) for key, row in store.all()]
    elif isinstance(store, HeadersStore):
        rows = [(key, [plain(key), plain(row[0]), row[1]]) for key, row in store.all()]
    elif isinstance(store, PlainStore):
        rows = [(key, [plain(key), plain(value)]) for key, value in store.all()]
    elif isinstance(store, VersionedStore):
        return [[plain(key), plain(row[0]), row[1], row[2]] for key, row in store.all()]
    elif isinstance(store, JoinWindowStore):
        # Kafka Streams cannot read windows of no width: it makes the window's object, and fails.
        shown = [[plain(key), time, plain(value)] for key, time, value in store.all()]
        return shown if store.window_ms > 0 or not shown else None
    elif isinstance(store, WindowStore):
        return _windowed_rows(store)
    else:
        return None
    if any(isinstance(key, list | dict) for key, _ in rows):
        rows.sort(key=lambda row: json_text(row[0]))
    return [row for _, row in rows]


def _windowed_rows(store: WindowStore) -> list[Any]:
    found = sorted(
        store.all(), key=lambda row: (store.order_of(row[0].key), row[0].start, row[0].end)
    )
    if store.kind is StoreKind.SESSION:
        return [[plain(k.key), k.start, k.end, plain(row.value)] for k, row in found]
    return [[plain(k.key), k.start, plain(row.value), row.timestamp] for k, row in found]


def _reader(case: Case, topic: str) -> Op:
    for op in case["topology"]:
        if op["op"] not in _SOURCES:
            continue
        if topic == op.get("topic") or topic in op.get("topics", []):
            return op
        if "pattern" in op and re.fullmatch(op["pattern"], topic):
            return op
    return {}


def _shown(serde: sk.serdes.Serde[Any] | None, topic: str, data: bytes | None) -> Any:
    if data is None:
        return None
    if serde is not None:
        with contextlib.suppress(StreamkitError):
            return plain(serde.deserialize(topic, data, ()))
    return {"raw": _base64(data)}


def _headers(record: Written) -> list[list[Any]]:
    return [[name, _header(name, value)] for name, value in record.headers]


def _header(name: str, value: bytes | None) -> str | None:
    if value is None:
        return None
    shown = value.decode("utf-8", "replace")
    if name == "__streams.errors.stacktrace":
        return "<stacktrace>"
    if name == "__streams.errors.exception":
        return _ERRORS.get(shown, shown)
    return shown


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _error(kind: str, error: BaseException, at: int) -> Answer:
    shown: Answer = {"class": kind, "message": str(error)}
    cause = error.__cause__
    if cause is not None:
        shown["cause"] = {"class": type(cause).__name__, "message": str(cause)}
    return shown | {"at": at}


def _check_settings(case: Case) -> None:
    unknown = case.get("config", {}).keys() - _SETTINGS - _IGNORED_SETTINGS
    if unknown:
        raise NotInScopeError(f"settings {', '.join(sorted(unknown))}")


def main(lines: Callable[[], list[str]], write: Callable[[str], object]) -> None:
    """Cases on `lines`, one a line; answers one a line."""
    for line in lines():
        if line.strip():
            try:
                shown = answer(json.loads(line))
            except Exception as error:  # one case must not stop the others
                shown = {"error": _error(type(error).__name__, error, -1)}
            write(json.dumps(shown, ensure_ascii=False) + "\n")

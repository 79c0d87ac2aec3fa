"""Async functions in a topology: where a call begins, and what waits for it.

A call's outputs and store writes are staged, and released in the order of the input. What else
would come of a record is held back by a `HoldNode`, so that nothing of it counts before all of it
does: then a commit may cover exactly the records that are through.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any

from streamkit.common.model import Headers, Record
from streamkit.topology.operators.given import checked_time
from streamkit.topology.operators.node import Node, ProcessorContext

CONCURRENCY = 64
"""Calls of one processor that may be under way in a task."""


@dataclass(slots=True)
class Place:
    """The record that a call belongs to, and the stream time when it came."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    headers: Headers
    raw_key: bytes | None
    raw_value: bytes | None
    stream_time: int


@dataclass(slots=True, eq=False)
class Call:
    """One call, or with no `begin` a record that is held back; `done` when its results are there.

    `writes` are store writes by store: key and value, or None for a delete; `forwards` are records
    that the function handed on by itself, with the name of a child. `scope` has the context
    variables of the record, whoever makes room for the call.
    """

    node: Node
    key: Any
    value: Any
    timestamp: int
    headers: Headers
    place: Place
    is_held: bool = False
    done: bool = False
    results: list[Any] = field(default_factory=list)
    error: Exception | None = None
    writes: dict[str, dict[Any, Any]] = field(default_factory=dict)
    stores: dict[str, Any] = field(default_factory=dict)
    forwards: list[tuple[Record[Any, Any], str | None]] = field(default_factory=list)
    scope: Context = field(default_factory=copy_context)

    def forget(self) -> None:
        """Before a further attempt."""
        self.done = False
        self.error = None
        self.results = []
        self.writes = {}
        self.forwards = []


Begin = Callable[[Any, Call], Any]
"""Calls the function with its subject, the value or the record; gives what is to be awaited."""

Bind = Callable[[Node, ProcessorContext], tuple[Begin, Callable[[], object] | None]]


class AsyncNode(Node):
    """Calls an async function; `output` as `FunctionNode` has it."""

    def __init__(
        self,
        name: str,
        bind: Bind,
        *,
        takes_record: bool,
        makes_records: bool,
        output: int = 1,
        is_generator: bool = False,
        concurrency: int = CONCURRENCY,
    ) -> None:
        super().__init__(name)
        self.concurrency = concurrency
        self.output = output
        self.is_generator = is_generator
        self._bind = bind
        self._takes_record = takes_record
        self._makes_records = makes_records
        self._begin: Begin | None = None
        self._release: Callable[[], object] | None = None

    def init(self, context: ProcessorContext) -> None:
        super().init(context)
        self._begin, self._release = self._bind(self, context)

    def close(self) -> None:
        release, self._release = self._release, None
        self._begin = None
        if release is not None:
            release()

    def process(self, key: Any, value: Any, timestamp: int, headers: Headers) -> None:
        self.context.call_async(self, key, value, timestamp, headers)

    def begin(self, call: Call) -> Any:
        """The call of the function: a coroutine or an async generator, for a loop to run."""
        assert self._begin is not None, f"{self.name} is not initialised"
        subject = call.value
        if self._takes_record:
            subject = Record(call.key, call.value, call.timestamp, call.headers)
        return self._begin(subject, call)

    def finish(self, call: Call) -> None:
        """Write what the call wrote, and forward what it gave."""
        for name, rows in call.writes.items():
            for key, value in rows.items():
                call.stores[name].put(key, value)
        for record, child in call.forwards:
            self._hand_on(record, child)
        for result in call.results:
            if self._makes_records:
                self._hand_on(result, None)
            else:
                self.forward(call.key, result, call.timestamp, call.headers)

    def _hand_on(self, record: Record[Any, Any], child: str | None) -> None:
        time = checked_time(self.name, record)
        if child is None:
            self.forward(record.key, record.value, time, record.headers)
            return
        for node in self.children:
            if node.name == child:
                node.process(record.key, record.value, time, record.headers)


class HoldNode(Node):
    """Stands in front of a node that must wait for the async calls before it."""

    def __init__(self, held: Node, context: ProcessorContext) -> None:
        super().__init__(held.name)
        self._held = held
        self.init(context)

    def process(self, key: Any, value: Any, timestamp: int, headers: Headers) -> None:
        self.context.hold(self._held, key, value, timestamp, headers)

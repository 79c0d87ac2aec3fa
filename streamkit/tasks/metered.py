"""Stores and operators that are timed, for `metrics.recording.level` DEBUG and TRACE.

At the level INFO, the default, nothing of this is in the way of a record. The names of a store's
operations are those of Kafka Streams; an iterator's time is that until it has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from streamkit.common.model import Headers, TaskId
from streamkit.tasks.meter import Timed
from streamkit.topology.operators.node import Node

_OPERATIONS = {
    "get": "get",
    "get_at": "get",
    "put": "put",
    "put_at": "put",
    "put_if_absent": "put_if_absent",
    "put_all": "put_all",
    "delete": "delete",
    "remove": "remove",
    "all": "all",
    "range": "range",
    "prefix": "prefix_scan",
    "fetch": "fetch",
    "fetch_all": "fetch",
    "fetch_session": "fetch",
    "flush": "flush",
}
"""What callers name, and how the metrics call it."""


class StoreMeter:
    """One store of one task."""

    __slots__ = ("iterators", "monotonic_ms", "open_iterators", "operations")

    def __init__(self, monotonic_ms: Callable[[], float]) -> None:
        self.monotonic_ms = monotonic_ms
        self.operations: dict[str, Timed] = {}
        self.iterators = Timed(monotonic_ms())
        self.open_iterators = 0

    def note(self, operation: str, began_ms: float) -> None:
        """An operation that began then has ended."""
        now_ms = self.monotonic_ms()
        timed = self.operations.get(operation)
        if timed is None:
            timed = self.operations[operation] = Timed(now_ms)
        timed.note(now_ms - began_ms, now_ms)

    def through(self, rows: Iterator[Any], operation: str, began_ms: float) -> Iterator[Any]:
        """An iterator that is timed until it ends or is closed."""
        self.open_iterators += 1
        try:
            yield from rows
        finally:
            self.open_iterators -= 1
            self.note(operation, began_ms)
            now_ms = self.monotonic_ms()
            self.iterators.note(now_ms - began_ms, now_ms)


class MeteredStore:
    """Stands for a store, whichever kind it is, and times what is done with it."""

    def __init__(self, store: Any, meter: StoreMeter) -> None:
        object.__setattr__(self, "_store", store)
        object.__setattr__(self, "_meter", meter)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        operation = _OPERATIONS.get(name)
        if operation is None or not callable(found):
            return found
        timed = _timed(found, self._meter, operation)
        object.__setattr__(self, name, timed)
        return timed

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._store, name, value)

    def __getitem__(self, key: Any) -> Any:
        return _timed(self._store.__getitem__, self._meter, "get")(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        _timed(self._store.__setitem__, self._meter, "put")(key, value)

    def __delitem__(self, key: Any) -> None:
        _timed(self._store.__delitem__, self._meter, "delete")(key)

    def __contains__(self, key: object) -> bool:
        return key in self._store


class MeterNode(Node):
    """Stands in front of an operator, whose name it has, and counts what it gets."""

    def __init__(self, counted: Node) -> None:
        super().__init__(counted.name)
        self._counted = counted
        self.count = 0

    def process(self, key: Any, value: Any, timestamp: int, headers: Headers) -> None:
        self.count += 1
        self.context.current = self._counted
        self._counted.process(key, value, timestamp, headers)

    def process_change(
        self, key: Any, new: Any, old: Any, timestamp: int, headers: Headers
    ) -> None:
        self.count += 1
        self.context.current = self._counted
        self._counted.process_change(key, new, old, timestamp, headers)


class Meters:
    """What the tasks of one processing thread are metered by."""

    def __init__(self, monotonic_ms: Callable[[], float]) -> None:
        self.stores: dict[TaskId, dict[str, StoreMeter]] = {}
        self.nodes: dict[TaskId, dict[str, MeterNode]] = {}
        self._monotonic_ms = monotonic_ms

    @property
    def now_ms(self) -> float:
        """The clock by which it meters."""
        return self._monotonic_ms()

    def store(self, task_id: TaskId, store: Any) -> MeteredStore:
        """A task's store, metered."""
        meters = self.stores.setdefault(task_id, {})
        return MeteredStore(store, meters.setdefault(store.name, StoreMeter(self._monotonic_ms)))

    def restored(self, task_id: TaskId, began_ms: float) -> None:
        """The stores of a task are restored, since then."""
        for meter in self.stores.get(task_id, {}).values():
            meter.note("restore", began_ms)

    def node(self, task_id: TaskId, node: Node) -> Node:
        """A task's operator, counted."""
        made = self.nodes.setdefault(task_id, {})[node.name] = MeterNode(node)
        return made

    def drop(self, task_id: TaskId) -> None:
        """The task runs no more here."""
        self.stores.pop(task_id, None)
        self.nodes.pop(task_id, None)


def _timed(call: Callable[..., Any], meter: StoreMeter, operation: str) -> Callable[..., Any]:
    def run(*arguments: Any, **options: Any) -> Any:
        began_ms = meter.monotonic_ms()
        result = call(*arguments, **options)
        if isinstance(result, Iterator):
            return meter.through(result, operation, began_ms)
        meter.note(operation, began_ms)
        return result

    return run

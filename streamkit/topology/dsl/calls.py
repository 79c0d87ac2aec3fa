"""What an async function sees of its task: stores and a context of its own call.

What it writes is staged, so only it sees it before the call is released.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Literal

from streamkit.common.errors import TopologyError
from streamkit.common.model import Headers, Record
from streamkit.topology.dsl.context import Cancellable, Context
from streamkit.topology.dsl.windows import Duration
from streamkit.topology.operators.asynchronous import Call
from streamkit.topology.operators.node import Node, ProcessorContext


class StagedStore:
    """A key-value store under the writes of one call."""

    __slots__ = ("_store", "_writes", "name")

    def __init__(self, store: Any, call: Call) -> None:
        self.name: str = store.name
        self._store = store
        self._writes = call.writes.setdefault(self.name, {})
        call.stores[self.name] = store

    def get(self, key: Any, default: Any = None, /) -> Any:
        if key in self._writes:
            found = self._writes[key]
            return default if found is None else found
        return self._store.get(key, default)

    def put(self, key: Any, value: Any, /) -> None:
        self._writes[key] = value

    def put_if_absent(self, key: Any, value: Any, /) -> Any:
        found = self.get(key)
        if found is None:
            self._writes[key] = value
        return found

    def put_all(self, entries: Mapping[Any, Any] | Iterable[tuple[Any, Any]], /) -> None:
        self._writes.update(entries)

    def approximate_num_entries(self) -> int:
        found: int = self._store.approximate_num_entries()
        return found

    def delete(self, key: Any, /) -> Any:
        found = self.get(key)
        self._writes[key] = None
        return found

    def __getitem__(self, key: Any, /) -> Any:
        found = self.get(key)
        if found is None:
            raise KeyError(key)
        return found

    def __setitem__(self, key: Any, value: Any, /) -> None:
        self._writes[key] = value

    def __delitem__(self, key: Any, /) -> None:
        if self.get(key) is None:
            raise KeyError(key)
        self._writes[key] = None

    def __contains__(self, key: object, /) -> bool:
        return self.get(key) is not None

    def range(self, low: Any, high: Any, *, reverse: bool = False) -> Iterator[tuple[Any, Any]]:
        self._refuse_writes()
        found: Iterator[tuple[Any, Any]] = self._store.range(low, high, reverse=reverse)
        return found

    def prefix(self, prefix: Any, *, reverse: bool = False) -> Iterator[tuple[Any, Any]]:
        self._refuse_writes()
        found: Iterator[tuple[Any, Any]] = self._store.prefix(prefix, reverse=reverse)
        return found

    def all(self) -> Iterator[tuple[Any, Any]]:
        self._refuse_writes()
        found: Iterator[tuple[Any, Any]] = self._store.all()
        return found

    def _refuse_writes(self) -> None:
        if self._writes:
            raise TopologyError(
                f"store {self.name}: an async function may scan it only before it writes to it"
            )


class CallContext(Context):
    """The context of one async call: its record stays the same while others come."""

    __slots__ = ("_call",)

    def __init__(self, node: Node, context: ProcessorContext, call: Call) -> None:
        super().__init__(node, context)
        self._call = call

    def forward(self, record: Record[Any, Any], child: str | None = None) -> None:
        """Hand a record on when the call is released."""
        self._call.forwards.append((record, child))

    def schedule(
        self,
        interval: Duration,
        callback: Callable[[int], object],
        *,
        clock: Literal["stream", "wall"] = "stream",
        start: datetime | int | None = None,
    ) -> Cancellable:
        """Raises TopologyError: an async function has no punctuations."""
        raise TopologyError("an async function cannot schedule(): use a streamkit.Processor")

    @property
    def topic(self) -> str:
        return self._call.place.topic

    @property
    def partition(self) -> int:
        return self._call.place.partition

    @property
    def offset(self) -> int:
        return self._call.place.offset

    @property
    def timestamp(self) -> int:
        return self._call.timestamp

    @property
    def headers(self) -> Headers:
        return self._call.headers

    @property
    def stream_time(self) -> int:
        return self._call.place.stream_time

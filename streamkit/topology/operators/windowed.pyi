from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from streamkit.common.model import Headers, Windowed
from streamkit.topology.operators.node import StoreNode

LONG_MAX: int
Initializer = Callable[[], Any]
Aggregator = Callable[[Any, Any, Any], Any]

def is_compiled() -> bool: ...
def nothing_yet() -> int: ...
def count_one(key: object, value: object, count: int) -> int: ...

@dataclass(frozen=True, slots=True)
class TimeWindows:
    size_ms: int
    advance_ms: int
    grace_ms: int
    start_ms: int = 0
    @property
    def retention_ms(self) -> int: ...
    def starts(self, timestamp: int) -> range | tuple[int, ...]: ...
    def end(self, start: int) -> int: ...

class WindowedNode(StoreNode):
    @property
    def initializer(self) -> Initializer: ...
    @property
    def aggregator(self) -> Aggregator: ...
    @property
    def grace_ms(self) -> int: ...
    @property
    def emits_on_close(self) -> bool: ...
    @property
    def stream_time(self) -> int: ...
    @property
    def emitted(self) -> int: ...
    @property
    def emitted_to(self) -> int | None: ...
    @property
    def kept(self) -> Any: ...
    def __init__(
        self,
        name: str,
        store_name: str,
        folds: tuple[Initializer, Aggregator],
        grace_ms: int,
        emits_on_close: bool,
        sends_old: bool,
    ) -> None: ...
    def see(self, timestamp: int) -> None: ...
    @property
    def close_time(self) -> int: ...
    def update(
        self, key: Windowed[Any], new: Any, old: Any, timestamp: int, headers: Headers
    ) -> None: ...
    def closed(self, close_time: int) -> tuple[int, int] | None: ...
    def maybe_emit(self, close_time: int, headers: Headers) -> None: ...
    def time_of(self, key: Windowed[Any], row: Any) -> int: ...

class TimeWindowNode(WindowedNode):
    @property
    def windows(self) -> TimeWindows: ...
    def __init__(
        self,
        name: str,
        store_name: str,
        folds: tuple[Initializer, Aggregator],
        windows: TimeWindows,
        emits_on_close: bool,
        sends_old: bool,
    ) -> None: ...

class SessionNode(WindowedNode):
    def __init__(
        self,
        name: str,
        store_name: str,
        folds: tuple[Initializer, Aggregator],
        merger: Aggregator,
        times: tuple[int, int],
        emits_on_close: bool,
        sends_old: bool,
    ) -> None: ...
    def sessions(self, key: Any, timestamp: int) -> Iterator[tuple[Windowed[Any], Any]]: ...

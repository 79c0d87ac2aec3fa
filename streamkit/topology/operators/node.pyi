from collections.abc import Callable, Sequence
from typing import Any, Protocol

from streamkit.common.model import Headers, TaskId
from streamkit.serdes import Serde

def is_compiled() -> bool: ...

class SinkWriter(Protocol):
    def append(
        self,
        key: bytes | None,
        value: bytes | None,
        timestamp: int,
        headers: Headers,
        partition: int = -1,
        /,
    ) -> None: ...

class Batch(Protocol):
    @property
    def offsets(self) -> list[int]: ...
    @property
    def timestamps(self) -> list[int]: ...
    @property
    def keys(self) -> list[bytes | None]: ...
    @property
    def values(self) -> list[bytes | None]: ...
    @property
    def headers(self) -> list[Headers]: ...

class ProcessorContext:
    application_id: str
    task_id: TaskId
    topic: str
    partition: int
    offset: int
    timestamp: int
    headers: Headers
    stream_time: int
    emit_interval_ms: int
    def __init__(self, application_id: str, task_id: TaskId) -> None: ...
    def store(self, name: str) -> Any: ...
    def sink(self, topic: str) -> SinkWriter: ...
    def partition_count(self, topic: str) -> int: ...
    def drop(self, reason: str) -> None: ...
    def wall_time_ms(self) -> int: ...

class Node:
    @property
    def name(self) -> str: ...
    @property
    def children(self) -> list[Node]: ...
    @property
    def context(self) -> ProcessorContext: ...
    def __init__(self, name: str) -> None: ...
    def add_child(self, child: Node) -> None: ...
    def init(self, context: ProcessorContext) -> None: ...
    def close(self) -> None: ...
    def process(self, key: Any, value: Any, timestamp: int, headers: Headers) -> None: ...
    def process_change(
        self, key: Any, new: Any, old: Any, timestamp: int, headers: Headers
    ) -> None: ...
    def forward(self, key: Any, value: Any, timestamp: int, headers: Headers) -> None: ...
    def forward_change(
        self, key: Any, new: Any, old: Any, timestamp: int, headers: Headers
    ) -> None: ...

class SourceNode(Node):
    partition_time: int
    @property
    def topic(self) -> str: ...
    @property
    def key_serde(self) -> Serde[Any] | None: ...
    @property
    def value_serde(self) -> Serde[Any] | None: ...
    def __init__(
        self,
        name: str,
        topic: str,
        key_serde: Serde[Any] | None,
        value_serde: Serde[Any] | None,
        extractor: Callable[[Any, int], int] | None = None,
        record_type: Callable[..., Any] | None = None,
    ) -> None: ...
    def run(self, batch: Batch, start: int, stop: int) -> None: ...

class SinkNode(Node):
    @property
    def topic(self) -> str: ...
    @property
    def key_serde(self) -> Serde[Any] | None: ...
    @property
    def value_serde(self) -> Serde[Any] | None: ...
    def __init__(
        self,
        name: str,
        topic: str,
        key_serde: Serde[Any] | None,
        value_serde: Serde[Any] | None,
        partitioner: Callable[[str, Any, Any, int], int | Sequence[int] | None] | None = None,
        topic_of: Callable[[Any], str] | None = None,
        record_type: Callable[..., Any] | None = None,
    ) -> None: ...

class PassNode(Node): ...
class KeyedOnlyNode(Node): ...

class FilterNode(Node):
    def __init__(
        self, name: str, predicate: Callable[[Any, Any], object], keep: bool = True
    ) -> None: ...

class MapNode(Node):
    def __init__(self, name: str, mapper: Callable[[Any, Any], Any]) -> None: ...

class MapValuesNode(Node):
    def __init__(self, name: str, mapper: Callable[..., Any], with_key: bool = False) -> None: ...

class SelectKeyNode(Node):
    def __init__(self, name: str, selector: Callable[[Any, Any], Any]) -> None: ...

class FlatMapNode(Node):
    def __init__(self, name: str, mapper: Callable[[Any, Any], Any]) -> None: ...

class FlatMapValuesNode(Node):
    def __init__(self, name: str, mapper: Callable[..., Any], with_key: bool = False) -> None: ...

class PeekNode(Node):
    def __init__(self, name: str, action: Callable[[Any, Any], object]) -> None: ...

class BranchNode(Node):
    def __init__(
        self, name: str, predicates: Sequence[Callable[[Any, Any], object] | None]
    ) -> None: ...

class FunctionNode(Node):
    def __init__(
        self,
        name: str,
        bind: Callable[
            [FunctionNode, ProcessorContext], tuple[Callable[..., Any], tuple[Any, ...]]
        ],
        record_type: Callable[..., Any],
        takes_record: bool,
        output: int,
        makes_records: bool,
    ) -> None: ...

class StoreNode(Node):
    @property
    def sends_old(self) -> bool: ...
    @property
    def is_cached(self) -> bool: ...
    @property
    def get(self) -> Any: ...
    @property
    def put(self) -> Any: ...
    def __init__(self, name: str, store_name: str | None, sends_old: bool = False) -> None: ...
    def on_flush(self, key: Any, new: Any, old: Any, timestamp: int, headers: Headers) -> None: ...

class CountNode(StoreNode): ...

class ReduceNode(StoreNode):
    def __init__(
        self,
        name: str,
        store_name: str,
        reducer: Callable[[Any, Any], Any],
        sends_old: bool = False,
    ) -> None: ...

class AggregateNode(StoreNode):
    def __init__(
        self,
        name: str,
        store_name: str,
        initializer: Callable[[], Any],
        aggregator: Callable[[Any, Any, Any], Any],
        sends_old: bool = False,
    ) -> None: ...

class TableSourceNode(StoreNode): ...
class ToStreamNode(Node): ...

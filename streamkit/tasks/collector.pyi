from collections.abc import Callable
from typing import Any

from streamkit.common.direct import RecordWriter
from streamkit.common.model import Headers, TopicPartition
from streamkit.records import BatchBuilder

class Collector:
    now_ms: int
    staged: list[Any] | None
    record_bytes_max: int
    @property
    def ready(self) -> list[tuple[TopicPartition, BatchBuilder]]: ...
    def __init__(
        self,
        size_max: int,
        compression: int,
        choose: Callable[[int], int],
        record_bytes_max: int = 1048576,
    ) -> None: ...
    def release(self) -> None: ...
    def writer(self, topic: str) -> TopicWriter: ...
    def take(
        self, opened_before_ms: int | None = None
    ) -> list[tuple[TopicPartition, BatchBuilder]]: ...

class TopicWriter(RecordWriter):
    @property
    def topic(self) -> str: ...
    @property
    def count(self) -> int: ...
    def __init__(self, collector: Collector, topic: str) -> None: ...
    def set_count(self, count: int) -> None: ...
    def set_bytes_max(self, bytes_max: int) -> None: ...
    def add(
        self,
        key: bytes | str | None,
        value: bytes | str | None,
        timestamp: int,
        headers: Headers,
        partition: int,
        /,
    ) -> None: ...

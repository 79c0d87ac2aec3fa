"""The nouns that every package uses: partitions, tasks, records.

Plain immutable values; nothing here knows where they come from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Generic, NamedTuple, TypeVar

K = TypeVar("K")
V = TypeVar("V")

Headers = tuple[tuple[str, bytes | None], ...]
"""Record headers in order; a name may repeat, a value may be null."""


class TopicPartition(NamedTuple):
    """One partition of one topic, by name."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


class TaskId(NamedTuple):
    """One sub-topology over one partition number; written `0_3` as Kafka Streams does."""

    subtopology: int
    partition: int

    def __str__(self) -> str:
        return f"{self.subtopology}_{self.partition}"

    @classmethod
    def parse(cls, text: str) -> TaskId:
        """Read `0_3`. Raises ValueError when the text is not a task id."""
        subtopology, _, partition = text.partition("_")
        return cls(int(subtopology), int(partition))


@dataclass(frozen=True, slots=True)
class Record(Generic[K, V]):
    """One record as user code sees it; `timestamp` in milliseconds since the epoch."""

    key: K
    value: V
    timestamp: int
    headers: Headers = ()

    def with_key(self, key: Any) -> Record[Any, V]:
        """The same record under another key."""
        return replace(self, key=key)

    def with_value(self, value: Any) -> Record[K, Any]:
        """The same record with another value."""
        return replace(self, value=value)

    def with_timestamp(self, timestamp: int) -> Record[K, V]:
        """The same record at another time, in milliseconds. Raises ValueError below 0."""
        if timestamp < 0:
            raise ValueError(f"with_timestamp({timestamp}): a timestamp may not be negative")
        return replace(self, timestamp=timestamp)

    def with_headers(self, headers: Headers) -> Record[K, V]:
        """The same record with other headers, all of them."""
        return replace(self, headers=headers)


@dataclass(frozen=True, slots=True, order=True)
class Windowed(Generic[K]):
    """A key in a window from `start` to `end`, in milliseconds since the epoch.

    Time windows do not contain their end; sliding and session windows do.
    """

    key: K
    start: int
    end: int

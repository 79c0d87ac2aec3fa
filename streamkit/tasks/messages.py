"""What the two actors of a worker say to each other.

Events go from the network to processing, commands the other way. All are values; the batches in
them belong to the receiver from then on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from queue import SimpleQueue
from uuid import UUID

from streamkit.client.decode import Fetched
from streamkit.common.errors import StreamkitError
from streamkit.common.model import TaskId, TopicPartition
from streamkit.records import BatchBuilder
from streamkit.state.restore import ChangelogBounds
from streamkit.tasks.asks import Ask

Batches = list[tuple[TopicPartition, BatchBuilder]]


@dataclass(frozen=True, slots=True)
class Assigned:
    """Close `revoke` after a commit, then run exactly `active` and follow exactly the others."""

    revoke: frozenset[TaskId]
    active: frozenset[TaskId]
    standby: frozenset[TaskId]
    warmup: frozenset[TaskId] = frozenset()


@dataclass(frozen=True, slots=True)
class TasksLost:
    """Close every task without commit."""

    reason: str = "the member was fenced"


@dataclass(frozen=True, slots=True)
class StartPosition:
    """Where a task begins to read an input partition, and what was committed beside it."""

    offset: int
    end: int
    partition_time: int = -1
    processors: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskPrepared:
    """The answer to `PrepareTask`: committed positions, changelogs, and partition counts."""

    task_id: TaskId
    positions: Mapping[TopicPartition, StartPosition]
    changelogs: Mapping[TopicPartition, ChangelogBounds]
    partition_counts: Mapping[str, int]
    number: int = 0
    """That of the request: what was looked up for an earlier life of the task is outdated."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """Data of one partition, for a task's input or for restoring it."""

    data: Fetched


@dataclass(frozen=True, slots=True)
class OutOfRange:
    """A position lies outside the log, which is now [start, end), of this topic id."""

    tp: TopicPartition
    start: int
    end: int
    topic_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A batch is written up to `offset_end`, or failed for good."""

    tp: TopicPartition
    offset_end: int
    error: StreamkitError | None = None


@dataclass(frozen=True, slots=True)
class TooLarge:
    """A record is larger than its topic takes; `bytes_max` is what it takes, None if unknown."""

    topic: str
    bytes_max: int | None
    error: StreamkitError


@dataclass(frozen=True, slots=True)
class Committed:
    """The answer to `CommitOffsets`."""

    number: int
    error: StreamkitError | None = None


@dataclass(frozen=True, slots=True)
class Drain:
    """Commit, close every task, and say `Stopped`."""


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The answer to `RollBack`: the transaction is over; the producer was fenced, or failed."""

    number: int
    error: StreamkitError | None = None


@dataclass(frozen=True, slots=True)
class GlobalsPrepared:
    """The answer to `PrepareGlobals`: where each partition of the global topics begins and ends."""

    bounds: Mapping[TopicPartition, ChangelogBounds]


Event = (
    Assigned
    | Ask
    | GlobalsPrepared
    | TasksLost
    | TaskPrepared
    | Arrived
    | OutOfRange
    | Acknowledged
    | TooLarge
    | Committed
    | RolledBack
    | Drain
)


@dataclass(frozen=True, slots=True)
class PrepareTask:
    """Look up what a task needs before it can restore and run."""

    task_id: TaskId
    inputs: tuple[TopicPartition, ...]
    changelogs: tuple[TopicPartition, ...]
    topics: tuple[str, ...]
    resets: Mapping[str, str] = field(default_factory=dict)
    number: int = 0


@dataclass(frozen=True, slots=True)
class PrepareGlobals:
    """Look up where all partitions of the global topics begin and end."""

    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CountPartitions:
    """How many partitions has a topic? Processing waits for the number, or the error."""

    topic: str
    answer: SimpleQueue[int | StreamkitError] = field(default_factory=SimpleQueue)


@dataclass(frozen=True, slots=True)
class StartFetching:
    """Fetch these partitions from these offsets; changelogs have a fetcher of their own."""

    positions: Mapping[TopicPartition, int]
    is_changelog: bool = False


@dataclass(frozen=True, slots=True)
class StopFetching:
    """Forget these partitions and what is buffered of them."""

    partitions: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class Pause:
    """Hand over no more of this partition until `Resume`."""

    tp: TopicPartition


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on with a paused partition."""

    tp: TopicPartition


@dataclass(frozen=True, slots=True)
class Send:
    """Send these batches; each is answered by `Acknowledged`."""

    batches: Batches


@dataclass(frozen=True, slots=True)
class CommitOffsets:
    """Commit input positions with their metadata; answered by `Committed`."""

    number: int
    offsets: Mapping[TopicPartition, tuple[int, str]]


@dataclass(frozen=True, slots=True)
class RollBack:
    """End the transaction without its outputs; answered by `RolledBack`.

    When the tasks are lost with it, `is_fenced`, the producer gets a new epoch and the member
    joins again.
    """

    number: int
    is_fenced: bool = False


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The tasks are now exactly these."""

    active: frozenset[TaskId]
    standby: frozenset[TaskId]
    warmup: frozenset[TaskId] = frozenset()


@dataclass(frozen=True, slots=True)
class Failed:
    """Processing stopped because of this; the worker ends with it."""

    error: StreamkitError


@dataclass(frozen=True, slots=True)
class Stopped:
    """Everything is committed and closed after `Drain`."""


Command = (
    PrepareTask
    | PrepareGlobals
    | CountPartitions
    | StartFetching
    | StopFetching
    | Pause
    | Resume
    | Send
    | CommitOffsets
    | RollBack
    | Reconciled
    | Failed
    | Stopped
)

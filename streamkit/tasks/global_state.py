"""The global stores of one worker process, and what keeps them up to their topics.

Every process reads all partitions of a global topic, outside the group and its transactions. The
topic is the only source of the rows: they are read anew whenever a process starts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from streamkit.common.model import TaskId, TopicPartition
from streamkit.records import DecodedBatch
from streamkit.state.backend import Backend
from streamkit.state.cache import CacheBudget
from streamkit.state.factory import Changelog, build_store
from streamkit.state.task_state import TaskState
from streamkit.tasks.collector import Collector
from streamkit.tasks.context import TaskContext
from streamkit.topology.operators.node import SourceNode
from streamkit.topology.plan import Subtopology

GLOBAL_PARTITION = -1
"""The partition number in the task id of global nodes; they belong to no task."""

OpenGlobal = Callable[[Sequence[str]], Backend]


class GlobalState:
    """The stores by name, and the operators that fill them; `stores` is shared with all tasks."""

    def __init__(
        self,
        application_id: str,
        parts: Sequence[Subtopology],
        open_database: OpenGlobal,
        now_ms: Callable[[], int],
    ) -> None:
        self.stores: dict[str, Any] = {}
        self._contexts: list[TaskContext] = []
        self._sources: dict[str, SourceNode] = {}
        builders = [store for part in parts for store in part.stores]
        self._state = TaskState(builders, open_database)
        for builder in builders:
            self._state.wipe(builder.name)
        for part in parts:
            self._open(application_id, part, now_ms)

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that it reads."""
        return tuple(self._sources)

    @property
    def dropped(self) -> int:
        """How many records were dropped."""
        return sum(context.dropped for context in self._contexts)

    def source(self, topic: str) -> SourceNode | None:
        """Who reads a topic."""
        return self._sources.get(topic)

    def process(self, tp: TopicPartition, batch: DecodedBatch, start: int, stop: int) -> None:
        """Take the records [start, stop) of a decoded batch."""
        source = self._sources[tp.topic]
        source.context.partition = tp.partition
        source.run(batch, start, stop)

    def apply(self) -> None:
        """Hand what was taken on to the database."""
        self._state.apply({})

    def close(self) -> None:
        """Close the stores."""
        for store in self.stores.values():
            store.close()
        self._state.close()

    def _open(self, application_id: str, part: Subtopology, now_ms: Callable[[], int]) -> None:
        context = TaskContext(
            application_id,
            TaskId(part.id, GLOBAL_PARTITION),
            Collector(0, 0, lambda count: 0),
            now_ms,
            lambda topic: 0,
        )
        for builder in part.stores:
            store = build_store(
                builder,
                self._state.overlays[builder.name],
                Changelog(part.source_topics[0]),
                CacheBudget(0),
                context,
            )
            context.stores[builder.name] = self.stores[builder.name] = store
        linked = part.link(context)
        linked.init()
        self._sources.update(linked.sources)
        self._contexts.append(context)

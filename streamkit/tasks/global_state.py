"""The global stores of one worker process, and what keeps them up to their topics.

Every process reads all partitions of a global topic, outside the group and its transactions. Rows
that are kept on disk have the position behind them beside them, for each partition: what follows is
read when the process starts again. Rows of another topic of the same name, or of one that was cut
below the position, are deleted.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from streamkit.common.model import TaskId, TopicPartition
from streamkit.records import DecodedBatch
from streamkit.state.backend import Backend
from streamkit.state.builders import StoreBuilder
from streamkit.state.cache import CacheBudget
from streamkit.state.factory import Changelog, build_store, interface_of
from streamkit.state.formats import StoredOffset
from streamkit.state.overlay import OverlayStore
from streamkit.state.restore import ChangelogBounds, plan_restore
from streamkit.state.task_state import TaskState
from streamkit.tasks.collector import Collector
from streamkit.tasks.context import NO_CONFIGS, NO_POLICIES, TaskContext
from streamkit.topology.failures import FAIL, Action, ErrorPolicy, Failure, Policies
from streamkit.topology.operators.node import SourceNode
from streamkit.topology.plan import Subtopology

log = logging.getLogger(__name__)

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
        policies: Policies = NO_POLICIES,
        configs: Mapping[str, object] = NO_CONFIGS,
    ) -> None:
        self._policies = policies
        self._configs = configs
        self.stores: dict[str, Any] = {}
        self._contexts: list[TaskContext] = []
        self._contexts_of: dict[str, TaskContext] = {}
        self._sources: dict[str, SourceNode] = {}
        self._stores: dict[str, str] = {}
        self._topic_ids: dict[TopicPartition, UUID] = {}
        builders = [store for part in parts for store in part.stores]
        self._state = TaskState(builders, open_database)
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
        """Take the records [start, stop) of a decoded batch. Raises FatalError by policy."""
        source = self._sources[tp.topic]
        context = self._contexts_of[tp.topic]
        context.partition = tp.partition
        while start < stop:
            try:
                source.run(batch, start, stop)
            except Exception as error:  # the edge: a serde or a processor may be the user's
                failed = bisect_left(batch.offsets, context.offset, start, stop - 1)
                start = failed + context.failures.on_record(error, 0.0)
            else:
                context.failures.settle()
                return

    def store_of(self, tp: TopicPartition) -> str:
        """The store that a topic fills."""
        return self._stores[tp.topic]

    def committed(self, builder: StoreBuilder) -> OverlayStore:
        """A store's rows, to read only."""
        return self._state.committed(builder.name)

    def plan(self, bounds: Mapping[TopicPartition, ChangelogBounds]) -> dict[TopicPartition, int]:
        """Where to go on reading; a store that does not fit its topic begins anew."""
        plans = {}
        for tp, each in bounds.items():
            stored = self._state.stored_position(self.store_of(tp), tp)
            plans[tp] = plan_restore(stored, each)
            self._topic_ids[tp] = each.topic_id
        wiped = {self.store_of(tp): plan.wipe for tp, plan in plans.items() if plan.wipe}
        for store, why in wiped.items():
            log.warning("global table %s is read anew: %s", store, why)
            self._state.wipe(store)
        return {
            tp: bounds[tp].start if self.store_of(tp) in wiped else plan.position
            for tp, plan in plans.items()
        }

    def apply(self, positions: Mapping[TopicPartition, int]) -> None:
        """Hand what was taken on to the database, with the positions behind it."""
        reached: dict[str, dict[TopicPartition, StoredOffset]] = {}
        for tp, position in positions.items():
            at = StoredOffset(position, self._topic_ids[tp])
            reached.setdefault(self.store_of(tp), {})[tp] = at
        self._state.apply({}, reached)

    def close(self) -> None:
        """Close the stores."""
        for context in self._contexts:
            for store in context.stores.values():
                store.close()
        self._state.close()

    def _open(self, application_id: str, part: Subtopology, now_ms: Callable[[], int]) -> None:
        context = TaskContext(
            application_id,
            TaskId(part.id, GLOBAL_PARTITION),
            Collector(0, 0, lambda count: 0),
            now_ms,
            lambda topic: 0,
            self._policies,
            configs=self._configs,
        )
        for builder in part.stores:
            store = build_store(
                builder,
                self._state.overlays[builder.name],
                Changelog(part.source_topics[0]),
                CacheBudget(0),
                context,
            )
            context.stores[builder.name] = store
            seen = interface_of(builder, store)
            context.interfaces[builder.name] = self.stores[builder.name] = seen
            self._stores.update(dict.fromkeys(part.source_topics, builder.name))
        linked = part.link(context)
        linked.init()
        self._sources.update(linked.sources)
        self._contexts.append(context)
        self._contexts_of.update(dict.fromkeys(linked.sources, context))


def global_policies(policies: Policies, *, handles_processing: bool) -> Policies:
    """What is done about records of global topics that fail.

    As in Kafka Streams they have no dead-letter topic: what would go there is skipped. Processing
    is handled by choice (KIP-1270).
    """
    return Policies(
        deserialization=_without_topic(policies.deserialization),
        processing=_without_topic(policies.processing) if handles_processing else None,
        dropped=_without_topic(policies.dropped),
    )


def _without_topic(policy: ErrorPolicy | None) -> ErrorPolicy | None:
    if policy is None:
        return None
    action = Action.SKIP if policy.action is Action.DEAD_LETTER else policy.action
    choose = None if policy.choose is None else _chosen_without_topic(policy.choose)
    return replace(
        policy, action=action, topic=None, at_operator=False, backoff_ms=0, choose=choose
    )


def _chosen_without_topic(
    choose: Callable[[Failure], ErrorPolicy],
) -> Callable[[Failure], ErrorPolicy]:
    return lambda failure: _without_topic(choose(failure)) or FAIL

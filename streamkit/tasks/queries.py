"""Interactive queries, on the side of processing: which tasks here may answer, and their answers.

A query is answered between two steps by the thread that owns the stores, a bounded page at a time,
so that no lock is needed and no store closes under a reader. A query with a position bound that is
not reached yet waits for the next commit, or for the standby to come so far (KIP-796).

Where a standby is, in terms of the input: it has read its changelogs up to the ends that they had
after offsets were looked up in the group, so it holds all that those offsets stand for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from streamkit.common.model import TaskId, TopicPartition
from streamkit.state.builders import StoreBuilder, StoreKind
from streamkit.state.queries import fits, newest_time, read_page
from streamkit.state.task_state import TaskState
from streamkit.tasks.asks import Ask, Failure, PartitionAnswer
from streamkit.tasks.global_reader import GlobalReader
from streamkit.tasks.standby import StandbyTask
from streamkit.tasks.standbys import Standbys
from streamkit.tasks.task import StreamTask
from streamkit.topology.plan import Topology

WAITING_MAX: Final = 1_000
"""Queries that may wait for a position; one more is told at once that it is not reached."""

LOOKUP_INTERVAL_MS: Final = 100.0

ALL: Final = 0
"""The partition that a global store answers as."""


class Queries:
    """Answers what is asked of the tasks of one worker."""

    def __init__(
        self,
        topology: Topology,
        tasks: Mapping[TaskId, StreamTask],
        standbys: Standbys,
        globals_: GlobalReader | None = None,
    ) -> None:
        self._topology = topology
        self._tasks = tasks
        self._standbys = standbys
        self._globals = globals_
        self._waiting: list[Ask] = []
        self._look_up_ms = 0.0

    def ask(self, ask: Ask, now_ms: float) -> None:
        """Answer at once, or when the position is reached, or when the time is up."""
        answers = self._answers(ask)
        may_wait = now_ms < ask.deadline_ms and len(self._waiting) < WAITING_MAX
        if may_wait and self._must_wait(answers):
            self._waiting.append(ask)
        else:
            ask.reply(answers)

    @property
    def is_waited_for(self) -> bool:
        """Whether a query waits for a position."""
        return bool(self._waiting)

    def advance(self, now_ms: float) -> None:
        """See whether those that wait can be answered."""
        if not self._waiting:
            return
        if now_ms >= self._look_up_ms:
            self._look_up_ms = now_ms + LOOKUP_INTERVAL_MS
            of_tasks = {ask.store for ask in self._waiting if self._find_global(ask.store) is None}
            self._standbys.find_positions(of_tasks)
        waiting, self._waiting = self._waiting, []
        for ask in waiting:
            self.ask(ask, now_ms)

    def end(self) -> None:
        """Nobody waits any longer: the worker ends."""
        for ask in self._waiting:
            ask.reply(self._answers(ask))
        self._waiting = []

    def _must_wait(self, answers: list[PartitionAnswer]) -> bool:
        return any(answer.failure is Failure.NOT_UP_TO_BOUND for answer in answers)

    def _answers(self, ask: Ask) -> list[PartitionAnswer]:
        of_all = self._find_global(ask.store)
        if of_all is not None:
            return [self._answer_of_all(ask, of_all)]
        found = self._find_store(ask.store)
        if found is None:
            return [PartitionAnswer(-1, failure=Failure.DOES_NOT_EXIST)]
        subtopology, builder = found
        if not fits(builder, ask.query):
            return [PartitionAnswer(-1, failure=Failure.UNKNOWN_QUERY_TYPE)]
        answers = [
            self._answer(ask, builder, task)
            for task in self._candidates(subtopology)
            if ask.partitions is None or task.id.partition in ask.partitions
        ]
        here = {answer.partition for answer in answers}
        missing = sorted((ask.partitions or frozenset()) - here)
        return answers + [PartitionAnswer(each, failure=Failure.NOT_PRESENT) for each in missing]

    def _find_store(self, name: str) -> tuple[int, StoreBuilder] | None:
        for part in self._topology.subtopologies:
            for builder in part.stores:
                if builder.name == name:
                    return part.id, builder
        return None

    def _find_global(self, name: str) -> StoreBuilder | None:
        for part in self._topology.globals:
            for builder in part.stores:
                if builder.name == name:
                    return builder
        return None

    def _answer_of_all(self, ask: Ask, builder: StoreBuilder) -> PartitionAnswer:
        """That of a global store, which is one partition, wherever it is asked for."""
        reader = self._globals
        if reader is None:
            return PartitionAnswer(ALL, failure=Failure.NOT_PRESENT)
        if not fits(builder, ask.query):
            return PartitionAnswer(ALL, failure=Failure.UNKNOWN_QUERY_TYPE)
        if not reader.is_ready and not ask.is_stale_welcome:
            return PartitionAnswer(ALL, failure=Failure.NOT_ACTIVE, is_active=False)
        position = {tp: offset - 1 for tp, offset in reader.positions.items() if offset > 0}
        if any(position.get(tp, -1) < offset for tp, offset in ask.bound.items()):
            return PartitionAnswer(ALL, None, Failure.NOT_UP_TO_BOUND, position)
        rows = reader.state.committed(builder)
        page = read_page(builder, rows, ask.query, limit=ask.limit, after=ask.after.get(ALL))
        return PartitionAnswer(ALL, page, None, position)

    def _candidates(self, subtopology: int) -> Iterator[StreamTask | StandbyTask]:
        every: dict[TaskId, StreamTask | StandbyTask] = {**self._standbys.tasks, **self._tasks}
        for task_id in sorted(every):
            if task_id.subtopology == subtopology:
                yield every[task_id]

    def _answer(
        self, ask: Ask, builder: StoreBuilder, task: StreamTask | StandbyTask
    ) -> PartitionAnswer:
        partition = task.id.partition
        is_active = isinstance(task, StreamTask) and task.is_running
        state = task.state
        if state is None:
            return PartitionAnswer(partition, failure=Failure.NOT_PRESENT)
        if not is_active and not ask.is_stale_welcome:
            return PartitionAnswer(partition, failure=Failure.NOT_ACTIVE, is_active=False)
        position = position_of(task)
        lag = task.lag if isinstance(task, StandbyTask) else task.remaining
        if not _is_reached(ask.bound, position, partition):
            failure = Failure.NOT_UP_TO_BOUND
            return PartitionAnswer(partition, None, failure, position, is_active, lag)
        page = read_page(
            builder,
            state.committed(builder.name),
            ask.query,
            limit=ask.limit,
            after=ask.after.get(partition),
            stream_time=_stream_time(task, builder, state),
        )
        return PartitionAnswer(partition, page, None, position, is_active, lag)


def position_of(task: StreamTask | StandbyTask) -> dict[TopicPartition, int]:
    """The highest offset of each input that the committed state holds."""
    return {tp: offset - 1 for tp, offset in task.committed.items() if offset > 0}


def _is_reached(
    bound: Mapping[TopicPartition, int], position: Mapping[TopicPartition, int], partition: int
) -> bool:
    return all(
        position.get(tp, -1) >= offset for tp, offset in bound.items() if tp.partition == partition
    )


def _stream_time(task: StreamTask | StandbyTask, builder: StoreBuilder, state: TaskState) -> int:
    store = task.context.stores.get(builder.name) if isinstance(task, StreamTask) else None
    if not builder.kind.is_windowed:
        has_time = builder.ttl_ms > 0 or builder.kind is StoreKind.VERSIONED
        return getattr(store, "stream_time", -1) if has_time else -1
    newest = newest_time(builder, state.committed(builder.name))
    return newest if store is None else max(newest, store.expiry.stream_time)

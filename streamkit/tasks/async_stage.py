"""The async calls of one task: begun as records come, released in their order.

Per input partition the records wait in order of offset, each with its calls and with what is held
back of it. The first is released when all of its calls are done: store writes, then outputs. Calls
with one key follow one another: the next begins when the one before it is released. A commit
covers what is released.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from streamkit.common.model import Headers, TopicPartition
from streamkit.tasks.async_loop import AsyncLoop
from streamkit.tasks.failures import Failures
from streamkit.topology.operators.asynchronous import AsyncNode, Call, Place
from streamkit.topology.operators.node import Node, ProcessorContext

_NO_MORE = 1 << 31
"""The attempt of a record that cannot be tried again: what is in front of its calls has failed."""


@dataclass(slots=True, eq=False)
class PendingRecord:
    """One record with all that is to come of it."""

    offset: int
    calls: list[Call] = field(default_factory=list)
    attempt: int = 1
    due_ms: float = 0.0
    error: Exception | None = None
    on_through: Callable[[Exception | None], None] | None = None

    def end(self) -> None:
        """It is through, or nothing comes of it any more."""
        if self.on_through is not None:
            self.on_through(self.error)

    @property
    def is_done(self) -> bool:
        """Whether every call of it is over, well or badly."""
        return all(call.done for call in self.calls)


class AsyncStage:
    """See the module."""

    def __init__(self, context: ProcessorContext, failures: Failures, loop: AsyncLoop) -> None:
        self._context = context
        self._failures = failures
        self._loop = loop
        self._records: dict[TopicPartition, deque[PendingRecord]] = {}
        self._keys: dict[tuple[str, Any], deque[Call]] = {}
        self._active: dict[str, int] = {}
        self._unstarted: deque[Call] = deque()
        self._tasks: dict[Call, asyncio.Task[Any]] = {}
        self.pending = 0

    def first_offset(self, tp: TopicPartition) -> int | None:
        """The first record of a partition that is not through; None when all are."""
        waiting = self._records.get(tp)
        return waiting[0].offset if waiting else None

    def has_room(self, concurrency: int) -> bool:
        """Whether a further record may come."""
        return self.pending < concurrency

    def call(self, node: AsyncNode, key: Any, value: Any, timestamp: int, headers: Headers) -> None:
        """Begin a call, now or when its turn comes."""
        call = self._add(node, key, value, timestamp, headers)
        if key is not None:
            same = self._keys.setdefault(_of_key(call), deque())
            same.append(call)
            if len(same) > 1:
                return
        self._unstarted.append(call)
        self._start_some()

    def hold(self, node: Node, key: Any, value: Any, timestamp: int, headers: Headers) -> None:
        """Have a node take a record when its turn comes."""
        call = self._add(node, key, value, timestamp, headers)
        call.is_held = call.done = True

    def fail(self, error: Exception) -> None:
        """A record failed before its calls began: that counts when its turn comes."""
        context = self._context
        node = context.current
        assert node is not None, "somebody has failed"
        call = self._add(node, None, None, context.timestamp, context.headers)
        call.is_held = call.done = True
        call.error = error
        tp = TopicPartition(context.topic, context.partition)
        self._records[tp][-1].attempt = _NO_MORE

    def release(self, now_ms: float) -> int:
        """Release what is done, in order; returns how many records."""
        released = 0
        for records in self._records.values():
            while records and records[0].is_done and now_ms >= records[0].due_ms:
                if not self._release(records[0], now_ms):
                    break
                records.popleft().end()
                self.pending -= 1
                released += 1
        return released

    def when_through(
        self, tp: TopicPartition, offset: int, call: Callable[[Exception | None], None]
    ) -> bool:
        """Have it called with what the record failed with, if at all; False if it is through."""
        waiting = self._records.get(tp)
        if not waiting or waiting[-1].offset != offset:
            return False
        waiting[-1].on_through = call
        return True

    @property
    def due_ms(self) -> float:
        """When a failed call is tried again; 0 when none waits for that."""
        due = [each[0].due_ms for each in self._records.values() if each and each[0].due_ms]
        return min(due, default=0.0)

    def close(self) -> None:
        """Cancel what is under way."""
        for task in self._tasks.values():
            task.cancel()
        for records in self._records.values():
            for record in records:
                record.end()
        self._records.clear()
        self._keys.clear()
        self._unstarted.clear()
        self.pending = 0
        self._loop.step()

    def _add(self, node: Node, key: Any, value: Any, timestamp: int, headers: Headers) -> Call:
        context = self._context
        place = Place(
            context.topic, context.partition, context.offset, context.timestamp, context.headers,
            context.raw_key, context.raw_value, context.stream_time,
        )  # fmt: skip
        call = Call(node, key, value, timestamp, headers, place)
        tp = TopicPartition(place.topic, place.partition)
        records = self._records.setdefault(tp, deque())
        if not records or records[-1].offset != place.offset:
            records.append(PendingRecord(place.offset))
            self.pending += 1
        records[-1].calls.append(call)
        return call

    def _start_some(self) -> None:
        for _ in range(len(self._unstarted)):
            call = self._unstarted.popleft()
            node = call.node
            assert isinstance(node, AsyncNode), "only calls are started"
            if self._active.get(node.name, 0) >= node.concurrency:
                self._unstarted.append(call)
                continue
            self._active[node.name] = self._active.get(node.name, 0) + 1
            self._tasks[call] = self._loop.start(self._run(call, node), call.scope)

    async def _run(self, call: Call, node: AsyncNode) -> None:
        try:
            call.results = await _results(node, call)
        except Exception as error:  # the user's code: what it raises is handled in its turn
            call.error = error
        finally:
            call.done = True
            self._active[node.name] -= 1
            self._tasks.pop(call, None)
            self._start_some()

    def _release(self, record: PendingRecord, now_ms: float) -> bool:
        """Let one record count; False when it is to be tried again."""
        context = self._context
        stream_time = context.stream_time
        try:
            for call in record.calls:
                self._finish(call)
        except Exception as error:  # whatever user code raises
            delay_ms = self._failures.decide(error, record.attempt)
            if delay_ms is not None:
                self._try_again(record, now_ms + delay_ms)
                return False
            record.error = error
        finally:
            context.stream_time = stream_time
        self._failures.settle()
        for call in record.calls:
            self._let_next_begin(call)
        return True

    def _finish(self, call: Call) -> None:
        context, place = self._context, call.place
        context.topic, context.partition, context.offset = (
            place.topic, place.partition, place.offset,
        )  # fmt: skip
        context.headers = place.headers
        context.set_raw(place.raw_key, place.raw_value)
        context.stream_time = place.stream_time
        context.timestamp = place.timestamp if call.is_held else call.timestamp
        context.current = call.node
        if call.error is not None:
            raise call.error
        if isinstance(call.node, AsyncNode):
            call.node.finish(call)
        else:
            call.node.process(call.key, call.value, call.timestamp, call.headers)

    def _try_again(self, record: PendingRecord, due_ms: float) -> None:
        """Begin the failed calls anew; those that went well keep their results."""
        record.attempt += 1
        record.due_ms = due_ms
        for call in record.calls:
            if call.error is not None:
                call.forget()
                self._unstarted.append(call)
        self._start_some()

    def _let_next_begin(self, call: Call) -> None:
        if call.is_held or call.key is None:
            return
        same = self._keys[_of_key(call)]
        same.popleft()
        if same:
            self._unstarted.append(same[0])
            self._start_some()
        else:
            del self._keys[_of_key(call)]


async def _results(node: AsyncNode, call: Call) -> list[Any]:
    """All that one call gives."""
    made = node.begin(call)
    if node.is_generator:
        return [each async for each in made]
    result = await made
    if result is None or node.output == 0:
        return []
    return [result] if node.output == 1 else list(result)


def _of_key(call: Call) -> tuple[str, Any]:
    """What calls that follow one another have in common."""
    try:
        hash(call.key)
    except TypeError:
        return call.node.name, repr(call.key)
    return call.node.name, call.key

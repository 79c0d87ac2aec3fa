"""What one task does about records that fail: the policies applied.

A failure is first undone to the record's savepoint, then tried again, skipped, written to the
dead-letter topic, or raised as `TaskFailedError`, which nobody handles twice. Kafka Streams' own
handlers undo nothing: only the failing operator's call ends.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from streamkit.common.errors import (
    DeserializationError,
    FatalError,
    ProductionError,
    RetriableSerializationError,
)
from streamkit.common.model import Headers
from streamkit.tasks.dead_letters import cause_of, headers_of, place_of
from streamkit.tasks.savepoint import Savepoint
from streamkit.topology.failures import FAIL, Action, ErrorPolicy, Failure, FailureKind, Policies
from streamkit.topology.operators.node import Node, ProcessorContext, SourceNode
from streamkit.topology.plan import NodeKind, NodeSpec

log = logging.getLogger(__name__)

LOGGED_ONE_BY_ONE = 20
LOGGED_THEN_EACH = 1000
"""Of many failed records of a task the first ones are logged, then some."""

RETRY_MS, RETRY_MAX_MS = 100.0, 10_000.0
"""The wait before a record is tried again that could not be read for now; it doubles up to this."""

WHAT_TO_DO = {
    FailureKind.DESERIALIZATION: (
        "correct the types of the topic, or let on_deserialization_error= of the app skip it or "
        "write it to a dead-letter topic"
    ),
    FailureKind.PROCESSING: (
        "mend the function, or let on_error= of the processor or the app skip the record or write "
        "it to a dead-letter topic"
    ),
    FailureKind.PRODUCTION: (
        "correct the types of the output, or let on_production_error= of the app skip the record "
        "or write it to a dead-letter topic"
    ),
    FailureKind.DROPPED: "let on_dropped= of the app skip it",
}


class TaskFailedError(FatalError):
    """A record failed and its policy says so: the worker ends."""


class DroppedError(FatalError):
    """An operator dropped a record, and drops are to be failures."""


@dataclass(slots=True)
class _Attempts:
    """How often the record at one offset was tried."""

    place: tuple[str, int, int]
    count: int
    due_ms: float
    until_ms: float = 0.0
    wait_ms: float = RETRY_MS


class Failures:
    """The policies of one task."""

    def __init__(
        self,
        context: ProcessorContext,
        policies: Policies,
        savepoint: Savepoint | None,
        timeout_ms: int = 0,
    ) -> None:
        self.dropped = 0
        self._context = context
        self._policies = policies
        self._savepoint = savepoint
        self._timeout_ms = timeout_ms
        self._attempts: _Attempts | None = None
        self._told: tuple[str, int, int] | None = None
        """The record that `on_dropped` was last applied to."""

    @property
    def due_ms(self) -> float:
        """When a failed record is tried again; 0 when none waits."""
        return self._attempts.due_ms if self._attempts is not None else 0.0

    def settle(self) -> None:
        """What was processed stands."""
        self._attempts = None
        if self._savepoint is not None:
            self._savepoint.begin()

    def on_record(self, error: Exception, now_ms: float) -> bool:
        """Undo a failed record; True when it is done with, False when it is to be tried again.

        Raises TaskFailedError when the policy is to fail.
        """
        context = self._context
        place = (context.topic, context.partition, context.offset)
        before = self._attempts if self._attempts and self._attempts.place == place else None
        if self._waits_for_serde(error, before, place, now_ms):
            return False
        tried = before.count if before is not None else 0
        delay_ms = self.decide(error, tried + 1)
        if delay_ms is not None:
            self._attempts = _Attempts(place, tried + 1, now_ms + delay_ms)
            return False
        self.settle()
        return True

    def _waits_for_serde(
        self, error: Exception, before: _Attempts | None, place: tuple[str, int, int], now_ms: float
    ) -> bool:
        """Whether a serde could not do its work for now, and the record waits for that.

        Up to `task.timeout.ms`, then the policy is asked. A record that went on already must be
        undone for it, which takes a savepoint.
        """
        if not isinstance(cause_of(error), RetriableSerializationError):
            return False
        if self._savepoint is not None:
            self._undo()
        elif not isinstance(self._context.current, SourceNode):
            return False
        attempts = before or _Attempts(place, 0, 0.0)
        attempts.until_ms = attempts.until_ms or now_ms + self._timeout_ms
        if now_ms >= attempts.until_ms:
            return False
        attempts.due_ms = min(now_ms + attempts.wait_ms, attempts.until_ms)
        log.warning(
            "%s; the record is tried again in %.0f ms, for %.0f s more",
            self._describe(self._failure(error)),
            attempts.due_ms - now_ms, (attempts.until_ms - now_ms) / 1000,
        )  # fmt: skip
        attempts.wait_ms = min(attempts.wait_ms * 2, RETRY_MAX_MS)
        self._attempts = attempts
        return True

    def decide(self, error: Exception, attempt: int) -> int | None:
        """Undo a failed record; how long to wait for the next attempt, None when it is given up.

        Raises TaskFailedError when the policy is to fail.
        """
        if isinstance(error, TaskFailedError):
            raise error
        failure = self._failure(error, attempt=attempt)
        policy = self._chosen(failure)
        if policy.at_operator and failure.kind is not FailureKind.DESERIALIZATION:
            # No operator stood guard: with Kafka Streams' handlers that is fatal.
            policy = FAIL
        self._undo()
        if attempt < policy.attempts:
            delay_ms = policy.delay_ms(attempt)
            log.warning(
                "%s; attempt %d of %d, the next in %d ms",
                self._describe(failure), attempt, policy.attempts, delay_ms,
            )  # fmt: skip
            return delay_ms
        self._give_up(failure, policy)
        return None

    def on_call(self, error: Exception, mark: tuple[int, int]) -> None:
        """Undo a failed punctuation, or a change that a cache passed on, and go on without it.

        Raises TaskFailedError when the policy is to fail.
        """
        if isinstance(error, TaskFailedError):
            raise error
        failure = self._failure(error)
        policy = self._chosen(failure)
        if not policy.at_operator:
            self._undo(mark)
        self._give_up(failure, policy)

    def fatal(self, error: Exception) -> TaskFailedError:
        """What to raise for a failure that no policy can help with."""
        if isinstance(error, TaskFailedError):
            return error
        return TaskFailedError(self._describe(self._failure(error)))

    def mark(self) -> tuple[int, int]:
        """A place that `on_call` can go back to."""
        return (0, 0) if self._savepoint is None else self._savepoint.mark()

    def on_dropped(self, reason: str, *, is_counted: bool = True, is_whole: bool = True) -> None:
        """An operator drops the record, late or without a key: what `on_dropped` says is done.

        That is done at most once for a record that was read, and only for one that an operator
        dropped wholly: not for one that is late for a window and counts in another. Kafka Streams'
        number of dropped records is another one: it counts windows, and no records without a key
        in front of a repartition topic.
        """
        if self._policies.dropped is None or not is_whole or self._was_told():
            self.dropped += is_counted
            return
        policy = self._policies.dropped
        failure = self._failure(DroppedError(reason), FailureKind.DROPPED)
        self._give_up(failure, self._chosen(failure) if policy.choose else policy)

    def _was_told(self) -> bool:
        """Whether the policy has had the record in process; else it has it now."""
        context = self._context
        place = (context.topic, context.partition, context.offset)
        if context.offset >= 0 and place == self._told:
            return True
        self._told = place
        return False

    def _undo(self, mark: tuple[int, int] | None = None) -> None:
        """Take back what the record did, what its drop led to included."""
        if self._savepoint is not None:
            self._told = None
            self._savepoint.undo() if mark is None else self._savepoint.undo(mark)

    def guards(self, spec: NodeSpec) -> bool:
        """Whether a node's failures end only its own call."""
        policies = self._policies
        if spec.name in policies.by_operator or spec.kind is NodeKind.SOURCE:
            return False
        chosen = policies.production if spec.kind is NodeKind.SINK else policies.processing
        return chosen is not None and chosen.at_operator

    def at_operator(
        self, error: Exception, is_sink: bool, timestamp: int, headers: Headers
    ) -> bool:
        """Handle a failure where it arose; False when it belongs to somebody else."""
        if isinstance(error, TaskFailedError):
            return False
        current = self._context.current
        if is_sink and not isinstance(error, ProductionError):
            return False
        if current is not None and current.name in self._policies.by_operator:
            return False
        kind = FailureKind.PRODUCTION if is_sink else FailureKind.PROCESSING
        failure = self._failure(error, kind, timestamp=timestamp, headers=headers)
        policy = self._policies.of(kind, "")
        self._give_up(failure, policy)
        return True

    def _chosen(self, failure: Failure) -> ErrorPolicy:
        policy = self._policies.of(failure.kind, failure.operator)
        return policy if policy.choose is None else policy.choose(failure)

    def _give_up(self, failure: Failure, policy: ErrorPolicy) -> None:
        if policy.topic is not None:
            self._write(failure, policy.topic)
        if policy.action is Action.FAIL:
            if self._savepoint is not None:
                self._savepoint.begin()
            raise TaskFailedError(
                f"{self._describe(failure)}; {WHAT_TO_DO[failure.kind]}"
            ) from cause_of(failure.error)
        self.dropped += 1
        outcome = "skipped" if policy.topic is None else f"written to {policy.topic}"
        if self.dropped <= LOGGED_ONE_BY_ONE or self.dropped % LOGGED_THEN_EACH == 0:
            log.warning("%s; %s, %d so far", self._describe(failure), outcome, self.dropped)

    def _write(self, failure: Failure, topic: str) -> None:
        writer = self._context.sink(topic)
        headers = headers_of(failure)
        try:
            writer.append(failure.key, failure.value, max(failure.timestamp, 0), headers)
        except ProductionError as error:
            # The stack trace alone may have made it too large.
            log.warning("%s: written without its headers", error)
            writer.append(failure.key, failure.value, max(failure.timestamp, 0), failure.headers)

    def _failure(
        self,
        error: Exception,
        kind: FailureKind | None = None,
        *,
        timestamp: int | None = None,
        headers: Headers | None = None,
        attempt: int = 1,
    ) -> Failure:
        context = self._context
        node = context.current
        return Failure(
            kind=kind or _kind_of(error, node),
            error=error,
            operator="" if node is None else node.name,
            task_id=context.task_id,
            topic=context.topic,
            partition=context.partition,
            offset=context.offset,
            timestamp=context.timestamp if timestamp is None else timestamp,
            headers=context.headers if headers is None else headers,
            key=context.raw_key,
            value=context.raw_value,
            attempt=attempt,
        )

    def _describe(self, failure: Failure) -> str:
        error = cause_of(failure.error)
        where = f"{failure.topic}-{failure.partition} offset {failure.offset}"
        if not failure.topic:
            where = f"a punctuation or a cached change, time {failure.timestamp}"
        return (
            f"task {failure.task_id} failed at {where} in operator {failure.operator}: "
            f"{type(error).__name__}: {error} (in {place_of(failure.error)})"
        )


def _kind_of(error: Exception, node: Node | None) -> FailureKind:
    if isinstance(error, DroppedError):
        return FailureKind.DROPPED
    if isinstance(error, DeserializationError) and isinstance(node, SourceNode):
        return FailureKind.DESERIALIZATION
    if isinstance(error, ProductionError):
        return FailureKind.PRODUCTION
    return FailureKind.PROCESSING

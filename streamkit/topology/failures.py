"""What is done about a record that fails: fail, skip, or a dead-letter topic, after retries.

A policy is a value. The failed record's work (store writes and sends, up to the record that was
read) is undone before a further attempt, a skip or a dead letter. A function of the `Failure` may
choose the policy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from streamkit.common.errors import ConfigError, TopologyError
from streamkit.common.model import Headers, TaskId
from streamkit.topology.dsl.annotations import call_site, is_count
from streamkit.topology.dsl.topic import Topic
from streamkit.topology.dsl.windows import Duration, duration_ms
from streamkit.topology.graph.names import check_name

BACKOFF_MAX_MS = 300_000
"""The longest wait before a further attempt."""


class Action(Enum):
    """What is done when no attempt is left."""

    FAIL = "fail"
    SKIP = "skip"
    DEAD_LETTER = "dead_letter"


class FailureKind(Enum):
    """What failed."""

    DESERIALIZATION = "deserialization"
    PROCESSING = "processing"
    PRODUCTION = "production"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed record, or punctuation: then topic is "" and partition and offset are -1.

    `key`, `value` and `headers` are those of the record that was read, as bytes; `attempt` counts
    from 1.
    """

    kind: FailureKind
    error: BaseException
    operator: str
    task_id: TaskId
    topic: str
    partition: int
    offset: int
    timestamp: int
    headers: Headers = ()
    key: bytes | None = None
    value: bytes | None = None
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class ErrorPolicy:
    """What to do; made by `fail`, `skip` and `dead_letter`.

    With a `topic` the record goes there first, even when the worker then fails. The wait before a
    further attempt begins with `backoff_ms` and doubles. With `at_operator` only the failing
    operator's call ends, as with Kafka Streams' own handlers: nothing is undone.
    """

    action: Action = Action.FAIL
    topic: str | None = None
    attempts: int = 1
    backoff_ms: int = 0
    choose: Callable[[Failure], ErrorPolicy] | None = None
    at_operator: bool = False

    @property
    def needs_savepoint(self) -> bool:
        """Whether it may undo a record and go on."""
        goes_on = self.action is not Action.FAIL or self.attempts > 1 or self.choose is not None
        return goes_on and not self.at_operator

    def delay_ms(self, attempt: int) -> int:
        """The wait after a failed attempt."""
        return min(self.backoff_ms << min(attempt - 1, 30), BACKOFF_MAX_MS)


FAIL = ErrorPolicy()

PolicyChoice = ErrorPolicy | str | Callable[..., Any] | None

UncaughtChoice = str | Callable[[BaseException], str] | None
"""What a failed worker does: "stop", "replace", "stop_application", or a function of the error."""

UNCAUGHT = ("stop", "replace", "stop_application")


def fail(*, attempts: int = 1, backoff: Duration = "0ms") -> ErrorPolicy:
    """Stop the worker; the record stays where it is."""
    return _policy(Action.FAIL, None, attempts, backoff)


def skip(*, attempts: int = 1, backoff: Duration = "0ms") -> ErrorPolicy:
    """Log the record, count it as dropped, and go on."""
    return _policy(Action.SKIP, None, attempts, backoff)


def dead_letter(topic: object, *, attempts: int = 1, backoff: Duration = "0ms") -> ErrorPolicy:
    """Write the record to a topic as it was read, with headers that say why, and go on.

    The headers are those of KIP-1034: `__streams.errors.` and exception, message, stacktrace,
    topic, partition, offset. The topic must exist.

    >>> dead_letter("orders.dlq", attempts=3, backoff="1s").delay_ms(2)
    2000
    """
    if not isinstance(topic, str | Topic):
        raise TopologyError(
            f"dead_letter() at {call_site()}: {topic!r} is no topic: give app.topic(...) or a name"
        )
    return _policy(Action.DEAD_LETTER, check_name(str(topic)), attempts, backoff)


def _policy(action: Action, topic: str | None, attempts: int, backoff: Duration) -> ErrorPolicy:
    if not is_count(attempts):
        raise TopologyError(
            f"{call_site()}: attempts={attempts!r}: give a number, 1 or more: a record is tried at "
            "least once"
        )
    return ErrorPolicy(action, topic, attempts, duration_ms(backoff))


def policy_of(choice: PolicyChoice, what: str = "on_error") -> ErrorPolicy | None:
    """A policy from what a user gives: a policy, "fail", "skip", or a function of the failure."""
    if choice is None or isinstance(choice, ErrorPolicy):
        return choice
    if choice == "fail" or choice is fail:
        return FAIL
    if choice == "skip" or choice is skip:
        return ErrorPolicy(Action.SKIP)
    if callable(choice) and choice is not dead_letter:
        return ErrorPolicy(choose=_ChosenBy(choice, what))
    raise TopologyError(
        f"{what}={choice!r}: use 'fail', 'skip', streamkit.dead_letter('TOPIC'), or a function of "
        "the failure that gives one of them"
    )


def uncaught_of(choice: object) -> UncaughtChoice:
    """Check what is to be done when a worker fails. Raises TopologyError."""
    if choice is None or callable(choice) or choice in UNCAUGHT:
        return choice
    raise TopologyError(
        f"on_uncaught={choice!r}: use one of {', '.join(UNCAUGHT)}, or a function of the error"
    )


@dataclass(frozen=True, slots=True)
class _ChosenBy:
    """Equal for one function, wherever it is given."""

    function: Callable[..., Any]
    what: str

    def __call__(self, failure: Failure) -> ErrorPolicy:
        chosen = policy_of(self.function(failure), self.what)
        if chosen is None or chosen.choose is not None:
            raise TopologyError(f"{self.what}: the function must give a policy, such as 'skip'")
        return chosen


@dataclass(frozen=True, slots=True)
class Policies:
    """The policies of a whole application; None: what the configuration says, else fail."""

    deserialization: ErrorPolicy | None = None
    processing: ErrorPolicy | None = None
    production: ErrorPolicy | None = None
    dropped: ErrorPolicy | None = None
    by_operator: Mapping[str, ErrorPolicy] = field(default_factory=dict)
    uncaught: UncaughtChoice = None

    def of(self, kind: FailureKind, operator: str) -> ErrorPolicy:
        """What is done about a failure of an operator."""
        by_kind = {
            FailureKind.DESERIALIZATION: self.deserialization,
            FailureKind.PROCESSING: self.processing,
            FailureKind.PRODUCTION: self.production,
            FailureKind.DROPPED: self.dropped,
        }
        if kind is not FailureKind.DROPPED and operator in self.by_operator:
            return self.by_operator[operator]
        return by_kind[kind] or FAIL

    @property
    def needs_savepoint(self) -> bool:
        """Whether any policy may undo a record; one that cannot be read has done nothing yet."""
        chosen = (self.processing, self.production, *self.by_operator.values())
        return any(policy.needs_savepoint for policy in chosen if policy is not None)

    @property
    def topics(self) -> tuple[str, ...]:
        """The dead-letter topics that are known before anything fails."""
        named = [
            policy.topic
            for policy in (
                self.deserialization,
                self.processing,
                self.production,
                self.dropped,
                *self.by_operator.values(),
            )
            if policy is not None and policy.topic is not None
        ]
        return tuple(dict.fromkeys(named))


_CONTINUE = {
    "log_and_continue",
    "continue",
    "LogAndContinueExceptionHandler",
    "LogAndContinueProcessingExceptionHandler",
    "AlwaysContinueProductionExceptionHandler",
}
_FAIL = {
    "log_and_fail",
    "fail",
    "LogAndFailExceptionHandler",
    "LogAndFailProcessingExceptionHandler",
    "DefaultProductionExceptionHandler",
}


def policies_with(own: Policies, handlers: Mapping[str, object], topic: str | None) -> Policies:
    """The program's policies over what the configuration's handlers say.

    `handlers` are those of deserialization, processing and production; `topic` is
    `errors.dead.letter.queue.topic.name`, which belongs to them. Raises ConfigError.
    """
    if topic is not None:
        try:
            check_name(topic)
        except TopologyError as error:
            raise ConfigError(f"errors.dead.letter.queue.topic.name: {error}") from None
    configured = {
        kind: _handler(f"{kind}.exception.handler", choice, topic)
        for kind, choice in handlers.items()
    }
    return replace(
        own,
        deserialization=own.deserialization or configured.get("deserialization"),
        processing=own.processing or configured.get("processing"),
        production=own.production or configured.get("production"),
    )


def _handler(key: str, choice: object, topic: str | None) -> ErrorPolicy | None:
    """A configured handler as a policy; a name of Kafka Streams' own acts as it does there."""
    at_operator = not key.startswith("deserialization")
    if choice is None:
        if topic is None:
            return None
        return ErrorPolicy(Action.FAIL, topic, at_operator=at_operator)
    if isinstance(choice, str):
        name = choice.rsplit(".", 1)[-1].rsplit("$", 1)[-1]
        if name in _CONTINUE:
            action = Action.SKIP if topic is None else Action.DEAD_LETTER
            return ErrorPolicy(action, topic, at_operator=at_operator)
        if name in _FAIL:
            return ErrorPolicy(Action.FAIL, topic, at_operator=at_operator)
        raise ConfigError(f"{key}={choice}: use log_and_fail, log_and_continue, or a policy")
    try:
        return policy_of(choice, key)  # type: ignore[arg-type]  # it says itself what it refuses
    except TopologyError as error:
        raise ConfigError(str(error)) from None

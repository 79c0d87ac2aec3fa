"""A history: what each client asked for and what it was told, in the order of one clock.

A key is one partition, `topic-index`; a value is written once in a whole run. An operation is `ok`
when it was done, `fail` when it certainly was not, and `info` when nobody knows: it timed out, or
its client was killed. In a file it is one line when it is invoked, with the values it is about to
send, and one when it completes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

INFINITE_NS = 2**63 - 1
COMMITTED = "read_committed"
UNCOMMITTED = "read_uncommitted"

Records = tuple[tuple[int, str], ...]
"""(offset, value) in the order in which they were polled."""


class Outcome(Enum):
    """What is known of an operation's effect."""

    OK = "ok"
    FAIL = "fail"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Send:
    """One record; the offset is that of its acknowledgement."""

    key: str
    value: str
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Poll:
    """What one poll gave; `is_moved` when positions may have changed since the one before."""

    records: Mapping[str, Records]
    is_moved: bool = False


@dataclass(frozen=True, slots=True)
class Commit:
    """Offsets that were committed for a group."""

    group: str
    offsets: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Committed:
    """Offsets that a group was found to have; a key without one is left out."""

    group: str
    offsets: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Ends:
    """(earliest, last stable, latest) as ListOffsets gave them."""

    bounds: Mapping[str, tuple[int, int, int]]


Step = Send | Poll | Commit | Committed | Ends


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of one process; `life` counts the process's starts."""

    process: str
    life: int
    kind: str
    outcome: Outcome
    invoked_ns: int
    completed_ns: int
    isolation: str
    steps: tuple[Step, ...]

    def sends(self) -> list[Send]:
        return [step for step in self.steps if isinstance(step, Send)]

    def polls(self) -> list[Poll]:
        return [step for step in self.steps if isinstance(step, Poll)]

    def __str__(self) -> str:
        return f"{self.process}.{self.life} {self.kind} {self.outcome.value} at {self.invoked_ns}"


def read_history(lines: Iterable[str]) -> list[Operation]:
    """The operations of one or several recorders, by invocation; the order of lines is free.

    The last line of a client that was killed may be cut off; it counts as not written.
    """
    invoked: dict[tuple[str, int, int], dict[str, Any]] = {}
    completed: dict[tuple[str, int, int], dict[str, Any]] = {}
    for line in lines:
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        where = invoked if event["type"] == "invoke" else completed
        where[event["process"], event["life"], event["index"]] = event
    operations = [_operation(event, completed.get(key)) for key, event in invoked.items()]
    return sorted(operations, key=lambda each: (each.invoked_ns, each.process))


def _operation(invoked: Mapping[str, Any], completed: Mapping[str, Any] | None) -> Operation:
    last = completed or invoked
    return Operation(
        process=invoked["process"],
        life=invoked["life"],
        kind=invoked["kind"],
        outcome=Outcome(completed["type"]) if completed else Outcome.INFO,
        invoked_ns=invoked["time"],
        completed_ns=completed["time"] if completed else INFINITE_NS,
        isolation=invoked["isolation"],
        steps=tuple(decode_step(step) for step in last["steps"]),
    )


def encode_step(step: Step) -> list[Any]:
    """A step as JSON knows it."""
    match step:
        case Send(key, value, offset):
            return ["send", key, value, offset]
        case Poll(records, is_moved):
            return ["poll", records, is_moved]
        case Commit(group, offsets):
            return ["commit", group, offsets]
        case Committed(group, offsets):
            return ["committed", group, offsets]
        case Ends(bounds):
            return ["ends", bounds]


def decode_step(data: list[Any]) -> Step:
    """The step that `encode_step` wrote."""
    match data:
        case ["send", key, value, offset]:
            return Send(key, value, offset)
        case ["poll", records, is_moved]:
            return Poll({key: tuple(map(tuple, found)) for key, found in records.items()}, is_moved)
        case ["commit", group, offsets]:
            return Commit(group, offsets)
        case ["committed", group, offsets]:
            return Committed(group, offsets)
        case ["ends", bounds]:
            return Ends({key: tuple(found) for key, found in bounds.items()})
    raise ValueError(f"no step: {data}")

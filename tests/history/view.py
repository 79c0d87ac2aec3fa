"""What a history says about the logs: who wrote a value, where it lies, whether it counts.

`places` holds every offset that anybody was told, by an answer or by a poll. The *committed* log of
a key has what readers of committed records must see: whatever they polled, and the sends of
operations that are known to be committed: `ok`, or `info` with one of their values polled. Offsets
that hold nothing there (control records, aborted ones) are squeezed out: `dense` numbers the rest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.history.model import COMMITTED, UNCOMMITTED, Operation, Outcome, Poll, Send

Place = tuple[str, int]
"""A key and an offset."""

FINAL = "final"
"""The kind of the operations that read everything in the end."""


@dataclass(slots=True)
class View:
    """A history and what follows from it."""

    operations: Sequence[Operation]
    writers: dict[str, Operation] = field(default_factory=dict)
    sends: dict[str, Send] = field(default_factory=dict)
    places: dict[Place, set[str]] = field(default_factory=lambda: defaultdict(set))
    polled: dict[str, set[str]] = field(default_factory=dict)
    """By isolation, the values that some poll gave."""

    found_at: dict[str, set[Place]] = field(default_factory=lambda: defaultdict(set))
    dense: dict[str, dict[str, dict[int, int]]] = field(default_factory=dict)
    """By isolation and key, an offset's number among those that hold a record."""

    def is_committed(self, operation: Operation) -> bool:
        """Whether its writes are known to count."""
        if operation.outcome is Outcome.INFO:
            return any(send.value in self.polled[COMMITTED] for send in operation.sends())
        return operation.outcome is Outcome.OK


def polls(view: View | Sequence[Operation]) -> Iterator[tuple[Operation, Poll]]:
    """Every poll, of operations of any outcome."""
    operations = view.operations if isinstance(view, View) else view
    return ((each, poll) for each in operations for poll in each.polls())


def view_of(operations: Sequence[Operation]) -> View:
    """Look through a history once."""
    view = View(operations)
    view.polled = {COMMITTED: set(), UNCOMMITTED: set()}
    offsets: dict[str, dict[str, set[int]]] = {
        isolation: defaultdict(set) for isolation in view.polled
    }
    for operation, poll in polls(operations):
        for key, records in poll.records.items():
            for offset, value in records:
                _note(view, (key, offset), value)
                view.polled[operation.isolation].add(value)
                offsets[operation.isolation][key].add(offset)
    for operation in operations:
        for send in operation.sends():
            view.writers[send.value] = operation
            view.sends[send.value] = send
            if send.offset is not None:
                _note(view, (send.key, send.offset), send.value)
    _add_committed_sends(view, offsets[COMMITTED])
    for key, offset in view.places:
        offsets[UNCOMMITTED][key].add(offset)
    view.dense = {
        isolation: {key: _numbered(found) for key, found in by_key.items()}
        for isolation, by_key in offsets.items()
    }
    return view


def _note(view: View, place: Place, value: str) -> None:
    view.places[place].add(value)
    view.found_at[value].add(place)


def _add_committed_sends(view: View, offsets: dict[str, set[int]]) -> None:
    for operation in view.operations:
        if view.is_committed(operation):
            for send in operation.sends():
                offsets[send.key].update(
                    at for key, at in view.found_at[send.value] if key == send.key
                )


def _numbered(offsets: Iterable[int]) -> dict[int, int]:
    return {offset: index for index, offset in enumerate(sorted(offsets))}

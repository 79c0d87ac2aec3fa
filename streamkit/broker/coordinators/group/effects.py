"""Requests that are answered later, and what an operation on a group collects.

A JoinGroup or SyncGroup waits for other members. Its `Ticket` stands for the request in the
group's memory; an `Answer` effect gives the ticket its response.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from streamkit.broker.coordinators.runtime import CancelTimer, Result, StartTimer

if TYPE_CHECKING:
    from streamkit.broker.coordinators.group.records import Record
    from streamkit.broker.coordinators.group.state import GroupShard

Ticket = object
"""A request that waits; only the coordinator that issued it looks inside."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Give a waiting request its response; an effect for the coordinator."""

    ticket: Ticket
    response: Any


@dataclass(slots=True)
class Outcome:
    """What an operation has come to so far."""

    records: list[Record] = field(default_factory=list)
    effects: list[Any] = field(default_factory=list)

    def answer(self, ticket: Ticket | None, response: Any) -> None:
        """Answer a request, if there is one."""
        if ticket is not None:
            self.effects.append(Answer(ticket, response))

    def start_timer(
        self, key: Hashable, delay_ms: float, operation: Callable[[GroupShard], Outcome]
    ) -> None:
        """Run an operation later, in place of an older timer with this key."""
        self.effects.append(StartTimer(key, delay_ms, lambda shard: operation(shard).result(None)))

    def cancel_timer(self, key: Hashable) -> None:
        self.effects.append(CancelTimer(key))

    def result(self, response: Any) -> Result[GroupShard, Any]:
        """All of it, for the runtime."""
        return Result(response, self.records, self.effects)
